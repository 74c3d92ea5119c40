package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// IRQs is irq, with -u or numbers too.
type IRQs []IRQ

// IRQ is an interrupt. One that has no descriptor has nothing but its number.
type IRQ struct {
	Number    int         `json:"irq"`
	Desc      *vmem.Addr  `json:"irq_desc"`
	Chip      *string     `json:"chip"`
	Flow      *string     `json:"flow"` // "edge", "fasteoi"
	HWIRQ     *uint64     `json:"hwirq"`
	Domain    *string     `json:"domain"`
	Depth     *uint32     `json:"depth"` // how often it was disabled; 0 if it is enabled
	Level     *bool       `json:"level_triggered"`
	Affinity  []int       `json:"affinity"`           // CPUs that it may go to
	Effective []int       `json:"effective_affinity"` // CPUs that it goes to
	Actions   []IRQAction `json:"actions"`
}

// IRQAction is a handler of an interrupt.
type IRQAction struct {
	Addr    vmem.Addr  `json:"irqaction"`
	Name    string     `json:"name"`
	Handler Code       `json:"handler"`
	Thread  *vmem.Addr `json:"thread_task,omitempty"`
	DevID   vmem.Addr  `json:"dev_id"`
	Flags   vmem.Addr  `json:"flags"`
}

// Text writes crash's table.
func (l IRQs) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, " IRQ   IRQ_DESC/_DATA      IRQACTION      NAME\n")
	for i := range l {
		x := &l[i]
		desc := "    (unused)    "
		if x.Desc != nil {
			desc = fmt.Sprintf("%016x", uint64(*x.Desc))
		}
		number := fmt.Sprintf("%3d", x.Number)
		if x.Number >= 100 {
			number = " " + number // crash's columns
		}
		fmt.Fprintf(bw, "%-6s%s  ", number, desc)
		if len(x.Actions) == 0 {
			fmt.Fprintf(bw, "    (unused)      \n")
			continue
		}
		for j := range x.Actions {
			if j > 0 {
				fmt.Fprintf(bw, "%24s", "")
			}
			fmt.Fprintf(bw, "%016x  \"%s\"\n", uint64(x.Actions[j].Addr), Printable(x.Actions[j].Name))
		}
	}
	return bw.Flush()
}

// IRQAffinities is irq -a.
type IRQAffinities []IRQAffinity

// IRQAffinity is where an interrupt that is in use may go.
type IRQAffinity struct {
	Number    int      `json:"irq"`
	Names     []string `json:"names"`
	Affinity  []int    `json:"affinity"` // null if it can't be read
	Effective []int    `json:"effective_affinity"`
}

// Text writes crash's table.
func (l IRQAffinities) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, "IRQ NAME                 AFFINITY\n")
	for i := range l {
		x := &l[i]
		fmt.Fprintf(bw, "%3d %-20s %s\n", x.Number, Printable(strings.Join(x.Names, ",")), cpuList(x.Affinity))
	}
	return bw.Flush()
}

// cpuList is "0-3,5", "-" if there is none.
func cpuList(cpus []int) string {
	if len(cpus) == 0 {
		return "-"
	}
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(cpus[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", cpus[i], cpus[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// IRQStats is irq -s.
type IRQStats struct {
	CPUs []int      `json:"cpus"`
	Rows []IRQStat  `json:"irqs"`
	Arch []ArchStat `json:"architecture"` // interrupts that the processor's own code counts
}

// IRQStat is how often an interrupt came; a count that can't be read is null.
type IRQStat struct {
	Number int       `json:"irq"`
	Chip   *string   `json:"chip"`
	Flow   *string   `json:"flow"`
	Names  []string  `json:"names"`
	Counts []*uint64 `json:"counts"` // in the order of cpus
}

// ArchStat is how often an interrupt without a number came.
type ArchStat struct {
	Name   string    `json:"name"` // "LOC"
	What   string    `json:"what"`
	Counts []*uint64 `json:"counts"`
	Total  *uint64   `json:"total,omitempty"` // of what is counted for all CPUs together: it has no counts
}

// Text writes crash's table, and below it what crash leaves out.
func (s *IRQStats) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, "     ")
	for _, cpu := range s.CPUs {
		fmt.Fprintf(bw, "%10s ", fmt.Sprintf("CPU%d", cpu))
	}
	fmt.Fprintln(bw)
	counts := func(list []*uint64) {
		for _, n := range list {
			fmt.Fprintf(bw, "%10s ", orDash(n))
		}
	}
	for i := range s.Rows {
		x := &s.Rows[i]
		fmt.Fprintf(bw, "%3d: ", x.Number)
		counts(x.Counts)
		fmt.Fprintf(bw, "%8s-%-8s %s\n", nameOrDash(x.Chip), nameOrDash(x.Flow), Printable(strings.Join(x.Names, ", ")))
	}
	for i := range s.Arch {
		x := &s.Arch[i]
		fmt.Fprintf(bw, "%3s: ", x.Name)
		if x.Counts == nil {
			counts([]*uint64{x.Total})
			for range max(len(s.CPUs), 1) - 1 {
				fmt.Fprintf(bw, "%10s ", "")
			}
		} else {
			counts(x.Counts)
		}
		fmt.Fprintf(bw, " %s\n", x.What)
	}
	return bw.Flush()
}

// Softirqs is irq -b.
type Softirqs struct {
	CPUs     []int     `json:"cpus"`
	Softirqs []Softirq `json:"softirqs"`
	Tasklets []Tasklet `json:"tasklets"` // that are queued
}

// Softirq is a bottom half that runs after interrupts.
type Softirq struct {
	Index  int       `json:"index"`
	Name   string    `json:"name"` // "TIMER"
	Action Code      `json:"action"`
	Counts []*uint64 `json:"counts"` // how often it ran, in the order of cpus
}

// Tasklet is one that is queued to run.
type Tasklet struct {
	CPU      int       `json:"cpu"`
	High     bool      `json:"high"`
	Addr     vmem.Addr `json:"tasklet"`
	Function Code      `json:"function"`
	Disabled bool      `json:"disabled"`
}

// Text writes crash's table, and tasklets if any are queued.
func (s *Softirqs) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, "SOFTIRQ_VEC      ACTION     \n")
	for i := range s.Softirqs {
		x := &s.Softirqs[i]
		if x.Action.Addr == 0 {
			continue // without a driver that needs it, such as IRQ_POLL
		}
		fmt.Fprintf(bw, "    [%d]     %016x  <%s>\n", x.Index, uint64(x.Action.Addr), x.Action.label())
	}
	for i := range s.Tasklets {
		x := &s.Tasklets[i]
		vec := "TASKLET_VEC"
		if x.High {
			vec = "TASKLET_HI_VEC"
		}
		off := ""
		if x.Disabled {
			off = " (disabled)"
		}
		fmt.Fprintf(bw, "%s[%d]: %016x  %016x  <%s>%s\n", vec, x.CPU, uint64(x.Addr), uint64(x.Function.Addr), x.Function.label(), off)
	}
	return bw.Flush()
}

// Gates is irq -d.
type Gates []Gate

// Gate is an entry of x86's interrupt descriptor table.
type Gate struct {
	Vector  int  `json:"vector"`
	Handler Code `json:"handler"`
	Present bool `json:"present"`
	DPL     int  `json:"dpl"`
	IST     int  `json:"ist"`
}

// Text writes crash's list.
func (l Gates) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for i := range l {
		g := &l[i]
		label := g.Handler.label()
		if !g.Present {
			label = "(not present)"
		}
		fmt.Fprintf(bw, "%5s %s\n", fmt.Sprintf("[%d]", g.Vector), label)
	}
	return bw.Flush()
}
