// Package task finds the tasks of a dumped kernel: every thread and every CPU's idle task, with the facts that ps, bt and
// their like show.
package task

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Task is one thread. Times are nanoseconds.
type Task struct {
	Addr      vmem.Addr // of its task_struct
	PID       int32     // thread id
	TGID      int32     // process id
	Comm      string
	State     uint64 // __state, see StateName
	ExitState uint32
	Flags     uint32 // PF_*
	CPU       int
	OnCPU     bool // it was running on CPU at the crash (rq.curr)
	Idle      bool // a CPU's idle task
	Stack     vmem.Addr
	SP        uint64 // saved stack pointer; valid if !OnCPU
	MM        vmem.Addr
	Parent    vmem.Addr
	Leader    vmem.Addr
	Signal    vmem.Addr
	Policy    uint32
	Prio      int32
	RTPrio    uint32
	LastRun   uint64 // sched_info.last_arrival, on the scheduler's clock
	StartTime uint64 // monotonic or boot time
	UTime     uint64
	STime     uint64
}

const pfKthread = 0x00200000 // PF_KTHREAD

// Kernel reports whether it is a kernel thread (idle tasks included).
func (t *Task) Kernel() bool { return t.Flags&pfKthread != 0 || t.Idle }

// taskStruct is what is read of each task_struct.
type taskStruct struct {
	State     uint64    `k:"__state|state"` // renamed in 5.14
	ExitState uint32    `k:"exit_state"`
	Flags     uint32    `k:"flags"`
	Stack     vmem.Addr `k:"stack"`
	CPU       uint32    `k:"cpu|thread_info.cpu"` // moved to thread_info in 5.16
	PID       int32     `k:"pid"`
	TGID      int32     `k:"tgid"`
	Comm      string    `k:"comm"`
	MM        vmem.Addr `k:"mm"`
	Parent    vmem.Addr `k:"real_parent"`
	Leader    vmem.Addr `k:"group_leader"`
	Signal    vmem.Addr `k:"signal"`
	SP        uint64    `k:"thread.sp,optional"`
	Policy    uint32    `k:"policy"`
	Prio      int32     `k:"prio"`
	RTPrio    uint32    `k:"rt_priority"`
	LastRun   uint64    `k:"sched_info.last_arrival,optional"`
	StartTime uint64    `k:"start_time"`
	UTime     uint64    `k:"utime"`
	STime     uint64    `k:"stime"`
}

// Table is all tasks at the crash, idle tasks first by CPU, then by PID.
type Table struct {
	Tasks []*Task

	byAddr  map[vmem.Addr]*Task
	byPID   map[int32]*Task
	current []*Task // by CPU; nil where unknown
	idle    []*Task // by CPU
	panic   *Task
	crashed int // CPU that crashed; -1 if unknown
}

// Read finds all tasks. Tasks and structures that can't be read become gaps of v; the error says that not even the first
// task could be found.
func Read(v *kernel.View) (*Table, error) {
	bind, err := kernel.Bind[taskStruct](v.Kernel, "task_struct")
	if err != nil {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	b := &builder{v: v, bind: bind, t: &Table{byAddr: make(map[vmem.Addr]*Task), byPID: make(map[int32]*Task), crashed: -1}}
	b.idleTasks()
	b.all()
	if len(b.t.Tasks) == 0 {
		gaps, _ := v.Gaps()
		if len(gaps) > 0 {
			return nil, fmt.Errorf("no task could be found: %s", gaps[len(gaps)-1])
		}
		return nil, errors.New("no task could be found: neither init_pid_ns nor init_task leads to any")
	}
	b.running()
	t := b.t
	slices.SortStableFunc(t.Tasks, func(a, b *Task) int {
		if a.Idle != b.Idle {
			if a.Idle {
				return -1
			}
			return 1
		}
		if a.PID != b.PID {
			return int(a.PID) - int(b.PID)
		}
		return a.CPU - b.CPU
	})
	return t, nil
}

// ByAddr is the task whose task_struct lies at addr, nil if there is none.
func (t *Table) ByAddr(addr vmem.Addr) *Task { return t.byAddr[addr] }

// ByPID is the thread with that id, nil if there is none. PID 0 is CPU 0's idle task.
func (t *Table) ByPID(pid int32) *Task { return t.byPID[pid] }

// ByComm are the threads of that name.
func (t *Table) ByComm(comm string) []*Task {
	var out []*Task
	for _, x := range t.Tasks {
		if x.Comm == comm {
			out = append(out, x)
		}
	}
	return out
}

// Current is the task that ran on cpu, nil if unknown.
func (t *Table) Current(cpu int) *Task {
	if cpu < 0 || cpu >= len(t.current) {
		return nil
	}
	return t.current[cpu]
}

// Idle is cpu's idle task, nil if unknown.
func (t *Table) Idle(cpu int) *Task {
	if cpu < 0 || cpu >= len(t.idle) {
		return nil
	}
	return t.idle[cpu]
}

// CPUs is one more than the highest CPU number that has a run queue.
func (t *Table) CPUs() int { return len(t.current) }

// Panic is the task that crashed; nil if the dump does not say.
func (t *Table) Panic() *Task { return t.panic }

// CrashCPU is the CPU that crashed, -1 if the dump does not say.
func (t *Table) CrashCPU() int { return t.crashed }

// Threads are the threads of x's process, its leader first.
func (t *Table) Threads(x *Task) []*Task {
	var out []*Task
	for _, y := range t.Tasks {
		if y.TGID == x.TGID && !y.Idle && !x.Idle {
			out = append(out, y)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].PID == out[i].TGID && out[j].PID != out[j].TGID })
	return out
}

// Children are the tasks whose parent is x itself: processes that it made, and their threads, which have the parent of their process. What
// another thread of x's process made is that one's.
func (t *Table) Children(x *Task) []*Task {
	var out []*Task
	for _, y := range t.Tasks {
		if y.Parent == x.Addr && y != x {
			out = append(out, y)
		}
	}
	return out
}

// PPID is the process id of x's parent, 0 if there is none; false if the parent could not be read.
func (t *Table) PPID(x *Task) (int32, bool) {
	if p := t.byAddr[x.Parent]; p != nil {
		return p.TGID, true
	}
	return 0, x.Parent == 0
}
