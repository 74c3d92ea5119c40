package btf

import (
	"fmt"
	"iter"

	"kdx/symbols"
)

// TypeNamed finds a struct, union or enum by tag, a typedef or a base type by name.
func (f *Finder) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.named(kind, name)
}

var recordKinds = map[symbols.Kind][]uint32{
	symbols.Int:     {kindInt},
	symbols.Bool:    {kindInt},
	symbols.Float:   {kindFloat},
	symbols.Struct:  {kindStruct},
	symbols.Union:   {kindUnion},
	symbols.Enum:    {kindEnum, kindEnum64},
	symbols.Typedef: {kindTypedef},
}

func (f *Finder) named(kind symbols.Kind, name string) (*symbols.Type, error) {
	kinds, ok := recordKinds[kind]
	if !ok || name == "" {
		return nil, symbols.ErrNotFound
	}
	spellings := []string{name}
	if kinds[0] == kindInt {
		spellings = symbols.BaseTypeSpellings(name)
	}
	for _, s := range spellings {
		id, ok, err := f.lookup(s, kinds...)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, name, err)
		}
		if !ok {
			continue
		}
		t, err := f.typeOf(id)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, name, err)
		}
		if t.Kind != kind || t.Incomplete {
			return nil, symbols.ErrNotFound
		}
		return t, nil
	}
	return nil, symbols.ErrNotFound
}

// typeOf is like byID, but says why a type can't be decoded.
func (f *Finder) typeOf(id typeID) (*symbols.Type, error) {
	if t, ok := f.types[id]; ok {
		return t, nil
	}
	t, err := f.convert(id)
	if err != nil {
		return nil, err
	}
	f.types[id] = t
	return t, nil
}

// VariableType is the type of a global variable. Kernels list only their per-CPU variables.
func (f *Finder) VariableType(name string) (*symbols.Type, error) {
	return f.declared(name, kindVar)
}

// FunctionType is the prototype of a function.
func (f *Finder) FunctionType(name string) (*symbols.Type, error) {
	return f.declared(name, kindFunc)
}

func (f *Finder) declared(name string, kind uint32) (*symbols.Type, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "" {
		return nil, symbols.ErrNotFound
	}
	id, ok, err := f.lookup(name, kind)
	if err != nil {
		return nil, fmt.Errorf("type of %s: %w", name, err)
	}
	if !ok {
		return nil, symbols.ErrNotFound
	}
	t, err := f.typeOf(id)
	if err != nil {
		return nil, fmt.Errorf("type of %s: %w", name, err)
	}
	return t, nil
}

// TypeNames yields the names of structs, unions, enums, typedefs and base types.
func (f *Finder) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(yield func(symbols.Kind, string) bool) {
		for _, n := range f.names() {
			if !yield(n.kind, n.name) {
				return
			}
		}
	}
}

type kindName struct {
	kind symbols.Kind
	name string
}

func (f *Finder) names() []kindName {
	f.mu.Lock()
	defer f.mu.Unlock()
	kinds := make(map[typeID]symbols.Kind)
	var all []named
	_ = f.raw.each(func(id typeID, _ uint32, x record) error {
		if kind := f.raw.neutralKind(x); kind != symbols.Void && x.name != 0 {
			kinds[id] = kind
			all = append(all, newNamed(x.name, id))
		}
		return nil
	}) // what can't be read has no names
	out := make([]kindName, 0, len(all))
	_ = f.raw.eachName(all, func(n named, b []byte) {
		kind, name := kinds[n.id()], string(b)
		if kind == symbols.Int || kind == symbols.Bool {
			name = symbols.BaseTypeName(name)
		}
		if name != "" {
			out = append(out, kindName{kind, name})
		}
	})
	return out
}

// neutralKind is Void for records that are no named types.
func (r *rawTypes) neutralKind(x record) symbols.Kind {
	switch x.kind {
	case kindInt:
		if r.order.u32(x.body)>>24&0xf == intBool {
			return symbols.Bool
		}
		return symbols.Int
	case kindFloat:
		return symbols.Float
	case kindStruct:
		return symbols.Struct
	case kindUnion:
		return symbols.Union
	case kindEnum, kindEnum64:
		return symbols.Enum
	case kindTypedef:
		return symbols.Typedef
	}
	return symbols.Void
}
