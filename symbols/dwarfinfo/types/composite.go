package types

import (
	"debug/dwarf"
	"encoding/binary"
	"math/bits"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
)

// composite makes a struct or union.
func (b *Builder) composite(kind symbols.Kind, e *dwarfinfo.Entry, depth int) *symbols.Type {
	if t := b.defined(kind, e, depth); t != nil {
		return t
	}
	size, _ := e.Uint(dwarf.AttrByteSize)
	t := &symbols.Type{Kind: kind, Name: b.nameOf(e), Size: size, From: b.name}
	if size > maxSize {
		t.Size, t.Incomplete = 0, true
		return t
	}
	ref := e.Ref()
	return b.lazy(t, func(p *symbols.Parts) { p.Members = b.members(ref, size) })
}

// defined is the definition of what e only declares, or an incomplete type; nil if e defines it.
func (b *Builder) defined(kind symbols.Kind, e *dwarfinfo.Entry, depth int) *symbols.Type {
	if ref, ok := e.RefTo(dwarf.AttrSignature); ok && ref != e.Ref() {
		return b.at(ref, depth+1)
	}
	if !e.Flag(dwarf.AttrDeclaration) {
		return nil
	}
	name := b.nameOf(e)
	if hit, ok := b.definition(kind, name); ok && hit != e.Ref() {
		return b.at(hit, depth+1)
	}
	return &symbols.Type{Kind: kind, Name: name, Incomplete: true, From: b.name}
}

var indexKinds = map[symbols.Kind]index.Kind{symbols.Struct: index.Struct, symbols.Union: index.Union, symbols.Enum: index.Enum,
	symbols.Typedef: index.Typedef}

// definition is where the type of that name is defined. Drivers have types of one name that differ: which of them a
// declaration means, DWARF does not say.
func (b *Builder) definition(kind symbols.Kind, name string) (dwarfinfo.Ref, bool) {
	if name == "" {
		return dwarfinfo.Ref{}, false
	}
	hits, err := b.find(indexKinds[kind], name)
	if err != nil || len(hits) == 0 {
		return dwarfinfo.Ref{}, false
	}
	for _, h := range hits {
		if h.Size != hits[0].Size {
			return dwarfinfo.Ref{}, false
		}
	}
	return hits[0].Ref(b.data), true
}

// members of the struct or union at ref, which has size bytes. Those that don't lie in it are damaged, and left out.
func (b *Builder) members(ref dwarfinfo.Ref, size uint64) []symbols.Member {
	var out []symbols.Member
	b.children(ref, func(c *dwarfinfo.Entry) bool {
		switch c.Tag {
		case dwarf.TagMember, dwarf.TagInheritance:
			if m, ok := b.member(c); ok && inside(m, size) {
				out = append(out, m)
			}
		case dwarf.TagVariantPart:
			out = append(out, b.variants(c.Clone(), size)...)
		}
		return true
	})
	return out
}

func inside(m symbols.Member, size uint64) bool {
	n := uint64(m.BitSize)
	if n == 0 {
		n = m.Type.Size * 8 // at most maxSize
	}
	return m.BitOffset <= size*8 && n <= size*8-m.BitOffset
}

// member reads a member or base class. ok is false for what has no place in an object: static members, virtual bases.
func (b *Builder) member(c *dwarfinfo.Entry) (symbols.Member, bool) {
	if c.Flag(dwarf.AttrExternal) || c.Flag(dwarf.AttrDeclaration) {
		return symbols.Member{}, false
	}
	m := symbols.Member{Name: c.Str(dwarf.AttrName), Type: b.typeOf(c, 0)}
	if c.Tag == dwarf.TagInheritance {
		m.Name = "" // its members are found as an anonymous struct's are
	}
	at, ok := memberOffset(c)
	if !ok {
		return m, false
	}
	m.BitOffset = at * 8
	n, isField := constant(c, dwarf.AttrBitSize)
	if !isField {
		return m, true
	}
	if n < 0 || n > 128 {
		return m, false
	}
	m.BitSize = uint32(n)
	if off, ok := constant(c, dwarf.AttrDataBitOffset); ok {
		m.BitOffset += uint64(off)
		return m, off >= 0 && off < maxSize*8
	}
	if off, ok := constant(c, dwarf.AttrBitOffset); ok { // DWARF 2 and 3: from the most significant bit of its storage unit
		storage, ok := c.Uint(dwarf.AttrByteSize)
		if !ok {
			storage = m.Type.Size
		}
		if storage > maxBase {
			return m, false
		}
		if c.Unit.Data.Order != binary.ByteOrder(binary.BigEndian) {
			off = int64(storage)*8 - off - n
		}
		m.BitOffset += uint64(off) // off may be negative, where a field begins before its unit
	}
	return m, true
}

// memberOffset is DW_AT_data_member_location in bytes. Unions leave it out.
func memberOffset(c *dwarfinfo.Entry) (uint64, bool) {
	f := c.Field(dwarf.AttrDataMemberLoc)
	if f == nil {
		return 0, true
	}
	if f.Block != nil {
		return addend(f.Block, c.Unit.Data.Order)
	}
	v, ok := constant(c, dwarf.AttrDataMemberLoc)
	return uint64(v), ok && v >= 0 && v <= maxSize
}

// The operations that place members, DW_OP_*.
const (
	opConst1u    = 0x08
	opConst2u    = 0x0a
	opConst4u    = 0x0c
	opConstu     = 0x10
	opPlus       = 0x22
	opPlusUconst = 0x23
	opLit0       = 0x30
	opLit31      = 0x4f
)

// addend is what an expression adds to the address of the object. DWARF 2 places all members by DW_OP_plus_uconst.
func addend(expr []byte, order binary.ByteOrder) (uint64, bool) {
	if len(expr) == 0 {
		return 0, false
	}
	op, rest := expr[0], expr[1:]
	var v uint64
	n := 0
	switch {
	case op == opPlusUconst || op == opConstu:
		if v, n = binary.Uvarint(rest); n <= 0 {
			return 0, false
		}
	case op >= opLit0 && op <= opLit31:
		v = uint64(op - opLit0)
	case op == opConst1u && len(rest) >= 1:
		v, n = uint64(rest[0]), 1
	case op == opConst2u && len(rest) >= 2:
		v, n = uint64(order.Uint16(rest)), 2
	case op == opConst4u && len(rest) >= 4:
		v, n = uint64(order.Uint32(rest)), 4
	default:
		return 0, false
	}
	rest = rest[n:]
	if op == opPlusUconst {
		return v, len(rest) == 0 && v <= maxSize
	}
	return v, len(rest) == 1 && rest[0] == opPlus && v <= maxSize
}

// variants makes members of a variant part (a Rust enum): its discriminant, whose values bear the variants' names, and an
// anonymous union of what the variants hold.
func (b *Builder) variants(part *dwarfinfo.Entry, size uint64) []symbols.Member {
	discr, hasDiscr := part.RefTo(dwarf.AttrDiscr)
	var out, held []symbols.Member
	var names []symbols.Enumerator
	b.children(part.Ref(), func(c *dwarfinfo.Entry) bool {
		switch c.Tag {
		case dwarf.TagMember:
			if m, ok := b.member(c); ok && inside(m, size) && hasDiscr && c.Ref() == discr {
				m.Name = "discriminant"
				out = append(out, m)
			}
		case dwarf.TagVariant:
			value, ok := constant(c, dwarf.AttrDiscrValue)
			ms := b.variant(c.Ref(), size)
			held = append(held, ms...)
			if ok && len(ms) == 1 {
				names = append(names, symbols.Enumerator{Name: ms[0].Name, Value: value})
			}
		}
		return len(held) < maxChildren
	})
	for i := range out {
		out[i].Type = b.named(out[i].Type, names)
	}
	if len(held) == 0 {
		return out
	}
	union := b.lazy(&symbols.Type{Kind: symbols.Union, Size: size}, func(p *symbols.Parts) { p.Members = held })
	return append(out, symbols.Member{Type: union})
}

func (b *Builder) variant(ref dwarfinfo.Ref, size uint64) []symbols.Member {
	var out []symbols.Member
	b.children(ref, func(c *dwarfinfo.Entry) bool {
		if c.Tag == dwarf.TagMember {
			if m, ok := b.member(c); ok && inside(m, size) {
				out = append(out, m)
			}
		}
		return true
	})
	return out
}

// named is a discriminant's type with names for its values. A niche, which is a value that another variant's data can't have,
// names all variants but that one.
func (b *Builder) named(t *symbols.Type, names []symbols.Enumerator) *symbols.Type {
	s := t.Strip()
	if s.Kind != symbols.Int || s.Size > 8 || bits.OnesCount64(s.Size) != 1 || len(names) == 0 {
		return t
	}
	for i := range names {
		names[i].Value = fit(names[i].Value, s.Size, s.Signed)
	}
	return b.lazy(&symbols.Type{Kind: symbols.Enum, Size: s.Size, Signed: s.Signed}, func(p *symbols.Parts) { p.Enumerators = names })
}
