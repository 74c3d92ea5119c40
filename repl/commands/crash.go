package commands

import (
	"fmt"
	"strings"
)

// CrashVerdict is how a command or flag of crash stands in kdx.
type CrashVerdict string

// The verdicts.
const (
	CrashSame    CrashVerdict = "same"
	CrashBetter  CrashVerdict = "better"
	CrashOther   CrashVerdict = "elsewhere"      // what it is for is done in another way
	CrashNothing CrashVerdict = "not meaningful" // kdx has nothing that it could act on
	CrashMissing CrashVerdict = "missing"
)

// CrashRow is a command of crash, or a flag or form of one, and what becomes of it.
type CrashRow struct {
	Command string
	Form    string // "-a", "config"; "" for the command itself
	Verdict CrashVerdict
	Reason  string
}

// String is what one types.
func (r CrashRow) String() string { return strings.TrimSpace(r.Command + " " + r.Form) }

// CrashRows holds crash's commands against the table: what a note tells is as the note says, else what the table has is the
// same, and the rest is missing.
func CrashRows(all []*Command) []CrashRow {
	known := crashKnown(all)
	notes := make(map[string]crashNote)
	for _, n := range crashNotes {
		notes[n.what] = n
	}
	var out []CrashRow
	for _, c := range crashCommands {
		for _, form := range append([]string{""}, strings.Fields(c.forms)...) {
			r := CrashRow{Command: c.name, Form: form, Verdict: CrashMissing}
			cmd := known[c.name]
			if cmd != nil && (form == "" || cmd.takes(form)) {
				r.Verdict = CrashSame
			}
			if v, why := crashPlain(c.name, form); v != "" {
				r.Verdict, r.Reason = v, why
			}
			if n, ok := notes[r.String()]; ok && (n.verdict != CrashMissing || r.Verdict == CrashMissing) {
				r.Verdict, r.Reason = n.verdict, n.reason
			}
			out = append(out, r)
		}
	}
	return out
}

// crashPlain are variables of set and tables of help that the commands themselves answer plainly.
func crashPlain(command, form string) (CrashVerdict, string) {
	switch command {
	case "set":
		if isVariable(form) && elsewhere[form] == "" {
			return CrashSame, ""
		}
		if why := elsewhere[form]; why != "" {
			return CrashOther, why
		}
	case "help":
		instead, ok := internals[strings.TrimPrefix(form, "-")]
		switch {
		case ok && instead == "":
			return CrashNothing, "tables of crash's own"
		case ok:
			return CrashOther, "a table of crash's own; " + instead
		}
	}
	return "", ""
}

// crashKnown are the commands by all names that work at the prompt.
func crashKnown(all []*Command) map[string]*Command {
	known := make(map[string]*Command)
	for _, c := range all {
		for _, name := range append([]string{c.Name}, c.Aliases...) {
			known[name] = c
		}
	}
	for name, text := range BuiltinAliases() {
		first, _, _ := strings.Cut(text, " ")
		if known[name] == nil {
			known[name] = known[first]
		}
	}
	return known
}

// takes reports whether the command has the flag; -i=shared is flag i, and -FF flag F given twice. Words that are no flag need
// a note that says so.
func (c *Command) takes(form string) bool {
	name, isFlag := strings.CutPrefix(form, "-")
	name, _, _ = strings.Cut(name, "=")
	if !isFlag || name == "" {
		return false
	}
	if c.flag(name) != nil {
		return true
	}
	return strings.Count(name, name[:1]) == len(name) && c.flag(name[:1]) != nil
}

// checkCrashNotes says what is wrong with the notes: a note of nothing that crash has, two of the same, or one that
// promises what the table lacks.
func checkCrashNotes(all []*Command, notes []crashNote) error {
	rows := make(map[string]CrashRow)
	for _, c := range crashCommands {
		for _, form := range append([]string{""}, strings.Fields(c.forms)...) {
			r := CrashRow{Command: c.name, Form: form}
			if _, twice := rows[r.String()]; twice {
				return fmt.Errorf("%s stands twice in the list of crash's commands", r)
			}
			rows[r.String()] = r
		}
	}
	known := crashKnown(all)
	seen := make(map[string]bool)
	for _, n := range notes {
		r, ok := rows[n.what]
		cmd := known[r.Command]
		switch {
		case !ok:
			return fmt.Errorf("a note tells of %q, which crash does not have", n.what)
		case seen[n.what]:
			return fmt.Errorf("two notes tell of %s", n.what)
		case n.verdict != CrashSame && n.reason == "":
			return fmt.Errorf("%s is %s: say why", n.what, n.verdict)
		case (n.verdict == CrashSame || n.verdict == CrashBetter) && (cmd == nil || strings.HasPrefix(r.Form, "-") && !cmd.takes(r.Form)):
			return fmt.Errorf("the note says that %s is %s, but the table of commands does not have it", n.what, n.verdict)
		}
		seen[n.what] = true
	}
	return nil
}
