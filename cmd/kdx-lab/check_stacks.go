package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kdxStack is what bt says, as far as it is compared.
type kdxStack struct {
	PID    int        `json:"pid"`
	Comm   string     `json:"comm"`
	CPU    int        `json:"cpu"`
	Active bool       `json:"active"`
	Frames []kdxFrame `json:"frames"`
	End    string     `json:"ends_badly"`
	Gone   string     `json:"no_stack"`
}

type kdxFrame struct {
	Function string `json:"function"`
	Offset   uint64 `json:"offset"`
	PC       string `json:"pc"`
	Sure     string `json:"confidence"`
	Traced   bool   `json:"traced"`
	Stack    string `json:"stack"`
}

func (f kdxFrame) String() string {
	return fmt.Sprintf("%s+%#x", f.Function, f.Offset)
}

func (f kdxFrame) addr() uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(f.PC, "0x"), 16, 64)
	return n
}

// checkStacks holds the backtraces of sleeping tasks against those that the kernel's own unwinder gave in /proc/PID/stack.
func checkStacks(ctx context.Context, s *subject) (string, error) {
	var stacks []kdxStack
	if err := s.ask(ctx, []string{"foreach bt"}, &stacks); err != nil {
		return "", err
	}
	still, err := s.still(ctx)
	if err != nil {
		return "", err
	}
	byPID := map[int]kdxStack{}
	for _, st := range stacks {
		byPID[st.PID] = st
	}
	// The guest leaves out locks, too (in_sched_functions): a task may be preempted as it leaves one.
	inSched, inLock := s.truth.bounds("__sched_text_start", "__sched_text_end"), s.truth.bounds("__lock_text_start", "__lock_text_end")
	sched := func(a uint64) bool { return inSched(a) || inLock(a) }
	var d differences
	compared, frames, probes := 0, 0, 0
	tasks, err := s.truth.said()
	if err != nil {
		return "", err
	}
	for _, said := range tasks {
		if !still[said.TID] || len(said.Stack) == 0 {
			continue
		}
		st, ok := byPID[said.TID]
		if !ok {
			d.add("task %d %q has no stack", said.TID, said.Comm)
			continue
		}
		if st.Active { // for the first time since
			continue
		}
		if st.End != "" {
			d.add("task %d %q: ends badly: %s", said.TID, said.Comm, st.End)
			continue
		}
		why := sameStack(st.Frames, said.Stack, sched)
		if why != "" && stopsAtProbe(st.Frames, said.Stack, sched) {
			probes++
			continue
		}
		if why != "" {
			d.add("task %d %q: %s\n  kdx   %v\n  guest %v", said.TID, said.Comm, why, st.Frames, said.Stack)
		}
		compared++
		frames += len(said.Stack)
	}
	if compared < len(tasks)/2 {
		d.add("only %d of %d tasks had not run since: nothing to hold the rest against", compared, len(tasks))
	}
	note := fmt.Sprintf("%d tasks, %d frames", compared, frames)
	if probes > 0 {
		note += fmt.Sprintf("; %d: the kernel's own unwinder stops at a return probe (before 5.15)", probes)
	}
	return note, d.err()
}

// stopsAtProbe says that the guest's stack is the beginning of kdx's and ends in a return probe's trampoline, whose address /proc
// shows as the end of the function before it. Kernels learned to look behind it in 5.15.
func stopsAtProbe(got []kdxFrame, want []saidFrame, sched func(uint64) bool) bool {
	for i, f := range got {
		if f.Traced && len(want) > 0 && sameStack(got[:i], want[:len(want)-1], sched) == "" {
			return true
		}
	}
	return false
}

// sameStack compares with /proc/PID/stack, which leaves out the functions of the scheduler's text section and of the locks' (_raw_spin_unlock…).
func sameStack(got []kdxFrame, want []saidFrame, sched func(uint64) bool) string {
	i := 0
	for _, f := range got {
		if i < len(want) && f.Function == want[i].Function && f.Offset == want[i].Offset {
			i++
			continue
		}
		if sched(f.addr()) || strings.HasPrefix(f.Function, "_raw_") {
			continue
		}
		if i < len(want) {
			return fmt.Sprintf("%v where the guest has %s+%#x", f, want[i].Function, want[i].Offset)
		}
		return fmt.Sprintf("%v behind the guest's last", f)
	}
	if i < len(want) {
		return fmt.Sprintf("ends before %s+%#x", want[i].Function, want[i].Offset)
	}
	return ""
}

// bounds returns whether an address lies between two of the symbols that the guest kept.
func (t truth) bounds(from, to string) func(uint64) bool {
	a, err := strconv.ParseUint(t.Kallsyms.Bounds[from], 16, 64)
	b, err2 := strconv.ParseUint(t.Kallsyms.Bounds[to], 16, 64)
	return func(x uint64) bool { return err == nil && err2 == nil && x >= a && x <= b }
}

// checkDrgn holds every backtrace, running tasks too, against drgn's by program counters: drgn unwinds with DWARF, kdx with ORC.
func checkDrgn(ctx context.Context, s *subject, r reference) (string, error) {
	if r.Drgn == nil {
		return "", skip("drgn cannot open it: " + r.Failed["drgn"])
	}
	var stacks []kdxStack
	if err := s.ask(ctx, []string{"foreach bt"}, &stacks); err != nil {
		return "", err
	}
	type key struct{ pid, cpu int }
	at := func(pid, cpu int) key {
		if pid != 0 {
			cpu = 0 // only idle tasks share a number
		}
		return key{pid, cpu}
	}
	mine := map[key]kdxStack{}
	for _, st := range stacks {
		mine[at(st.PID, st.CPU)] = st
	}
	var d differences
	same, frames, explained := 0, 0, map[string]int{}
	for _, t := range r.Drgn.Tasks {
		st, ok := mine[at(t.TID, t.CPU)]
		if !ok {
			d.add("task %d %q: drgn finds it, kdx does not", t.TID, t.Comm)
			continue
		}
		delete(mine, at(t.TID, t.CPU))
		want := t.chain()
		got := make([]string, 0, len(st.Frames))
		for _, f := range st.Frames {
			got = append(got, fmt.Sprintf("%#x", f.addr()))
		}
		if slices.Equal(got, want.pcs) {
			same++
			frames += len(got)
			continue
		}
		if why := explain(s, t, st, want); why != "" {
			explained[why]++
			continue
		}
		d.add("task %d %q\n  kdx  %v %s\n  drgn %v %s", t.TID, t.Comm, st.Frames, st.End, want.names, t.Error)
	}
	for k, st := range mine {
		d.add("task %d %q: kdx finds it, drgn does not", k.pid, st.Comm)
	}
	note := fmt.Sprintf("%d stacks, %d frames equal", same, frames)
	for why, n := range explained {
		note += fmt.Sprintf("; %d: %s", n, why)
	}
	return note, d.err()
}

// pcChain is a stack of drgn without inlined functions and without user space.
type pcChain struct {
	pcs, names []string
}

func (t drgnTask) chain() pcChain {
	var c pcChain
	for _, f := range t.Frames {
		if f.Inline {
			continue
		}
		if pc, err := strconv.ParseUint(strings.TrimPrefix(f.PC, "0x"), 16, 64); err == nil && pc>>63 == 0 {
			break // user space
		}
		c.pcs = append(c.pcs, f.PC)
		c.names = append(c.names, f.Name)
	}
	return c
}
