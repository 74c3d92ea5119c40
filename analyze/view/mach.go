package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Machine is mach. What could not be read is null; what the machine does not have is left out.
type Machine struct {
	Type       string          `json:"machine"`
	Memory     *uint64         `json:"memory_bytes"`
	CPUs       *int            `json:"cpus"`
	Offline    []int           `json:"offline_cpus"`
	Hypervisor string          `json:"hypervisor,omitempty"`
	MHz        *uint64         `json:"mhz"`
	HZ         *uint64         `json:"hz"`
	PageSize   uint64          `json:"page_size"`
	Bases      []MachineBase   `json:"bases"`
	Details    [][2]string     `json:"details,omitempty"` // names and values of the architecture's own
	StackSize  *uint64         `json:"kernel_stack_size"` // bytes
	Stacks     []MachineStacks `json:"stacks"`
}

// MachineBase is where a part of the kernel's address space begins; null if that can't be read.
type MachineBase struct {
	Name string     `json:"name"`
	Addr *vmem.Addr `json:"address"`
}

// MachineStacks are the stacks of one kind, by CPU.
type MachineStacks struct {
	Name string         `json:"name"`
	Size uint64         `json:"size"` // bytes
	CPUs []MachineStack `json:"cpus"`
}

// MachineStack is a CPU's stack.
type MachineStack struct {
	CPU  int       `json:"cpu"`
	Addr vmem.Addr `json:"address"` // the lowest
}

// Text writes crash's lines.
func (m *Machine) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	line := func(name, value string) { fmt.Fprintf(bw, "%22s: %s\n", name, value) }
	line("MACHINE TYPE", Printable(m.Type))
	line("MEMORY SIZE", memory(m.Memory))
	line("CPUS", processors(m.CPUs, m.Offline))
	if m.Hypervisor != "" {
		line("HYPERVISOR", m.Hypervisor)
	}
	speed := "-"
	if m.MHz != nil {
		speed = fmt.Sprintf("%d Mhz", *m.MHz)
	}
	line("PROCESSOR SPEED", speed)
	line("HZ", orDash(m.HZ))
	line("PAGE SIZE", fmt.Sprint(m.PageSize))
	for _, b := range m.Bases {
		line(b.Name, or(b.Addr, "%x"))
	}
	line("KERNEL STACK SIZE", orDash(m.StackSize))
	for _, s := range m.Stacks {
		line(s.Name+" STACK SIZE", fmt.Sprint(s.Size))
		fmt.Fprintf(bw, "%22s:\n", s.Name+" STACKS")
		for _, c := range s.CPUs {
			line(fmt.Sprintf("CPU %d", c.CPU), fmt.Sprintf("%016x", uint64(c.Addr)))
		}
	}
	for _, d := range m.Details {
		line(d[0], Printable(d[1]))
	}
	return bw.Flush()
}

// MemoryMap is mach -m. Its JSON is an array of MemoryMapRange.
type MemoryMap []MemoryMapRange

// MemoryMapRange is a range of physical addresses.
type MemoryMapRange struct {
	Start vmem.Addr `json:"start"`
	End   vmem.Addr `json:"end"` // behind the last byte
	Type  string    `json:"type"`
}

// Text writes crash's table.
func (l MemoryMap) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	bw.WriteString("      PHYSICAL ADDRESS RANGE         TYPE\n")
	for _, r := range l {
		fmt.Fprintf(bw, "%016x - %016x  %s\n", uint64(r.Start), uint64(r.End), Printable(r.Type))
	}
	return bw.Flush()
}

// CPUInfos are the structs of each CPU (mach -c). Its JSON is an array.
type CPUInfos []CPUInfo

// CPUInfo is a CPU's struct cpuinfo_x86.
type CPUInfo struct {
	CPU  int
	Info *Objects
}

// Text writes each below its CPU.
func (l CPUInfos) Text(w io.Writer, o Options) error {
	for i, c := range l {
		sep := ""
		if i > 0 {
			sep = "\n"
		}
		if _, err := fmt.Fprintf(w, "%sCPU %d:\n", sep, c.CPU); err != nil {
			return err
		}
		if err := c.Info.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}

// StreamJSON is an array of {"cpu", "info"}; info is Objects' own form.
func (l CPUInfos) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for _, c := range l {
		if err := a.element(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, `{"cpu":%d,"info":`, c.CPU); err != nil {
			return err
		}
		if err := c.Info.StreamJSON(w); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "}"); err != nil {
			return err
		}
	}
	return a.end()
}

// processors says how many there are, and how many of them were offline.
func processors(n *int, offline []int) string {
	if n == nil || len(offline) == 0 {
		return or(n, "%d")
	}
	return fmt.Sprintf("%d [OFFLINE: %d]", *n, len(offline))
}
