package commands

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/sysinfo"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func psCommand() *Command {
	return &Command{
		Name: "ps", Group: "tasks", Summary: "the tasks and what they were doing", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-kuGIAHsYS] [-y POLICY] [pid | task | name]…", "[-p|-c|-g|-t|-a|-r] [pid | task | name]…", "[-l|-m] [-C CPUS] [pid | task | name]…"},
		Flags: []Flag{
			{Name: "k", Help: "kernel threads only"},
			{Name: "u", Help: "user tasks only"},
			{Name: "G", Help: "thread group leaders only"},
			{Name: "I", Help: "leave out idle tasks"},
			{Name: "A", Help: "only the task that was running on each CPU"},
			{Name: "y", Arg: "POLICY", Help: "only these scheduling policies, by name or number: NORMAL, FIFO, RR, BATCH, IDLE, DEADLINE, EXT"},
			{Name: "H", Help: "no header"},
			{Name: "s", Help: "the saved kernel stack pointer in place of the task's address"},
			{Name: "Y", Help: "scheduling policy and priority in place of state and memory"},
			{Name: "S", Help: "count the tasks of each state"},
			{Name: "p", Help: "each task's ancestors, the eldest first"},
			{Name: "c", Help: "each task's children: the tasks, threads too, that have it as their parent"},
			{Name: "g", Help: "the threads of each process"},
			{Name: "t", Help: "run time, start time, user and system time"},
			{Name: "l", Help: "sorted by when each task last got a CPU, newest first, with the scheduler's time stamp"},
			{Name: "m", Help: "as -l, as days and time before the crash"},
			{Name: "C", Arg: "CPUS", Help: "with -l or -m: CPU by CPU, e.g. 1,3-5 or a"},
			{Name: "a", Help: "command line and environment"},
			{Name: "r", Help: "resource limits"},
		},
		Help: "A > marks the tasks that were running at the crash; names of kernel threads stand in brackets. VSZ and RSS are in KB, %MEM is of the " +
			"memory that the kernel manages. States: RU running or runnable, IN interruptible and UN uninterruptible sleep, ID idle kernel thread, " +
			"ST stopped, TR traced, ZO zombie, DE dead, PA parked, WA waking, NE new.\n\n" +
			"PPID is the parent's process, as in /proc/PID/status, also where one of its threads made the task.\n\n" +
			"A task is named by its pid, the address of its task_struct, its command name (behind \\ if that is a number), or a regular expression.",
		Examples: []Example{{"ps | grep UN", "tasks in uninterruptible sleep"}, {"ps -m | head", "what ran last"}, {"ps -g 293", "the threads of a process"}},
		Run:      runPS,
	}
}

func runPS(c *Call) (view.Result, error) {
	if err := onlyOne(c, "p", "c", "g", "t", "l", "m", "a", "r", "S"); err != nil {
		return nil, err
	}
	if c.Flags.Has("C") && !c.Flags.Has("l") && !c.Flags.Has("m") {
		return nil, &UsageError{c.Cmd.Name, "-C goes with -l or -m"}
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	xs, err := psTasks(c, t)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Flags.Has("S"):
		return countStates(xs), nil
	case c.Flags.Has("p"), c.Flags.Has("c"), c.Flags.Has("g"):
		return relations(c, t, xs), nil
	case c.Flags.Has("t"):
		return taskTimes(c, xs)
	case c.Flags.Has("l"), c.Flags.Has("m"):
		return lastRuns(c, t, xs)
	case c.Flags.Has("a"):
		return taskArgs(c, xs), nil
	case c.Flags.Has("r"):
		return taskLimits(c, xs), nil
	}
	return processTable(c, t, xs), nil
}

func psTasks(c *Call, t *task.Table) ([]*task.Task, error) {
	xs := t.Tasks
	if len(c.Args) > 0 {
		var err error
		if xs, err = selectTasks(c, c.Args); err != nil {
			return nil, err
		}
		order := make(map[*task.Task]int, len(t.Tasks)) // several arguments mix their tasks in the order of the whole list
		for i, x := range t.Tasks {
			order[x] = i
		}
		slices.SortStableFunc(xs, func(a, b *task.Task) int { return order[a] - order[b] })
	}
	policies, err := parsePolicies(c.Flags.Value("y"))
	if err != nil {
		return nil, err
	}
	var out []*task.Task
	for _, x := range xs {
		switch {
		case c.Flags.Has("k") && !x.Kernel(), c.Flags.Has("u") && x.Kernel(), c.Flags.Has("G") && x.PID != x.TGID,
			c.Flags.Has("I") && x.Idle, c.Flags.Has("A") && !x.OnCPU, policies != nil && !slices.Contains(policies, x.Policy):
			continue
		}
		out = append(out, x)
	}
	return out, nil
}

func parsePolicies(list string) ([]uint32, error) {
	if list == "" {
		return nil, nil
	}
	var out []uint32
next:
	for word := range strings.SplitSeq(list, ",") {
		number, err := strconv.ParseUint(word, 0, 32)
		for n, name := range task.Policies {
			if strings.EqualFold(name, word) || err == nil && n == uint32(number) {
				out = append(out, n)
				continue next
			}
		}
		return nil, &UsageError{"ps", fmt.Sprintf("-y: %s is no scheduling policy", word)}
	}
	return out, nil
}

func policyName(n uint32) string {
	if s, ok := task.Policies[n]; ok {
		return s
	}
	return fmt.Sprint(n)
}

func processTable(c *Call, t *task.Table, xs []*task.Task) *view.ProcessTable {
	out := &view.ProcessTable{KStackP: c.Flags.Has("s"), Policy: c.Flags.Has("Y"), NoHeader: c.Flags.Has("H"), Rows: make([]view.Process, 0, len(xs))}
	cached := task.CachedRSS(c.View, t)
	total, err := task.TotalRAM(c.View)
	if err != nil {
		c.View.Gap("memory total", err)
	}
	for _, x := range xs {
		p := view.Process{PID: x.PID, TGID: x.TGID, CPU: x.CPU, Task: x.Addr, State: x.StateName(), Active: x.OnCPU,
			Kernel: x.Kernel(), Comm: x.Comm, Policy: policyName(x.Policy), Prio: x.Prio, LastRun: x.LastRun}
		if sp := vmem.Addr(x.SP); !x.OnCPU {
			p.KStack = &sp
		}
		if ppid, ok := t.PPID(x); ok {
			p.PPID = &ppid
		} else {
			c.View.Gap(fmt.Sprintf("PID %d: parent", x.PID), fmt.Errorf("the task at %#x could not be read", uint64(x.Parent)))
		}
		if m, err := task.MemoryOf(c.View, x); err != nil {
			c.View.Gap("", err)
		} else {
			m.Resident = uint64(max(int64(m.Resident)+cached[x.MM], 0))
			p.VSZ, p.RSS = &m.Virtual, &m.Resident
			if total != 0 {
				pc := float64(m.Resident) * 100 / float64(total)
				p.MemPercent = &pc
			}
		}
		out.Rows = append(out.Rows, p)
	}
	return out
}

func countStates(xs []*task.Task) view.StateCounts {
	n := make(map[string]int)
	for _, x := range xs {
		n[x.StateName()]++
	}
	out := view.StateCounts{}
	for _, s := range append(slices.Clone(task.StateNames), "??") {
		if n[s] > 0 {
			out = append(out, view.StateCount{State: s, Count: n[s]})
		}
	}
	return out
}

func relations(c *Call, t *task.Table, xs []*task.Task) view.TaskRelations {
	out := view.TaskRelations{}
	done := make(map[int32]bool)
	for _, x := range xs {
		var r view.TaskRelation
		switch {
		case c.Flags.Has("p"):
			r.Indent = true
			chain := []*task.Task{x}
			for y := t.ByAddr(x.Parent); y != nil && !slices.Contains(chain, y); y = t.ByAddr(y.Parent) {
				chain = append(chain, y)
			}
			slices.Reverse(chain)
			for _, y := range chain {
				r.Tasks = append(r.Tasks, header(y))
			}
		case c.Flags.Has("c"):
			r.None = "(no children)"
			r.Tasks = append(r.Tasks, header(x))
			for _, y := range t.Children(x) {
				r.Tasks = append(r.Tasks, header(y))
			}
		default:
			if done[x.TGID] {
				continue
			}
			done[x.TGID] = true
			r.None = "(no threads)"
			threads := t.Threads(x)
			if x.Idle {
				threads = idleTasks(t)
			}
			for _, y := range threads {
				r.Tasks = append(r.Tasks, header(y))
			}
		}
		out = append(out, r)
	}
	return out
}

func taskTimes(c *Call, xs []*task.Task) (view.Result, error) {
	up, err := sysinfo.Uptime(c.View)
	if err != nil {
		return nil, err
	}
	out := view.TaskTimes{}
	for _, x := range xs {
		run := uint64(0)
		if uint64(up) > x.StartTime {
			run = uint64(up) - x.StartTime
		}
		out = append(out, view.TaskTime{TaskHeader: header(x), RunTime: run, StartTime: x.StartTime, UTime: x.UTime, STime: x.STime})
	}
	return out, nil
}

func lastRuns(c *Call, t *task.Table, xs []*task.Task) (view.Result, error) {
	clocks := make(map[int]uint64)
	for cpu := range t.CPUs() {
		now, err := rqClock(c.View, cpu)
		if err != nil {
			c.View.Gap(fmt.Sprintf("clock of CPU %d", cpu), err)
			continue
		}
		clocks[cpu] = now
	}
	rows := func(keep func(*task.Task) bool) []view.LastRun {
		out := []view.LastRun{}
		for _, x := range xs {
			if !keep(x) {
				continue
			}
			row := view.LastRun{TaskHeader: header(x), State: x.StateName(), LastRun: x.LastRun}
			if now, known := clocks[x.CPU]; known {
				ago := max(now, x.LastRun) - x.LastRun
				row.Ago = &ago
			}
			out = append(out, row)
		}
		sortStable(out, func(a, b view.LastRun) bool { return a.LastRun > b.LastRun })
		return out
	}
	ago := c.Flags.Has("m")
	if !c.Flags.Has("C") {
		return view.LastRuns{view.NewLastRunGroup(nil, rows(func(*task.Task) bool { return true }), ago)}, nil
	}
	cpus, err := parseCPUs(c.Flags.Value("C"), t.CPUs())
	if err != nil {
		return nil, err
	}
	var out view.LastRuns
	for _, cpu := range cpus {
		out = append(out, view.NewLastRunGroup(&cpu, rows(func(x *task.Task) bool { return x.CPU == cpu }), ago))
	}
	return out, nil
}

// rqClock is the run queue's clock, on which sched_info.last_arrival is stamped.
func rqClock(v *kernel.View, cpu int) (uint64, error) {
	rq, err := task.RunQueue(v, cpu)
	if err != nil {
		return 0, err
	}
	return rq.Field("clock").Uint()
}

func taskArgs(c *Call, xs []*task.Task) view.TaskArgs {
	out := view.TaskArgs{}
	for _, x := range xs {
		a := view.TaskArg{TaskHeader: header(x)}
		if x.MM != 0 {
			var err error
			a.Args, a.Env, err = task.Args(c.View, x)
			c.View.Gap("", err)
		}
		out = append(out, a)
	}
	return out
}

func taskLimits(c *Call, xs []*task.Task) view.TaskLimits {
	out := view.TaskLimits{}
	for _, x := range xs {
		l := view.TaskLimit{TaskHeader: header(x), Limits: []view.ResourceLimit{}}
		limits, err := task.Limits(c.View, x)
		c.View.Gap("", err)
		for _, r := range limits {
			row := view.ResourceLimit{Name: r.Name, Current: &r.Cur, Maximum: &r.Max}
			if r.Unlimited[0] {
				row.Current = nil
			}
			if r.Unlimited[1] {
				row.Maximum = nil
			}
			l.Limits = append(l.Limits, row)
		}
		out = append(out, l)
	}
	return out
}
