package resolved

import (
	"iter"

	"kdx/symbols"
	"kdx/symbols/btf"
)

const finderName = "resolved types"

// Over is a finder that answers from the types what was looked for when they were resolved, and asks rest, the dump's own, for all else: also of what
// pointers of these types lead to. So the answers are those that the dump would give, if it is whole.
func (t *Types) Over(rest symbols.TypeFinder) symbols.TypeFinder {
	known := make(map[string]bool, len(t.asked))
	for _, a := range t.asked {
		known[a] = true
	}
	return symbols.LazyTypes(finderName, func() (symbols.TypeFinder, error) {
		f, err := t.open(btf.Options{Declared: rest.TypeNamed})
		if err != nil {
			return nil, err // Parse has opened it
		}
		return over{f, known, rest}, nil
	})
}

type over struct {
	types *btf.Finder
	known map[string]bool
	rest  symbols.TypeFinder
}

// Name says who is asked first.
func (o over) Name() string { return finderName }

// TypeNamed finds a type by kind and name.
func (o over) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	if o.known[asked(kind, name)] {
		return o.types.TypeNamed(kind, name)
	}
	return o.rest.TypeNamed(kind, name)
}

// Enumerator finds an enumeration constant.
func (o over) Enumerator(name string) (int64, *symbols.Type, error) {
	if o.known[askedConstant(name)] {
		return o.types.Enumerator(name)
	}
	return o.rest.Enumerator(name)
}

// VariableType is the type of a global variable.
func (o over) VariableType(name string) (*symbols.Type, error) { return o.rest.VariableType(name) }

// FunctionType is the prototype of a function.
func (o over) FunctionType(name string) (*symbols.Type, error) { return o.rest.FunctionType(name) }

// TypeNames yields the names of the dump's own types.
func (o over) TypeNames() iter.Seq2[symbols.Kind, string] { return o.rest.TypeNames() }
