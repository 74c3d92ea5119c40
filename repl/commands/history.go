package commands

import (
	"errors"
	"fmt"
	"io"

	"kdx/analyze/view"
)

// errNoHistory: the prompt itself understands r, !! and !N, so that the command is only reached without one.
var errNoHistory = errors.New("only the prompt has a history")

func historyCommand() *Command {
	return &Command{
		Name: "h", Aliases: []string{"history"}, Group: "session", Prompt: true, Summary: "what was typed at the prompt", Usage: []string{""},
		Help:     "The numbers serve r and !N. The history is kept from session to session; the arrow keys and Ctrl-R go through it.",
		Examples: []Example{{"h", "the last lines"}, {"h | grep struct", "those with a word"}},
		Run: func(c *Call) (view.Result, error) {
			if c.State.History == nil {
				return nil, errNoHistory
			}
			return HistoryList(c.State.History()), nil
		},
	}
}

func repeatLineCommand() *Command {
	return &Command{
		Name: "r", Group: "session", Prompt: true, Summary: "repeat a line of the history", Usage: []string{"", "N", "TEXT"},
		Help:     "The last line; line N of h; or the last line that begins with TEXT. !! and !N do the same.",
		Examples: []Example{{"r", "the last line again"}, {"r bt", "the last line that began with bt"}},
		Run:      func(*Call) (view.Result, error) { return nil, errNoHistory },
	}
}

// HistoryList are lines, oldest first. Its JSON is an array of strings.
type HistoryList []string

// Text writes the lines with their numbers.
func (l HistoryList) Text(w io.Writer, _ view.Options) error {
	for i, line := range l {
		if _, err := fmt.Fprintf(w, "%5d  %s\n", i+1, line); err != nil {
			return err
		}
	}
	return nil
}
