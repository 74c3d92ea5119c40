package commands

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/internal/nearest"
)

func setCommand() *Command {
	return &Command{
		Name: "set", Group: "session", Prompt: true, Summary: "the task that commands take by default, and the variables of the session", Complete: "task", Tasks: true,
		Usage: []string{"", "pid | task | name", "-c CPU", "-p", "-v", "VARIABLE [VALUE]"},
		Flags: []Flag{
			{Name: "c", Arg: "CPU", Help: "take the task that was running on this CPU", Needs: NeedsTypes},
			{Name: "p", Help: "take the task that crashed", Needs: NeedsTypes},
			{Name: "v", Help: "list the variables and their values"},
		},
		Help: "Without arguments it shows the context: the task that bt, task, vtop and others take when none is named. At the start that is the task that " +
			"crashed. With a task it makes that one the context. STATE says (PANIC) for the task that crashed and (ACTIVE) for others that were running.\n\n" + variableHelp(),
		Examples: []Example{{"set 266", "take PID 266"}, {"set -c 1", "take what CPU 1 was running"}, {"set scroll off", "no paging"}},
		Run:      runSet,
	}
}

// variable of a session.
type variable struct {
	name, values, help string
	get                func(*State) string
	set                func(*State, string) error
}

// variables that set knows. Each does something.
var variables = []variable{
	{"scroll", "on | off", "show what is longer than the screen in a pager",
		func(s *State) string { return onOff(s.Scroll) },
		func(s *State, v string) (err error) { s.Scroll, err = parseOnOff(v); return }},
	{"radix", "10 | 16", "how integers are written where a command has no flag that says",
		func(s *State) string { return map[bool]string{false: "10", true: "16"}[s.Hex] },
		func(s *State, v string) error {
			switch strings.ToLower(v) {
			case "10", "dec", "decimal":
				s.Hex = false
			case "16", "0x10", "hex", "hexadecimal":
				s.Hex = true
			default:
				return fmt.Errorf("%s is neither 10 nor 16", v)
			}
			return nil
		}},
	{"edit", "emacs | vi", "keys of the line editor",
		func(s *State) string { return map[bool]string{false: "emacs", true: "vi"}[s.Vi] },
		func(s *State, v string) error {
			if v != "vi" && v != "emacs" {
				return fmt.Errorf("%s is neither vi nor emacs", v)
			}
			s.Vi = v == "vi"
			return nil
		}},
	{"src", "DIR", "the kernel's source tree, from which `source` and `dis -s` take text",
		func(s *State) string { return s.Src }, setSource},
}

// setSource names the root of a source tree.
func setSource(s *State, dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	s.Src = dir
	return nil
}

// elsewhere are variables of crash that set can't change, and where to turn instead.
var elsewhere = map[string]string{
	"zero_excluded": "how pages are read is decided when the dump is opened: start kdx with --zero-excluded",
	"namelist":      "a vmlinux is named when the dump is opened; sys says what answers for symbols and types",
	"dumpfile":      "the dump is named when kdx starts; sys shows it",
	"refresh":       "there is nothing to turn off: of a running kernel, tasks are read anew for each command that needs them",
	"print_max":     "an array shows its first 256 elements; p ARRAY[N]@COUNT shows others",
	"print_array":   "an array stands in one line; struct -r and rd show it word by word",
	"console":       "there is no second terminal for messages of kdx's own; 2> FILE at the start takes what goes to stderr",
	"debug":         "start kdx with --debug to see what it tries",
	"core":          "kdx leaves no core file: what goes wrong is told with its stack, and the session goes on",
	"hash":          "every walk is safe from loops, and needs no table for that",
	"silent":        "start kdx with -s; at the prompt commands say nothing that was not asked for",
	"unwind":        "stacks are always unwound by the kernel's own tables; bt -t shows all text on a stack",
	"null-stop":     "text in arrays always ends at its NUL",
	"gdb":           "there is no gdb inside: the command gdb knows its words",
	"scope":         "frame N chooses whose variables p sees",
	"offline":       "CPUs that are not online are always shown, and said to be offline by sys",
	"redzone":       "addresses of slab objects are always those that the kernel hands out, behind a red zone",
	"error":         "errors go to stderr: 2> FILE at the start takes them, and in JSON they are part of the answer",
}

func variableHelp() string {
	var b strings.Builder
	b.WriteString("Variables:")
	for _, v := range variables {
		fmt.Fprintf(&b, " `%s` (%s): %s;", v.name, v.values, v.help)
	}
	return strings.TrimSuffix(b.String(), ";") + "."
}

// VariableNames are the variables of set.
func VariableNames() []string {
	var out []string
	for _, v := range variables {
		out = append(out, v.name)
	}
	return out
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func parseOnOff(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "on", "1", "yes", "true":
		return true, nil
	case "off", "0", "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither on nor off", v)
}

// VariableList is what set -v shows. Its JSON is an array of them.
type VariableList []VariableValue

// VariableValue is a variable of the session.
type VariableValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Text writes a variable a line.
func (l VariableList) Text(w io.Writer, _ view.Options) error {
	for _, v := range l {
		if _, err := fmt.Fprintf(w, "%14s: %s\n", v.Name, v.Value); err != nil {
			return err
		}
	}
	return nil
}

func runSet(c *Call) (view.Result, error) {
	switch {
	case c.Flags.Has("v"):
		var out VariableList
		for _, v := range variables {
			out = append(out, VariableValue{v.name, v.get(c.State)})
		}
		return out, nil
	case len(c.Args) > 0 && (c.View == nil || isVariable(c.Args[0])):
		return setVariable(c)
	case c.View == nil:
		return nil, fmt.Errorf("no dump is open")
	}
	return setContext(c)
}

func isVariable(name string) bool {
	for _, v := range variables {
		if v.name == name {
			return true
		}
	}
	return elsewhere[name] != ""
}

func setVariable(c *Call) (view.Result, error) {
	if why := elsewhere[c.Args[0]]; why != "" {
		return nil, fmt.Errorf("%s: %s", c.Args[0], why)
	}
	for _, v := range variables {
		if v.name != c.Args[0] {
			continue
		}
		switch len(c.Args) {
		case 1:
			return VariableList{{v.name, v.get(c.State)}}, nil
		case 2:
			if err := v.set(c.State, c.Args[1]); err != nil {
				return nil, &UsageError{"set", fmt.Sprintf("%s: %v", v.name, err)}
			}
			return nil, nil
		}
		return nil, &UsageError{"set", v.name + " takes one value: " + v.values}
	}
	return nil, &UsageError{"set", "there is no variable " + c.Args[0] + suggestion(nearest.Of(c.Args[0], VariableNames()))}
}

func suggestion(near string) string {
	if near == "" {
		return ""
	}
	return "; did you mean " + near + "?"
}

func setContext(c *Call) (view.Result, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	xs, err := contextTasks(c, t)
	if err != nil {
		if len(c.Args) == 1 {
			err = fmt.Errorf("%w%s", err, suggestion(nearest.Of(c.Args[0], VariableNames())))
		}
		return nil, err
	}
	if len(xs) > 1 {
		return contexts(c.View, t, xs), nil
	}
	if len(c.Args) > 0 || c.Flags.Has("c") || c.Flags.Has("p") {
		c.State.Current = xs[0].Addr
	}
	return contextOf(c.View, t, xs[0]), nil
}

func contextTasks(c *Call, t *task.Table) ([]*task.Task, error) {
	switch {
	case c.Flags.Has("p"):
		if t.Panic() == nil {
			return nil, fmt.Errorf("the dump does not say which task crashed (set -c CPU takes what a CPU was running)")
		}
		return []*task.Task{t.Panic()}, nil
	case c.Flags.Has("c"):
		cpu, err := strconv.Atoi(c.Flags.Value("c"))
		if err != nil {
			return nil, &UsageError{"set", fmt.Sprintf("-c wants the number of a CPU, not %s", c.Flags.Value("c"))}
		}
		x := t.Current(cpu)
		if x == nil {
			return nil, fmt.Errorf("it is not known what CPU %d was running (this machine has CPUs 0 to %d)", cpu, t.CPUs()-1)
		}
		return []*task.Task{x}, nil
	}
	return selectTasks(c, c.Args)
}

// ContextList are several tasks as set shows them; with more than one, none becomes the context.
type ContextList []*view.Context

// Text writes the tasks' blocks.
func (l ContextList) Text(w io.Writer, o view.Options) error {
	for i, x := range l {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := x.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}

func contexts(v *kernel.View, t *task.Table, xs []*task.Task) ContextList {
	var out ContextList
	for _, x := range xs {
		out = append(out, contextOf(v, t, x))
	}
	return out
}
