package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/backtrace"
	"kdx/analyze/frames"
	"kdx/analyze/task"
	"kdx/analyze/unwind"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// frameChoice is the frame that `frame` chose: of a task, its number in bt, and which of the functions in it, counted from the
// innermost inlined one.
type frameChoice struct {
	task          vmem.Addr // 0: none was chosen
	level, inline int
}

const frameNumbers = "Frames have the numbers of bt. The functions that the compiler inlined share the frame of the one around them: frame 3 is the innermost of frame 3, " +
	"frame 3.1 the one that it is inlined into, and so on."

func frameCommand() *Command {
	return &Command{
		Name: "frame", Group: "tasks", Summary: "the frame whose variables locals, args and p show", Needs: NeedsTypes,
		Usage: []string{"", "NUMBER", "NUMBER.INLINED"},
		Help: "Chooses a frame of the current task's stack, or without an argument shows the one that is chosen. " + frameNumbers +
			"\n\nUntil one is chosen, locals and args show frame 0, and p looks at no local variables. A change of the task (set) forgets the choice.",
		Examples: []Example{{"frame 3", "choose frame 3"}, {"frame 3.1", "the function that the one before is inlined into"}, {"frame", "which one is chosen"}},
		Run:      runFrame,
	}
}

func upCommand() *Command {
	return stepCommand("up", "to the function that called, or that this one is inlined into", 1)
}

func downCommand() *Command {
	return stepCommand("down", "to the function that was called, or that is inlined into this one", -1)
}

func stepCommand(name, where string, by int) *Command {
	return &Command{
		Name: name, Group: "tasks", Summary: "go from the chosen frame " + where, Needs: NeedsTypes, Usage: []string{"[COUNT]"},
		Help:     "Goes COUNT functions, one without. " + frameNumbers,
		Examples: []Example{{name, "one function"}, {name + " 2", "two"}},
		Run:      func(c *Call) (view.Result, error) { return runStep(c, by) },
	}
}

// stack is the current task's, with all registers that can be recovered.
type stack struct {
	task   *task.Task
	frames []*frames.Frame
	trace  *unwind.Trace
}

func (c *Call) stack() (*stack, error) {
	x, err := c.State.CurrentTask(c.View)
	if err != nil {
		return nil, err
	}
	tr, err := c.State.Tracer(c.View)
	if err != nil {
		return nil, err
	}
	t, err := tr.Trace(c.View, x, backtrace.WithRegisters)
	if err != nil {
		return nil, fmt.Errorf("PID %d (%s): %w", x.PID, x.Comm, err)
	}
	if len(t.Frames) == 0 {
		return nil, fmt.Errorf("PID %d (%s) has no frames of the kernel on its stack", x.PID, x.Comm)
	}
	return &stack{x, frames.Of(c.View, t, x.CPU), t}, nil
}

// chosen is the chosen frame of s, or frame 0.
func (c *Call) chosen(s *stack) (*frames.Frame, int) {
	ch := c.State.frame
	if ch.task != s.task.Addr || ch.level >= len(s.frames) {
		return s.frames[0], 0
	}
	return s.frames[ch.level], ch.inline
}

// scopesOf are the functions of a frame. Where debug information does not know the frame, there are none, and why says so.
func scopesOf(f *frames.Frame) (scopes []symbols.Scope, why error) {
	scopes, err := f.Scopes()
	var none *symbols.NoTableError
	switch {
	case err == nil:
		return scopes, nil
	case errors.As(err, &none):
		return nil, errors.New(none.Why)
	case errors.Is(err, symbols.ErrNotFound):
		return nil, fmt.Errorf("the code at %#x has no debug information: assembly, or a module or vmlinux whose debug file was not found (kdx debuginfo DUMP says where kdx looks)", f.PC)
	}
	return nil, err
}

func runFrame(c *Call) (view.Result, error) {
	if len(c.Args) > 1 {
		return nil, &UsageError{"frame", "it takes one number"}
	}
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	if len(c.Args) == 1 {
		level, inline, err := parseFrame(c.Args[0])
		if err != nil {
			return nil, err
		}
		if level >= len(s.frames) {
			return nil, fmt.Errorf("there is no frame %d: PID %d (%s) has frames 0 to %d", level, s.task.PID, s.task.Comm, len(s.frames)-1)
		}
		switch n := functions(s.frames[level]); {
		case inline >= n && n == 1:
			return nil, fmt.Errorf("there is no frame %s: nothing is inlined at that place, or its debug information is not there", c.Args[0])
		case inline >= n:
			return nil, fmt.Errorf("there is no frame %s: frame %d is in %d functions, of which the last is %d.%d", c.Args[0], level, n, level, n-1)
		}
		c.State.frame = frameChoice{s.task.Addr, level, inline}
	}
	return c.selectedFrame(s), nil
}

// parseFrame reads "3" and "3.1".
func parseFrame(text string) (level, inline int, err error) {
	number, in, inlined := strings.Cut(text, ".")
	level, err = strconv.Atoi(number)
	if err == nil && inlined {
		inline, err = strconv.Atoi(in)
	}
	if err != nil || level < 0 || inline < 0 {
		return 0, 0, &UsageError{"frame", text + " is no number of a frame, such as 3 or 3.1"}
	}
	return level, inline, nil
}

// functions is how many functions a frame is in: one, and those that are inlined.
func functions(f *frames.Frame) int {
	scopes, err := f.Scopes()
	if err != nil {
		return 1
	}
	return max(1, len(scopes))
}

func runStep(c *Call, by int) (view.Result, error) {
	n := 1
	if len(c.Args) > 0 {
		var err error
		if n, err = strconv.Atoi(c.Args[0]); err != nil || n < 1 || len(c.Args) > 1 {
			return nil, &UsageError{c.Cmd.Name, "it takes the number of functions to go"}
		}
	}
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	f, inline := c.chosen(s)
	level := f.Level
	for range n {
		inline += by
		switch {
		case inline < 0 && level == 0:
			return nil, errors.New("this is the innermost frame")
		case inline < 0:
			level--
			inline = functions(s.frames[level]) - 1
		case inline < functions(s.frames[level]):
		case level == len(s.frames)-1:
			return nil, errors.New("this is the outermost frame")
		default:
			level, inline = level+1, 0
		}
	}
	c.State.frame = frameChoice{s.task.Addr, level, inline}
	return c.selectedFrame(s), nil
}

// selectedFrame is the chosen frame as frame shows it.
func (c *Call) selectedFrame(s *stack) view.Result {
	f, inline := c.chosen(s)
	all := view.NewStack(header(s.task), s.task.OnCPU, s.trace, func(pc uint64) (string, string, uint64) { return nameOf(c.View, pc) })
	out := &view.SelectedFrame{TaskHeader: header(s.task), Level: f.Level, Inline: inline, Frame: all.Frames[f.Level]}
	out.Function = out.Frame.Function
	if scopes, err := f.Scopes(); err == nil && inline < len(scopes) {
		out.Function = scopes[inline].Function
		if scopes[inline].Inlined && inline+1 < len(scopes) {
			out.Into = scopes[inline+1].Function
		}
	}
	if places, err := c.View.Debug().PlacesAt(f.Lookup()); err == nil && inline < len(places) {
		p := view.NewPlace(&places[inline])
		out.Place = &p
	}
	return out
}
