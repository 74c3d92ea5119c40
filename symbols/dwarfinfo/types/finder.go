package types

import (
	"fmt"
	"iter"
	"strings"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
)

// Finder answers for the types of one file. It implements symbols.TypeFinder and is safe for many goroutines.
type Finder struct {
	*Builder
}

var _ symbols.TypeFinder = (*Finder)(nil)

// New makes a finder for d. See NewBuilder.
func New(d *dwarfinfo.Data, open func() (Index, error), name string) *Finder {
	return &Finder{NewBuilder(d, open, name)}
}

// Name is what New was given.
func (f *Finder) Name() string { return f.name }

// named returns the definitions of a name; ErrNotFound if there is none.
func (f *Finder) named(kind index.Kind, name string) ([]index.Hit, error) {
	if name == "" {
		return nil, symbols.ErrNotFound
	}
	hits, err := f.find(kind, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if len(hits) == 0 {
		return nil, symbols.ErrNotFound
	}
	return hits, nil
}

// TypeNamed finds a struct, union or enum by tag, a typedef or a base type by name. In C++ and Rust names have namespaces:
// "core::option::Option<u32>".
func (f *Finder) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	spellings, in := []string{name}, index.Base
	switch kind {
	case symbols.Struct, symbols.Union, symbols.Enum, symbols.Typedef:
		in = indexKinds[kind]
	case symbols.Int, symbols.Bool, symbols.Float:
		spellings = symbols.BaseTypeSpellings(name)
	default:
		return nil, symbols.ErrNotFound
	}
	for _, s := range spellings {
		hits, err := f.named(in, s)
		if err == symbols.ErrNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		if t := f.first(hits, kind); t != nil {
			return t, nil
		}
	}
	return nil, symbols.ErrNotFound
}

// first is the first type of that kind. C's come before those of languages that may mean something else by the name: Rust's
// char has four bytes.
func (f *Finder) first(hits []index.Hit, kind symbols.Kind) *symbols.Type {
	var other *symbols.Type
	for _, h := range hits {
		t := f.TypeAt(h.Ref(f.data))
		if t.Kind != kind || t.Incomplete {
			continue
		}
		if h.Alt {
			return t // dwz moves what C has
		}
		if u := f.data.UnitOf(h.Off); u != nil && !nests(u.Language()) {
			return t
		}
		if other == nil {
			other = t
		}
	}
	return other
}

// VariableType is the type of a global or static variable; where files have variables of one name, that of the first.
func (f *Finder) VariableType(name string) (*symbols.Type, error) {
	hits, err := f.named(index.Variable, name)
	if err != nil {
		return nil, err
	}
	var t *symbols.Type
	err = mapfile.Guard(f.data.Name, func() error {
		t, err = f.variable(hits[0].Ref(f.data))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: type of %s: %w", f.name, name, err)
	}
	return t, nil
}

// FunctionType is the prototype of a function; where files have functions of one name, that of the first.
func (f *Finder) FunctionType(name string) (*symbols.Type, error) {
	hits, err := f.named(index.Function, name)
	if err != nil {
		return nil, err
	}
	if t := f.TypeAt(hits[0].Ref(f.data)); t.Kind == symbols.Func {
		return t, nil
	}
	return nil, fmt.Errorf("%s: the prototype of %s, at %#x of .debug_info, can't be read", f.name, name, hits[0].Off)
}

// Enumerator finds an enumeration constant and its enum.
func (f *Finder) Enumerator(name string) (int64, *symbols.Type, error) {
	hits, err := f.named(index.Enumerator, name)
	if err != nil {
		return 0, nil, err
	}
	last := name[strings.LastIndex(name, ":")+1:]
	for _, h := range hits {
		h.Off = h.Parent
		t := f.TypeAt(h.Ref(f.data))
		for _, e := range t.Enumerators() {
			if e.Name == last {
				return e.Value, t, nil
			}
		}
	}
	return 0, nil, symbols.ErrNotFound
}

// EnumeratorNames yields the names of enumeration constants that begin with prefix, in no special order.
func (f *Finder) EnumeratorNames(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		ix, err := f.index()
		if err != nil {
			return // said by the first question for a name
		}
		for _, name := range ix.NamesWithPrefix(prefix, index.Enumerator) {
			if !yield(name) {
				return
			}
		}
	}
}

// TypeNames yields the names of structs, unions, enums, typedefs and base types.
func (f *Finder) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(yield func(symbols.Kind, string) bool) {
		ix, err := f.index()
		if err != nil {
			return // said by the first question for a name
		}
		for _, kind := range []symbols.Kind{symbols.Struct, symbols.Union, symbols.Enum, symbols.Typedef} {
			for name := range ix.Names(indexKinds[kind]) {
				if !yield(kind, name) {
					return
				}
			}
		}
		for name := range ix.Names(index.Base) {
			for _, h := range ix.Find(index.Base, name) {
				t := f.TypeAt(h.Ref(f.data))
				if t.Kind != symbols.Struct && !yield(t.Kind, t.Name) {
					return
				}
			}
		}
	}
}
