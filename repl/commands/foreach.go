package commands

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func foreachCommand() *Command {
	return &Command{
		Name: "foreach", Aliases: []string{"for"}, Group: "tasks", Summary: "run a command over many tasks", Needs: NeedsTypes, Raw: true, Complete: "command",
		Usage: []string{"[pid | task | name | user | kernel | gleader | active | STATE]… COMMAND [flag]… [COMMAND [flag]…]…"},
		Help: "Without a selector the command runs over all tasks. Selectors: pids, task addresses, names, regular expressions, `user`, `kernel`, `gleader` " +
			"(leaders of user processes), `active` (running at the crash), and the states of ps (RU, UN, …). A name that is also a command's is the task's, if there is one; \\ in front says so too. Tasks that match any name or state are taken; " +
			"user, kernel, gleader and active restrict them further.\n\nCommands: those whose arguments are tasks, such as bt, files, ps, set, sig, task and vm, and those that take one task (vtop, net), which run once a task.\n\n" +
			"Of several commands, each with its own flags, all run for one task and then for the next; \\ in front of a word that is a command's name makes it an argument of the one before.",
		Examples: []Example{{"foreach bt", "all stacks"}, {"foreach UN bt -S", "where blocked tasks wait"}, {"foreach user ps -a", "all command lines"},
			{"foreach UN bt -f files -c", "stack and open files of each blocked task"}},
		Run: runForeach,
	}
}

func runForeach(c *Call) (view.Result, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	s := selection{states: make(map[string]bool)}
	for i, w := range c.Args {
		if s.keyword(w) {
			continue
		}
		if cmd := c.State.Command(w); cmd != nil && !isTask(t, w) {
			if !cmd.Tasks && cmd.TaskFlag == "" {
				return nil, &UsageError{"foreach", fmt.Sprintf("%s does not take tasks as arguments", w)}
			}
			runs, err := foreachRuns(c, cmd, c.Args[i+1:])
			if err != nil {
				return nil, err
			}
			if len(runs) > 1 {
				return severalEach(c, runs, s.tasks(t)), nil
			}
			return overTasks(c, cmd, s.tasks(t), runs[0].words)
		}
		found, err := findTasks(t, w)
		if err != nil {
			return nil, &UsageError{"foreach", fmt.Sprintf("%s is neither a command nor a selector, and no task has that pid, address or name", w)}
		}
		s.named = append(s.named, found...)
	}
	return nil, &UsageError{"foreach", "which command?"}
}

// isTask: a task may be called as a command is (mount, ps).
func isTask(t *task.Table, word string) bool {
	return len(t.ByComm(word)) > 0 && !strings.ContainsAny(word, "*")
}

// taskRun is one of the commands that foreach runs, with its flags and arguments.
type taskRun struct {
	*Command
	words []string
}

// foreachRuns cuts the words behind a command's name where the next command begins.
func foreachRuns(c *Call, cmd *Command, words []string) ([]taskRun, error) {
	runs := []taskRun{{Command: cmd}}
	for i := 0; i < len(words); {
		last := &runs[len(runs)-1]
		if words[i] == "--" {
			last.words = append(last.words, words[i:]...)
			break
		}
		used, err := new(Flags).take(last.Command, words[i:])
		if err != nil {
			return nil, err
		}
		if used == 0 {
			used = 1
			if next := c.State.Command(words[i]); next != nil && (next.Tasks || next.TaskFlag != "") {
				runs = append(runs, taskRun{Command: next})
				i++
				continue
			}
			w := words[i]
			if name, ok := strings.CutPrefix(w, `\`); ok && c.State.Command(name) != nil {
				w = name
			}
			last.words = append(last.words, w)
		} else {
			last.words = append(last.words, words[i:i+used]...)
		}
		i += used
	}
	return runs, nil
}

// severalEach runs several commands for one task after the other.
func severalEach(c *Call, runs []taskRun, xs []*task.Task) view.Result {
	return &view.TaskSeries{Tasks: func(yield func(view.TaskAnswers, error) bool) {
		for _, x := range xs {
			a := view.TaskAnswers{TaskHeader: header(x)}
			for _, r := range runs {
				if err := c.View.Context().Err(); err != nil {
					yield(a, err)
					return
				}
				words := append([]string{fmt.Sprintf("%x", uint64(x.Addr))}, r.words...)
				if r.TaskFlag != "" {
					words = append([]string{"-" + r.TaskFlag}, words...)
				}
				res, err := c.runInner(r.Command, words)
				var usage *UsageError
				if errors.As(err, &usage) {
					yield(a, err)
					return
				}
				switch {
				case err != nil:
					c.View.Gap(fmt.Sprintf("PID %d (%s): %s", x.PID, x.Comm, r.Name), err)
				case r.TaskFlag != "": // its answer does not say whose it is
					res = view.TaskResults{{TaskHeader: a.TaskHeader, Result: res}}
				}
				a.Answers = append(a.Answers, view.TaskAnswer{Command: r.Name, Args: r.words, Result: res})
			}
			if !yield(a, nil) {
				return
			}
		}
	}}
}

// runInner runs another command in this one's stead. The context stays what it was: set shows tasks here, and chooses none.
func (c *Call) runInner(cmd *Command, words []string) (view.Result, error) {
	defer func(current vmem.Addr) { c.State.Current = current }(c.State.Current)
	inner, err := c.inner(cmd, words)
	if err != nil {
		return nil, err
	}
	return cmd.Run(inner)
}

// inner is a call of another command with these words.
func (c *Call) inner(cmd *Command, words []string) (*Call, error) {
	inner := *c
	inner.Cmd, inner.Args = cmd, words
	if cmd.Raw {
		return &inner, nil
	}
	var err error
	inner.Flags, inner.Args, err = ParseFlags(cmd, words)
	return &inner, err
}

func overTasks(c *Call, cmd *Command, xs []*task.Task, words []string) (view.Result, error) {
	if _, _, err := ParseFlags(cmd, words); err != nil {
		return nil, err
	}
	if cmd.TaskFlag != "" {
		return onceEach(c, cmd, xs, words)
	}
	if len(xs) == 0 {
		return view.Lines{}, nil
	}
	addrs := make([]string, len(xs))
	for i, x := range xs {
		addrs[i] = fmt.Sprintf("%x", uint64(x.Addr))
	}
	return c.runInner(cmd, append(addrs, words...))
}

// onceEach runs a command for each task by its own. One task's failure is a gap.
func onceEach(c *Call, cmd *Command, xs []*task.Task, words []string) (view.Result, error) {
	out := view.TaskResults{}
	for _, x := range xs {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		r, err := c.runInner(cmd, append([]string{"-" + cmd.TaskFlag, fmt.Sprintf("%x", uint64(x.Addr))}, words...))
		var usage *UsageError
		if errors.As(err, &usage) {
			return nil, err
		}
		if err != nil {
			c.View.Gap(fmt.Sprintf("PID %d (%s): %s", x.PID, x.Comm, cmd.Name), err)
			continue
		}
		out = append(out, view.TaskResult{TaskHeader: header(x), Result: r})
	}
	return out, nil
}

type selection struct {
	named                         []*task.Task
	states                        map[string]bool
	user, kernel, leaders, active bool
}

func (s *selection) keyword(w string) bool {
	switch w {
	case "user":
		s.user = true
	case "kernel":
		s.kernel = true
	case "gleader":
		s.leaders = true
	case "active":
		s.active = true
	case "SW": // no task has swapped as a state since 2.6; the word is known
		s.states[w] = true
	default:
		for _, name := range task.StateNames {
			if w == name {
				s.states[w] = true
				return true
			}
		}
		return false
	}
	return true
}

func (s *selection) tasks(t *task.Table) []*task.Task {
	named := make(map[*task.Task]bool)
	for _, x := range s.named {
		named[x] = true
	}
	any := len(named) == 0 && len(s.states) == 0
	var out []*task.Task
	for _, x := range t.Tasks {
		switch {
		case !any && !named[x] && !s.states[x.StateName()], s.user && x.Kernel(), s.kernel && !x.Kernel(), s.leaders && (x.PID != x.TGID || x.Kernel()), s.active && !x.OnCPU:
			continue
		}
		out = append(out, x)
	}
	return out
}
