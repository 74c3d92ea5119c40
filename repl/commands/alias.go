package commands

import (
	"encoding/json"
	"fmt"
	"io"
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
		Help: "Without arguments, all aliases and other names of commands; with a name, that one. With a text, the name stands for it at the beginning of a line; the rest of the line " +
			"follows. The text may have flags and, in quotes, a pipeline. An empty text removes the alias. Aliases last as long as the session: put them into ~/.kdxrc.",
		Examples: []Example{{"alias kt ps -k", "kt lists the kernel threads"}, {`alias top "ps -l | head"`, "an alias with a pipeline"}},
		Run:      runAlias,
	}
}

// Alias is a name that stands for a text at the beginning of a line.
type Alias struct{ Origin, Name, Text string }

// AliasList are aliases, those that are built in first. Its JSON is an object of their texts by name.
type AliasList []Alias

// MarshalJSON writes the object.
func (a AliasList) MarshalJSON() ([]byte, error) {
	texts := make(map[string]string)
	for _, x := range a {
		texts[x.Name] = x.Text
	}
	return json.Marshal(texts)
}

// Text writes an alias a line.
func (a AliasList) Text(w io.Writer, _ view.Options) error {
	var rows [][]string
	for _, x := range a {
		rows = append(rows, []string{x.Origin, x.Name, x.Text})
	}
	return writeColumns(w, []string{"ORIGIN", "ALIAS", "COMMAND"}, rows)
}

// allAliases are the aliases of the session, and commands' own other names.
func (s *State) allAliases() AliasList {
	var builtin, runtime AliasList
	for _, c := range s.All() {
		for _, name := range c.Aliases {
			builtin = append(builtin, Alias{"builtin", name, c.Name})
		}
	}
	known := BuiltinAliases()
	for name, text := range s.Aliases {
		if known[name] == text {
			builtin = append(builtin, Alias{"builtin", name, text})
		} else {
			runtime = append(runtime, Alias{"runtime", name, text})
		}
	}
	for _, l := range []AliasList{builtin, runtime} {
		slices.SortFunc(l, func(a, b Alias) int { return strings.Compare(a.Name, b.Name) })
	}
	return append(builtin, runtime...)
}

func runAlias(c *Call) (view.Result, error) {
	aliases := c.State.Aliases
	switch all := c.State.allAliases(); len(c.Args) {
	case 0:
		return all, nil
	case 1:
		i := slices.IndexFunc(all, func(a Alias) bool { return a.Name == c.Args[0] })
		if i < 0 {
			return nil, fmt.Errorf("there is no alias %s", c.Args[0])
		}
		return all[i : i+1], nil
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
