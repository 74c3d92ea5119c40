package commands

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

func taskCommand() *Command {
	return &Command{
		Name: "task", Group: "tasks", Summary: "a task's task_struct and thread_info, or some of their members", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-x|-d] [-a] [-R member[,member]…] [pid | task | name]…"},
		Flags: []Flag{
			{Name: "R", Arg: "MEMBERS", Help: "only these members, e.g. pid,mm or se.vruntime"},
			{Name: "x", Help: "numbers in hexadecimal"},
			{Name: "d", Help: "numbers in decimal"},
			annotateFlag(),
		},
		Help:     "Shows struct task_struct and struct thread_info of the context, or of the given tasks, under each task's header. With -R a member that both have is shown of both.",
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
	info, err := c.View.Struct("thread_info")
	if err != nil {
		info = nil
	}
	ofTask, ofInfo, err := taskMembers(t, info, members)
	if err != nil {
		return nil, err
	}
	st := view.Style{Hex: c.hex(), Pointee: c.pointees()}
	out := view.TaskResults{}
	for _, x := range xs {
		o := &view.TaskObject{Members: members}
		if len(members) == 0 || len(ofTask) > 0 {
			o.Task = oneObject(c.View, t, x.Addr, ofTask, st)
		}
		if info != nil && (len(members) == 0 || len(ofInfo) > 0) {
			if at, ok := threadInfoAt(c.View, x); ok {
				o.Info = oneObject(c.View, info, at, ofInfo, st)
			} else {
				c.View.Gap(fmt.Sprintf("PID %d: thread_info", x.PID), errors.New("the task's stack is not known"))
			}
		}
		out = append(out, view.TaskResult{TaskHeader: header(x), Result: o})
	}
	return out, nil
}

// taskMembers parts the members of -R between task_struct and thread_info; one that both have stands for both.
func taskMembers(t, info *symbols.Type, members []string) (ofTask, ofInfo []string, err error) {
	for _, m := range members {
		_, inTask := t.Path(m)
		inInfo := false
		if info != nil {
			_, inInfo = info.Path(m)
		}
		if !inTask && !inInfo {
			return nil, nil, fmt.Errorf("neither task_struct nor thread_info has a member %s%s", m, expr.SimilarMember(t, m))
		}
		if inTask {
			ofTask = append(ofTask, m)
		}
		if inInfo {
			ofInfo = append(ofInfo, m)
		}
	}
	return ofTask, ofInfo, nil
}

func oneObject(v *kernel.View, t *symbols.Type, at vmem.Addr, members []string, st view.Style) *view.Objects {
	return &view.Objects{Type: t, Members: members, Style: st, List: []view.Object{{CPU: -1, First: true, Addr: at, Value: v.Object(t, at)}}}
}
