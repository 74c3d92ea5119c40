package commands

import (
	"fmt"
	"strconv"

	"kdx/analyze/irq"
	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func irqCommand() *Command {
	return &Command{
		Name: "irq", Group: "kernel", Summary: "interrupts, their handlers and how often they came", Needs: NeedsTypes,
		Usage: []string{"[-u] [index…]", "-a | -b | -d", "-s [-c CPUS]"},
		Flags: []Flag{
			{Name: "u", Help: "only interrupts that have a descriptor"},
			{Name: "a", Help: "the CPUs that each interrupt in use may go to"},
			{Name: "b", Help: "bottom halves: softirqs, and tasklets that are queued"},
			{Name: "d", Help: "x86's interrupt descriptor table"},
			{Name: "s", Help: "how often each interrupt in use came, CPU by CPU"},
			{Name: "c", Arg: "CPUS", Help: "with -s: only these CPUs, e.g. 1,3-5 or a"},
		},
		Help: "Shows each interrupt number with its irq_desc and the irqaction and name of each handler; (unused) is a number without descriptor, or a " +
			"descriptor without handler.\n\n" +
			"-s shows what /proc/interrupts did at the crash, below the numbered interrupts also those that the processor's own code counts (NMI, LOC, …), " +
			"for the CPUs of the machine, offline ones too. Whether an interrupt is disabled, its domain and hardware number, and how often softirqs ran, is in the JSON.",
		Examples: []Example{{"irq -u", "interrupts with a descriptor"}, {"irq -s", "which devices interrupted which CPU"}, {"irq 4 9", "two of them"}},
		Run:      runIRQ,
	}
}

func runIRQ(c *Call) (view.Result, error) {
	if c.Flags.Has("c") && !c.Flags.Has("s") {
		return nil, &UsageError{c.Cmd.Name, "-c goes with -s"}
	}
	if err := onlyOne(c, "u", "a", "b", "d", "s"); err != nil {
		return nil, err
	}
	if len(c.Args) > 0 && (c.Flags.Has("a") || c.Flags.Has("b") || c.Flags.Has("d") || c.Flags.Has("s")) {
		return nil, &UsageError{c.Cmd.Name, "numbers of interrupts go without this flag"}
	}
	switch {
	case c.Flags.Has("d"):
		return irqGates(c)
	case c.Flags.Has("b"):
		return irqBottomHalves(c)
	}
	r, err := irq.New(c.View)
	if err != nil {
		return nil, err
	}
	list := irqList(c, r)
	switch {
	case c.Flags.Has("a"):
		return irqAffinities(list), nil
	case c.Flags.Has("s"):
		return irqStats(c, r, list)
	case len(c.Args) > 0:
		return irqNamed(c, list)
	}
	return irqTable(c, list), nil
}

// onlyOne refuses more than one of the flags.
func onlyOne(c *Call, names ...string) error {
	given := ""
	for _, n := range names {
		if !c.Flags.Has(n) {
			continue
		}
		if given != "" {
			return &UsageError{c.Cmd.Name, fmt.Sprintf("-%s and -%s exclude each other", given, n)}
		}
		given = n
	}
	return nil
}

func irqList(c *Call, r *irq.Reader) []*irq.IRQ {
	var out []*irq.IRQ
	for x, err := range r.All() {
		if err != nil {
			c.View.Gap("", err)
			continue
		}
		out = append(out, x)
	}
	return out
}

// irqTable has a row for each number that the kernel has, unless -u.
func irqTable(c *Call, list []*irq.IRQ) view.IRQs {
	out := view.IRQs{}
	next := 0
	unused := func(upTo int) {
		for ; next < upTo && !c.Flags.Has("u"); next++ {
			out = append(out, view.IRQ{Number: next})
		}
	}
	for _, x := range list {
		unused(x.Number)
		out = append(out, viewIRQ(c.View, x))
		next = x.Number + 1
	}
	unused(irq.Limit(c.View))
	return out
}

func irqNamed(c *Call, list []*irq.IRQ) (view.Result, error) {
	out := view.IRQs{}
	limit := irq.Limit(c.View)
	for _, a := range c.Args {
		n, err := strconv.Atoi(a)
		if err != nil || n < 0 {
			return nil, &UsageError{c.Cmd.Name, a + " is no number of an interrupt"}
		}
		row := view.IRQ{Number: n}
		found := false
		for _, x := range list {
			if x.Number == n {
				row, found = viewIRQ(c.View, x), true
			}
		}
		if !found && n >= limit {
			return nil, fmt.Errorf("this kernel has interrupts 0 to %d", limit-1)
		}
		out = append(out, row)
	}
	return out, nil
}

func viewIRQ(v *kernel.View, x *irq.IRQ) view.IRQ {
	out := view.IRQ{Number: x.Number, Desc: &x.Desc, Chip: named(x.Chip), Flow: named(x.Flow), HWIRQ: &x.HWIRQ, Domain: named(x.Domain), Depth: &x.Depth,
		Level: &x.Level, Affinity: x.Affinity, Effective: x.Effective, Actions: []view.IRQAction{}}
	for _, a := range x.Actions {
		y := view.IRQAction{Addr: a.Addr, Name: a.Name, Handler: code(v, a.Handler), DevID: a.DevID, Flags: vmem.Addr(a.Flags)}
		if a.Thread != 0 {
			y.Thread = &a.Thread
		}
		out.Actions = append(out.Actions, y)
	}
	return out
}

// named is nil for a name that is not known.
func named(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// code names a pointer to a function.
func code(v *kernel.View, at vmem.Addr) view.Code {
	if at == 0 {
		return view.Code{}
	}
	name, module, off := nameOf(v, uint64(at))
	return view.Code{Addr: at, Name: name, Offset: off, Module: module}
}

func actionNames(x *irq.IRQ) []string {
	out := make([]string, 0, len(x.Actions))
	for _, a := range x.Actions {
		out = append(out, a.Name)
	}
	return out
}

func irqAffinities(list []*irq.IRQ) view.IRQAffinities {
	out := view.IRQAffinities{}
	for _, x := range list {
		if len(x.Actions) > 0 {
			out = append(out, view.IRQAffinity{Number: x.Number, Names: actionNames(x), Affinity: x.Affinity, Effective: x.Effective})
		}
	}
	return out
}

func irqStats(c *Call, r *irq.Reader, list []*irq.IRQ) (view.Result, error) {
	cpus, err := chosenCPUs(c, "c")
	if err != nil {
		return nil, err
	}
	out := &view.IRQStats{CPUs: cpus, Rows: []view.IRQStat{}, Arch: []view.ArchStat{}}
	for _, x := range list {
		if len(x.Actions) > 0 {
			out.Rows = append(out.Rows, view.IRQStat{Number: x.Number, Chip: named(x.Chip), Flow: named(x.Flow), Names: actionNames(x), Counts: r.Counts(x, cpus)})
		}
	}
	for _, a := range irq.ArchCounts(c.View, cpus) {
		out.Arch = append(out.Arch, view.ArchStat(a))
	}
	return out, nil
}

func irqBottomHalves(c *Call) (view.Result, error) {
	cpus, err := c.View.PresentCPUs()
	if err != nil {
		return nil, err
	}
	list, err := irq.Softirqs(c.View, cpus)
	if err != nil {
		return nil, err
	}
	out := &view.Softirqs{CPUs: cpus, Softirqs: []view.Softirq{}, Tasklets: []view.Tasklet{}}
	for _, s := range list {
		out.Softirqs = append(out.Softirqs, view.Softirq{Index: s.Index, Name: s.Name, Action: code(c.View, s.Action), Counts: s.Counts})
	}
	for _, t := range irq.Tasklets(c.View, cpus) {
		out.Tasklets = append(out.Tasklets, view.Tasklet{CPU: t.CPU, High: t.High, Addr: t.Addr, Function: code(c.View, t.Func), Disabled: t.Count != 0})
	}
	return out, nil
}

func irqGates(c *Call) (view.Result, error) {
	gates, err := irq.IDT(c.View)
	if err != nil {
		return nil, err
	}
	out := make(view.Gates, 0, len(gates))
	for _, g := range gates {
		out = append(out, view.Gate{Vector: g.Vector, Handler: code(c.View, g.Handler), Present: g.Present, DPL: g.DPL, IST: g.IST})
	}
	return out, nil
}

// chosenCPUs are the CPUs that a flag names, or without it those of the machine: what an offline one left behind counts too.
func chosenCPUs(c *Call, flag string) ([]int, error) {
	list := c.Flags.Values(flag)
	if len(list) > 1 {
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("-%s once: it takes a list such as 0,2-3", flag)}
	}
	present, err := c.View.PresentCPUs()
	if err != nil || len(list) == 0 || list[0] == "a" || list[0] == "all" {
		return present, err
	}
	possible, err := c.View.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	known := 0
	if len(possible) > 0 {
		known = possible[len(possible)-1] + 1
	}
	cpus, err := parseCPUs(list[0], known)
	if err != nil {
		return nil, &UsageError{c.Cmd.Name, err.Error()}
	}
	return cpus, nil
}
