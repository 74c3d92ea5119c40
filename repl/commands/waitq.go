package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/sched"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func waitqCommand() *Command {
	return &Command{
		Name: "waitq", Group: "tasks", Summary: "the tasks that wait on a wait queue", Needs: NeedsTypes, Complete: "symbol",
		Usage: []string{"symbol | address | expression", "struct.member address"},
		Help: "The queue is given by its symbol or address, by a C expression, or as a member of the struct at an address. It is a wait_queue_head; where the member or the " +
			"variable says so, a simple one (swait_queue_head).\n\nAn entry that wakes no task directly, as those of epoll, is shown with the function that is called.",
		Examples: []Example{{"waitq log_wait", "a variable"}, {"waitq signal_struct.wait_chldexit ffff8984df7e7180", "a member of the struct at an address"}, {"waitq &init_task.signal->wait_chldexit", "an expression"}},
		Run:      runWaitq,
	}
}

func runWaitq(c *Call) (view.Result, error) {
	var at vmem.Addr
	simple := false
	switch len(c.Args) {
	case 1:
		objs, err := c.objectsAt(c.Args[0])
		if err != nil {
			return nil, err
		}
		if len(objs) != 1 {
			return nil, &UsageError{c.Cmd.Name, "one wait queue"}
		}
		at = objs[0].Addr
		if x := c.View.Global(c.Args[0]); x.Err() == nil {
			simple = sched.IsSimple(x.Type())
		}
	case 2:
		tag, path, ok := strings.Cut(c.Args[0], ".")
		if !ok {
			return nil, &UsageError{c.Cmd.Name, "struct.member address"}
		}
		objs, err := c.objectsAt(c.Args[1])
		if err != nil {
			return nil, err
		}
		x := c.View.ObjectOf(tag, objs[0].Addr).Field(path)
		if err := x.Err(); err != nil {
			return nil, err
		}
		simple = sched.IsSimple(x.Type())
		if at, ok = x.Addr(); !ok {
			return nil, fmt.Errorf("%s is a bit-field", c.Args[0])
		}
	default:
		return nil, &UsageError{c.Cmd.Name, "which wait queue?"}
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	waiters, err := sched.Waiters(c.View, at, simple, func(a vmem.Addr) bool { return t.ByAddr(a) != nil })
	if err != nil {
		return nil, err
	}
	out := &view.WaitQueue{Name: strings.Join(c.Args, " "), Addr: at, Waiters: []view.Waiter{}}
	for _, w := range waiters {
		row := view.Waiter{Entry: w.Entry, Exclusive: w.Exclusive}
		if x := t.ByAddr(w.Task); x != nil {
			h := header(x)
			row.Task = &h
		}
		if w.Func != 0 {
			f := code(c.View, w.Func)
			row.Function = &f
		}
		out.Waiters = append(out.Waiters, row)
	}
	return out, nil
}
