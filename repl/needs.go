package repl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/kernel"
	"kdx/repl/commands"
	"kdx/symbols"
)

// needError is a failure of a command in whose way something stands that it cannot do without.
type needError struct {
	err  error
	need string
}

func (e *needError) Error() string { return e.err.Error() + "\n" + e.need }
func (e *needError) Unwrap() error { return e.err }

// lacking says, if a call failed or left gaps, what it cannot do without and this kernel has not, and what to try; "" if
// that is not why.
func lacking(v *kernel.View, c call, err error, gaps []kernel.Gap) string {
	if v == nil || err == nil && !anyWithoutTable(gaps) {
		return ""
	}
	need, subject := needOf(c)
	var what string
	var why error
	switch need {
	case commands.NeedsDWARF:
		if _, e := v.Debug().PlacesAt(0); withoutTable(e) {
			what, why = "DWARF", e
		}
	case commands.NeedsTypes:
		if _, e := v.Debug().TypeNamed(symbols.Struct, "list_head"); withoutTable(e) {
			what, why = "types", e
		}
	}
	if what == "" && need != commands.NeedsNothing && need != "" {
		if _, e := v.Symbols().SymbolsNamed("_stext"); withoutTable(e) {
			what, why = "symbols", e
		}
	}
	if what == "" && need == commands.NeedsSymbols && noTable(err) {
		// An argument such as struct.member asks for more than the command does.
		if _, e := v.Debug().TypeNamed(symbols.Struct, "list_head"); withoutTable(e) {
			need, what, why = commands.NeedsTypes, "types", e
			subject = strings.Join(append([]string{c.cmd.Name}, c.words...), " ")
		}
	}
	if what == "" {
		return ""
	}
	text := fmt.Sprintf("%s needs %s", subject, need)
	if reason := reasonOf(why); err == nil || !strings.Contains(err.Error(), reason) {
		text += fmt.Sprintf("; here are no %s: %s", what, reason)
	}
	return text + ". The kernel's vmlinux with debug information has them: kdx open VMLINUX DUMP"
}

// innermost is the command that is run in another one's stead, such as ps in "sort pid ps".
func (s *Session) innermost(c call) call {
	for c.cmd.Inner != nil {
		words := c.cmd.Inner(c.words)
		if len(words) == 0 {
			break
		}
		cmd := s.lookup(words[0])
		if cmd == nil {
			break
		}
		c = call{cmd, words[1:]}
	}
	return c
}

// needOf is what a call needs, and who it is that needs it.
func needOf(c call) (need commands.Needs, subject string) {
	need, subject = c.cmd.Needs, c.cmd.Name
	args := c.words
	if !c.cmd.Raw {
		f, rest, err := commands.ParseFlags(c.cmd, c.words)
		if err != nil {
			return commands.NeedsNothing, subject
		}
		need, args = c.cmd.NeedsOf(f), rest
		if need != c.cmd.Needs {
			subject = strings.Join(append([]string{subject}, c.words...), " ")
		}
	}
	switch {
	case need == "" && c.cmd.Tasks:
		need = commands.NeedsTypes
	case need == commands.NeedsNothing && len(args) > 0:
		need, subject = commands.NeedsSymbols, "a name"
	}
	return need, subject
}

// withoutTable tells that there is no table to look in, or none that can be read, from one that lacks a name.
func withoutTable(err error) bool {
	return err != nil && !symbols.Absent(err)
}

func anyWithoutTable(gaps []kernel.Gap) bool {
	return slices.ContainsFunc(gaps, func(g kernel.Gap) bool { return noTable(g.Err) })
}

func noTable(err error) bool {
	var none *symbols.NoTableError
	return errors.As(err, &none)
}

// reasonOf is why there is no table, without the name that was looked for.
func reasonOf(err error) string {
	var none *symbols.NoTableError
	if errors.As(err, &none) {
		return none.Why
	}
	return err.Error()
}
