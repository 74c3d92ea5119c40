package mm

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/dumpfmt"
)

// MemoryBlock is a block of memory that can be taken offline: /sys/devices/system/memory/memoryN.
type MemoryBlock struct {
	Addr    vmem.Addr // struct memory_block
	Name    string
	Section uint64 // its first section
	Start   dumpfmt.Phys
	End     dumpfmt.Phys // its last byte
	Node    *int         // nil on kernels that do not keep it
	State   string       // "ONLINE", …; "" if the value is none that the kernel has
	Value   uint64       // the state as it stands in memory
}

type blockStruct struct {
	Section uint64    `k:"start_section_nr"`
	State   uint64    `k:"state"`
	Node    int32     `k:"nid,optional"`
	Name    vmem.Addr `k:"dev.kobj.name"`
}

// MemoryBlocks yields the blocks, by rising address; none if the kernel has no memory hotplug.
func MemoryBlocks(v *kernel.View) iter.Seq2[MemoryBlock, error] {
	return func(yield func(MemoryBlock, error) bool) {
		bind, err := kernel.Bind[blockStruct](v.Kernel, "memory_block")
		if err != nil {
			return // built without CONFIG_MEMORY_HOTPLUG
		}
		section, err := sectionPages(v)
		if err != nil {
			yield(MemoryBlock{}, err)
			return
		}
		per := uint64(1)
		if n, err := v.UintAt("sections_per_block", 4); err == nil && n > 0 {
			per = n
		}
		bytes := per * section * v.PageSize()
		states := blockStates(v)
		for at, err := range blockAddrs(v) {
			if err != nil {
				if !yield(MemoryBlock{}, fmt.Errorf("memory blocks: %w", err)) {
					return
				}
				continue
			}
			s, err := bind.Read(v, at)
			if err != nil {
				if !yield(MemoryBlock{}, fmt.Errorf("memory block at %#x: %w", uint64(at), err)) {
					return
				}
				continue
			}
			b := MemoryBlock{Addr: at, Section: s.Section, Start: dumpfmt.Phys(s.Section * section * v.PageSize()), Value: s.State, State: states(s.State)}
			b.End = b.Start + dumpfmt.Phys(bytes-1)
			if bind.Has("Node") {
				n := int(s.Node)
				b.Node = &n
			}
			if b.Name, err = v.CString(s.Name, 64); err != nil {
				v.Gap(fmt.Sprintf("name of the memory block at %#x", uint64(at)), err)
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// blockAddrs are the addresses of the blocks: in an xarray since 5.8, before on the list of the devices of a bus.
func blockAddrs(v *kernel.View) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		if sym, err := v.Symbol("memory_blocks"); err == nil {
			for e, err := range walk.XArray(v, vmem.Addr(sym.Addr)) {
				if !yield(vmem.Addr(e.Value), err) {
					return
				}
			}
			return
		}
		head, node, err := busDevices(v, "memory_subsys")
		if err != nil {
			yield(0, err)
			return
		}
		device, ok := v.OffsetOf("device_private", "device")
		knode, ok2 := v.OffsetOf("device_private", "knode_bus")
		dev, ok3 := v.OffsetOf("memory_block", "dev")
		if !ok || !ok2 || !ok3 {
			yield(0, errors.New("struct device_private of this kernel has no member knode_bus or device"))
			return
		}
		for private, err := range walk.List(v, head, node+knode) {
			var d uint64
			if err == nil {
				d, err = v.Word(private + vmem.Addr(device))
			}
			if !yield(vmem.Addr(d)-vmem.Addr(dev), err) {
				return
			}
		}
	}
}

// busDevices is the head of the list of a bus's devices and where its links lie in a klist_node.
func busDevices(v *kernel.View, bus string) (head vmem.Addr, node uint64, err error) {
	sym, err := v.Symbol(bus)
	if err != nil {
		return 0, 0, err
	}
	p, ok := v.OffsetOf("bus_type", "p") // until 6.3
	if !ok {
		return 0, 0, errors.New("struct bus_type of this kernel has no member p")
	}
	list, ok := v.OffsetOf("subsys_private", "klist_devices.k_list")
	if !ok {
		return 0, 0, errors.New("struct subsys_private of this kernel has no member klist_devices")
	}
	if node, ok = v.OffsetOf("klist_node", "n_node"); !ok {
		return 0, 0, errors.New("struct klist_node of this kernel has no member n_node")
	}
	private, err := v.Word(vmem.Addr(sym.Addr + p))
	return vmem.Addr(private + list), node, err
}

// blockStates names a block's state: an enum since 6.12, one bit of several before.
func blockStates(v *kernel.View) func(uint64) string {
	if _, t, err := v.Symbols().Enumerator("MEM_GOING_OFFLINE"); err == nil && t.Name == "memory_block_state" {
		names := make(map[uint64]string)
		for _, e := range t.Enumerators() {
			if name := e.Name; len(name) > 4 && name[:4] == "MEM_" {
				names[uint64(e.Value)] = name[4:]
			}
		}
		return func(u uint64) string { return names[u] }
	}
	names := map[uint64]string{1 << 0: "ONLINE", 1 << 1: "GOING_OFFLINE", 1 << 2: "OFFLINE", 1 << 3: "GOING_ONLINE", 1 << 4: "CANCEL_ONLINE",
		1 << 5: "CANCEL_OFFLINE", 1 << 6: "PREPARE_ONLINE", 1 << 7: "FINISH_OFFLINE"}
	return func(u uint64) string { return names[u] }
}
