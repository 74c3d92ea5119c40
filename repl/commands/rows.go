package commands

import (
	"errors"
	"fmt"

	"kdx/analyze/view"
)

func whereCommand() *Command {
	return &Command{
		Name: "where", Group: "session", Summary: "only those rows of a command's answer that pass", Raw: true, Complete: "command",
		Usage: []string{"FIELD OP VALUE COMMAND [argument]…"},
		Help: "Runs the command and shows those rows of its answer whose FIELD passes; columns and JSON are the command's own. Fields are named as in JSON; one that is not there is answered with those that are, and a.b is the field " +
			"b of what a holds.\n\nOP is = or !=; ~ or !~ for a regular expression; -lt, -le, -gt or -ge, as test(1) has them. VALUE is a number (decimal, 0x…, or with K, M, G, T), an address (hexadecimal), a text, true, false, or null for what " +
			"could not be read. Of a field that is a list, one element has to pass, and with != and !~ all.\n\nBehind where there can be another where, or sort. A pipe (`ps | grep idle`) serves as well, for lines.",
		Examples: []Example{{"where rss_bytes -gt 3M ps", "who has more than 3 MiB in memory"}, {"where type ~ '^(tmpfs|proc)$' mount", "mounts by type"},
			{"where state = UN where kernel_thread = false ps", "both"}},
		Inner: func(words []string) []string { return words[min(3, len(words)):] },
		Run: func(c *Call) (view.Result, error) {
			if len(c.Args) < 4 {
				return nil, &UsageError{"where", "a field, what it is compared with and a command, as in: where rss_bytes -gt 10M ps"}
			}
			return c.rowsOf(func(r view.Result) (view.Result, error) { return view.Where(r, c.Args[0], c.Args[1], c.Args[2]) })
		},
	}
}

func sortCommand() *Command {
	return &Command{
		Name: "sort", Group: "session", Summary: "the rows of a command's answer, in order", Raw: true, Complete: "command",
		Usage: []string{"[-r] FIELD COMMAND [argument]…"},
		Flags: []Flag{{Name: "r", Help: "the largest first"}},
		Help: "Runs the command and shows the rows of its answer in the order of FIELD, which is named as in JSON (see where); columns and JSON are the command's own. Rows whose field could not be read come last. All rows are held in memory.\n\n" +
			"Behind it there can be where, or another sort, whose order stays among equal rows.",
		Examples: []Example{{"sort -r rss_bytes where kernel_thread = false ps", "the largest processes first"}, {"sort -r allocated kmem -s", "slab caches by objects in use"}},
		Inner: func(words []string) []string {
			_, words = sortOrder(words)
			return words[min(1, len(words)):]
		},
		Run: func(c *Call) (view.Result, error) {
			descending, words := sortOrder(c.Args)
			if len(words) < 2 {
				return nil, &UsageError{"sort", "a field and a command, as in: sort -r rss_bytes ps"}
			}
			return c.rowsOf(func(r view.Result) (view.Result, error) { return view.Sort(r, words[0], descending) })
		},
	}
}

func sortOrder(words []string) (descending bool, rest []string) {
	if len(words) > 0 && words[0] == "-r" {
		return true, words[1:]
	}
	return false, words
}

// rowsOf runs the command behind this one, and changes the rows of its answer.
func (c *Call) rowsOf(change func(view.Result) (view.Result, error)) (view.Result, error) {
	words := c.Cmd.Inner(c.Args)
	cmd := c.State.Command(words[0])
	switch {
	case cmd == nil:
		return nil, &UsageError{c.Cmd.Name, "there is no command " + words[0]}
	case cmd.Prompt:
		return nil, &UsageError{c.Cmd.Name, words[0] + " has no rows"}
	}
	r, err := c.runInner(cmd, words[1:])
	if err != nil || r == nil {
		return r, err
	}
	changed, err := change(r)
	if errors.As(err, new(view.NoRowsError)) {
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("what %s answers here is no list of rows with one kind of fields; for its lines take a pipe: %s | grep …", words[0], words[0])}
	}
	if err != nil {
		return nil, &UsageError{c.Cmd.Name, err.Error()}
	}
	return changed, nil
}
