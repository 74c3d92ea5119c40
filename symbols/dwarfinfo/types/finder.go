package types

import (
	"fmt"
	"iter"
	"strings"
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// Finder answers for the types of one file. It implements symbols.TypeFinder and is safe for many goroutines.
type Finder struct {
	*Builder
}

var _ symbols.TypeFinder = (*Finder)(nil)

// New makes a finder for d. index opens the index of d; it is called once, by the first question that needs it.
func New(d *dwarfinfo.Data, index func() (Index, error), name string) *Finder {
	return &Finder{NewBuilder(d, sync.OnceValues(index), name)}
}

// Name is what New was given.
func (f *Finder) Name() string { return f.name }

// find returns the entries of that name, which are in the file itself; ErrNotFound if there are none.
func (f *Finder) find(kind Kind, name string) ([]Hit, error) {
	if name == "" {
		return nil, symbols.ErrNotFound
	}
	ix, err := f.index()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	hits := ix.Find(kind, name)
	if len(hits) == 0 {
		return nil, symbols.ErrNotFound
	}
	return hits, nil
}

func (f *Finder) ref(off uint64) dwarfinfo.Ref { return dwarfinfo.Ref{Data: f.data, Off: off} }

// TypeNamed finds a struct, union or enum by tag, a typedef or a base type by name. In C++ and Rust names have namespaces:
// "core::option::Option<u32>".
func (f *Finder) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	spellings, in := []string{name}, Base
	switch kind {
	case symbols.Struct, symbols.Union, symbols.Enum, symbols.Typedef:
		in = indexKinds[kind]
	case symbols.Int, symbols.Bool, symbols.Float:
		spellings = symbols.BaseTypeSpellings(name)
	default:
		return nil, symbols.ErrNotFound
	}
	for _, s := range spellings {
		hits, err := f.find(in, s)
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
func (f *Finder) first(hits []Hit, kind symbols.Kind) *symbols.Type {
	var other *symbols.Type
	for _, h := range hits {
		t := f.TypeAt(f.ref(h.Off))
		if t.Kind != kind || t.Incomplete {
			continue
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
	hits, err := f.find(Variable, name)
	if err != nil {
		return nil, err
	}
	t := f.bad()
	err = mapfile.Guard(f.data.Name, func() error {
		t, err = f.variable(f.ref(hits[0].Off))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: type of %s: %w", f.name, name, err)
	}
	return t, nil
}

// FunctionType is the prototype of a function; where files have functions of one name, that of the first.
func (f *Finder) FunctionType(name string) (*symbols.Type, error) {
	hits, err := f.find(Function, name)
	if err != nil {
		return nil, err
	}
	if t := f.TypeAt(f.ref(hits[0].Off)); t.Kind == symbols.Func {
		return t, nil
	}
	return nil, fmt.Errorf("%s: the prototype of %s, at %#x of .debug_info, can't be read", f.name, name, hits[0].Off)
}

// Enumerator finds an enumeration constant and its enum.
func (f *Finder) Enumerator(name string) (int64, *symbols.Type, error) {
	hits, err := f.find(Enumerator, name)
	if err != nil {
		return 0, nil, err
	}
	last := name[strings.LastIndex(name, ":")+1:]
	for _, h := range hits {
		t := f.TypeAt(f.ref(h.Parent))
		for _, e := range t.Enumerators() {
			if e.Name == last {
				return e.Value, t, nil
			}
		}
	}
	return 0, nil, symbols.ErrNotFound
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
		for name := range ix.Names(Base) {
			for _, h := range ix.Find(Base, name) {
				t := f.TypeAt(f.ref(h.Off))
				if t.Kind != symbols.Struct && !yield(t.Kind, t.Name) {
					return
				}
			}
		}
	}
}
