package commands

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"kdx/analyze/view"
)

// BuiltinAliases are those that crash's users know, for what is no command's own other name.
func BuiltinAliases() map[string]string {
	return map[string]string{
		"?": "help", "man": "help",
		"sf": "set scroll off", "sn": "set scroll on",
		"hex": "set radix 16", "dec": "set radix 10",
		"px": "p -x", "pd": "p -d",
		"size": "*", "last": "ps -l",
	}
}

func aliasCommand() *Command {
	return &Command{
		Name: "alias", Group: "session", Prompt: true, Summary: "other names for commands", Usage: []string{"", "NAME", "NAME TEXT…", `NAME ""`},
		Raw: true,
		Help: "Without arguments, all aliases; with a name, that one. With a text, the name stands for it at the beginning of a line; the rest of the line " +
			"follows. The text may have flags and, in quotes, a pipeline. An empty text removes the alias. Aliases last as long as the session: put them into ~/.kdxrc.",
		Examples: []Example{{"alias kt ps -k", "kt lists the kernel threads"}, {`alias top "ps -l | head"`, "an alias with a pipeline"}},
		Run:      runAlias,
	}
}

// AliasList are aliases and what they stand for. Its JSON is an object of them.
type AliasList map[string]string

// Text writes an alias a line, sorted.
func (a AliasList) Text(w io.Writer, _ view.Options) error {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		rows = append(rows, []string{name, a[name]})
	}
	return writeColumns(w, []string{"ALIAS", "COMMAND"}, rows)
}

func runAlias(c *Call) (view.Result, error) {
	aliases := c.State.Aliases
	switch len(c.Args) {
	case 0:
		return AliasList(maps.Clone(aliases)), nil
	case 1:
		text, ok := aliases[c.Args[0]]
		if !ok {
			return nil, fmt.Errorf("there is no alias %s", c.Args[0])
		}
		return AliasList{c.Args[0]: text}, nil
	}
	name, text := c.Args[0], strings.TrimSpace(strings.Join(c.Args[1:], " "))
	if strings.ContainsAny(name, " \t|<>\"'#!\\") || name == "json" {
		return nil, &UsageError{"alias", fmt.Sprintf("%q can't be the name of an alias", name)}
	}
	if cmd := c.State.Command(name); cmd != nil {
		return nil, fmt.Errorf("%s is a command (%s); an alias would hide it", name, cmd.Summary)
	}
	if text == "" {
		if _, ok := aliases[name]; !ok {
			return nil, fmt.Errorf("there is no alias %s", name)
		}
		delete(aliases, name)
		return nil, nil
	}
	aliases[name] = text
	return nil, nil
}
