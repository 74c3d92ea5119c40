package commands

import (
	"errors"

	"kdx/analyze/view"
)

// ErrExit ends the session; it is no failure.
var ErrExit = errors.New("exit")

func exitCommand() *Command {
	return &Command{
		Name: "exit", Aliases: []string{"q", "quit"}, Group: "session", Prompt: true, Summary: "leave kdx", Usage: []string{""},
		Help:     "Ctrl-D on an empty line leaves too. In a script, the commands after it are not run.",
		Examples: []Example{{"exit", "leave"}, {"q", "leave"}},
		Run: func(c *Call) (view.Result, error) {
			if len(c.Args) > 0 {
				return nil, &UsageError{c.Cmd.Name, "takes no argument"}
			}
			return nil, ErrExit
		},
	}
}
