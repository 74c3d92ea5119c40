package btf

import (
	"fmt"
	"iter"

	"github.com/cilium/ebpf/btf"

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
	id := btf.TypeID(0)
	for _, s := range spellings {
		if id, ok = f.lookup(s, kinds...); ok {
			break
		}
	}
	if !ok {
		return nil, symbols.ErrNotFound
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

// typeOf is like byIDType, but says why a type can't be decoded.
func (f *Finder) typeOf(id btf.TypeID) (*symbols.Type, error) {
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
	id, ok := f.lookup(name, kind)
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
		for _, at := range f.raw.offsets {
			b := f.raw.types[at:]
			kind := f.raw.neutralKind(b)
			if kind == symbols.Void {
				continue
			}
			name := string(f.raw.str(f.raw.order.Uint32(b)))
			if kind == symbols.Int || kind == symbols.Bool {
				name = symbols.BaseTypeName(name)
			}
			if name != "" && !yield(kind, name) {
				return
			}
		}
	}
}

// kind is the kind of the record b.
func (r *rawTypes) kind(b []byte) uint32 { return r.order.Uint32(b[4:]) >> 24 & 0x1f }

// neutralKind is Void for records that are no named types.
func (r *rawTypes) neutralKind(b []byte) symbols.Kind {
	switch r.kind(b) {
	case kindInt:
		if r.order.Uint32(b[recordSize:])>>24&0xf == uint32(btf.Bool) {
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
