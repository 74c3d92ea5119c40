package kerneltest

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"kdx/symbols"
)

type tagKey struct {
	kind symbols.Kind
	name string
}

// typeTable holds types parsed from C: structs, unions, enums, arrays, pointers (function pointers as void *),
// bit-fields, typedefs of the kernel's short names.
type typeTable struct {
	tags  map[tagKey]*symbols.Type
	enums []*symbols.Type
	toks  []string
}

func newTypeTable() *typeTable {
	t := &typeTable{tags: map[tagKey]*symbols.Type{}}
	for _, b := range []struct {
		name   string
		size   uint64
		signed bool
	}{{"char", 1, true}, {"short", 2, true}, {"int", 4, true}, {"long", 8, true}, {"u8", 1, false}, {"u16", 2, false}, {"u32", 4, false},
		{"u64", 8, false}, {"s8", 1, true}, {"s16", 2, true}, {"s32", 4, true}, {"s64", 8, true}} {
		t.tags[tagKey{symbols.Int, b.name}] = &symbols.Type{Kind: symbols.Int, Name: b.name, Size: b.size, Signed: b.signed, Char: b.name == "char"}
		if len(b.name) > 3 || b.name == "int" {
			u := "unsigned " + b.name
			t.tags[tagKey{symbols.Int, u}] = &symbols.Type{Kind: symbols.Int, Name: u, Size: b.size, Char: b.name == "char"}
		}
	}
	t.tags[tagKey{symbols.Bool, "bool"}] = &symbols.Type{Kind: symbols.Bool, Name: "bool", Size: 1}
	return t
}

// TypeNamed finds a type.
func (t *typeTable) TypeNamed(k symbols.Kind, name string) (*symbols.Type, error) {
	if ty := t.tags[tagKey{k, name}]; ty != nil && !ty.Incomplete {
		return ty, nil
	}
	return nil, symbols.ErrNotFound
}

func tokenise(s string) []string {
	var out []string
	for i := 0; i < len(s); {
		c := rune(s[i])
		switch {
		case unicode.IsSpace(c):
			i++
		case c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c):
			j := i
			for j < len(s) && (s[j] == '_' || unicode.IsLetter(rune(s[j])) || unicode.IsDigit(rune(s[j]))) {
				j++
			}
			out = append(out, s[i:j])
			i = j
		default:
			out = append(out, s[i:i+1])
			i++
		}
	}
	return out
}

type syntaxError string

func (t *typeTable) guard(err *error) {
	if r := recover(); r != nil {
		s, ok := r.(syntaxError)
		if !ok {
			panic(r)
		}
		*err = fmt.Errorf("kerneltest: %s before %q", string(s), strings.Join(t.toks[:min(len(t.toks), 8)], " "))
	}
}

func (t *typeTable) parse(decls string) (err error) {
	defer t.guard(&err)
	t.toks = tokenise(decls)
	for len(t.toks) > 0 {
		t.specifier()
		t.want(";")
	}
	return nil
}

func (t *typeTable) typeOf(decl string) (ty *symbols.Type, err error) {
	defer t.guard(&err)
	t.toks = tokenise(decl)
	base := t.specifier()
	m := t.declarator(base)
	return m.Type, nil
}

func (t *typeTable) peek() string {
	if len(t.toks) == 0 {
		return ""
	}
	return t.toks[0]
}

func (t *typeTable) take() string {
	s := t.peek()
	if s == "" {
		panic(syntaxError("the declaration ends too soon"))
	}
	t.toks = t.toks[1:]
	return s
}

func (t *typeTable) want(s string) {
	if t.peek() != s {
		panic(syntaxError("want " + s))
	}
	t.take()
}

func (t *typeTable) specifier() *symbols.Type {
	switch w := t.take(); w {
	case "const", "volatile":
		return t.specifier()
	case "struct":
		return t.composite(symbols.Struct)
	case "union":
		return t.composite(symbols.Union)
	case "enum":
		return t.enum()
	case "void":
		return symbols.VoidType
	case "bool":
		return t.tags[tagKey{symbols.Bool, w}]
	case "unsigned":
		name := "int"
		switch t.peek() {
		case "char", "short", "int", "long":
			name = t.take()
		}
		return t.tags[tagKey{symbols.Int, "unsigned " + name}]
	default:
		ty := t.tags[tagKey{symbols.Int, w}]
		if ty == nil {
			panic(syntaxError("unknown type " + w))
		}
		return ty
	}
}

func (t *typeTable) tag(k symbols.Kind) *symbols.Type {
	name := ""
	if p := t.peek(); p != "{" {
		name = t.take()
	}
	if name == "" {
		return &symbols.Type{Kind: k}
	}
	ty := t.tags[tagKey{k, name}]
	if ty == nil {
		ty = &symbols.Type{Kind: k, Name: name, Incomplete: true}
		t.tags[tagKey{k, name}] = ty
	}
	return ty
}

func (t *typeTable) composite(k symbols.Kind) *symbols.Type {
	ty := t.tag(k)
	if t.peek() != "{" {
		return ty
	}
	t.take()
	l := structLayout{union: k == symbols.Union}
	for t.peek() != "}" {
		base := t.specifier()
		if t.peek() == ";" {
			l.add(symbols.Member{Type: base})
		}
		for t.peek() != ";" {
			l.add(t.declarator(base))
			if t.peek() == "," {
				t.take()
			}
		}
		t.want(";")
	}
	t.want("}")
	ty.Size, ty.Incomplete = l.finish(), false
	symbols.NewType(ty, func(p *symbols.Parts) { p.Members = l.members })
	return ty
}

func (t *typeTable) enum() *symbols.Type {
	ty := t.tag(symbols.Enum)
	ty.Size = 4
	if t.peek() != "{" {
		return ty
	}
	t.take()
	var list []symbols.Enumerator
	next := int64(0)
	for t.peek() != "}" {
		e := symbols.Enumerator{Name: t.take(), Value: next}
		if t.peek() == "=" {
			t.take()
			e.Value = t.number()
		}
		next = e.Value + 1
		list = append(list, e)
		if t.peek() == "," {
			t.take()
		}
	}
	t.want("}")
	ty.Incomplete = false
	symbols.NewType(ty, func(p *symbols.Parts) { p.Enumerators = list })
	t.enums = append(t.enums, ty)
	return ty
}

func (t *typeTable) number() int64 {
	n, err := strconv.ParseInt(t.take(), 0, 64)
	if err != nil {
		panic(syntaxError("want a number"))
	}
	return n
}

func (t *typeTable) declarator(base *symbols.Type) symbols.Member {
	for t.peek() == "*" {
		t.take()
		base = symbols.PointerTo(base, 8)
	}
	m := symbols.Member{Type: base}
	if p := t.peek(); p != "" && p != ";" && p != "[" && p != ":" && p != "," {
		m.Name = t.take()
	}
	var dims []int64
	for t.peek() == "[" {
		t.take()
		n := int64(symbols.Flexible)
		if t.peek() != "]" {
			n = t.number()
		}
		t.want("]")
		dims = append(dims, n)
	}
	for i := len(dims) - 1; i >= 0; i-- {
		m.Type = symbols.ArrayOf(m.Type, dims[i])
	}
	if t.peek() == ":" {
		t.take()
		m.BitSize = uint32(t.number())
	}
	return m
}

type structLayout struct {
	union   bool
	bits    uint64 // used so far
	size    uint64 // of a union
	align   uint64
	members []symbols.Member
}

func alignOf(t *symbols.Type) uint64 {
	t = t.Strip()
	switch t.Kind {
	case symbols.Array:
		return alignOf(t.Elem())
	case symbols.Struct, symbols.Union:
		a := uint64(1)
		for _, m := range t.Members() {
			a = max(a, alignOf(m.Type))
		}
		return a
	}
	return max(t.Size, 1)
}

func (l *structLayout) add(m symbols.Member) {
	a, size := alignOf(m.Type), m.Type.Strip().Size
	l.align = max(l.align, a)
	if l.union {
		l.size = max(l.size, size)
		l.members = append(l.members, m)
		return
	}
	width := uint64(m.BitSize)
	switch {
	case width == 0:
		l.bits = (l.bits + a*8 - 1) / (a * 8) * (a * 8)
		width = size * 8
	case l.bits/(size*8) != (l.bits+width-1)/(size*8):
		l.bits = (l.bits + a*8 - 1) / (a * 8) * (a * 8)
	}
	m.BitOffset = l.bits
	l.bits += width
	l.members = append(l.members, m)
}

func (l *structLayout) finish() uint64 {
	size := max(l.size, (l.bits+7)/8)
	a := max(l.align, 1)
	return (size + a - 1) / a * a
}
