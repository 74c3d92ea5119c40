package commands

import "slices"

// Needs says what a command cannot do without.
type Needs string

const (
	NeedsNothing Needs = "nothing but the dump" // VMCOREINFO or the headers suffice
	NeedsSymbols Needs = "symbols (kallsyms or a vmlinux)"
	NeedsTypes   Needs = "symbols and types (BTF or DWARF)"
	NeedsDWARF   Needs = "DWARF (a vmlinux with debug information)"
)

// AllNeeds are all there are, each with what those before it have.
func AllNeeds() []Needs { return []Needs{NeedsNothing, NeedsSymbols, NeedsTypes, NeedsDWARF} }

// Short names it in a few words, for the help of a flag.
func (n Needs) Short() string {
	switch n {
	case NeedsNothing:
		return "nothing else"
	case NeedsSymbols:
		return "symbols"
	case NeedsTypes:
		return "types"
	case NeedsDWARF:
		return "DWARF"
	}
	return string(n)
}

// NeedsOf is what the command needs when it is given these flags: the most that one of them needs, else what the command
// needs without any.
func (c *Command) NeedsOf(f Flags) Needs {
	all := AllNeeds()
	most := -1
	for _, s := range f.set {
		if fl := c.flag(s.name); fl != nil && fl.Needs != "" {
			most = max(most, slices.Index(all, fl.Needs))
		}
	}
	if most < 0 {
		return c.Needs
	}
	return all[most]
}
