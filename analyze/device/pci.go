package device

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// PCIBus is a PCI bus and the devices on it.
type PCIBus struct {
	Addr    vmem.Addr
	Name    string // "0000:00"
	Depth   int    // 0 for a root bus
	Devices []PCIDevice
}

// PCIDevice is a struct pci_dev.
type PCIDevice struct {
	Addr           vmem.Addr
	Name           string // "0000:00:1f.2"
	Class          uint32 // base class, subclass, programming interface
	Vendor, Device uint32
	Type           string // of a PCI Express device, see pcieTypes; else "BRIDGE" or "ENDPOINT"
	Express        bool
	Driver         string // "" if none is bound
	Bridge         vmem.Addr
}

type pciDev struct {
	Class  uint32    `k:"class"`
	Vendor uint32    `k:"vendor"`
	Device uint32    `k:"device"`
	Flags  uint32    `k:"pcie_flags_reg"`
	Cap    uint32    `k:"pcie_cap"`
	Below  vmem.Addr `k:"subordinate"`
	Driver vmem.Addr `k:"driver"`
	Name   vmem.Addr `k:"dev.kobj.name"`
}

// pcieTypes are the device/port types of the PCI Express capability, in the words that crash has for them.
var pcieTypes = [16]string{0: "ENDPOINT", 1: "LEG_END", 4: "ROOT_PORT", 5: "UPSTREAM_PORT", 6: "DOWNSTREAM_PORT", 7: "PCI_BRIDGE", 8: "PCIE_BRIDGE",
	9: "RC_END", 10: "RC_EC"}

// maxBuses of a machine: 256 in each of a few domains. A list that is longer is damaged.
const maxBuses = 1 << 16

// PCIBuses yields the buses, each root bus before those below it. What of a bus can't be read comes as an error.
func PCIBuses(v *kernel.View) iter.Seq2[PCIBus, error] {
	return func(yield func(PCIBus, error) bool) {
		w := pciWalk{v: v, yield: yield, seen: make(map[vmem.Addr]bool)}
		var err error
		if w.dev, err = kernel.Bind[pciDev](v.Kernel, "pci_dev"); err != nil {
			yield(PCIBus{}, err)
			return
		}
		for name, off := range map[string]*uint64{"node": &w.node, "children": &w.children, "devices": &w.devices} {
			var ok bool
			if *off, ok = v.OffsetOf("pci_bus", name); !ok {
				yield(PCIBus{}, fmt.Errorf("struct pci_bus of this kernel has no member %s", name))
				return
			}
		}
		sym, err := v.Symbol("pci_root_buses")
		if err != nil {
			yield(PCIBus{}, err)
			return
		}
		w.buses(vmem.Addr(sym.Addr), 0)
	}
}

type pciWalk struct {
	v                       *kernel.View
	dev                     kernel.Binding[pciDev]
	node, children, devices uint64
	yield                   func(PCIBus, error) bool
	seen                    map[vmem.Addr]bool
}

func (w *pciWalk) buses(head vmem.Addr, depth int) bool {
	for at, err := range walk.List(w.v, head, w.node) {
		if err != nil {
			if !w.yield(PCIBus{}, fmt.Errorf("PCI buses: %w", err)) {
				return false
			}
			continue
		}
		if w.seen[at] || depth > maxDepth || len(w.seen) > maxBuses {
			return w.yield(PCIBus{}, fmt.Errorf("PCI bus %#x: %w", uint64(at), walk.ErrLoop))
		}
		w.seen[at] = true
		b := PCIBus{Addr: at, Depth: depth}
		var errs []error
		if b.Name, err = w.v.ObjectOf("pci_bus", at).Field("dev.kobj.name").CString(maxName); err != nil || b.Name == "" {
			errs = append(errs, err)
		}
		for d, err := range walk.List(w.v, at+vmem.Addr(w.devices), 0) { // pci_dev.bus_list is its first member, see device
			if err != nil {
				errs = append(errs, err)
				continue
			}
			x, err := w.device(d)
			if err != nil {
				errs = append(errs, err)
			}
			if x.Addr != 0 {
				b.Devices = append(b.Devices, x)
			}
		}
		if err := errors.Join(errs...); err != nil {
			err = fmt.Errorf("PCI bus %s: %w", b.Name, err)
			if !w.yield(PCIBus{}, err) {
				return false
			}
		}
		if !w.yield(b, nil) || !w.buses(at+vmem.Addr(w.children), depth+1) {
			return false
		}
	}
	return true
}

func (w *pciWalk) device(node vmem.Addr) (PCIDevice, error) {
	off, ok := w.dev.Type().OffsetOf("bus_list")
	if !ok {
		return PCIDevice{}, errors.New("struct pci_dev of this kernel has no member bus_list")
	}
	at := node - vmem.Addr(off)
	s, err := w.dev.Read(w.v, at)
	if err != nil {
		return PCIDevice{}, err
	}
	d := PCIDevice{Addr: at, Class: s.Class, Vendor: s.Vendor, Device: s.Device, Express: s.Cap != 0, Bridge: s.Below, Type: "ENDPOINT"}
	switch {
	case d.Express:
		d.Type = pcieTypes[s.Flags>>4&15]
	case s.Below != 0:
		d.Type = "BRIDGE"
	}
	var err1, err2 error
	d.Name, err1 = w.v.CString(s.Name, maxName)
	if s.Driver != 0 {
		var p vmem.Addr
		if p, err2 = w.v.ObjectOf("pci_driver", s.Driver).Field("name").Pointer(); err2 == nil {
			d.Driver, err2 = w.v.CString(p, maxName)
		}
	}
	return d, errors.Join(err1, err2)
}
