package task

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

type builder struct {
	v    *kernel.View
	bind kernel.Binding[taskStruct]
	t    *Table
}

func (b *builder) add(addr vmem.Addr) *Task {
	if x := b.t.byAddr[addr]; x != nil {
		return x
	}
	ts, err := b.bind.Read(b.v, addr)
	if err != nil {
		b.v.Gap("task", err)
		return nil
	}
	x := &Task{Addr: addr, PID: ts.PID, TGID: ts.TGID, Comm: ts.Comm, State: ts.State, ExitState: ts.ExitState, Flags: ts.Flags,
		CPU: int(ts.CPU), Stack: ts.Stack, SP: ts.SP, MM: ts.MM, Parent: ts.Parent, Leader: ts.Leader, Signal: ts.Signal,
		Policy: ts.Policy, Prio: ts.Prio, RTPrio: ts.RTPrio, LastRun: ts.LastRun, StartTime: ts.StartTime, UTime: ts.UTime, STime: ts.STime}
	b.t.byAddr[addr] = x
	b.t.Tasks = append(b.t.Tasks, x)
	if _, taken := b.t.byPID[x.PID]; !taken {
		b.t.byPID[x.PID] = x
	}
	return x
}

// idleTasks takes each CPU's idle task from its run queue. Idle tasks are in no list and no pid map.
func (b *builder) idleTasks() {
	cpus, err := b.v.PossibleCPUs()
	if err != nil {
		b.v.Gap("CPUs", err)
		return
	}
	for _, cpu := range cpus {
		idle, err := b.rq(cpu, "idle")
		if err != nil {
			b.v.Gap(fmt.Sprintf("idle task of CPU %d", cpu), err)
			continue
		}
		if idle == 0 {
			continue // a possible CPU that never came up
		}
		x := b.add(idle)
		if x == nil {
			continue
		}
		x.Idle, x.CPU = true, cpu
		for len(b.t.idle) <= cpu {
			b.t.idle = append(b.t.idle, nil)
		}
		b.t.idle[cpu] = x
		// The others were made by init, which brings the CPUs up, but are nobody's children: their parent is the first idle task, as its own is.
		for _, first := range b.t.idle {
			if first != nil {
				x.Parent = first.Addr
				break
			}
		}
	}
}

// RunQueue is cpu's struct rq.
func RunQueue(v *kernel.View, cpu int) (kernel.Value, error) {
	sym, err := v.Symbol("runqueues")
	if err != nil {
		return kernel.Value{}, err
	}
	off, err := v.PerCPUOffset(cpu)
	if err != nil {
		return kernel.Value{}, err
	}
	rq := v.ObjectOf("rq", vmem.Addr(sym.Addr+off))
	return rq, rq.Err()
}

// rq reads a pointer of cpu's run queue.
func (b *builder) rq(cpu int, member string) (vmem.Addr, error) {
	rq, err := RunQueue(b.v, cpu)
	if err != nil {
		return 0, err
	}
	return rq.Field(member).Pointer()
}

// all takes every thread from the initial pid namespace's map, where each has an entry, and from the list of processes:
// what one can't reach for a missing page, the other often can.
func (b *builder) all() {
	if err := b.fromPIDs(); err != nil {
		b.v.Gap("pid map", err)
	}
	if err := b.fromList(); err != nil {
		b.v.Gap("task list", err)
	}
}

// fromPIDs walks init_pid_ns.idr (since 4.15): struct pid, whose tasks[PIDTYPE_PID] leads to the thread.
func (b *builder) fromPIDs() error {
	ns, err := b.v.Symbol("init_pid_ns")
	if err != nil {
		return err
	}
	idr, ok := b.v.OffsetOf("pid_namespace", "idr")
	if !ok {
		return fmt.Errorf("struct pid_namespace of this kernel has no member idr")
	}
	tasks, ok := b.v.OffsetOf("pid", "tasks")
	if !ok {
		return fmt.Errorf("struct pid of this kernel has no member tasks")
	}
	link, ok := b.v.OffsetOf("task_struct", "pid_links") // hlist_node pid_links[PIDTYPE_MAX], since 4.19
	if !ok {
		return fmt.Errorf("struct task_struct of this kernel has no member pid_links")
	}
	for e, err := range walk.IDR(b.v, vmem.Addr(ns.Addr+idr)) {
		if err != nil {
			b.v.Gap("pid map", err)
			continue
		}
		first, err := b.v.Word(vmem.Addr(e.Value + tasks))
		if err != nil {
			b.v.Gap(fmt.Sprintf("struct pid of PID %d", e.Index), err)
			continue
		}
		if first == 0 {
			continue // a pid kept alive as group or session id only
		}
		b.add(vmem.Addr(first - link))
	}
	return nil
}

// fromList walks init_task.tasks and each process's threads.
func (b *builder) fromList() error {
	init, err := b.v.Symbol("init_task")
	if err != nil {
		return err
	}
	tasks, ok := b.v.OffsetOf("task_struct", "tasks")
	if !ok {
		return fmt.Errorf("struct task_struct of this kernel has no member tasks")
	}
	head, ok1 := b.v.OffsetOf("signal_struct", "thread_head")
	node, ok2 := b.v.OffsetOf("task_struct", "thread_node")
	for addr, err := range walk.List(b.v, vmem.Addr(init.Addr+tasks), tasks) {
		if err != nil {
			return err
		}
		x := b.add(addr)
		if x == nil || !ok1 || !ok2 || x.Signal == 0 {
			continue
		}
		for thread, err := range walk.List(b.v, x.Signal+vmem.Addr(head), node) {
			if err != nil {
				b.v.Gap(fmt.Sprintf("threads of PID %d", x.PID), err)
				break
			}
			b.add(thread)
		}
	}
	return nil
}

// running marks the tasks that the CPUs were executing and finds the one that crashed.
func (b *builder) running() {
	cpus, err := b.v.PossibleCPUs()
	if err != nil {
		return // said by idleTasks
	}
	for _, cpu := range cpus {
		curr, err := b.rq(cpu, "curr")
		if err != nil {
			b.v.Gap(fmt.Sprintf("current task of CPU %d", cpu), err)
			continue
		}
		if curr == 0 {
			continue
		}
		x := b.add(curr)
		if x == nil {
			continue
		}
		for len(b.t.current) <= cpu {
			b.t.current = append(b.t.current, nil)
		}
		b.t.current[cpu] = x
		x.OnCPU, x.CPU = true, cpu
	}
	b.t.crashed = crashCPU(b.v)
	b.t.panic = b.t.Current(b.t.crashed)
}

// crashCPU is the CPU that ran the crash: crashing_cpu is set on the way into the capture kernel, panic_cpu by panic().
// Both are -1 before.
func crashCPU(v *kernel.View) int {
	for _, name := range []string{"crashing_cpu", "panic_cpu"} {
		n, err := v.UintAt(name, 4)
		if err != nil && !errors.Is(err, symbols.ErrNotFound) {
			v.Gap("which CPU crashed", err)
		}
		if err == nil && int32(n) >= 0 {
			return int(n)
		}
	}
	return -1
}
