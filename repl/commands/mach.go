package commands

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/sysinfo"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func machCommand() *Command {
	return &Command{
		Name: "mach", Group: "kernel", Summary: "the machine: CPUs, address space, stacks of CPUs, memory map", Needs: NeedsTypes,
		Usage: []string{"", "-m", "-c [-x|-d]"},
		Flags: []Flag{
			{Name: "m", Help: "the map of physical memory that the firmware gave (x86's e820_table)"},
			{Name: "c", Help: "struct cpuinfo_x86 of each CPU"},
			{Name: "x", Help: "with -c: integers in hexadecimal"},
			{Name: "d", Help: "with -c: integers in decimal"},
		},
		Help:     "HZ is the kernel's own, by the length of its tick (tick_nsec). Below the stacks come page table levels and offsets, which kdx found out to read the dump.",
		Examples: []Example{{"mach", "the machine"}, {"mach -m", "where memory lies"}, {"mach -c -x", "what each CPU can do"}},
		Run:      runMach,
	}
}

func runMach(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{"mach", "does not take " + c.Args[0]}
	}
	switch {
	case c.Flags.Has("m"):
		ranges, err := sysinfo.MemoryMap(c.View)
		if len(ranges) == 0 && err != nil {
			return nil, err
		}
		c.View.Gap("mach", err)
		out := view.MemoryMap{}
		for _, r := range ranges {
			out = append(out, view.MemoryMapRange{Start: vmem.Addr(r.Start), End: vmem.Addr(r.End), Type: r.Type})
		}
		return out, nil
	case c.Flags.Has("c"):
		return cpuInfos(c)
	}
	return machine(c), nil
}

func cpuInfos(c *Call) (view.Result, error) {
	cpus, err := c.View.PresentCPUs()
	if err != nil {
		return nil, err
	}
	out := view.CPUInfos{}
	for _, cpu := range cpus {
		x := c.View.PerCPU("cpu_info", cpu)
		at, ok := x.Addr()
		if !ok {
			return nil, fmt.Errorf("cpu_info: %w", x.Err())
		}
		out = append(out, view.CPUInfo{CPU: cpu, Info: &view.Objects{Type: x.Type(), Style: view.Style{Hex: c.hex()},
			List: []view.Object{{CPU: -1, First: true, Addr: at, Value: x}}}})
	}
	return out, nil
}

// x86Bases are the parts of x86-64's address space, by the kernel's variables (they vary with CONFIG_RANDOMIZE_MEMORY).
var x86Bases = []struct{ name, variable string }{
	{"KERNEL VIRTUAL BASE", "page_offset_base"}, {"KERNEL VMALLOC BASE", "vmalloc_base"}, {"KERNEL VMEMMAP BASE", "vmemmap_base"},
}

const x86StartMap = 0xffffffff80000000 // __START_KERNEL_map

// x86Stacks are crash's names of CPUs' stacks.
var x86Stacks = map[string]string{"#DF": "DOUBLEFAULT", "#DB": "DEBUG", "#MC": "MCE"}

func machine(c *Call) *view.Machine {
	v := c.View
	out := &view.Machine{Type: string(v.Image().Info().Machine), PageSize: v.PageSize(), MHz: speed(v), Details: v.Arch().Describe(), Bases: []view.MachineBase{}, Stacks: []view.MachineStacks{}}
	out.Memory = read(v, "memory", func() (uint64, error) { return sysinfo.Memory(v) })
	out.CPUs = read(v, "CPUs", func() (int, error) { cpus, err := v.PresentCPUs(); return len(cpus), err })
	out.Offline = offlineCPUs(v)
	out.HZ = read(v, "HZ", func() (uint64, error) { return sysinfo.HZ(v) })
	if out.Type != "x86_64" {
		return out
	}
	if h, err := sysinfo.Hypervisor(v); err == nil {
		out.Hypervisor = h
	}
	for _, b := range x86Bases {
		row := view.MachineBase{Name: b.name}
		if u, err := v.UintAt(b.variable, 8); err == nil {
			row.Addr = addressOf(u)
		} else {
			v.Gap("mach", err)
		}
		out.Bases = append(out.Bases, row)
	}
	out.Bases = append(out.Bases, view.MachineBase{Name: "KERNEL START MAP", Addr: addressOf(x86StartMap)})
	if size, ok := v.VMCoreInfo().Number("KERNEL_IMAGE_SIZE"); ok {
		out.Bases = append(out.Bases, view.MachineBase{Name: "KERNEL MODULES BASE", Addr: addressOf(x86StartMap + uint64(size))})
	}
	machineStacks(c, out)
	return out
}

func addressOf(u uint64) *vmem.Addr {
	a := vmem.Addr(u)
	return &a
}

func machineStacks(c *Call, out *view.Machine) {
	t, err := c.State.Tracer(c.View)
	if err != nil {
		c.View.Gap("stacks", err)
		return
	}
	size := t.StackSize()
	out.StackSize = &size
	cpus, err := c.View.PresentCPUs()
	if err != nil {
		return // told already
	}
	places := make(map[string]int)
	for _, cpu := range cpus {
		for _, s := range t.CPUStacks(c.View, cpu) {
			name := s.Name
			if crash := x86Stacks[name]; crash != "" {
				name = crash
			}
			i, ok := places[name]
			if !ok {
				i = len(out.Stacks)
				places[name] = i
				out.Stacks = append(out.Stacks, view.MachineStacks{Name: name, Size: s.Hi - s.Lo, CPUs: []view.MachineStack{}})
			}
			out.Stacks[i].CPUs = append(out.Stacks[i].CPUs, view.MachineStack{CPU: cpu, Addr: vmem.Addr(s.Lo)})
		}
	}
}

// offlineCPUs are those that were offline; if that can't be read, none are known to have been.
func offlineCPUs(v *kernel.View) []int {
	cpus, err := sysinfo.OfflineCPUs(v)
	if err != nil {
		v.Gap("offline CPUs", err)
	}
	return append([]int{}, cpus...)
}
