package commands

import (
	"fmt"

	"kdx/analyze/backtrace"
	"kdx/analyze/frames"
	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/symbols"
)

const variablesHelp = "`NAME = VALUE` a line, long values cut: p NAME shows all of them. NAME@entry is what the function was called with, found in its caller, where the present value " +
	"is lost. What is not known says why: <optimised out> where the compiled code has it nowhere, or which register or memory is missing. " +
	"The frame is the one that frame chose, else frame 0."

func localsCommand() *Command {
	return &Command{
		Name: "locals", Group: "tasks", Summary: "the local variables of the chosen frame", Needs: NeedsDWARF, Usage: []string{"[-x | -d]"},
		Flags:    []Flag{{Name: "x", Help: "integers in hexadecimal"}, {Name: "d", Help: "integers in decimal"}},
		Help:     "Shows the local variables of the function, those of inner blocks first, without its parameters (args). " + variablesHelp,
		Examples: []Example{{"locals", "of the chosen frame"}, {"locals -x", "integers in hexadecimal"}},
		Run:      func(c *Call) (view.Result, error) { return runVariables(c, false) },
	}
}

func argsCommand() *Command {
	return &Command{
		Name: "args", Group: "tasks", Summary: "the arguments of the chosen frame's function", Needs: NeedsDWARF, Usage: []string{"[-x | -d]"},
		Flags:    []Flag{{Name: "x", Help: "integers in hexadecimal"}, {Name: "d", Help: "integers in decimal"}},
		Help:     "Shows the parameters of the function. " + variablesHelp,
		Examples: []Example{{"args", "of the chosen frame"}, {"args -x", "integers in hexadecimal"}},
		Run:      func(c *Call) (view.Result, error) { return runVariables(c, true) },
	}
}

func runVariables(c *Call, params bool) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{c.Cmd.Name, "it takes no arguments; p shows one variable"}
	}
	s, err := c.stack()
	if err != nil {
		return nil, err
	}
	f, inline := c.chosen(s)
	scopes, err := scopesOf(f)
	if err != nil {
		return nil, fmt.Errorf("frame %d: %w", f.Level, err)
	}
	if inline >= len(scopes) {
		return nil, fmt.Errorf("frame %d.%d is not there", f.Level, inline)
	}
	st := view.Style{Hex: c.hex()}
	return view.NewVariables(f, &scopes[inline], st, func(v *symbols.Variable) bool { return v.Param == params }), nil
}

// local finds variables of the chosen frame for expressions: nil if none was chosen.
func (c *Call) local() func(name string) (kernel.Value, bool) {
	x, err := c.State.CurrentTask(c.View)
	if err != nil || c.State.frame.task != x.Addr {
		return nil
	}
	var f *frames.Frame
	var vars []symbols.Variable
	return func(name string) (kernel.Value, bool) {
		if f == nil {
			s, err := c.stack()
			if err != nil {
				return kernel.Value{}, false
			}
			var inline int
			f, inline = c.chosen(s)
			if scopes, err := f.Scopes(); err == nil && inline < len(scopes) {
				vars = scopes[inline].Vars
			}
		}
		for i := range vars {
			if vars[i].Name != name {
				continue
			}
			v := f.Value(&vars[i])
			if why := v.Lost(); why != "" {
				return c.View.Failed(fmt.Errorf("%s of frame %d: %s", name, f.Level, why)), true
			}
			return v.Value, true
		}
		return kernel.Value{}, false
	}
}

// withVariables recovers the registers that bt -v needs.
func withVariables(c *Call) []backtrace.Option {
	if c.Flags.Has("v") {
		return []backtrace.Option{backtrace.WithRegisters}
	}
	return nil
}

// addVariables makes a stack show the variables of each frame (bt -v).
func addVariables(c *Call, s *view.Stack, fs []*frames.Frame) error {
	st := view.Style{Hex: c.hex()}
	var first error
	known := false
	for i, f := range fs {
		if err := c.View.Context().Err(); err != nil {
			return err
		}
		scopes, err := scopesOf(f)
		if err != nil && first == nil {
			first = err
		}
		for k := range scopes {
			known = true
			s.Frames[i].Scopes = append(s.Frames[i].Scopes, view.FunctionVariables{Function: scopes[k].Function, Inlined: scopes[k].Inlined,
				Vars: view.NewVariables(f, &scopes[k], st, nil)})
		}
	}
	if !known && len(fs) > 0 {
		return first
	}
	return nil
}
