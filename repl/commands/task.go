package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/view"
)

func taskCommand() *Command {
	return &Command{
		Name: "task", Group: "tasks", Summary: "a task's task_struct, or some of its members", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-x|-d] [-a] [-R member[,member]…] [pid | task | name]…"},
		Flags: []Flag{
			{Name: "R", Arg: "MEMBERS", Help: "only these members, e.g. pid,mm or se.vruntime"},
			{Name: "x", Help: "numbers in hexadecimal"},
			{Name: "d", Help: "numbers in decimal"},
			annotateFlag(),
		},
		Help:     "Shows struct task_struct of the context, or of the given tasks, under each task's header. On x86-64 its first member is the thread_info.",
		Examples: []Example{{"task -R __state,flags -x", "two members, in hexadecimal"}, {"foreach UN task -R sched_info.last_arrival", "a member of every blocked task"}},
		Run:      runTask,
	}
}

func runTask(c *Call) (view.Result, error) {
	xs, err := selectTasks(c, c.Args)
	if err != nil {
		return nil, err
	}
	t, err := c.View.Struct("task_struct")
	if err != nil {
		return nil, err
	}
	var members []string
	for _, list := range c.Flags.Values("R") {
		members = append(members, strings.Split(list, ",")...)
	}
	for _, m := range members {
		if _, ok := t.Path(m); !ok {
			return nil, fmt.Errorf("task_struct has no member %s%s", m, expr.SimilarMember(t, m))
		}
	}
	st := view.Style{Hex: c.hex(), Pointee: c.pointees()}
	out := view.TaskResults{}
	for _, x := range xs {
		o := &view.Objects{Type: t, Members: members, Style: st, List: []view.Object{{CPU: -1, First: true, Addr: x.Addr, Value: c.View.Object(t, x.Addr)}}}
		out = append(out, view.TaskResult{TaskHeader: header(x), Result: o})
	}
	return out, nil
}
