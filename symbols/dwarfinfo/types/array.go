package types

import (
	"debug/dwarf"
	"math/bits"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// constant is an attribute's value if it is a constant: not an expression, nor a reference to a variable.
func constant(e *dwarfinfo.Entry, a dwarf.Attr) (int64, bool) {
	f := e.Field(a)
	if f == nil {
		return 0, false
	}
	switch f.Form {
	case dwarfinfo.FormData1, dwarfinfo.FormData2, dwarfinfo.FormData4, dwarfinfo.FormData8, dwarfinfo.FormUdata,
		dwarfinfo.FormSdata, dwarfinfo.FormImplicitConst:
		return int64(f.Val), true
	}
	return 0, false
}

// maxDimensions bounds those of one array.
const maxDimensions = 16

// array makes an array for each dimension, the last of which holds the elements.
func (b *Builder) array(e *dwarfinfo.Entry, depth int) *symbols.Type {
	var dims []int64
	b.children(e.Ref(), func(c *dwarfinfo.Entry) bool {
		if c.Tag == dwarf.TagSubrangeType {
			dims = append(dims, length(c))
		}
		return len(dims) < maxDimensions
	})
	if dims == nil {
		dims = []int64{symbols.Flexible}
	}
	t := b.typeOf(e, depth)
	for i := len(dims) - 1; i >= 0; i-- {
		t = b.arrayOf(t, dims[i])
	}
	return t
}

// arrayOf is symbols.ArrayOf for lengths that may be anything.
func (b *Builder) arrayOf(elem *symbols.Type, n int64) *symbols.Type {
	hi, size := bits.Mul64(uint64(max(n, 0)), elem.Size)
	if n < 0 || hi != 0 || size > maxSize {
		n, size = symbols.Flexible, 0
	}
	return b.lazy(&symbols.Type{Kind: symbols.Array, Len: n, Size: size}, func(p *symbols.Parts) { p.Elem = elem })
}

// length of a dimension. One whose length is computed at run time has none that a type could know.
func length(c *dwarfinfo.Entry) int64 {
	if n, ok := constant(c, dwarf.AttrCount); ok {
		return n
	}
	upper, ok := constant(c, dwarf.AttrUpperBound)
	if !ok {
		return symbols.Flexible
	}
	if f := c.Field(dwarf.AttrUpperBound); f.Form == dwarfinfo.FormData4 && f.Val == 1<<32-1 {
		upper = -1 // GCC before 7 wrote so what [0] is
	}
	lower, _ := constant(c, dwarf.AttrLowerBound)
	if n := upper - lower + 1; n >= 0 && upper >= lower-1 {
		return n
	}
	return symbols.Flexible
}
