package view

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"kdx/analyze/vmem"
)

// System is the first page of a dump. Null values could not be read.
type System struct {
	Kernel     string      `json:"kernel"` // where types and symbols come from
	DumpFiles  []string    `json:"dump_files"`
	Format     string      `json:"format"`
	Partial    bool        `json:"partial"`        // pages were left out
	Incomplete bool        `json:"incomplete"`     // the dump was cut short
	Live       bool        `json:"live,omitempty"` // the running kernel
	Distilled  string      `json:"distilled,omitempty"`
	VMCoreInfo string      `json:"vmcoreinfo,omitempty"` // how it was found, if not as the dump's note
	CPUs       *int        `json:"cpus"`
	Offline    []int       `json:"offline_cpus"`
	Date       *time.Time  `json:"date"`
	UptimeSec  *float64    `json:"uptime_seconds"`
	Load       *[3]float64 `json:"load_average"`
	Tasks      *int        `json:"tasks"`
	Nodename   string      `json:"nodename,omitempty"`
	Release    string      `json:"release,omitempty"`
	Version    string      `json:"version,omitempty"`
	Machine    string      `json:"machine"`
	MHz        *uint64     `json:"mhz"`
	Memory     *uint64     `json:"memory_bytes"`
	HZ         *uint64     `json:"hz"`
	Taint      *string     `json:"taint"`
	Panic      *string     `json:"panic"` // "" if the log has no such line; nil if it can't be read
	BuildID    string      `json:"build_id,omitempty"`
	Context    *Context    `json:"context,omitempty"`
}

// Context is the task that commands take by default.
type Context struct {
	PID    int32     `json:"pid"`
	Comm   string    `json:"comm"`
	Task   vmem.Addr `json:"task"`
	CPU    int       `json:"cpu"`
	State  string    `json:"state"`
	Active bool      `json:"active"`
	Panic  bool      `json:"panic"`

	ThreadInfo *vmem.Addr `json:"thread_info"` // null if it can't be told where it lies
}

func label(w *bufio.Writer, name, value string) { fmt.Fprintf(w, "%12s: %s\n", name, value) }

// Text writes crash's banner.
func (s *System) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	label(bw, "KERNEL", s.Kernel)
	dump := Printable(strings.Join(s.DumpFiles, " ")) + "  (" + s.Format + ")"
	if s.Partial {
		dump += "  [PARTIAL DUMP]"
	}
	if s.Incomplete {
		dump += "  [INCOMPLETE]"
	}
	if s.Live {
		dump += "  [LIVE SYSTEM]"
	}
	label(bw, "DUMPFILE", dump)
	if s.VMCoreInfo != "" {
		label(bw, "VMCOREINFO", Printable(s.VMCoreInfo))
	}
	if s.Distilled != "" {
		label(bw, "DISTILLED", Printable(s.Distilled))
	}
	label(bw, "CPUS", processors(s.CPUs, s.Offline))
	date := "-"
	if s.Date != nil {
		date = s.Date.Local().Format("Mon Jan _2 15:04:05 MST 2006")
	}
	label(bw, "DATE", date)
	label(bw, "UPTIME", uptime(s.UptimeSec))
	load := "-"
	if s.Load != nil {
		load = fmt.Sprintf("%.2f, %.2f, %.2f", s.Load[0], s.Load[1], s.Load[2])
	}
	label(bw, "LOAD AVERAGE", load)
	tasks := "-"
	if s.Tasks != nil {
		tasks = fmt.Sprint(*s.Tasks)
	}
	label(bw, "TASKS", tasks)
	label(bw, "NODENAME", cmp.Or(Printable(s.Nodename), "-"))
	label(bw, "RELEASE", cmp.Or(Printable(s.Release), "-"))
	label(bw, "VERSION", cmp.Or(Printable(s.Version), "-"))
	machine := Printable(s.Machine)
	if s.MHz != nil {
		machine += fmt.Sprintf("  (%d Mhz)", *s.MHz)
	}
	label(bw, "MACHINE", machine)
	label(bw, "MEMORY", memory(s.Memory))
	if s.Taint != nil && *s.Taint != "" {
		label(bw, "TAINT", *s.Taint)
	}
	switch {
	case s.Panic == nil:
		label(bw, "PANIC", "- (the log can't be read whole)")
	case *s.Panic != "":
		label(bw, "PANIC", `"`+Printable(*s.Panic)+`"`)
	case s.Live:
		label(bw, "PANIC", "- (the system is running)")
	default:
		label(bw, "PANIC", "- (the log has no line that says)")
	}
	if s.Context != nil {
		s.Context.text(bw)
	}
	return bw.Flush()
}

func uptime(sec *float64) string {
	if sec == nil {
		return "-"
	}
	n := int64(*sec)
	out := fmt.Sprintf("%02d:%02d:%02d", n/3600%24, n/60%60, n%60)
	if days := n / 86400; days > 0 {
		out = fmt.Sprintf("%d days, %s", days, out)
	}
	return out
}

func memory(bytes *uint64) string {
	if bytes == nil {
		return "-"
	}
	switch n := float64(*bytes); {
	case n >= 1<<40:
		return fmt.Sprintf("%.1f TB", n/(1<<40))
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", n/(1<<30))
	default:
		return fmt.Sprintf("%.1f MB", n/(1<<20))
	}
}

// Text writes crash's context block.
func (c *Context) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	c.text(bw)
	return bw.Flush()
}

func (c *Context) text(bw *bufio.Writer) {
	label(bw, "PID", fmt.Sprint(c.PID))
	label(bw, "COMMAND", `"`+Printable(c.Comm)+`"`)
	at := fmt.Sprintf("%016x", uint64(c.Task))
	if c.ThreadInfo != nil {
		at += fmt.Sprintf("  [THREAD_INFO: %016x]", uint64(*c.ThreadInfo))
	}
	label(bw, "TASK", at)
	label(bw, "CPU", fmt.Sprint(c.CPU))
	state := c.State
	switch {
	case c.Panic:
		state += " (PANIC)"
	case c.Active:
		state += " (ACTIVE)"
	}
	label(bw, "STATE", state)
}
