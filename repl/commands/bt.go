package commands

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/backtrace"
	"kdx/analyze/frames"
	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/unwind"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func btCommand() *Command {
	return &Command{
		Name: "bt", Group: "tasks", Summary: "backtrace of a task's kernel stack", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-agpslxfFtTreESv] [-c CPUS] [-n idle] [-R REF] [-I IP] [--sp SP] [pid | task | name]…"},
		Flags: []Flag{
			{Name: "a", Help: "the task that was running on each CPU"},
			{Name: "c", Arg: "CPUS", Help: "the task that was running on these CPUs, e.g. 1,3-5 or a"},
			{Name: "p", Help: "the task that crashed"},
			{Name: "g", Help: "all threads of the process, its leader first"},
			{Name: "n", Arg: "idle", Help: "with -a or -c: leave out CPUs that ran their idle task"},
			{Name: "s", Help: "show each function's offset"},
			{Name: "l", Help: "the source file and line of each frame, and the functions that were inlined into it", Needs: NeedsDWARF},
			{Name: "x", Help: "offsets in hexadecimal"},
			{Name: "d", Help: "offsets in decimal"},
			{Name: "f", Help: "the words of each frame"},
			{Name: "F", Help: "the words of each frame, as symbols and [slab caches] where they are addresses of such; twice: [address:cache]"},
			{Name: "t", Help: "no unwinding: every word of the stack that is a text address, from the stack pointer up"},
			{Name: "T", Help: "as -t, from the stack's lowest address"},
			{Name: "r", Help: "the words of the whole stack, as symbols where they are addresses of such"},
			{Name: "e", Help: "search the stack for exception frames"},
			{Name: "E", Help: "search the IRQ and exception stacks of all CPUs (or of -c) for exception frames"},
			{Name: "v", Help: "the parameters and local variables of each frame, and of the functions that were inlined into it", Needs: NeedsDWARF},
			{Name: "overflow", Help: "check all stacks for overflow (crash's bt -v)"},
			{Name: "S", Help: "merge tasks with the same stack and count them"},
			{Name: "R", Arg: "REF", Help: "only stacks that have this function, or a frame that holds this address"},
			{Name: "I", Arg: "IP", Help: "start at this text address"},
			{Name: "sp", Arg: "SP", Help: "start with this stack pointer"},
		},
		Help: "Unwinds with the kernel's own tables (ORC), across interrupts, exceptions and the return addresses that tracers replaced. " +
			"Each frame is `#LEVEL [STACK ADDRESS] FUNCTION at PC [MODULE]`; the stack address is where the return address lies. A frame marked " +
			"(guessed) is not covered by the tables, and a trace that stops early says why.\n\n" +
			"With -l, functions that the compiler put into the one of the frame are lines of their own above it, with the frame's number and (inlined), the innermost " +
			"first. Below each stands `FILE: LINE`, for a return address that of the call; FILE is relative to the root of the source tree. Code without debug " +
			"information has no lines. Only -l reads debug information.\n\n" +
			"A task that was running at the crash starts from its CPU's registers in the dump. Flag -S merges here; crash's -S SP is --sp.",
		Examples: []Example{{"bt", "the task that crashed"}, {"bt -a", "what each CPU was doing"}, {"bt -l", "with source lines and inlined functions"}, {"foreach UN bt -S", "where all blocked tasks wait, each stack once"}},
		Run:      runBT,
	}
}

func runBT(c *Call) (view.Result, error) {
	tr, err := c.State.Tracer(c.View)
	if err != nil {
		return nil, err
	}
	if c.Flags.Has("overflow") {
		return checkStacks(c, tr)
	}
	if c.Flags.Has("E") {
		return searchCPUStacks(c, tr)
	}
	xs, err := btTasks(c)
	if err != nil && c.Flags.Has("S") {
		return nil, fmt.Errorf("%w (-S shows equal stacks once; crash's -S SP is --sp SP)", err)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case c.Flags.Has("t"), c.Flags.Has("T"), c.Flags.Has("r"), c.Flags.Has("e"):
		return scanStacks(c, tr, xs)
	}
	lines := c.places()
	var stacks view.Backtraces
	for _, x := range xs {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		s, err := oneStack(c, tr, x)
		if errors.Is(err, backtrace.ErrExited) || errors.Is(err, backtrace.ErrOffline) || errors.Is(err, backtrace.ErrRunning) {
			if c.Flags.Value("R") == "" {
				stacks = append(stacks, view.NoStack(header(x), err.Error()))
			}
			continue
		}
		if err != nil {
			if len(xs) == 1 {
				return nil, fmt.Errorf("PID %d (%s): %w", x.PID, x.Comm, err)
			}
			c.View.Gap(fmt.Sprintf("PID %d (%s): backtrace", x.PID, x.Comm), err)
			stacks = append(stacks, view.NewStack(header(x), x.OnCPU, &unwind.Trace{End: err}, nil))
			continue
		}
		if s.End != "" {
			c.View.Gap(fmt.Sprintf("PID %d (%s): backtrace", x.PID, x.Comm), fmt.Errorf("%s", s.End))
		}
		if c.Flags.Has("l") {
			s.AddPlaces(lines.at)
		}
		if ref := c.Flags.Value("R"); ref != "" && !references(c.View, s, ref) {
			continue
		}
		stacks = append(stacks, s)
	}
	if c.Flags.Has("S") {
		return merge(stacks), nil
	}
	return stacks, nil
}

// btTasks are the tasks that the flags and arguments name.
func btTasks(c *Call) ([]*task.Task, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	if idle := c.Flags.Value("n"); idle != "" && idle != "idle" {
		return nil, &UsageError{"bt", "-n takes the word idle"}
	}
	switch {
	case c.Flags.Has("p"):
		if t.Panic() == nil {
			return nil, fmt.Errorf("the dump does not say which task crashed (bt -a shows all CPUs)")
		}
		return []*task.Task{t.Panic()}, nil
	case c.Flags.Has("a"), c.Flags.Has("c"):
		list := c.Flags.Value("c")
		if list == "" {
			list = "a"
		}
		cpus, err := parseCPUs(list, t.CPUs())
		if err != nil {
			return nil, err
		}
		var out []*task.Task
		for _, cpu := range cpus {
			if x := t.Current(cpu); x != nil && (c.Flags.Value("n") == "" || !x.Idle) {
				out = append(out, x)
			}
		}
		return out, nil
	}
	xs, err := selectTasks(c, c.Args)
	if err != nil || !c.Flags.Has("g") {
		return xs, err
	}
	var out []*task.Task
	for _, x := range xs {
		out = append(out, t.Threads(x)...)
	}
	return out, nil
}

func oneStack(c *Call, tr *backtrace.Tracer, x *task.Task) (*view.Stack, error) {
	start, err := tr.Start(c.View, x)
	if err != nil && !c.Flags.Has("sp") {
		return nil, err
	}
	for flag, reg := range map[string]int{"I": unwind.RIP, "sp": unwind.RSP} {
		if !c.Flags.Has(flag) {
			continue
		}
		at, err := c.address(c.Flags.Value(flag))
		if err != nil {
			return nil, err
		}
		start.Regs.Set(reg, uint64(at))
		start.User, start.CPU, start.At = nil, nil, 0
	}
	var trace *unwind.Trace
	if start.User != nil {
		trace = &unwind.Trace{User: start.User}
	} else {
		trace = tr.From(c.View, x, start, withVariables(c)...)
	}
	s := view.NewStack(header(x), x.OnCPU, trace, func(pc uint64) (string, string, uint64) { return nameOf(c.View, pc) })
	if start.CPU != nil && start.User == nil {
		s.SetCPU(&start.CPU.Regs)
	}
	hex := (c.Flags.Has("x") || c.State.Hex) && !c.Flags.Has("d")
	if c.Flags.Has("s") {
		s.ShowOffsets(hex)
	}
	if c.Flags.Has("f") || c.Flags.Has("F") {
		addWords(c, s, trace)
	}
	if c.Flags.Has("v") {
		if err := addVariables(c, s, frames.Of(c.View, trace, x.CPU)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func nameOf(v *kernel.View, pc uint64) (function, module string, offset uint64) {
	s, err := v.SymbolAt(vmem.Addr(pc))
	if err != nil {
		return "", "", 0
	}
	return s.Name, s.Module, pc - s.Addr
}

// addWords reads what lies behind the return address into a frame, up to and with the one out of it.
func addWords(c *Call, s *view.Stack, t *unwind.Trace) {
	name := func(uint64) string { return "" }
	if c.Flags.Has("F") {
		name = c.annotator(c.Flags.Count("F"))
	}
	for i := range t.Frames {
		f := &t.Frames[i]
		lo := uint64(s.Frames[i].At)
		if f.At != 0 && !f.Exact {
			lo += 8
		}
		hi := f.CFA
		if f.Saved != nil {
			hi = f.SavedAt
		}
		if hi <= lo || hi-lo > 64<<10 {
			continue
		}
		for a := lo; a < hi; a += 8 {
			w, err := c.View.Word(vmem.Addr(a))
			if err != nil {
				c.View.Gap(fmt.Sprintf("PID %d: stack", s.PID), err)
				break
			}
			s.Frames[i].Words = append(s.Frames[i].Words, view.StackWord{Addr: vmem.Addr(a), Value: vmem.Addr(w), Name: name(w)})
		}
	}
}

// references reports whether a frame is of the function ref, or its words hold the address ref.
func references(v *kernel.View, s *view.Stack, ref string) bool {
	addr, err := strconv.ParseUint(strings.TrimPrefix(ref, "0x"), 16, 64)
	isAddr := err == nil && len(ref) >= 8
	for i := range s.Frames {
		f := &s.Frames[i]
		inlined := slices.ContainsFunc(f.Inlined, func(p view.Place) bool { return p.Function == ref })
		if f.Function == ref || inlined || isAddr && uint64(f.PC) == addr {
			return true
		}
		if !isAddr || i+1 >= len(s.Frames) {
			continue
		}
		for a := f.At; a < s.Frames[i+1].At && s.Frames[i+1].At-f.At < 64<<10; a += 8 {
			if w, err := v.Word(a); err == nil && w == addr {
				return true
			}
		}
	}
	return false
}

func merge(stacks view.Backtraces) view.MergedStacks {
	byKey := make(map[string]*view.MergedStack)
	var out view.MergedStacks
	for _, s := range stacks {
		key := s.Key()
		m := byKey[key]
		if m == nil {
			m = &view.MergedStack{Stack: s}
			byKey[key] = m
			out = append(out, m)
		}
		m.Count++
		m.Tasks = append(m.Tasks, s.TaskHeader)
	}
	sortStable(out, func(a, b *view.MergedStack) bool { return a.Count > b.Count })
	return out
}
