package view

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"kdx/analyze/vmem"
)

// Process is a row of ps.
type Process struct {
	PID    int32     `json:"pid"`
	TGID   int32     `json:"tgid"`
	PPID   *int32    `json:"ppid"`
	CPU    int       `json:"cpu"`
	Task   vmem.Addr `json:"task"`
	State  string    `json:"state"`
	Active bool      `json:"active"` // it ran on its CPU at the crash
	Kernel bool      `json:"kernel_thread"`
	Comm   string    `json:"comm"`

	MemPercent *float64   `json:"mem_percent"` // of TOTAL MEM; null if it can't be read
	VSZ        *uint64    `json:"vsz_bytes"`
	RSS        *uint64    `json:"rss_bytes"`
	KStack     *vmem.Addr `json:"kernel_stack_pointer"` // saved; null for a task that ran
	Policy     string     `json:"policy"`
	Prio       int32      `json:"prio"`
	LastRun    uint64     `json:"last_run_ns"`
}

// ProcessTable is what ps shows.
type ProcessTable struct {
	Rows     []Process `json:"tasks"`
	KStackP  bool      `json:"-"` // -s
	Policy   bool      `json:"-"` // -Y
	NoHeader bool      `json:"-"` // -H
}

// Text writes crash's columns.
func (t *ProcessTable) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	column := "TASK"
	if t.KStackP {
		column = "KSTACKP"
	}
	if !t.NoHeader {
		if t.Policy {
			fmt.Fprintf(bw, "      PID    PPID  CPU  %s   POLICY    PRIO  COMM\n", center(column, 14))
		} else {
			fmt.Fprintf(bw, "      PID    PPID  CPU  %s   ST  %%MEM      VSZ      RSS  COMM\n", center(column, 14))
		}
	}
	for i := range t.Rows {
		p := &t.Rows[i]
		mark := "  "
		if p.Active {
			mark = "> "
		}
		addr := fmt.Sprintf("%016x", uint64(p.Task))
		switch {
		case t.KStackP && p.KStack == nil:
			addr = center("--", 16)
		case t.KStackP:
			addr = fmt.Sprintf("%016x", uint64(*p.KStack))
		}
		comm := Printable(p.Comm)
		if p.Kernel {
			comm = "[" + comm + "]"
		}
		ppid := "-"
		if p.PPID != nil {
			ppid = fmt.Sprint(*p.PPID)
		}
		fmt.Fprintf(bw, "%s%7d %7s %3d  %s", mark, p.PID, ppid, p.CPU, addr)
		if t.Policy {
			fmt.Fprintf(bw, "  %-8s  %4d  %s\n", p.Policy, p.Prio, comm)
			continue
		}
		fmt.Fprintf(bw, " %3s %5s %8s %8s  %s\n", p.State, percent(p.MemPercent), kilobytes(p.VSZ), kilobytes(p.RSS), comm)
	}
	return bw.Flush()
}

func center(s string, width int) string {
	left := (width - len(s)) / 2
	return fmt.Sprintf("%*s%-*s", left, "", width-left, s)
}

func percent(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *p)
}

func kilobytes(n *uint64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n / 1024)
}

// StateCounts is ps -S.
type StateCounts []StateCount

// StateCount counts the tasks of a state.
type StateCount struct {
	State string `json:"state"`
	Count int    `json:"count"`
}

// Text writes a line a state.
func (s StateCounts) Text(w io.Writer, _ Options) error {
	for _, c := range s {
		if _, err := fmt.Fprintf(w, "  %s: %d\n", c.State, c.Count); err != nil {
			return err
		}
	}
	return nil
}

// LastRuns is ps -l and ps -m: tasks by when they last got a CPU.
type LastRuns []LastRunGroup

// LastRunGroup is all tasks, or with -C those of one CPU.
type LastRunGroup struct {
	CPU   *int      `json:"cpu,omitempty"`
	Tasks []LastRun `json:"tasks"`
	ago   bool
}

// NewLastRunGroup makes a group; ago shows times as how long before the CPU's newest one they were.
func NewLastRunGroup(cpu *int, tasks []LastRun, ago bool) LastRunGroup {
	return LastRunGroup{cpu, tasks, ago}
}

// LastRun is a task with its last run.
type LastRun struct {
	TaskHeader
	State   string  `json:"state"`
	LastRun uint64  `json:"last_run_ns"` // on the scheduler's clock
	Ago     *uint64 `json:"ago_ns"`      // before the CPU's clock at the crash
}

// Text writes crash's lines.
func (l LastRuns) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for i, g := range l {
		if g.CPU != nil {
			if i > 0 {
				bw.WriteByte('\n')
			}
			fmt.Fprintf(bw, "CPU: %d\n", *g.CPU)
		}
		width := 0
		for _, t := range g.Tasks {
			width = max(width, len(fmt.Sprint(t.LastRun)))
		}
		for _, t := range g.Tasks {
			stamp := fmt.Sprintf("%*d", width, t.LastRun)
			if g.ago {
				stamp = "-"
				if t.Ago != nil {
					stamp = dayTime(*t.Ago)
				}
			}
			fmt.Fprintf(bw, "[%s] [%s]  %s", stamp, t.State, t.line())
		}
	}
	return bw.Flush()
}

// dayTime is "days hh:mm:ss.mmm".
func dayTime(ns uint64) string {
	d := time.Duration(ns)
	return fmt.Sprintf("%d %02d:%02d:%02d.%03d", d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60, d/time.Second%60, d/time.Millisecond%1000)
}

// TaskRelations is ps -p, -c and -g: tasks with those they belong to.
type TaskRelations []TaskRelation

// TaskRelation is a task and its ancestors, children or threads.
type TaskRelation struct {
	Tasks  []TaskHeader `json:"tasks"` // -p: eldest first, the task last; -c, -g: the task, then its children or threads
	Indent bool         `json:"-"`     // each line one step further (-p)
	None   string       `json:"-"`     // said if there are no others
}

// Text writes headers, indented.
func (r TaskRelations) Text(w io.Writer, _ Options) error {
	return blocks(w, r, func(bw *bufio.Writer, rel TaskRelation) {
		for j := range rel.Tasks {
			indent := min(j, 1) * 2
			if rel.Indent {
				indent = j
			}
			fmt.Fprintf(bw, "%*s%s", indent, "", rel.Tasks[j].line())
		}
		if len(rel.Tasks) == 1 && rel.None != "" {
			fmt.Fprintf(bw, "  %s\n", rel.None)
		}
	})
}

// TaskTimes is ps -t.
type TaskTimes []TaskTime

// TaskTime is when a task started and what it used; ns.
type TaskTime struct {
	TaskHeader
	RunTime   uint64 `json:"run_time_ns"`
	StartTime uint64 `json:"start_time_ns"` // on the monotonic clock, since boot
	UTime     uint64 `json:"utime_ns"`
	STime     uint64 `json:"stime_ns"`
}

// Text writes four lines a task.
func (t TaskTimes) Text(w io.Writer, _ Options) error {
	return blocks(w, t, func(bw *bufio.Writer, x TaskTime) {
		d := time.Duration(x.RunTime)
		run := fmt.Sprintf("%02d:%02d:%02d", d/time.Hour%24, d/time.Minute%60, d/time.Second%60)
		if days := d / (24 * time.Hour); days > 0 {
			run = fmt.Sprintf("%d days, %s", days, run)
		}
		fmt.Fprintf(bw, "%s    RUN TIME: %s\n  START TIME: %d\n       UTIME: %d\n       STIME: %d\n", x.line(), run, x.StartTime, x.UTime, x.STime)
	})
}

// TaskArgs is ps -a.
type TaskArgs []TaskArg

// TaskArg is a command line and environment; null if they can't be read.
type TaskArg struct {
	TaskHeader
	Args []string `json:"args"`
	Env  []string `json:"env"`
}

// Text writes ARG and ENV.
func (t TaskArgs) Text(w io.Writer, _ Options) error {
	return blocks(w, t, func(bw *bufio.Writer, x TaskArg) {
		bw.WriteString(x.line())
		if x.Args == nil && x.Env == nil {
			bw.WriteString("(no user memory)\n")
			return
		}
		bw.WriteString("ARG:")
		for _, a := range x.Args {
			bw.WriteString(" " + Printable(a))
		}
		bw.WriteString("\nENV: ")
		for j, e := range x.Env {
			if j > 0 {
				bw.WriteString("     ")
			}
			bw.WriteString(Printable(e) + "\n")
		}
		if len(x.Env) == 0 {
			bw.WriteByte('\n')
		}
	})
}

// TaskLimits is ps -r.
type TaskLimits []TaskLimit

// TaskLimit is a process's resource limits; a null value is unlimited.
type TaskLimit struct {
	TaskHeader
	Limits []ResourceLimit `json:"limits"`
}

// ResourceLimit in the unit that setrlimit(2) gives it.
type ResourceLimit struct {
	Name    string  `json:"name"`
	Current *uint64 `json:"current"`
	Maximum *uint64 `json:"maximum"`
}

// Text writes a table a task.
func (t TaskLimits) Text(w io.Writer, _ Options) error {
	value := func(v *uint64) string {
		if v == nil {
			return "(unlimited)"
		}
		return fmt.Sprint(*v)
	}
	return blocks(w, t, func(bw *bufio.Writer, x TaskLimit) {
		bw.WriteString(x.line())
		width := len("(unlimited)")
		for _, l := range x.Limits {
			width = max(width, len(value(l.Current)), len(value(l.Maximum)))
		}
		fmt.Fprintf(bw, "%12s   %s   %s\n", "RLIMIT", center("CURRENT", width), center("MAXIMUM", width))
		for _, l := range x.Limits {
			fmt.Fprintf(bw, "%12s   %s   %s\n", l.Name, center(value(l.Current), width), center(value(l.Maximum), width))
		}
	})
}
