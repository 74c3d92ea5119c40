package triage

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Text writes the page for people.
func (r *Report) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	r.head(b)
	if r.Crashed != nil {
		title(b, "The task that crashed")
		r.Crashed.text(b)
	}
	if len(r.CPUs) > 0 {
		title(b, "What each CPU was running")
		for i := range r.CPUs {
			if i > 0 {
				fmt.Fprintln(b)
			}
			r.CPUs[i].text(b)
		}
		more(b, r.MoreCPUs, "CPUs")
	}
	r.tasks(b)
	r.memory(b)
	if len(r.Modules) > 0 {
		title(b, "Modules")
		var names []string
		for _, m := range r.Modules {
			names = append(names, m.Name)
		}
		fmt.Fprintln(b, strings.Join(names, " "))
		more(b, r.MoreModules, "modules")
	}
	if len(r.Log) > 0 {
		title(b, "The end of the kernel's log")
		for _, line := range r.Log {
			fmt.Fprintln(b, line)
		}
	}
	if len(r.Missing) > 0 {
		title(b, "What could not be read")
		for _, line := range r.Missing {
			fmt.Fprintln(b, strings.ReplaceAll(line, "\n", "; "))
		}
	}
	return b.Flush()
}

func title(b *bufio.Writer, text string) { fmt.Fprintf(b, "\n== %s\n\n", text) }

func more(b *bufio.Writer, n int, what string) {
	if n > 0 {
		fmt.Fprintf(b, "(%d more %s are left out)\n", n, what)
	}
}

func (r *Report) head(b *bufio.Writer) {
	line := func(name, value string) { fmt.Fprintf(b, "%12s: %s\n", name, cmp.Or(value, "-")) }
	line("PANIC", r.Panic)
	s := r.System
	if s == nil {
		return
	}
	line("HOST", s.Nodename)
	line("KERNEL", strings.TrimSpace(s.Release+" "+s.Version))
	line("MACHINE", s.Machine)
	line("DATE", known(s.Crashed, func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }))
	line("UPTIME", known(s.Uptime, func(sec float64) string { return (time.Duration(sec) * time.Second).String() }))
	line("CPUS", known(s.CPUs, func(n int) string { return fmt.Sprint(n) }))
	line("MEMORY", known(s.Memory, size))
	line("LOAD AVERAGE", known(s.Load, func(l [3]float64) string { return fmt.Sprintf("%.2f, %.2f, %.2f", l[0], l[1], l[2]) }))
	line("TAINT", known(s.Taint, func(t string) string { return cmp.Or(t, "none") }))
}

func known[T any](x *T, text func(T) string) string {
	if x == nil {
		return "-"
	}
	return text(*x)
}

func size(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func (s *Stack) text(b *bufio.Writer) {
	fmt.Fprintf(b, "PID: %-7d  TASK: %016x  CPU: %-3d  STATE: %s  COMMAND: \"%s\"\n", s.PID, uint64(s.Task), s.CPU, s.State, s.Comm)
	for i, f := range s.Frames {
		name := cmp.Or(f.Function, "(no symbol)")
		if f.Function != "" {
			name += fmt.Sprintf("+%#x", f.Offset)
		}
		fmt.Fprintf(b, " #%-2d %s at %x", i, name, uint64(f.PC))
		if f.Module != "" {
			fmt.Fprintf(b, " [%s]", f.Module)
		}
		if f.Guessed {
			b.WriteString(" (guessed)")
		}
		fmt.Fprintln(b)
	}
	if s.Ends != "" {
		fmt.Fprintf(b, "     (%s)\n", strings.ReplaceAll(s.Ends, "\n", "; "))
	}
}

func (r *Report) tasks(b *bufio.Writer) {
	if r.Tasks == nil {
		return
	}
	title(b, "Tasks")
	fmt.Fprintf(b, "%d in all:", r.Tasks.Total)
	for _, s := range slices.Sorted(maps.Keys(r.Tasks.States)) {
		fmt.Fprintf(b, " %s %d", s, r.Tasks.States[s])
	}
	fmt.Fprintln(b)
	if len(r.Blocked) > 0 {
		title(b, "Blocked tasks (UN), those with the same stack together")
	}
	for i := range r.Blocked {
		g := &r.Blocked[i]
		if i > 0 {
			fmt.Fprintln(b)
		}
		if g.Count > 1 {
			fmt.Fprintf(b, "%d tasks, such as %s; the first of them:\n", g.Count, strings.Join(g.Comms, ", "))
		}
		g.Stack.text(b)
	}
	more(b, r.MoreBlocked, "blocked tasks")
}

func (r *Report) memory(b *bufio.Writer) {
	m := r.Memory
	if m == nil {
		return
	}
	title(b, "Memory")
	for _, f := range []struct {
		name string
		n    *uint64
	}{{"total", m.Total}, {"free", m.Free}, {"cached", m.Cached}, {"buffers", m.Buffers}, {"anonymous", m.Anonymous}, {"shared", m.Shared},
		{"slab", m.Slab}, {"reclaimable", m.Reclaimable}, {"page tables", m.PageTables}, {"swap", m.SwapTotal}, {"swap used", m.SwapUsed}} {
		fmt.Fprintf(b, "%12s: %12s\n", f.name, known(f.n, size))
	}
}
