package btf

import (
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf/btf"

	"kdx/symbols"
)

// byIDType is the neutral type of type id; what can't be decoded is an incomplete type. f.mu is held.
func (f *Finder) byIDType(id btf.TypeID) *symbols.Type {
	if id == 0 {
		return symbols.VoidType
	}
	if o := f.owner(id); o != f {
		return o.byIDType(id)
	}
	if t, ok := f.types[id]; ok {
		return t
	}
	t, err := f.convert(id)
	if err != nil {
		t = &symbols.Type{Kind: symbols.Struct, Name: "?", Incomplete: true, From: f.name}
	}
	f.types[id] = t
	return t
}

// ref is the neutral type of a type that the library decoded as part of another.
func (f *Finder) ref(t btf.Type) *symbols.Type { return f.byIDType(f.id(t)) }

func (f *Finder) id(t btf.Type) btf.TypeID {
	if t == nil {
		return 0
	}
	id, err := f.spec.TypeID(t)
	if err != nil && f.base != nil {
		id, err = f.base.spec.TypeID(t)
	}
	if err != nil {
		return 0
	}
	return id
}

// convert makes the neutral type of type id. Its parts are filled in when they are asked for.
func (f *Finder) convert(id btf.TypeID) (*symbols.Type, error) {
	raw, err := f.byID(id)
	if err != nil {
		return nil, err
	}
	switch t := raw.(type) {
	case *btf.Int:
		return f.integer(t), nil
	case *btf.Float:
		return &symbols.Type{Kind: symbols.Float, Name: t.Name, Size: uint64(t.Size), From: f.name}, nil
	case *btf.Pointer:
		return f.lazy(&symbols.Type{Kind: symbols.Pointer, Size: f.ptr}, func(p *symbols.Parts) {
			to, _ := f.raw.target(id)
			p.Elem = f.byIDType(to)
		}), nil
	case *btf.Array:
		return f.array(t), nil
	case *btf.Struct:
		return f.composite(symbols.Struct, t.Name, t.Size, t.Members), nil
	case *btf.Union:
		return f.composite(symbols.Union, t.Name, t.Size, t.Members), nil
	case *btf.Enum:
		return f.enum(t), nil
	case *btf.Fwd:
		return f.forward(t), nil
	case *btf.Typedef:
		return f.wrapper(symbols.Typedef, t.Name, t.Type), nil
	case *btf.Const:
		return f.wrapper(symbols.Const, "", t.Type), nil
	case *btf.Volatile:
		return f.wrapper(symbols.Volatile, "", t.Type), nil
	case *btf.Restrict:
		return f.wrapper(symbols.Restrict, "", t.Type), nil
	case *btf.FuncProto:
		return f.prototype(t), nil
	case *btf.TypeTag, *btf.Func, *btf.Var:
		to, err := through(t)
		if err != nil {
			return nil, fmt.Errorf("type %d: %w", id, err)
		}
		return f.ref(to), nil
	}
	return symbols.VoidType, nil
}

// through is the type that a tag, function or variable stands for. In damaged data they can lead to each other.
func through(t btf.Type) (btf.Type, error) {
	for range 64 {
		switch x := t.(type) {
		case *btf.TypeTag:
			t = x.Type
		case *btf.Func:
			t = x.Type
		case *btf.Var:
			t = x.Type
		default:
			return t, nil
		}
	}
	return nil, errDeep
}

// lazy is NewType with the lock held while the parts are filled in.
func (f *Finder) lazy(t *symbols.Type, fill func(*symbols.Parts)) *symbols.Type {
	t.From = f.name
	return symbols.NewType(t, func(p *symbols.Parts) {
		f.mu.Lock()
		defer f.mu.Unlock()
		fill(p)
	})
}

func (f *Finder) integer(t *btf.Int) *symbols.Type {
	out := &symbols.Type{Kind: symbols.Int, Name: symbols.BaseTypeName(t.Name), Size: uint64(t.Size), From: f.name}
	switch t.Encoding {
	case btf.Bool:
		out.Kind = symbols.Bool
	case btf.Signed:
		out.Signed = true
	}
	switch t.Name {
	case "char":
		out.Char = true
		out.Signed = out.Signed || f.signChar
	case "signed char":
		out.Char, out.Signed = true, true // pahole before 1.19 does not say so
	case "unsigned char":
		out.Char = true
	}
	out.Char = out.Char || t.Encoding == btf.Char
	return out
}

func (f *Finder) array(t *btf.Array) *symbols.Type {
	out := &symbols.Type{Kind: symbols.Array, Len: int64(t.Nelems), Size: f.sizeof(t, 0)}
	if t.Nelems == 0 {
		out.Len = symbols.Flexible // BTF doesn't tell [0] from []
	}
	return f.lazy(out, func(p *symbols.Parts) { p.Elem = f.ref(t.Type) })
}

func (f *Finder) wrapper(kind symbols.Kind, name string, of btf.Type) *symbols.Type {
	return f.lazy(&symbols.Type{Kind: kind, Name: name, Size: f.sizeof(of, 0)}, func(p *symbols.Parts) { p.Elem = f.ref(of) })
}

func (f *Finder) composite(kind symbols.Kind, name string, size uint32, members []btf.Member) *symbols.Type {
	return f.lazy(&symbols.Type{Kind: kind, Name: name, Size: uint64(size)}, func(p *symbols.Parts) {
		p.Members = make([]symbols.Member, len(members))
		for i, m := range members {
			p.Members[i] = symbols.Member{
				Name:      m.Name,
				Type:      f.ref(m.Type),
				BitOffset: uint64(m.Offset),
				BitSize:   uint32(m.BitfieldSize),
			}
		}
	})
}

func (f *Finder) enum(t *btf.Enum) *symbols.Type {
	signed := t.Signed
	if f.oldEnums && t.Size == 4 {
		// BTF of pahole before 1.24 does not say. Small negative numbers are meant as such, high bits as flags.
		for _, v := range t.Values {
			signed = signed || uint32(v.Value) >= 0xffff0000
		}
	}
	out := &symbols.Type{Kind: symbols.Enum, Name: t.Name, Size: uint64(t.Size), Signed: signed, Incomplete: len(t.Values) == 0}
	return f.lazy(out, func(p *symbols.Parts) {
		p.Enumerators = make([]symbols.Enumerator, len(t.Values))
		for i, v := range t.Values {
			n := int64(v.Value)
			if signed && t.Size == 4 {
				n = int64(int32(v.Value))
			}
			p.Enumerators[i] = symbols.Enumerator{Name: v.Name, Value: n}
		}
	})
}

// forward is a declared type: the defined one of that name if there is one.
func (f *Finder) forward(t *btf.Fwd) *symbols.Type {
	kind := symbols.Struct
	if t.Kind == btf.FwdUnion {
		kind = symbols.Union
	}
	for o := f; o != nil; o = o.base {
		if def, err := o.named(kind, t.Name); err == nil {
			return def
		}
	}
	return &symbols.Type{Kind: kind, Name: t.Name, Incomplete: true, From: f.name}
}

func (f *Finder) prototype(t *btf.FuncProto) *symbols.Type {
	params := t.Params
	out := &symbols.Type{Kind: symbols.Func}
	if n := len(params); n > 0 && params[n-1].Name == "" && f.id(params[n-1].Type) == 0 {
		out.Variadic = true
		params = params[:n-1]
	}
	return f.lazy(out, func(p *symbols.Parts) {
		p.Elem = f.ref(t.Return)
		for _, a := range params {
			p.Params = append(p.Params, symbols.Param{Name: a.Name, Type: f.ref(a.Type)})
		}
	})
}

// sizeof is a type's size in bytes; 0 where it has none.
func (f *Finder) sizeof(t btf.Type, depth int) uint64 {
	if depth > maxDepth {
		return 0
	}
	switch t := t.(type) {
	case *btf.Int:
		return uint64(t.Size)
	case *btf.Float:
		return uint64(t.Size)
	case *btf.Struct:
		return uint64(t.Size)
	case *btf.Union:
		return uint64(t.Size)
	case *btf.Enum:
		return uint64(t.Size)
	case *btf.Pointer:
		return f.ptr
	case *btf.Array:
		if hi, lo := bits.Mul64(uint64(t.Nelems), f.sizeof(t.Type, depth+1)); hi == 0 {
			return lo
		}
		return 0
	case *btf.Typedef:
		return f.sizeof(t.Type, depth+1)
	case *btf.Const:
		return f.sizeof(t.Type, depth+1)
	case *btf.Volatile:
		return f.sizeof(t.Type, depth+1)
	case *btf.Restrict:
		return f.sizeof(t.Type, depth+1)
	case *btf.TypeTag:
		return f.sizeof(t.Type, depth+1)
	case *btf.Fwd:
		return f.forward(t).Size
	}
	return 0
}
