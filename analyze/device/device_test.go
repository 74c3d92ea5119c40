package device_test

import (
	"errors"
	"strings"
	"testing"

	"kdx/analyze/device"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

const common = `
struct list_head { struct list_head *next, *prev; };
struct kobject { const char *name; struct list_head entry; };
struct kset { struct list_head list; unsigned int list_lock; struct kobject kobj; };
struct klist { unsigned int k_lock; struct list_head k_list; };
struct klist_node { void *n_klist; struct list_head n_node; };
struct device { struct kobject kobj; struct device *parent; void *p; unsigned int devt; };
struct device_private { struct klist_node knode_bus, knode_class; struct device *device; };
struct resource { u64 start, end; const char *name; unsigned long flags; struct resource *parent, *sibling, *child; };
struct cdev { struct kobject kobj; void *owner; void *ops; unsigned int dev, count; };
struct char_device_struct { struct char_device_struct *next; unsigned int major, baseminor; int minorct; char name[64]; struct cdev *cdev; };
struct kobj_map { struct probe { struct probe *next; unsigned int dev; unsigned long range; void *owner, *get, *lock, *data; } *probes[3]; void *lock; };
struct blk_major_name { struct blk_major_name *next; int major; char name[16]; };
struct pci_bus { struct list_head node; struct pci_bus *parent; struct list_head children, devices; struct device dev; };
struct pci_driver { void *node; const char *name; };
struct pci_dev { struct list_head bus_list; struct pci_bus *bus, *subordinate; unsigned int devfn; unsigned short vendor, device; unsigned int class; u8 pcie_cap;
	u16 pcie_flags_reg; struct pci_driver *driver; struct device dev; };
`

var layouts = map[string]string{
	"6.1": `struct class { const char *name; struct subsys_private *p; };
		struct subsys_private { struct kset subsys; struct klist klist_devices; struct class *class; };`,
	"7.2": `struct class { const char *name; };
		struct subsys_private { struct kset subsys; struct klist klist_devices; struct device *dev_root; struct class *class; };`,
}

type kern struct{ *kerneltest.Machine }

func newKern(t *testing.T, release string) kern {
	return kern{kerneltest.New(t, common+layouts[release])}
}

func (k kern) text(s string) uint64 {
	p := k.Alloc(uint64(len(s)) + 1)
	k.Write(p, append([]byte(s), 0))
	return uint64(p)
}

func (k kern) at(a vmem.Addr, tag, path string) vmem.Addr { return a + vmem.Addr(k.Offset(tag, path)) }

func (k kern) ring(at ...vmem.Addr) {
	for i, a := range at {
		b := at[(i+1)%len(at)]
		k.Word(a, uint64(b))
		k.Word(b+8, uint64(a))
	}
}

// class is a registered class with devices; its node in the list of devices of each is returned too.
func (k kern) class(release string, names ...string) (nodes []vmem.Addr) {
	class, private, other, set := k.Alloc(32), k.Alloc(256), k.Alloc(256), k.Alloc(8)
	k.Var("block_class", class, "struct class")
	if release == "6.1" {
		k.Set(class, "class", "p", uint64(private))
	}
	k.Set(private, "subsys_private", "class", uint64(class))
	k.Var("class_kset", set, "struct kset *")
	kset := k.Alloc(128)
	k.Word(set, uint64(kset))
	k.ring(kset, k.at(other, "subsys_private", "subsys.kobj.entry"), k.at(private, "subsys_private", "subsys.kobj.entry"))
	list := []vmem.Addr{k.at(private, "subsys_private", "klist_devices.k_list")}
	for _, n := range names {
		p, dev := k.Alloc(128), k.Alloc(128)
		k.Set(p, "device_private", "device", uint64(dev))
		k.Set(dev, "device", "kobj.name", k.text(n))
		list = append(list, k.at(p, "device_private", "knode_class.n_node"))
	}
	k.ring(list...)
	return list[1:]
}

func TestOfClass(t *testing.T) {
	for release := range layouts {
		k := newKern(t, release)
		k.class(release, "sda", "sdb")
		v := k.View()
		var got []string
		for dev, err := range device.OfClass(v, "block_class") {
			name, nerr := device.Name(v, dev)
			if err != nil || nerr != nil {
				t.Fatal(err, nerr)
			}
			got = append(got, name)
		}
		if strings.Join(got, " ") != "sda sdb" {
			t.Errorf("%s: devices %q; want sda, sdb", release, got)
		}
		k = newKern(t, release)
		nodes := k.class(release, "sda", "sdb")
		k.Word(nodes[1], uint64(nodes[0]))
		n, loop := 0, false
		for _, err := range device.OfClass(k.View(), "block_class") {
			n++
			loop = loop || errors.Is(err, walk.ErrLoop)
		}
		if !loop || n > 4 {
			t.Errorf("%s: a list that loops: %d items, loop said: %v", release, n, loop)
		}
	}
}

func (k kern) resource(name string, start, end uint64) vmem.Addr {
	r := k.Alloc(64)
	k.Set(r, "resource", "name", k.text(name))
	k.Set(r, "resource", "start", start)
	k.Set(r, "resource", "end", end)
	return r
}

func TestResources(t *testing.T) {
	k := newKern(t, "7.2")
	root, a, b, in := k.resource("PCI IO", 0, 0xffff), k.resource("a", 0, 0x1f), k.resource("b", 0x20, 0x2f), k.resource("in a", 4, 7)
	k.Var("ioport_resource", root, "struct resource")
	k.Set(root, "resource", "child", uint64(a))
	k.Set(a, "resource", "sibling", uint64(b))
	k.Set(a, "resource", "child", uint64(in))
	wild := k.resource("PCI mem", 0, ^uint64(0))
	k.Var("iomem_resource", wild, "struct resource")
	k.Set(wild, "resource", "child", 0x4141414141414141)
	k.Set(b, "resource", "sibling", uint64(in)) // which stands elsewhere already
	v := k.View()
	var got []string
	var errs []error
	for r, err := range device.Resources(v, "ioport_resource") {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		got = append(got, strings.Repeat(">", r.Depth)+*r.Name)
	}
	if strings.Join(got, " ") != "PCI IO >a >>in a >b" || len(errs) != 1 || !errors.Is(errs[0], walk.ErrLoop) {
		t.Errorf("resources %q, %v; want the tree, and that it loops", got, errs)
	}
	n := 0
	for _, err := range device.Resources(v, "iomem_resource") {
		if err != nil {
			n++
		}
	}
	if n != 1 {
		t.Errorf("a wild child: %d errors; want 1", n)
	}
}

func TestPCIBuses(t *testing.T) {
	k := newKern(t, "7.2")
	head, root, below := k.Alloc(16), k.Alloc(256), k.Alloc(256)
	k.Var("pci_root_buses", head, "struct list_head")
	k.ring(head, root)
	dev := func(bus vmem.Addr, name string, vendor, class, cap, flags uint64) vmem.Addr {
		d := k.Alloc(256)
		k.Set(d, "pci_dev", "dev.kobj.name", k.text(name))
		k.Set(d, "pci_dev", "vendor", vendor)
		k.Set(d, "pci_dev", "class", class)
		k.Set(d, "pci_dev", "pcie_cap", cap)
		k.Set(d, "pci_dev", "pcie_flags_reg", flags)
		k.Set(d, "pci_dev", "bus", uint64(bus))
		return d
	}
	bridge, nic := dev(root, "0000:00:1c.0", 0x8086, 0x060400, 0x40, 0x42), dev(below, "0000:01:00.0", 0x1b36, 0x020000, 0, 0)
	drv := k.Alloc(32)
	k.Set(drv, "pci_driver", "name", k.text("pcieport"))
	k.Set(bridge, "pci_dev", "driver", uint64(drv))
	k.Set(bridge, "pci_dev", "subordinate", uint64(below))
	for bus, name := range map[vmem.Addr]string{root: "0000:00", below: "0000:01"} {
		k.Set(bus, "pci_bus", "dev.kobj.name", k.text(name))
		k.ring(k.at(bus, "pci_bus", "children"))
	}
	k.ring(k.at(root, "pci_bus", "children"), below)
	k.ring(k.at(root, "pci_bus", "devices"), bridge)
	k.ring(k.at(below, "pci_bus", "devices"), nic)
	k.Word(k.at(below, "pci_bus", "children"), uint64(root)) // a bus that stands below itself
	var got []string
	loop := false
	for b, err := range device.PCIBuses(k.View()) {
		if err != nil {
			loop = loop || errors.Is(err, walk.ErrLoop)
			continue
		}
		got = append(got, b.Name)
		for _, d := range b.Devices {
			got = append(got, d.Name, d.Type, d.Driver)
		}
	}
	if want := "0000:00 0000:00:1c.0 ROOT_PORT pcieport 0000:01 0000:01:00.0 ENDPOINT "; strings.Join(got, " ") != want || !loop {
		t.Errorf("buses %q, loop said: %v; want %q and that it loops", strings.Join(got, " "), loop, want)
	}
}

func TestMajors(t *testing.T) {
	k := newKern(t, "7.2")
	region := func(major, minor uint64, name string, cdev vmem.Addr) vmem.Addr {
		c := k.Alloc(128)
		k.Set(c, "char_device_struct", "major", major)
		k.Set(c, "char_device_struct", "baseminor", minor)
		k.Set(c, "char_device_struct", "minorct", 256)
		k.Write(k.at(c, "char_device_struct", "name"), append([]byte(name), 0))
		k.Set(c, "char_device_struct", "cdev", uint64(cdev))
		return c
	}
	own, added := k.Alloc(128), k.Alloc(128)
	k.Set(own, "cdev", "ops", 0x1000)
	k.Set(added, "cdev", "ops", 0x2000)
	table := k.Alloc(64)
	k.Var("chrdevs", table, "struct char_device_struct *chrdevs[4]")
	far, tty := region(511, 0, "far", 0), region(4, 64, "ttyS", own)
	k.Word(table, uint64(region(4, 0, "input", 0)))
	k.Word(table+8, uint64(far))
	k.Set(far, "char_device_struct", "next", uint64(tty))
	k.Set(tty, "char_device_struct", "next", uint64(far)) // back
	k.Word(table+16, 0x4141414141414141)
	maps, pointer, probe, last := k.Alloc(64), k.Alloc(8), k.Alloc(64), k.Alloc(64)
	k.Var("cdev_map", pointer, "struct kobj_map *")
	k.Word(pointer, uint64(maps))
	k.Word(maps, uint64(probe))
	k.Set(probe, "probe", "dev", 4<<20|3)
	k.Set(probe, "probe", "data", uint64(added))
	k.Set(probe, "probe", "next", uint64(last))
	v := k.View()
	got, errs := device.CharRegions(v)
	if len(got) != 3 || got[0].Name != "input" || got[0].CDev != added || got[0].Ops != 0x2000 || got[1].Name != "ttyS" || got[1].CDev != own || got[2].Major != 511 || got[2].CDev != 0 {
		t.Errorf("CharRegions = %+v; want input, ttyS, far", got)
	}
	loop, wild := false, false
	for _, err := range errs {
		loop = loop || errors.Is(err, walk.ErrLoop)
		wild = wild || strings.Contains(err.Error(), "no address")
	}
	if !loop || !wild {
		t.Errorf("errors %v; want the loop and the wild pointer", errs)
	}
	if got, errs := device.BlockMajors(v); len(got) != 0 || len(errs) != 1 {
		t.Errorf("BlockMajors without major_names = %v, %v; want an error", got, errs)
	}
}
