package types

import (
	"debug/dwarf"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

func (b *Builder) enum(e *dwarfinfo.Entry, depth int) *symbols.Type {
	if t := b.defined(symbols.Enum, e, depth); t != nil {
		return t
	}
	size, ok := e.Uint(dwarf.AttrByteSize)
	under := b.typeOf(e, depth).Strip()
	if !ok {
		size = under.Size
	}
	if size > 8 {
		return b.bad()
	}
	// GCC before 8 and clang's C don't name the type underneath.
	signed := under.Signed || under.Kind == symbols.Void && b.hasNegative(e.Ref())
	t := &symbols.Type{Kind: symbols.Enum, Name: b.nameOf(e), Size: size, Signed: signed}
	ref := e.Ref()
	return b.lazy(t, func(p *symbols.Parts) {
		b.children(ref, func(c *dwarfinfo.Entry) bool {
			if v, ok := constant(c, dwarf.AttrConstValue); ok && c.Tag == dwarf.TagEnumerator {
				p.Enumerators = append(p.Enumerators, symbols.Enumerator{Name: c.Str(dwarf.AttrName), Value: fit(v, size, signed)})
			}
			return true
		})
	})
}

func (b *Builder) hasNegative(ref dwarfinfo.Ref) bool {
	negative := false
	b.children(ref, func(c *dwarfinfo.Entry) bool {
		f := c.Field(dwarf.AttrConstValue)
		negative = f != nil && (f.Form == dwarfinfo.FormSdata || f.Form == dwarfinfo.FormImplicitConst) && int64(f.Val) < 0
		return !negative
	})
	return negative
}

// fit is v as a number of size bytes holds it.
func fit(v int64, size uint64, signed bool) int64 {
	if size == 0 || size >= 8 {
		return v
	}
	shift := 64 - 8*size
	if signed {
		return v << shift >> shift
	}
	return int64(uint64(v) << shift >> shift)
}
