package commands

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kdx/analyze/distill"
	"kdx/analyze/kernel"
	"kdx/analyze/sysinfo"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func sysCommand() *Command {
	return &Command{
		Name: "sys", Group: "kernel", Summary: "the machine, the kernel and the crash", Needs: NeedsTypes,
		Usage: []string{"[-t | -i]", "-c [name | number]", "config"},
		Flags: []Flag{
			{Name: "t", Help: "what tainted the kernel", Needs: NeedsSymbols},
			{Name: "i", Help: "what the firmware says of the machine (DMI)"},
			{Name: "c", Help: "the system call table, or the calls with this name or number; where their functions begin, if debug information is open", Needs: NeedsSymbols},
		},
		Help: "Without a flag, what the prompt starts with: UPTIME and the rest come from the kernel's own variables (its tick length is tick_nsec), DATE is the " +
			"time of the crash. `sys config` shows the kernel's configuration if it carries it (CONFIG_IKCONFIG).",
		Examples: []Example{{"sys", "the first page"}, {"sys -t", "what tainted the kernel"}, {"sys -c openat", "a system call's number and function"}},
		Run:      runSys,
	}
}

func runSys(c *Call) (view.Result, error) {
	switch {
	case c.Flags.Has("t"):
		mask, letters, err := sysinfo.Taints(c.View)
		if err != nil {
			return nil, err
		}
		out := &view.Taint{Mask: mask, Letters: letters, Reasons: []view.TaintReason{}}
		for i, t := range sysinfo.TaintNames {
			if mask>>i&1 != 0 {
				out.Reasons = append(out.Reasons, view.TaintReason{Letter: string(t.Letter), Meaning: t.Name})
			}
		}
		return out, nil
	case c.Flags.Has("c"):
		return syscalls(c)
	case c.Flags.Has("i"):
		fields, err := sysinfo.DMI(c.View)
		if err != nil {
			return nil, err
		}
		out := view.DMI{}
		for _, f := range fields {
			out = append(out, view.DMIField{Name: f.Name, Value: f.Value})
		}
		return out, nil
	case len(c.Args) == 1 && c.Args[0] == "config":
		text, err := sysinfo.Config(c.View)
		if err != nil {
			return nil, err
		}
		return view.Lines(text), nil
	case len(c.Args) > 0:
		return nil, &UsageError{"sys", "does not take " + c.Args[0]}
	}
	return System(c.View, c.State), nil
}

func syscalls(c *Call) (view.Result, error) {
	all, err := sysinfo.Syscalls(c.View)
	if err != nil {
		return nil, err
	}
	out := &view.SyscallTable{}
	for _, s := range all {
		if len(c.Args) > 0 && c.Args[0] != fmt.Sprint(s.Number) && !s.Named(c.Args[0]) {
			continue
		}
		at := c.placed(view.SymbolLine{Addr: s.Addr, Name: s.Function, Type: "T"})
		out.Rows = append(out.Rows, view.Syscall{Number: s.Number, Function: s.Function, Addr: s.Addr, File: at.File, Line: at.Line})
	}
	if len(c.Args) > 0 && len(out.Rows) == 0 {
		return nil, fmt.Errorf("there is no system call %s", c.Args[0])
	}
	return out, nil
}

// System collects the first page of a dump. What can't be read is a gap, the rest is there.
func System(v *kernel.View, s *State) *view.System {
	info := v.Image().Info()
	out := &view.System{DumpFiles: info.Files, Format: info.Format, Partial: info.Filtered, Incomplete: info.Incomplete}
	out.Kernel = kernelSource(v)
	if rec, ok := distill.ReadRecord(info); ok {
		out.Distilled = fmt.Sprintf("holds what %d commands read (kdx info lists them)", len(rec.Commands))
	}
	out.Live, out.VMCoreInfo = info.Live, v.VMCoreInfo().Origin()
	out.BuildID, _ = v.VMCoreInfo().Get("BUILD-ID")
	uts, err := sysinfo.ReadUTS(v)
	if err != nil {
		v.Gap("uname", err)
		uts.Release, _ = v.VMCoreInfo().Get("OSRELEASE")
		uts.Machine = string(info.Machine)
	}
	out.Nodename, out.Release, out.Version, out.Machine = uts.Nodename, uts.Release, uts.Version, uts.Machine
	out.CPUs = read(v, "CPUs", func() (int, error) { cpus, err := v.PresentCPUs(); return len(cpus), err })
	out.Offline = offlineCPUs(v)
	out.Date = read(v, "date", func() (time.Time, error) { return sysinfo.CrashTime(v) })
	out.UptimeSec = read(v, "uptime", func() (float64, error) { d, err := sysinfo.Uptime(v); return d.Seconds(), err })
	out.Load = read(v, "load average", func() ([3]float64, error) { return sysinfo.Load(v) })
	out.Memory = read(v, "memory", func() (uint64, error) { return sysinfo.Memory(v) })
	out.HZ = read(v, "HZ", func() (uint64, error) { return sysinfo.HZ(v) })
	out.Taint = read(v, "taint", func() (string, error) { _, l, err := sysinfo.Taints(v); return l, err })
	out.MHz = speed(v)
	if message, err := sysinfo.PanicMessage(v); err == nil || message != "" {
		out.Panic = &message
	} else {
		v.Gap("the line that says why it crashed", err)
	}
	t, err := s.Tasks(v)
	if err != nil {
		v.Gap("tasks", err)
		return out
	}
	n := len(t.Tasks)
	out.Tasks = &n
	if x, err := s.CurrentTask(v); err == nil {
		out.Context = contextOf(v, t, x)
	}
	return out
}

func read[T any](v *kernel.View, what string, f func() (T, error)) *T {
	x, err := f()
	if err != nil {
		v.Gap(what, err)
		return nil
	}
	return &x
}

// kernelSource says who answers for symbols and types.
func kernelSource(v *kernel.View) string {
	syms, types, _ := v.Debug().Finders()
	given, own := "", append(slices.DeleteFunc(syms, func(s string) bool { return s == "modules" || s == "bpf" || s == "debug file" }), slices.DeleteFunc(types, func(s string) bool { return s != "btf" })...)
	if len(own) > 0 && own[0] == "vmlinux" {
		given, own = "the given vmlinux, ", own[1:]
	}
	if i := slices.Index(own, "vmlinux"); i > 0 { // forced, of another build
		return strings.Join(slices.Delete(own, i, i+1), ", ") + " of the dump, and where these can't be read the given vmlinux"
	}
	if len(own) == 0 {
		return given + "VMCOREINFO of the dump"
	}
	return given + strings.Join(own, ", ") + " of the dump"
}

func contextOf(v *kernel.View, t *task.Table, x *task.Task) *view.Context {
	out := &view.Context{PID: x.PID, Comm: x.Comm, Task: x.Addr, CPU: x.CPU, State: x.LongState(), Active: x.OnCPU, Panic: t.Panic() == x}
	if at, ok := threadInfoAt(v, x); ok {
		out.ThreadInfo = &at
	}
	return out
}

// threadInfoAt is where a task's thread_info lies: in its task_struct since 4.9 (CONFIG_THREAD_INFO_IN_TASK), before that at the end of its stack.
func threadInfoAt(v *kernel.View, x *task.Task) (vmem.Addr, bool) {
	t, err := v.Struct("task_struct")
	if err != nil {
		return 0, false
	}
	if m, ok := t.Path("thread_info"); ok {
		return x.Addr + vmem.Addr(m.Offset()), true
	}
	return x.Stack, x.Stack != 0
}

// speed is the processor's in MHz, nil if it can't be read.
func speed(v *kernel.View) *uint64 {
	mhz := sysinfo.CPUMHz(v)
	if mhz == 0 {
		return nil
	}
	return &mhz
}
