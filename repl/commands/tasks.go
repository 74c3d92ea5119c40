package commands

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"kdx/analyze/backtrace"
	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// tasksOnce holds what commands about tasks share: a dump's tasks don't change. See Refresh for those of a running kernel.
type tasksOnce struct {
	mu     sync.Mutex
	table  *task.Table
	tracer *backtrace.Tracer
	gaps   []kernel.Gap
}

// Tasks are all tasks of the dump. They are read once; what could not be read is a gap of every command that asks.
func (s *State) Tasks(v *kernel.View) (*task.Table, error) {
	s.tasks.mu.Lock()
	defer s.tasks.mu.Unlock()
	if s.tasks.table == nil {
		f := v.Fork()
		t, err := task.Read(f)
		if err != nil {
			v.Merge(f)
			return nil, err
		}
		if err := v.Context().Err(); err != nil {
			return nil, err
		}
		s.tasks.table = t
		s.tasks.gaps, _ = f.Gaps()
	}
	for _, g := range s.tasks.gaps {
		v.Gap(g.What, g.Err)
	}
	return s.tasks.table, nil
}

// Tracer unwinds the dump's tasks.
func (s *State) Tracer(v *kernel.View) (*backtrace.Tracer, error) {
	t, err := s.Tasks(v)
	if err != nil {
		return nil, err
	}
	s.tasks.mu.Lock()
	defer s.tasks.mu.Unlock()
	if s.tasks.tracer == nil {
		s.tasks.tracer = backtrace.New(v, t)
	}
	return s.tasks.tracer, nil
}

// CurrentTask is the context: what `set` chose, else the task that crashed, on a running kernel kdx itself, else what ran on the
// first CPU. Where a task crashed that can't be read, it is another, which is said.
func (s *State) CurrentTask(v *kernel.View) (*task.Task, error) {
	t, err := s.Tasks(v)
	if err != nil {
		return nil, err
	}
	if x := t.ByAddr(s.Current); x != nil {
		return x, nil
	}
	if x := t.Panic(); x != nil {
		return x, nil
	}
	if x := self(v.Kernel, t); x != nil {
		return x, nil
	}
	x := t.Tasks[0]
	for cpu := range t.CPUs() {
		if ran := t.Current(cpu); ran != nil {
			x = ran
			break
		}
	}
	if cpu := t.CrashCPU(); cpu >= 0 {
		v.GapAhead("context", fmt.Errorf("the task that crashed, on CPU %d, can't be read: the context is PID %d (%s) instead, until set chooses one", cpu, x.PID, x.Comm))
	}
	return x, nil
}

// selectTasks turns arguments into tasks: a pid, a task_struct address, a command name, or a regular expression. Without
// arguments it is the current context.
func selectTasks(c *Call, args []string) ([]*task.Task, error) {
	if len(args) == 0 {
		x, err := c.State.CurrentTask(c.View)
		if err != nil {
			return nil, err
		}
		return []*task.Task{x}, nil
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	var out []*task.Task
	for _, a := range args {
		found, err := findTasks(t, a)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func findTasks(t *task.Table, arg string) ([]*task.Task, error) {
	if pid, err := strconv.ParseInt(arg, 10, 32); err == nil {
		if pid == 0 {
			return idleTasks(t), nil
		}
		if x := t.ByPID(int32(pid)); x != nil {
			return []*task.Task{x}, nil
		}
	}
	if addr, err := strconv.ParseUint(strings.TrimPrefix(arg, "0x"), 16, 64); err == nil {
		if x := t.ByAddr(vmem.Addr(addr)); x != nil {
			return []*task.Task{x}, nil
		}
	}
	if found := t.ByComm(strings.TrimPrefix(arg, "\\")); len(found) > 0 {
		return found, nil
	}
	if strings.ContainsAny(arg, "^$.*+?[](){}|\\") {
		re, err := regexp.CompilePOSIX(arg)
		if err != nil {
			return nil, fmt.Errorf("%s is neither a task's name nor a regular expression: %w", arg, err)
		}
		var found []*task.Task
		for _, x := range t.Tasks {
			if re.MatchString(x.Comm) {
				found = append(found, x)
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("no task has the pid, address or name %s", arg)
}

func idleTasks(t *task.Table) []*task.Task {
	var out []*task.Task
	for _, x := range t.Tasks {
		if x.Idle {
			out = append(out, x)
		}
	}
	return out
}

func header(x *task.Task) view.TaskHeader {
	return view.TaskHeader{PID: x.PID, TGID: x.TGID, Task: x.Addr, CPU: x.CPU, Comm: x.Comm}
}

// parseCPUs takes a list such as "1,3-5" or "a" for all apart.
func parseCPUs(list string, known int) ([]int, error) {
	if list == "a" || list == "all" {
		list = fmt.Sprintf("0-%d", known-1)
	}
	var out []int
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(lo)
		if err != nil {
			return nil, fmt.Errorf("%q is no list of CPUs such as 1,3-5", list)
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(hi); err != nil {
				return nil, fmt.Errorf("%q is no list of CPUs such as 1,3-5", list)
			}
		}
		if a < 0 || b < a || b >= known {
			return nil, fmt.Errorf("CPUs %s: this machine has CPUs 0 to %d", part, known-1)
		}
		for ; a <= b; a++ {
			out = append(out, a)
		}
	}
	return out, nil
}
