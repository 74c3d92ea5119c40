package commands

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Flags are the flags of one call, in order.
type Flags struct{ set []flagValue }

type flagValue struct{ name, value string }

// Has reports whether the flag was given.
func (f Flags) Has(name string) bool {
	for _, s := range f.set {
		if s.name == name {
			return true
		}
	}
	return false
}

// Value is the last value given to the flag, "" without.
func (f Flags) Value(name string) string {
	v := ""
	for _, s := range f.set {
		if s.name == name {
			v = s.value
		}
	}
	return v
}

// Values are all values given to the flag.
func (f Flags) Values(name string) []string {
	var vs []string
	for _, s := range f.set {
		if s.name == name {
			vs = append(vs, s.value)
		}
	}
	return vs
}

// Count is how often the flag was given.
func (f Flags) Count(name string) int {
	n := 0
	for _, s := range f.set {
		if s.name == name {
			n++
		}
	}
	return n
}

// UsageError is a command line that the command does not take.
type UsageError struct {
	Command string
	Msg     string
}

func (e *UsageError) Error() string {
	return fmt.Sprintf("%s: %s (help %s shows its flags)", e.Command, e.Msg, e.Command)
}

// ParseFlags sorts words into flags and arguments, which may come in any order. A word such as -5 is an argument unless
// the command has a flag of that name; after -- all are.
func ParseFlags(c *Command, words []string) (Flags, []string, error) {
	var f Flags
	var args []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "--" {
			return f, append(args, words[i+1:]...), nil
		}
		n, err := f.take(c, words[i:])
		if err != nil {
			return f, nil, err
		}
		if n == 0 {
			args = append(args, w)
			continue
		}
		i += n - 1
	}
	return f, args, nil
}

// take takes words[0], if it is a flag, with what of the next word is its argument; it returns how many words these are, 0 for an argument
// of the command.
func (f *Flags) take(c *Command, words []string) (used int, err error) {
	w := words[0]
	if len(w) < 2 || w[0] != '-' {
		return 0, nil
	}
	name, value, hasValue := strings.Cut(strings.TrimLeft(w, "-"), "=")
	if fl := c.flag(name); fl != nil {
		used = 1
		switch {
		case fl.Arg == "" && hasValue && fl.Maybe == "":
			return 0, &UsageError{c.Name, fmt.Sprintf("-%s takes no argument", name)}
		case fl.Arg != "" && !hasValue && len(words) < 2:
			return 0, &UsageError{c.Name, fmt.Sprintf("-%s wants %s", name, fl.Arg)}
		case fl.Arg != "" && !hasValue:
			used, value = 2, words[1]
		}
		f.set = append(f.set, flagValue{name, value})
		return used, nil
	}
	if w[1] >= '0' && w[1] <= '9' {
		return 0, nil
	}
	n, err := f.combined(c, w, words[1:])
	return n + 1, err
}

// combined takes -xs and -c1,2 apart; it returns how many of the following words it used.
func (f *Flags) combined(cmd *Command, w string, rest []string) (used int, err error) {
	letters := w[1:]
	if strings.HasPrefix(w, "--") {
		return 0, unknownFlag(cmd, w)
	}
	for j, c := range letters {
		name := letters[j : j+1]
		if c >= utf8.RuneSelf {
			return 0, unknownFlag(cmd, w)
		}
		fl := cmd.flag(name)
		if fl == nil {
			return 0, unknownFlag(cmd, "-"+name)
		}
		if fl.Arg == "" {
			f.set = append(f.set, flagValue{name, ""})
			continue
		}
		if tail := letters[j+1:]; tail != "" {
			f.set = append(f.set, flagValue{name, tail})
			return 0, nil
		}
		if len(rest) == 0 {
			return 0, &UsageError{cmd.Name, fmt.Sprintf("-%s wants %s", name, fl.Arg)}
		}
		f.set = append(f.set, flagValue{name, rest[0]})
		return 1, nil
	}
	return 0, nil
}

// unknownFlag is the error of a flag that the command does not have; of one that crash's has, it says what became of it.
func unknownFlag(c *Command, flag string) error {
	for _, n := range crashNotes {
		if n.what == c.Name+" "+flag && n.reason != "" {
			return &UsageError{c.Name, fmt.Sprintf("there is no %s: %s", flag, n.reason)}
		}
	}
	return &UsageError{c.Name, "unknown flag " + flag}
}

func (c *Command) flag(name string) *Flag {
	for i := range c.Flags {
		if c.Flags[i].Name == name {
			return &c.Flags[i]
		}
	}
	return nil
}
