package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"kdx/analyze/vmem"
)

// QueueTask is a task on a run queue. One that the table of tasks does not have has no pid: the queue leads to memory that is no task.
type QueueTask struct {
	Task vmem.Addr `json:"task"`
	PID  *int32    `json:"pid"`
	Prio *int32    `json:"prio"`
	Comm *string   `json:"comm"`
}

func (t *QueueTask) line() string {
	if t.PID == nil || t.Comm == nil {
		return fmt.Sprintf("PID: -      TASK: %016x  COMMAND: -", uint64(t.Task))
	}
	return fmt.Sprintf("PID: %-5d  TASK: %016x  COMMAND: \"%s\"", *t.PID, uint64(t.Task), Printable(*t.Comm))
}

func (t *QueueTask) prio() string {
	if t.Prio == nil {
		return "  -"
	}
	return fmt.Sprintf("%3d", *t.Prio)
}

// RunQueues is runq.
type RunQueues struct {
	Queues []RunQueue `json:"queues"`
	Values bool       `json:"-"` // -v
	Groups bool       `json:"-"` // -g
}

// RunQueue is a CPU's.
type RunQueue struct {
	CPU       int        `json:"cpu"`
	Addr      vmem.Addr  `json:"rq"`
	Current   *QueueTask `json:"current"` // null if unknown
	NRRunning uint32     `json:"nr_running"`
	Clock     uint64     `json:"clock_ns"`
	CurrentCF *FairEntry `json:"-"` // what the fair class knows of Current, if it is one of its tasks

	RT       *RTQueue   `json:"rt"` // null if it can't be read
	Fair     *FairQueue `json:"fair"`
	Deadline *DLQueue   `json:"deadline"`
	Ext      *ExtQueue  `json:"sched_ext"` // null too if the kernel has no such class
}

// FairQueue is a struct cfs_rq: a task group's on a CPU.
type FairQueue struct {
	Addr        vmem.Addr   `json:"cfs_rq"`
	Root        vmem.Addr   `json:"tasks_timeline"`
	Group       *vmem.Addr  `json:"task_group"`
	Name        string      `json:"group_name"`
	Throttled   bool        `json:"throttled"`
	MinVruntime *uint64     `json:"min_vruntime"`
	Entries     []FairEntry `json:"entities"`
}

// FairEntry is a task or a group in a fair queue.
type FairEntry struct {
	Task      *QueueTask `json:"task"` // null for a group
	Group     *FairQueue `json:"group"`
	Current   bool       `json:"current"`   // it runs
	Delayed   bool       `json:"delayed"`   // it went to sleep and is queued until its lag is spent
	Throttled bool       `json:"throttled"` // a task that waits for the next period of its group, or of one above
	Weight    uint64     `json:"weight"`
	Vruntime  uint64     `json:"vruntime"`
	Deadline  *uint64    `json:"deadline"` // virtual; null before 6.6, as slice and vlag
	Slice     *uint64    `json:"slice_ns"`
	Vlag      *int64     `json:"vlag"`
}

// RTQueue is a struct rt_rq.
type RTQueue struct {
	Addr      vmem.Addr  `json:"rt_rq"`
	Array     vmem.Addr  `json:"prio_array"`
	Group     *vmem.Addr `json:"task_group"`
	Name      string     `json:"group_name"`
	Throttled bool       `json:"throttled"`
	Entries   []RTEntry  `json:"entities"`
}

// RTEntry is a task or a group in a queue of the real-time class.
type RTEntry struct {
	Prio    int        `json:"prio"`
	Task    *QueueTask `json:"task"`
	Group   *RTQueue   `json:"group"`
	Current bool       `json:"current"`
}

// DLQueue is a struct dl_rq.
type DLQueue struct {
	Addr    vmem.Addr `json:"dl_rq"`
	Root    vmem.Addr `json:"rb_root"`
	Entries []DLEntry `json:"entities"`
}

// DLEntry is a task in a queue of the deadline class, or a server that runs another class for a while.
type DLEntry struct {
	Addr      vmem.Addr  `json:"sched_dl_entity"`
	Task      *QueueTask `json:"task"` // null for a server
	Server    bool       `json:"server"`
	Runtime   int64      `json:"runtime_ns"` // left
	Deadline  uint64     `json:"deadline_ns"`
	Throttled bool       `json:"throttled"`
	Current   bool       `json:"current"`
}

// ExtQueue is a struct scx_rq.
type ExtQueue struct {
	Addr     vmem.Addr  `json:"scx_rq"`
	Runnable vmem.Addr  `json:"runnable_list"`
	Entries  []ExtEntry `json:"tasks"`
}

// ExtEntry is a task that a BPF scheduler has to run.
type ExtEntry struct {
	Task    QueueTask  `json:"task"`
	DSQ     vmem.Addr  `json:"dispatch_queue"` // 0: it is with the BPF scheduler
	DSQID   *vmem.Addr `json:"dispatch_queue_id"`
	Slice   uint64     `json:"slice_ns"`
	VTime   uint64     `json:"vtime"`
	Current bool       `json:"current"`
}

// Text writes crash's form.
func (r *RunQueues) Text(w io.Writer, _ Options) error {
	return blocks(w, r.Queues, func(bw *bufio.Writer, q RunQueue) {
		if r.Groups {
			q.groupText(bw, r.Values)
		} else {
			q.text(bw, r.Values)
		}
	})
}

const noTasks = "[no tasks queued]\n"

func (q *RunQueue) current(w io.Writer, values bool) {
	if q.Current == nil {
		fmt.Fprintf(w, "  CURRENT: -\n")
		return
	}
	fmt.Fprintf(w, "  CURRENT: %s\n", q.Current.line())
	if values && q.CurrentCF != nil {
		fmt.Fprintf(w, "           %s\n", q.CurrentCF.values())
	}
}

func (q *RunQueue) text(w io.Writer, values bool) {
	fmt.Fprintf(w, "CPU %d RUNQUEUE: %016x\n", q.CPU, uint64(q.Addr))
	q.current(w, values)
	q.dlText(w, values)
	if q.RT == nil {
		fmt.Fprintf(w, "  RT PRIO_ARRAY: -\n")
	} else {
		fmt.Fprintf(w, "  RT PRIO_ARRAY: %016x\n", uint64(q.RT.Array))
		if q.RT.tasks(w) == 0 {
			fmt.Fprint(w, "     "+noTasks)
		}
	}
	if q.Fair == nil {
		fmt.Fprintf(w, "  CFS RB_ROOT: -\n")
	} else {
		fmt.Fprintf(w, "  CFS RB_ROOT: %016x\n", uint64(q.Fair.Root))
		if q.Fair.tasks(w, values) == 0 {
			fmt.Fprint(w, "     "+noTasks)
		}
	}
	q.extText(w, values)
}

// dlText is what crash does not know: it is shown if there is something in it.
func (q *RunQueue) dlText(w io.Writer, values bool) {
	if q.Deadline == nil || len(q.Deadline.Entries) == 0 {
		return
	}
	fmt.Fprintf(w, "  DL RB_ROOT: %016x\n", uint64(q.Deadline.Root))
	for i := range q.Deadline.Entries {
		e := &q.Deadline.Entries[i]
		marks := mark(e.Current, "[CURRENT]") + mark(e.Throttled, "(THROTTLED)")
		if e.Task == nil {
			fmt.Fprintf(w, "     [ -1] SERVER: %016x%s\n", uint64(e.Addr), marks)
		} else {
			fmt.Fprintf(w, "     [%s] %s%s\n", e.Task.prio(), e.Task.line(), marks)
		}
		if values {
			fmt.Fprintf(w, "           deadline: %d  runtime left: %s\n", e.Deadline, time.Duration(e.Runtime))
		}
	}
}

func (q *RunQueue) extText(w io.Writer, values bool) {
	if q.Ext == nil || len(q.Ext.Entries) == 0 {
		return
	}
	fmt.Fprintf(w, "  SCX RUNNABLE_LIST: %016x\n", uint64(q.Ext.Runnable))
	for i := range q.Ext.Entries {
		e := &q.Ext.Entries[i]
		fmt.Fprintf(w, "     [%s] %s%s\n", e.Task.prio(), e.Task.line(), mark(e.Current, "[CURRENT]"))
		if values {
			id := "-"
			if e.DSQID != nil {
				id = fmt.Sprintf("%#x", uint64(*e.DSQID))
			}
			fmt.Fprintf(w, "           dsq: %s  vtime: %d  slice: %s\n", id, e.VTime, time.Duration(e.Slice))
		}
	}
}

// tasks writes the tasks of a queue and of its groups, but not what runs, and returns how many there are.
func (q *RTQueue) tasks(w io.Writer) int {
	n := 0
	for i := range q.Entries {
		e := &q.Entries[i]
		if e.Group != nil {
			n += e.Group.tasks(w)
			continue
		}
		fmt.Fprintf(w, "     [%3d] %s\n", e.Prio, e.Task.line())
		n++
	}
	return n
}

func (q *FairQueue) tasks(w io.Writer, values bool) int {
	n := 0
	for i := range q.Entries {
		e := &q.Entries[i]
		switch {
		case e.Group != nil:
			n += e.Group.tasks(w, values)
		case !e.Current:
			e.text(w, "     ", values)
			n++
		}
	}
	return n
}

func (e *FairEntry) text(w io.Writer, indent string, values bool) {
	fmt.Fprintf(w, "%s[%s] %s%s%s%s\n", indent, e.Task.prio(), e.Task.line(), mark(e.Current, "[CURRENT]"), mark(e.Delayed, "(DELAYED)"), mark(e.Throttled, "(THROTTLED)"))
	if values {
		fmt.Fprintf(w, "%s      %s\n", indent, e.values())
	}
}

func (e *FairEntry) values() string {
	deadline, slice, lag := "-", "-", "-"
	if e.Deadline != nil {
		deadline = fmt.Sprint(*e.Deadline)
	}
	if e.Slice != nil {
		slice = time.Duration(*e.Slice).String()
	}
	if e.Vlag != nil {
		lag = fmt.Sprint(*e.Vlag)
	}
	return fmt.Sprintf("vruntime: %d  deadline: %s  vlag: %s  slice: %s  weight: %d", e.Vruntime, deadline, lag, slice, e.Weight)
}

func mark(yes bool, text string) string {
	if yes {
		return " " + text
	}
	return ""
}

func (q *RunQueue) groupText(w io.Writer, values bool) {
	fmt.Fprintf(w, "CPU %d\n", q.CPU)
	q.current(w, values)
	q.dlText(w, values)
	if q.RT != nil && (q.RT.Group != nil || len(q.RT.Entries) > 0) {
		q.RT.groupText(w, "  ", "", "ROOT_TASK_GROUP")
	}
	if q.Fair == nil {
		fmt.Fprintf(w, "  ROOT_TASK_GROUP: -  CFS_RQ: -\n")
	} else {
		q.Fair.groupText(w, "  ", "ROOT_TASK_GROUP", values)
	}
	q.extText(w, values)
}

func groupLine(w io.Writer, indent, label string, group *vmem.Addr, kind string, at vmem.Addr, throttled bool, name string) {
	tg := "-"
	if group != nil {
		tg = fmt.Sprintf("%016x", uint64(*group))
	}
	if name != "" {
		name = "  <" + Printable(name) + ">"
	}
	fmt.Fprintf(w, "%s%s: %s  %s: %016x%s%s\n", indent, label, tg, kind, uint64(at), name, mark(throttled, "(THROTTLED)"))
}

func (q *RTQueue) groupText(w io.Writer, indent, prio, label string) {
	groupLine(w, indent+prio, label, q.Group, "RT_RQ", q.Addr, q.Throttled, q.Name)
	indent += strings.Repeat(" ", len(prio)) + "   "
	for i := range q.Entries {
		e := &q.Entries[i]
		if e.Group != nil {
			e.Group.groupText(w, indent, fmt.Sprintf("[%3d] ", e.Prio), "TASK_GROUP")
			continue
		}
		fmt.Fprintf(w, "%s[%3d] %s%s\n", indent, e.Prio, e.Task.line(), mark(e.Current, "[CURRENT]"))
	}
	if len(q.Entries) == 0 {
		fmt.Fprint(w, indent+noTasks)
	}
}

func (q *FairQueue) groupText(w io.Writer, indent, label string, values bool) {
	groupLine(w, indent, label, q.Group, "CFS_RQ", q.Addr, q.Throttled, q.Name)
	indent += "   "
	for i := range q.Entries {
		e := &q.Entries[i]
		if e.Group != nil {
			e.Group.groupText(w, indent, "TASK_GROUP", values)
			continue
		}
		e.text(w, indent, values)
	}
	if len(q.Entries) == 0 {
		fmt.Fprint(w, indent+noTasks)
	}
}

// QueuedTasks is runq -d. Its JSON is an array of CPUTasks.
type QueuedTasks []CPUTasks

// CPUTasks are the tasks of a CPU.
type CPUTasks struct {
	CPU   int         `json:"cpu"`
	Tasks []QueueTask `json:"tasks"`
}

// Text writes crash's form.
func (q QueuedTasks) Text(w io.Writer, _ Options) error {
	return blocks(w, q, func(bw *bufio.Writer, c CPUTasks) {
		fmt.Fprintf(bw, "CPU %d\n", c.CPU)
		for i := range c.Tasks {
			prio := "-"
			if p := c.Tasks[i].Prio; p != nil {
				prio = fmt.Sprint(*p)
			}
			fmt.Fprintf(bw, "     [%3s] %s\n", prio, c.Tasks[i].line())
		}
	})
}

// RunClocks is runq -t, -T and -m.
type RunClocks struct {
	Clocks []RunClock `json:"clocks"`
	Form   string     `json:"-"` // "t", "T", "m"
}

// RunClock is a run queue's clock and how long its task has run. Times are nanoseconds on the scheduler's clock.
type RunClock struct {
	CPU     int        `json:"cpu"`
	Clock   uint64     `json:"clock_ns"`
	Lag     *uint64    `json:"lag_ns"` // behind the newest clock; null if a clock of those asked for can't be read
	Current *QueueTask `json:"current"`
	LastRun *uint64    `json:"last_run_ns"` // when Current got the CPU; null if unknown, which the kernel does not keep of idle tasks
	Running *uint64    `json:"running_ns"`
}

// Text writes crash's form.
func (r *RunClocks) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for i := range r.Clocks {
		c := &r.Clocks[i]
		task := "PID: -"
		if c.Current != nil {
			task = c.Current.line()
		}
		switch r.Form {
		case "t":
			clock := fmt.Sprint(c.Clock)
			last := uint64(0)
			if c.LastRun != nil {
				last = *c.LastRun
			}
			label := fmt.Sprintf(" CPU %d: ", c.CPU)
			stamp := fmt.Sprintf("%0*d", len(clock), last)
			if c.LastRun == nil {
				stamp = fmt.Sprintf("%*s", len(clock), "-")
			}
			fmt.Fprintf(bw, "%s%s\n%*s%s  %s\n", label, clock, len(label), "", stamp, task)
		case "T":
			if c.Lag == nil {
				fmt.Fprintf(bw, "  CPU %d: -\n", c.CPU)
				continue
			}
			fmt.Fprintf(bw, "  CPU %d: %.2f secs\n", c.CPU, float64(*c.Lag)/1e9)
		default:
			running := fmt.Sprintf("%14s", "-")
			if c.Running != nil {
				running = dayTime(*c.Running)
			}
			fmt.Fprintf(bw, " CPU %d: [%s]  %s\n", c.CPU, running, task)
		}
	}
	return bw.Flush()
}
