package triage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/backtrace"
	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/module"
	"kdx/analyze/printk"
	"kdx/analyze/sysinfo"
	"kdx/analyze/task"
	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/symbols/demangle"
)

// log keeps the last lines, and the one that says why the kernel died.
func (m *maker) log(v *kernel.View) error {
	message, _ := sysinfo.PanicMessage(v) // what can't be read of the log is said below
	m.rep.Panic = clean(message)
	var last error
	var lines []string
	for r, err := range printk.Records(v) {
		if err != nil {
			last = err
			continue
		}
		head := fmt.Sprintf("[%5d.%06d] ", r.TimeNsec/1e9, r.TimeNsec%1e9/1000)
		for text := range bytes.SplitSeq(r.Text, []byte{'\n'}) {
			if lines = append(lines, head+clean(string(text))); len(lines) >= 2*maxLog {
				lines = append(lines[:0], lines[len(lines)-maxLog:]...)
			}
		}
	}
	m.rep.Log = append(m.rep.Log, lines[max(0, len(lines)-maxLog):]...)
	return last
}

// clean hides control characters: the page is read on terminals.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '.'
		}
		return r
	}, s)
}

// value is a fact that may be missing.
func value[T any](m *maker, what string, x T, err error) *T {
	if err != nil {
		m.missing(what, err)
		return nil
	}
	return &x
}

func (m *maker) system(v *kernel.View) error {
	s := &System{Machine: string(v.Image().Info().Machine)}
	m.rep.System = s
	uts, err := sysinfo.ReadUTS(v)
	if err != nil {
		m.missing("uname", err)
		s.Release, _ = v.VMCoreInfo().Get("OSRELEASE")
	} else {
		s.Nodename, s.Release, s.Version, s.Machine = clean(uts.Nodename), clean(uts.Release), clean(uts.Version), clean(uts.Machine)
	}
	when, err := sysinfo.CrashTime(v)
	s.Crashed = value(m, "time of the crash", when, err)
	up, err := sysinfo.Uptime(v)
	s.Uptime = value(m, "uptime", up.Seconds(), err)
	cpus, err := v.PresentCPUs()
	s.CPUs = value(m, "CPUs", len(cpus), err)
	mem, err := sysinfo.Memory(v)
	s.Memory = value(m, "memory", mem, err)
	_, taint, err := sysinfo.Taints(v)
	s.Taint = value(m, "taint", taint, err)
	load, err := sysinfo.Load(v)
	s.Load = value(m, "load average", load, err)
	return nil
}

func (m *maker) readTasks(v *kernel.View) error {
	t, err := task.Read(v)
	if err != nil {
		return err
	}
	m.tasks, m.tracer = t, backtrace.New(v, t)
	m.rep.Tasks = &Tasks{Total: len(t.Tasks), States: make(map[string]int)}
	for _, x := range t.Tasks {
		m.rep.Tasks.States[x.StateName()]++
	}
	return nil
}

var errNoTasks = errors.New("the tasks could not be read")

func (m *maker) crashed(v *kernel.View) error {
	if m.tasks == nil {
		return errNoTasks
	}
	x := m.tasks.Panic()
	if x == nil {
		return errors.New("the dump does not say which task crashed")
	}
	s := m.stack(v, x)
	m.rep.Crashed = &s
	return nil
}

func (m *maker) cpus(v *kernel.View) error {
	if m.tasks == nil {
		return errNoTasks
	}
	for cpu := range m.tasks.CPUs() {
		x := m.tasks.Current(cpu)
		switch {
		case x == nil:
			continue
		case len(m.rep.CPUs) == maxCPUs:
			m.rep.MoreCPUs++
			continue
		case v.Context().Err() != nil:
			return v.Context().Err()
		}
		m.rep.CPUs = append(m.rep.CPUs, m.stack(v, x))
	}
	return nil
}

// blocked unwinds the tasks in uninterruptible sleep, and puts those together that wait at the same place.
func (m *maker) blocked(v *kernel.View) error {
	if m.tasks == nil {
		return errNoTasks
	}
	groups := make(map[string]*Group)
	var order []*Group
	walked := 0
	for _, x := range m.tasks.Tasks {
		if x.StateName() != "UN" || x.OnCPU {
			continue
		}
		if walked++; walked > maxWalk || v.Context().Err() != nil {
			m.rep.MoreBlocked++
			continue
		}
		s := m.stack(v, x)
		key := s.key()
		g := groups[key]
		if g == nil && len(order) == maxBlocked {
			m.rep.MoreBlocked++
			continue
		}
		if g == nil {
			g = &Group{Stack: s, PIDs: []int32{}, Comms: []string{}}
			groups[key], order = g, append(order, g)
		}
		g.Count++
		if len(g.PIDs) < maxPIDs {
			g.PIDs = append(g.PIDs, x.PID)
		}
		if c := clean(x.Comm); len(g.Comms) < maxPIDs && !slices.Contains(g.Comms, c) {
			g.Comms = append(g.Comms, c)
		}
	}
	slices.SortStableFunc(order, func(a, b *Group) int { return b.Count - a.Count })
	for _, g := range order {
		m.rep.Blocked = append(m.rep.Blocked, *g)
	}
	return v.Context().Err()
}

// key is the same for stacks that stand at the same places.
func (s *Stack) key() string {
	var b strings.Builder
	for _, f := range s.Frames {
		fmt.Fprintf(&b, "%x ", uint64(f.PC))
	}
	return b.String() + s.Ends
}

func (m *maker) stack(v *kernel.View, x *task.Task) Stack {
	s := Stack{PID: x.PID, Comm: clean(x.Comm), CPU: x.CPU, Task: x.Addr, State: x.StateName(), Frames: []Frame{}}
	trace, err := m.tracer.Trace(v, x)
	if err != nil {
		s.Ends = err.Error()
		return s
	}
	for i := range trace.Frames {
		if i == maxFrames {
			s.Ends = fmt.Sprintf("%d more frames are left out", len(trace.Frames)-i)
			return s
		}
		s.Frames = append(s.Frames, frame(v, &trace.Frames[i]))
	}
	if len(trace.Frames) == 0 && trace.User != nil {
		s.Ends = "it ran in user mode"
	}
	if trace.End != nil {
		s.Ends = trace.End.Error()
	}
	return s
}

func frame(v *kernel.View, f *unwind.Frame) Frame {
	out := Frame{PC: vmem.Addr(f.PC), Guessed: f.Sure != unwind.Sure}
	at := f.Lookup()
	sym, err := v.SymbolAt(vmem.Addr(at))
	if err != nil {
		return out
	}
	out.Function, out.Module, out.Offset = clean(demangle.Name(sym.Name)), sym.Module, f.PC-sym.Addr
	return out
}

func (m *maker) memory(v *kernel.View) error {
	i := mm.ReadInfo(v)
	bytes := func(pages *uint64) *uint64 {
		if pages == nil {
			return nil
		}
		n := *pages * i.PageSize
		return &n
	}
	m.rep.Memory = &Memory{Total: bytes(i.Total), Free: bytes(i.Free), Cached: bytes(i.Cached), Buffers: bytes(i.Buffers), Anonymous: bytes(i.AnonPages), Shared: bytes(i.Shared),
		Slab: bytes(i.Slab), Reclaimable: bytes(i.SlabReclaimable), PageTables: bytes(i.PageTables), SwapTotal: bytes(i.SwapTotal), SwapUsed: bytes(i.SwapUsed)}
	return nil
}

func (m *maker) modules(v *kernel.View) error {
	all, err := module.Read(v)
	for _, x := range all {
		if len(m.rep.Modules) == maxModules {
			m.rep.MoreModules++
			continue
		}
		m.rep.Modules = append(m.rep.Modules, Module{Name: clean(x.Name), Size: x.Size, Taint: sysinfo.TaintLetters(x.Taints)})
	}
	return err
}
