package btf

import (
	"fmt"
	"math/bits"
	"slices"

	"kdx/symbols"
)

// byID is the neutral type of type id; what can't be decoded is an incomplete type. f.mu is held.
func (f *Finder) byID(id typeID) *symbols.Type {
	if id == 0 {
		return symbols.VoidType
	}
	if o := f.owner(id); o != f {
		return o.byID(id)
	}
	t, err := f.typeOf(id)
	if err != nil {
		t = &symbols.Type{Kind: symbols.Struct, Name: "?", Incomplete: true, From: f.name}
		f.types[id] = t
	}
	return t
}

// record is that of a type of this BTF, or of the one that it builds on. It is good until the next call.
func (f *Finder) record(id typeID) (record, error) {
	x, ok, err := f.owner(id).raw.record(id)
	if err == nil && !ok {
		err = fmt.Errorf("there is no type %d", id)
	}
	return x, err
}

// convert makes the neutral type of type id. What it leads to is filled in when it is asked for.
func (f *Finder) convert(id typeID) (*symbols.Type, error) {
	x, err := f.record(id)
	if err != nil {
		return nil, err
	}
	name, err := f.raw.str(x.name)
	if err != nil {
		return nil, err
	}
	switch x.kind {
	case kindInt:
		return f.integer(x, name), nil
	case kindFloat:
		return &symbols.Type{Kind: symbols.Float, Name: name, Size: uint64(x.size), From: f.name}, nil
	case kindPointer:
		return f.wrapper(symbols.Pointer, "", f.ptr, x.of()), nil
	case kindArray:
		return f.array(x)
	case kindStruct:
		return f.composite(symbols.Struct, name, x), nil
	case kindUnion:
		return f.composite(symbols.Union, name, x), nil
	case kindEnum, kindEnum64:
		return f.enum(name, x), nil
	case kindForward:
		return f.forward(x, name), nil
	case kindTypedef:
		return f.sized(symbols.Typedef, name, x.of())
	case kindConst:
		return f.sized(symbols.Const, "", x.of())
	case kindVolatile:
		return f.sized(symbols.Volatile, "", x.of())
	case kindRestrict:
		return f.sized(symbols.Restrict, "", x.of())
	case kindFuncProto:
		return f.prototype(x)
	case kindTypeTag, kindFunc, kindVar:
		to, err := f.through(x.of())
		if err != nil {
			return nil, fmt.Errorf("type %d: %w", id, err)
		}
		return f.byID(to), nil
	}
	return symbols.VoidType, nil
}

// through is the type that a tag, function or variable stands for. In damaged data they can lead to each other.
func (f *Finder) through(id typeID) (typeID, error) {
	for range 64 {
		if id == 0 {
			return 0, nil
		}
		x, err := f.record(id)
		if err != nil {
			return 0, err
		}
		switch x.kind {
		case kindTypeTag, kindFunc, kindVar:
			id = x.of()
		default:
			return id, nil
		}
	}
	return 0, errDeep
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

func (f *Finder) integer(x record, name string) *symbols.Type {
	out := &symbols.Type{Kind: symbols.Int, Name: symbols.BaseTypeName(name), Size: uint64(x.size), From: f.name}
	encoding := f.raw.order.u32(x.body) >> 24 & 0xf
	switch encoding {
	case intBool:
		out.Kind = symbols.Bool
	case intSigned:
		out.Signed = true
	}
	switch name {
	case "char":
		out.Char = true
		out.Signed = out.Signed || f.signChar
	case "signed char":
		out.Char, out.Signed = true, true // pahole before 1.19 does not say so
	case "unsigned char":
		out.Char = true
	}
	out.Char = out.Char || encoding == intChar
	return out
}

func (f *Finder) array(x record) (*symbols.Type, error) {
	elem, n := typeID(f.raw.order.u32(x.body)), f.raw.order.u32(x.body[8:])
	size, err := f.sizeof(elem)
	if err != nil {
		return nil, err
	}
	out := &symbols.Type{Kind: symbols.Array, Len: int64(n)}
	if hi, lo := bits.Mul64(uint64(n), size); hi == 0 {
		out.Size = lo
	}
	if n == 0 {
		out.Len = symbols.Flexible // BTF doesn't tell [0] from []
	}
	return f.lazy(out, func(p *symbols.Parts) { p.Elem = f.byID(elem) }), nil
}

// sized is a type that has the size of another.
func (f *Finder) sized(kind symbols.Kind, name string, of typeID) (*symbols.Type, error) {
	size, err := f.sizeof(of)
	if err != nil {
		return nil, err
	}
	return f.wrapper(kind, name, size, of), nil
}

func (f *Finder) wrapper(kind symbols.Kind, name string, size uint64, of typeID) *symbols.Type {
	return f.lazy(&symbols.Type{Kind: kind, Name: name, Size: size}, func(p *symbols.Parts) { p.Elem = f.byID(of) })
}

func (f *Finder) composite(kind symbols.Kind, name string, x record) *symbols.Type {
	body := slices.Clone(x.body)
	return f.lazy(&symbols.Type{Kind: kind, Name: name, Size: uint64(x.size)}, func(p *symbols.Parts) {
		p.Members = make([]symbols.Member, x.n)
		for i := range p.Members {
			p.Members[i] = f.member(body[12*i:], x.flag)
		}
	})
}

// member reads a member's record. flagged says that bit-fields have their width in it.
func (f *Finder) member(b []byte, flagged bool) symbols.Member {
	word := f.raw.order.u32
	id, at := typeID(word(b[4:])), word(b[8:])
	name, _ := f.raw.str(word(b)) // that it is there was seen when the strings were gone through
	m := symbols.Member{Name: name, Type: f.byID(id), BitOffset: uint64(at)}
	if flagged {
		m.BitOffset, m.BitSize = uint64(at&0xffffff), at>>24
		return m
	}
	if field, ok := f.owner(id).raw.bitfields[id]; ok {
		m.BitOffset += uint64(field[0])
		m.BitSize = uint32(field[1])
	}
	return m
}

func (f *Finder) enum(name string, x record) *symbols.Type {
	word, body := f.raw.order.u32, slices.Clone(x.body)
	size := len(body) / max(x.n, 1)
	signed := x.flag
	if f.oldEnums && x.size == 4 {
		// BTF of pahole before 1.24 does not say. Small negative numbers are meant as such, high bits as flags.
		for i := range x.n {
			signed = signed || word(body[size*i+4:]) >= 0xffff0000
		}
	}
	out := &symbols.Type{Kind: symbols.Enum, Name: name, Size: uint64(x.size), Signed: signed, Incomplete: x.n == 0}
	return f.lazy(out, func(p *symbols.Parts) {
		p.Enumerators = make([]symbols.Enumerator, x.n)
		for i := range p.Enumerators {
			b := body[size*i:]
			name, _ := f.raw.str(word(b)) // as in member
			n := int64(word(b[4:]))
			switch {
			case x.kind == kindEnum64:
				n |= int64(word(b[8:])) << 32
			case signed:
				n = int64(int32(n))
			}
			p.Enumerators[i] = symbols.Enumerator{Name: name, Value: n}
		}
	})
}

// forward is a declared type: the defined one of that name if there is one.
func (f *Finder) forward(x record, name string) *symbols.Type {
	kind := symbols.Struct
	if x.flag {
		kind = symbols.Union
	}
	for o := f; o != nil; o = o.base {
		if def, err := o.named(kind, name); err == nil {
			return def
		}
		if o.opt.Declared == nil {
			continue
		}
		if def, err := o.opt.Declared(kind, name); err == nil {
			return def
		}
	}
	return &symbols.Type{Kind: kind, Name: name, Incomplete: true, From: f.name}
}

func (f *Finder) prototype(x record) (*symbols.Type, error) {
	word, body, n := f.raw.order.u32, slices.Clone(x.body), x.n
	out := &symbols.Type{Kind: symbols.Func}
	if n > 0 && word(body[8*(n-1)+4:]) == 0 {
		name, err := f.raw.str(word(body[8*(n-1):]))
		if err != nil {
			return nil, err
		}
		if name == "" {
			out.Variadic = true
			n--
		}
	}
	result := x.of()
	return f.lazy(out, func(p *symbols.Parts) {
		p.Elem = f.byID(result)
		for i := range n {
			name, _ := f.raw.str(word(body[8*i:])) // as in member
			p.Params = append(p.Params, symbols.Param{Name: name, Type: f.byID(typeID(word(body[8*i+4:])))})
		}
	}), nil
}

// sizeof is a type's size in bytes; 0 where it has none.
func (f *Finder) sizeof(id typeID) (uint64, error) {
	times := uint64(1)
	for range maxDepth {
		if id == 0 {
			return 0, nil
		}
		x, err := f.record(id)
		if err != nil {
			return 0, err
		}
		size := uint64(x.size)
		switch x.kind {
		case kindInt, kindFloat, kindStruct, kindUnion, kindEnum, kindEnum64:
		case kindPointer:
			size = f.ptr
		case kindForward:
			name, err := f.raw.str(x.name)
			if err != nil {
				return 0, err
			}
			size = f.forward(x, name).Size
		case kindArray:
			hi, lo := bits.Mul64(times, uint64(f.raw.order.u32(x.body[8:])))
			if hi != 0 {
				return 0, nil
			}
			times, id = lo, typeID(f.raw.order.u32(x.body))
			continue
		case kindTypedef, kindConst, kindVolatile, kindRestrict, kindTypeTag:
			id = x.of()
			continue
		default:
			return 0, nil
		}
		if hi, lo := bits.Mul64(times, size); hi == 0 {
			return lo, nil
		}
		return 0, nil
	}
	return 0, errDeep
}
