package types

import (
	"debug/dwarf"
	"fmt"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// origin follows DW_AT_abstract_origin and then DW_AT_specification from e as long as has does not hold.
func (b *Builder) origin(e *dwarfinfo.Entry, has func(*dwarfinfo.Entry) bool) *dwarfinfo.Entry {
	for range maxChain {
		if has(e) {
			return e
		}
		ref, ok := e.RefTo(dwarf.AttrAbstractOrigin)
		if !ok {
			if ref, ok = e.RefTo(dwarf.AttrSpecification); !ok {
				return e
			}
		}
		var next *dwarfinfo.Entry
		if b.entry(ref, func(e *dwarfinfo.Entry) { next = e.Clone() }) != nil || next == nil {
			return e
		}
		e = next
	}
	return e
}

// prototype makes a function's type. That of a copy of a function (inlined, or with parameters optimised away) is the
// original's.
func (b *Builder) prototype(e *dwarfinfo.Entry, depth int) *symbols.Type {
	whole := b.origin(e.Clone(), func(e *dwarfinfo.Entry) bool { return e.Field(dwarf.AttrAbstractOrigin) == nil })
	returns := b.origin(whole, func(e *dwarfinfo.Entry) bool { return e.Field(dwarf.AttrType) != nil })
	params := b.origin(whole, func(e *dwarfinfo.Entry) bool { return e.Field(dwarf.AttrSpecification) == nil || b.takes(e.Ref()) })
	t := &symbols.Type{Kind: symbols.Func}
	ref, result := params.Ref(), targetOf(returns)
	b.children(ref, func(c *dwarfinfo.Entry) bool {
		t.Variadic = t.Variadic || c.Tag == dwarf.TagUnspecifiedParameters
		return !t.Variadic
	})
	return b.lazy(t, func(p *symbols.Parts) {
		p.Elem = b.to(result, 0)
		b.children(ref, func(c *dwarfinfo.Entry) bool {
			if c.Tag == dwarf.TagFormalParameter {
				p.Params = append(p.Params, symbols.Param{Name: c.Str(dwarf.AttrName), Type: b.typeOf(c, 0)})
			}
			return true
		})
	})
}

// takes reports whether the function at ref lists parameters.
func (b *Builder) takes(ref dwarfinfo.Ref) bool {
	found := false
	b.children(ref, func(c *dwarfinfo.Entry) bool {
		found = c.Tag == dwarf.TagFormalParameter || c.Tag == dwarf.TagUnspecifiedParameters
		return !found
	})
	return found
}

// variable is the type of the variable at ref. One that only refers to its declaration has that one's.
func (b *Builder) variable(ref dwarfinfo.Ref) (t *symbols.Type, err error) {
	err = b.entry(ref, func(e *dwarfinfo.Entry) {
		t = b.typeOf(b.origin(e.Clone(), func(e *dwarfinfo.Entry) bool { return e.Field(dwarf.AttrType) != nil }), 0)
	})
	if err == nil && t == nil {
		err = fmt.Errorf("there is no entry at %#x of .debug_info", ref.Off)
	}
	return t, err
}
