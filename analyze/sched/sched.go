// Package sched reads the run queues of a kernel's CPUs: the tasks that were ready to run in each scheduling class, and what the
// fair class goes by.
package sched

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// Queue is a CPU's struct rq. Times are nanoseconds on the scheduler's clock.
type Queue struct {
	CPU       int
	Addr      vmem.Addr
	Current   vmem.Addr // task_struct
	Idle      vmem.Addr // task_struct
	NRRunning uint32
	Clock     uint64

	Fair     *Fair // the root group's queue
	RT       *RT
	Deadline *Deadlines
	Ext      *Ext // nil without CONFIG_SCHED_CLASS_EXT
}

// Fair is a struct cfs_rq: what runs of a task group on a CPU.
type Fair struct {
	Addr        vmem.Addr
	Root        vmem.Addr // of its tasks_timeline
	Group       vmem.Addr // task_group, 0 without CONFIG_FAIR_GROUP_SCHED
	Name        string    // of the group's cgroup, "" for the root group
	NRQueued    uint32
	Throttled   bool // its group has used up its CPU bandwidth
	MinVruntime *uint64
	Entities    []Entity // in the tree's order, the one that runs first
}

// Entity is a task or group in a fair queue. Since 6.6 (EEVDF) the earliest virtual deadline among the eligible is picked.
type Entity struct {
	Addr      vmem.Addr // its sched_entity
	Task      vmem.Addr // task_struct, 0 for a group
	Group     *Fair     // nil for a task
	Current   bool      // cfs_rq.curr: it runs and is in no tree
	Delayed   bool      // it went to sleep and stays queued until its lag is spent (6.12)
	Throttled bool      // a task that waits for the next period of its group, or of one above
	Weight    uint64
	Vruntime  uint64
	Deadline  *uint64 // virtual
	Slice     *uint64 // ns
	Vlag      *int64  // lag as of when it last left a queue; nil where the kernel has overwritten it since
}

// RT is a struct rt_rq.
type RT struct {
	Addr      vmem.Addr
	Array     vmem.Addr // its rt_prio_array
	Group     vmem.Addr // task_group, 0 without CONFIG_RT_GROUP_SCHED
	Name      string
	Throttled bool
	Entities  []RTEntity // by priority, the highest (0) first
}

// RTEntity is a task or group in a queue of the real-time class.
type RTEntity struct {
	Prio  int
	Task  vmem.Addr
	Group *RT // nil for a task
}

// Deadlines is a struct dl_rq.
type Deadlines struct {
	Addr     vmem.Addr
	Root     vmem.Addr
	Entities []DLEntity // by deadline
}

// DLEntity is a task in a queue of the deadline class, or (6.8) a server that runs another class for a while.
type DLEntity struct {
	Addr      vmem.Addr
	Task      vmem.Addr // 0 for a server
	Server    bool
	Runtime   int64  // left, ns
	Deadline  uint64 // absolute
	Throttled bool
}

// Ext is a struct scx_rq: the tasks of a BPF scheduler (6.12).
type Ext struct {
	Addr     vmem.Addr
	Runnable vmem.Addr // its runnable_list
	Tasks    []ExtTask
}

// ExtTask is a task that a BPF scheduler has to run.
type ExtTask struct {
	Task  vmem.Addr
	DSQ   vmem.Addr // dispatch queue that it is in, 0 if it is with the BPF scheduler
	DSQID *uint64
	Slice uint64 // ns
	VTime uint64
}

const (
	maxDepth   = 64      // of groups in groups
	maxRunning = 1 << 20 // tasks and groups of a CPU, in all its queues
)

type rqStruct struct {
	NRRunning uint32    `k:"nr_running"`
	Curr      vmem.Addr `k:"curr"`
	Idle      vmem.Addr `k:"idle"`
	Clock     uint64    `k:"clock"`
	CFS       vmem.Addr `k:"&cfs"`
	RT        vmem.Addr `k:"&rt"`
	DL        vmem.Addr `k:"&dl"`
	SCX       vmem.Addr `k:"&scx,optional"`
}

// Reader reads run queues of one View.
type Reader struct {
	v     *kernel.View
	rq    kernel.Binding[rqStruct]
	cfs   kernel.Binding[cfsStruct]
	se    kernel.Binding[seStruct]
	dl    kernel.Binding[dlStruct]
	names map[vmem.Addr]string
	seen  map[vmem.Addr]bool // queues of one CPU that were read, against loops
	left  int                // how many more entries its queues may have
	offs  offsets
	// keepsLag: sched_entity.vlag is a lag for tasks that are queued, too. From 6.6 on it held other things while a task was queued (what it is
	// protected from preemption by), until 7.0 gave those a member of their own.
	keepsLag bool
}

// offsets of members in their structs, in bytes.
type offsets struct {
	runNode, se, rt, rtRunList, dl, dlNode uint64
	hasDL                                  bool
}

// New makes a Reader; it fails if the kernel's types are not known.
func New(v *kernel.View) (*Reader, error) {
	r := &Reader{v: v, names: make(map[vmem.Addr]string)}
	var err error
	if r.rq, err = kernel.Bind[rqStruct](v.Kernel, "rq"); err != nil {
		return nil, err
	}
	if r.cfs, err = kernel.Bind[cfsStruct](v.Kernel, "cfs_rq"); err != nil {
		return nil, err
	}
	if r.se, err = kernel.Bind[seStruct](v.Kernel, "sched_entity"); err != nil {
		return nil, err
	}
	var missing error
	off := func(tag, path string) uint64 {
		o, ok := v.OffsetOf(tag, path)
		if !ok && missing == nil {
			missing = fmt.Errorf("struct %s of this kernel has no member %s", tag, path)
		}
		return o
	}
	r.offs.runNode, r.offs.se = off("sched_entity", "run_node"), off("task_struct", "se")
	r.offs.rt, r.offs.rtRunList = off("task_struct", "rt"), off("sched_rt_entity", "run_list")
	if missing != nil {
		return nil, missing
	}
	vlag, ok1 := v.OffsetOf("sched_entity", "vlag")
	vprot, ok2 := v.OffsetOf("sched_entity", "vprot")
	r.keepsLag = ok1 && ok2 && vlag != vprot
	if r.offs.dlNode, r.offs.hasDL = v.OffsetOf("sched_dl_entity", "rb_node"); r.offs.hasDL {
		r.offs.dl = off("task_struct", "dl")
		r.dl, missing = kernel.Bind[dlStruct](v.Kernel, "sched_dl_entity")
	}
	return r, missing
}

// Queue reads the run queue of a CPU. What can't be read of it is a gap.
func (r *Reader) Queue(cpu int) (*Queue, error) {
	sym, err := r.v.Symbol("runqueues")
	if err != nil {
		return nil, err
	}
	off, err := r.v.PerCPUOffset(cpu)
	if err != nil {
		return nil, err
	}
	at := vmem.Addr(sym.Addr + off)
	s, err := r.rq.Read(r.v, at)
	if err != nil {
		return nil, fmt.Errorf("run queue of CPU %d: %w", cpu, err)
	}
	q := &Queue{CPU: cpu, Addr: at, Current: s.Curr, Idle: s.Idle, NRRunning: s.NRRunning, Clock: s.Clock}
	return q, nil
}

// Tasks fills in what each class of q has queued.
func (r *Reader) Tasks(q *Queue) {
	s, err := r.rq.Read(r.v, q.Addr)
	if err != nil {
		r.v.Gap(fmt.Sprintf("run queue of CPU %d", q.CPU), err)
		return
	}
	r.seen, r.left = make(map[vmem.Addr]bool), maxRunning
	what := fmt.Sprintf("CPU %d", q.CPU)
	q.Fair = r.fair(what+": fair class", s.CFS, q.CPU, 0)
	q.RT = r.realTime(what+": real-time class", s.RT, 0)
	if r.offs.hasDL {
		q.Deadline = r.deadlines(what+": deadline class", s.DL)
	}
	if s.SCX != 0 {
		q.Ext = r.ext(what+": sched_ext", s.SCX)
	}
}

// enter reports whether a queue may be read: once a CPU, and not too deep.
func (r *Reader) enter(what string, at vmem.Addr, depth int) bool {
	switch {
	case depth > maxDepth:
		r.v.Gap(what, fmt.Errorf("groups in groups, more than %d deep: damaged", maxDepth))
	case r.seen[at]:
		r.v.Gap(what, fmt.Errorf("queue at %#x: %w", uint64(at), walk.ErrLoop))
	default:
		r.seen[at] = true
		return true
	}
	return false
}

// more reports whether one more entry is read; damaged groups lead to each other in ever new ways.
func (r *Reader) more(what string) bool {
	if r.left == 0 {
		return false
	}
	if r.left--; r.left == 0 {
		r.v.Gap(what, errMany)
	}
	return r.left > 0
}

// groupName is that of a task group's cgroup, "" for the root group.
func (r *Reader) groupName(group vmem.Addr) string {
	if group == 0 {
		return ""
	}
	if s, ok := r.names[group]; ok {
		return s
	}
	name, err := r.readGroupName(group)
	if err != nil {
		r.v.Gap(fmt.Sprintf("name of task group %#x", uint64(group)), err)
	}
	r.names[group] = name
	return name
}

const maxName = 256 // NAME_MAX and its NUL

func (r *Reader) readGroupName(group vmem.Addr) (string, error) {
	if root, err := r.v.Symbol("root_task_group"); err == nil && vmem.Addr(root.Addr) == group {
		return "", nil
	}
	tg := r.v.ObjectOf("task_group", group)
	cgroup, err := tg.Field("css.cgroup").Pointer()
	if err != nil {
		if tg.Err() == nil && !tg.Has("css") { // without CONFIG_CGROUP_SCHED
			return "", nil
		}
		return "", err
	}
	if cgroup == 0 {
		auto := tg.Field("autogroup")
		if p, err := auto.Pointer(); err != nil || p == 0 {
			return "", nil
		}
		id, err := auto.Field("id").Uint()
		return fmt.Sprintf("autogroup-%d", id), err
	}
	return r.v.ObjectOf("cgroup", cgroup).Field("kn").Field("name").CString(maxName)
}

// pointerToPointers reports whether a member is an array of pointers that lies elsewhere, as task_group's queues were before 7.1
// put them into per-CPU memory.
func pointerToPointers(t *symbols.Type) bool {
	t = t.Strip()
	return t.Kind == symbols.Pointer && t.Elem().Strip().Kind == symbols.Pointer
}

var errMany = errors.New("more entries than a queue can hold: damaged")
