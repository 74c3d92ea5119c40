package commands

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/sched"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func runqCommand() *Command {
	return &Command{
		Name: "runq", Group: "tasks", Summary: "the run queues: what ran and what was ready to", Needs: NeedsTypes,
		Usage: []string{"[-g] [-v] [-c CPUS]", "-t | -T | -m | -d [-c CPUS]"},
		Flags: []Flag{
			{Name: "g", Help: "by task groups, with their names and whether their CPU bandwidth is used up"},
			{Name: "v", Help: "with what the class goes by: vruntime, virtual deadline, lag and slice; deadline and runtime; dispatch queue"},
			{Name: "t", Help: "each run queue's clock, and when its task got the CPU"},
			{Name: "T", Help: "how far each clock is behind the newest"},
			{Name: "m", Help: "how long each CPU's task has run"},
			{Name: "d", Help: "the tasks that say of themselves that they are queued (task_struct.on_rq), whatever the queues hold"},
			{Name: "c", Arg: "CPUS", Help: "only these CPUs, e.g. 1,3-5 or a"},
		},
		Help: "For each CPU its current task, and the tasks queued in the real-time and the fair class, each with its priority; those of groups too. Where there are any, " +
			"also tasks of the deadline class (DL) and those of a BPF scheduler (SCX: all that it has to run on the CPU).\n\n" +
			"(DELAYED) marks a task that went to sleep but stays queued until its lag is spent (since 6.12). (THROTTLED) is a group that has used up its quota, and a " +
			"task of such a group, which waits for the next period. vlag is as of when the task was last queued. For idle tasks the kernel does not keep when they got the CPU: -t and -m show -.",
		Examples: []Example{{"runq", "what was ready to run"}, {"runq -g", "by task groups"}, {"runq -v", "why the next task is the next"}, {"runq -m", "how long each CPU was at it"}},
		Run:      runRunq,
	}
}

func runRunq(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{c.Cmd.Name, "it takes no arguments; -c chooses CPUs"}
	}
	if err := onlyOne(c, "g", "t", "T", "m", "d"); err != nil {
		return nil, err
	}
	cpus, err := chosenCPUs(c, "c")
	if err != nil {
		return nil, err
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	if c.Flags.Has("d") {
		return onQueues(c.View, t, cpus)
	}
	r, err := sched.New(c.View)
	if err != nil {
		return nil, err
	}
	var queues []*sched.Queue
	for _, cpu := range cpus {
		q, err := r.Queue(cpu)
		if err != nil {
			c.View.Gap("", err)
			continue
		}
		queues = append(queues, q)
	}
	for _, form := range []string{"t", "T", "m"} {
		if c.Flags.Has(form) {
			return runClocks(t, queues, form, len(queues) == len(cpus)), nil
		}
	}
	out := &view.RunQueues{Queues: []view.RunQueue{}, Groups: c.Flags.Has("g"), Values: c.Flags.Has("v")}
	for _, q := range queues {
		r.Tasks(q)
		out.Queues = append(out.Queues, (&runQueue{c, r, t, q}).view())
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// queuedStruct is what a task_struct says of its queue.
type queuedStruct struct {
	OnRQ int32 `k:"on_rq"`
}

// onQueues is -d.
func onQueues(v *kernel.View, t *task.Table, cpus []int) (view.Result, error) {
	bind, err := kernel.Bind[queuedStruct](v.Kernel, "task_struct")
	if err != nil {
		return nil, err
	}
	queued := make(map[int][]view.QueueTask)
	for _, x := range t.Tasks {
		q, err := bind.Read(v, x.Addr)
		if err != nil {
			v.Gap(fmt.Sprintf("PID %d: on_rq", x.PID), err)
			continue
		}
		if q.OnRQ != 0 {
			queued[x.CPU] = append(queued[x.CPU], *queueTask(t, x.Addr))
		}
	}
	out := view.QueuedTasks{}
	for _, cpu := range cpus {
		out = append(out, view.CPUTasks{CPU: cpu, Tasks: append([]view.QueueTask{}, queued[cpu]...)})
	}
	return out, nil
}

// runClocks is -t, -T and -m. Without all of the clocks it is not known which is the newest.
func runClocks(t *task.Table, queues []*sched.Queue, form string, all bool) *view.RunClocks {
	newest := uint64(0)
	for _, q := range queues {
		newest = max(newest, q.Clock)
	}
	out := &view.RunClocks{Clocks: []view.RunClock{}, Form: form}
	for _, q := range queues {
		row := view.RunClock{CPU: q.CPU, Clock: q.Clock, Current: queueTask(t, q.Current)}
		if lag := newest - q.Clock; all {
			row.Lag = &lag
		}
		if x := t.ByAddr(q.Current); x != nil && q.Current != q.Idle {
			row.LastRun = &x.LastRun
			run := uint64(0)
			if q.Clock > x.LastRun {
				run = q.Clock - x.LastRun
			}
			row.Running = &run
		}
		out.Clocks = append(out.Clocks, row)
	}
	if form == "T" {
		sortStable(out.Clocks, func(a, b view.RunClock) bool { return a.Clock > b.Clock })
	}
	return out
}

func queueTask(t *task.Table, at vmem.Addr) *view.QueueTask {
	if at == 0 {
		return nil
	}
	out := &view.QueueTask{Task: at}
	if x := t.ByAddr(at); x != nil {
		out.PID, out.Prio, out.Comm = &x.PID, &x.Prio, &x.Comm
	}
	return out
}

// runQueue turns one queue into its result.
type runQueue struct {
	c *Call
	r *sched.Reader
	t *task.Table
	q *sched.Queue
}

func (r *runQueue) view() view.RunQueue {
	q := r.q
	out := view.RunQueue{CPU: q.CPU, Addr: q.Addr, Current: queueTask(r.t, q.Current), NRRunning: q.NRRunning, Clock: q.Clock}
	if e, err := r.r.EntityOf(q.Current); err == nil && q.Current != q.Idle {
		f := r.entity(&e)
		out.CurrentCF = &f
	}
	if q.RT != nil {
		out.RT = r.realTime(q.RT)
	}
	if q.Fair != nil {
		out.Fair = r.fair(q.Fair)
	}
	if d := q.Deadline; d != nil {
		out.Deadline = &view.DLQueue{Addr: d.Addr, Root: d.Root, Entries: []view.DLEntry{}}
		for _, e := range d.Entities {
			out.Deadline.Entries = append(out.Deadline.Entries, view.DLEntry{Addr: e.Addr, Task: queueTask(r.t, e.Task), Server: e.Server, Runtime: e.Runtime,
				Deadline: e.Deadline, Throttled: e.Throttled, Current: e.Task != 0 && e.Task == q.Current})
		}
	}
	if x := q.Ext; x != nil {
		out.Ext = &view.ExtQueue{Addr: x.Addr, Runnable: x.Runnable, Entries: []view.ExtEntry{}}
		for _, e := range x.Tasks {
			out.Ext.Entries = append(out.Ext.Entries, view.ExtEntry{Task: *queueTask(r.t, e.Task), DSQ: e.DSQ, DSQID: (*vmem.Addr)(e.DSQID), Slice: e.Slice, VTime: e.VTime,
				Current: e.Task == q.Current})
		}
	}
	return out
}

func groupOf(at vmem.Addr) *vmem.Addr {
	if at == 0 {
		return nil
	}
	return &at
}

func (r *runQueue) realTime(q *sched.RT) *view.RTQueue {
	out := &view.RTQueue{Addr: q.Addr, Array: q.Array, Group: groupOf(q.Group), Name: q.Name, Throttled: q.Throttled, Entries: []view.RTEntry{}}
	for _, e := range q.Entities {
		row := view.RTEntry{Prio: e.Prio, Task: queueTask(r.t, e.Task), Current: e.Task != 0 && e.Task == r.q.Current}
		if e.Group != nil {
			row.Group = r.realTime(e.Group)
		}
		out.Entries = append(out.Entries, row)
	}
	return out
}

func (r *runQueue) fair(q *sched.Fair) *view.FairQueue {
	out := &view.FairQueue{Addr: q.Addr, Root: q.Root, Group: groupOf(q.Group), Name: q.Name, Throttled: q.Throttled, MinVruntime: q.MinVruntime, Entries: []view.FairEntry{}}
	for i := range q.Entities {
		out.Entries = append(out.Entries, r.entity(&q.Entities[i]))
	}
	return out
}

func (r *runQueue) entity(e *sched.Entity) view.FairEntry {
	out := view.FairEntry{Task: queueTask(r.t, e.Task), Current: e.Current, Delayed: e.Delayed, Throttled: e.Throttled, Weight: e.Weight, Vruntime: e.Vruntime,
		Deadline: e.Deadline, Slice: e.Slice, Vlag: e.Vlag}
	if e.Group != nil {
		out.Group = r.fair(e.Group)
	}
	return out
}
