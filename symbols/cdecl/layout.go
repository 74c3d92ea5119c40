package cdecl

import (
	"errors"

	"kdx/symbols"
)

// body reads "{ type name; … }" and lays it out as compilers do without attributes. Some of the kernel's globals have
// such a type, which no name leads to.
func (p *parser) body(kind symbols.Kind) (*symbols.Type, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("it nests too deep")
	}
	defer func() { p.depth-- }()
	p.advance()
	t := &symbols.Type{Kind: kind, From: "C"}
	var members []symbols.Member
	end, align := uint64(0), uint64(1)
	for !p.is("}") {
		m, name, err := p.declaration(true)
		if err != nil {
			return nil, err
		}
		if !p.is(";") {
			return nil, p.unexpected()
		}
		p.advance()
		budget := maxAligned
		a := alignOf(m, 0, &budget)
		align = max(align, a)
		at := uint64(0)
		if kind == symbols.Struct {
			at = roundUp(end, a)
		}
		members = append(members, symbols.Member{Name: name, Type: m, BitOffset: at * 8})
		if end = max(end, at+m.Size); end > maxSize {
			return nil, errors.New("it is too large")
		}
	}
	p.advance()
	t.Size = roundUp(end, align)
	return symbols.NewType(t, func(parts *symbols.Parts) { parts.Members = members }), nil
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// maxAligned bounds the members looked at for a type's alignment, as damaged data can nest without end.
const maxAligned = 1 << 16

// alignOf is a type's natural alignment in bytes.
func alignOf(t *symbols.Type, depth int, budget *int) uint64 {
	t = t.Strip()
	if *budget--; depth > maxDepth || *budget < 0 {
		return 1
	}
	switch t.Kind {
	case symbols.Array:
		return alignOf(t.Elem(), depth+1, budget)
	case symbols.Struct, symbols.Union:
		a := uint64(1)
		for _, m := range t.Members() {
			a = max(a, alignOf(m.Type, depth+1, budget))
		}
		return a
	}
	return min(max(t.Size, 1), 16)
}
