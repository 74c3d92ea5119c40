package view

import (
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Definition shows how a type is defined, as struct and whatis do without an address.
type Definition struct {
	Type    *symbols.Type
	Offsets bool       // a column of member offsets
	Base    *vmem.Addr // addresses of the members of the object there instead of offsets
	CPU     *int       // whose copy lies at Base; nil if it is no CPU's
	// Members are paths to show alone; empty for all.
	Members []string
	// Hex: offsets and the size in hexadecimal.
	Hex bool
}

// Text writes the definition and, if the whole type is shown, its size.
func (d *Definition) Text(w io.Writer, _ Options) error {
	p := &typePrinter{hex: d.Hex, offsets: d.Offsets || len(d.Members) > 0, base: d.Base}
	p.measure(d.Type.Size)
	if d.CPU != nil && d.Base != nil {
		fmt.Fprintf(&p.b, "[%d]: %x\n", *d.CPU, uint64(*d.Base))
	}
	if len(d.Members) > 0 {
		return p.paths(w, d.Type, d.Members)
	}
	p.definition(d.Type)
	if s := d.Type.Strip(); s.Kind != symbols.Enum && s.Kind != symbols.Void && s.Kind != symbols.Func {
		fmt.Fprintf(&p.b, "SIZE: %s\n", p.number(d.Type.Size))
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// Definitions are a type's at several objects. Their JSON is an array.
type Definitions []*Definition

// Text writes one after the other.
func (l Definitions) Text(w io.Writer, o Options) error {
	for _, d := range l {
		if err := d.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}

type typePrinter struct {
	b       strings.Builder
	hex     bool
	offsets bool
	base    *vmem.Addr
	width   int // of the column of offsets, with brackets
	lines   int
}

func (p *typePrinter) number(n uint64) string {
	if p.hex {
		return fmt.Sprintf("%#x", n)
	}
	return fmt.Sprint(n)
}

func (p *typePrinter) measure(size uint64) {
	if p.offsets {
		p.width = len(p.offset(size))
	}
}

func (p *typePrinter) offset(off uint64) string {
	if p.base != nil {
		return fmt.Sprintf("[%x]", uint64(*p.base)+off)
	}
	return "[" + p.number(off) + "]"
}

// begin starts a line with its column and indentation.
func (p *typePrinter) begin(column string, depth int) {
	if p.offsets {
		fmt.Fprintf(&p.b, "  %*s ", p.width, column)
		depth--
	}
	for range depth {
		p.b.WriteString("    ")
	}
}

func (p *typePrinter) definition(t *symbols.Type) {
	switch t.Kind {
	case symbols.Struct, symbols.Union:
		p.body(t, 0, 0, 0, 0, false)
		p.b.WriteByte('\n')
	case symbols.Enum:
		p.enum(t)
		p.b.WriteString(";\n")
	case symbols.Typedef:
		e := t.Elem()
		for range maxNesting { // what a chain of typedefs ends in says more than its next name
			if e.Kind != symbols.Typedef {
				break
			}
			e = e.Elem()
		}
		p.b.WriteString("typedef ")
		switch e.Kind {
		case symbols.Struct, symbols.Union:
			p.body(e, 0, 0, 0, 0, false)
			p.b.WriteString(" " + t.Name + ";\n")
		case symbols.Enum:
			p.enum(e)
			p.b.WriteString(" " + t.Name + ";\n")
		default:
			p.b.WriteString(e.Declare(t.Name) + ";\n")
		}
	default:
		p.b.WriteString(t.String() + "\n")
	}
}

func (p *typePrinter) enum(t *symbols.Type) {
	p.b.WriteString("enum ")
	if t.Name != "" {
		p.b.WriteString(t.Name + " ")
	}
	p.b.WriteString("{\n")
	for _, e := range t.Enumerators() {
		fmt.Fprintf(&p.b, "  %s = %d\n", e.Name, e.Value)
	}
	p.b.WriteByte('}')
}

// maxLines bounds a definition: anonymous structs of damaged types can multiply without end.
const maxLines = 100_000

// body writes "struct tag { … }" without a newline at its end. Each level of named members of anonymous type takes
// from show; below zero they are written as {...}, as gdb does, anonymous members are always shown. The brace that closes
// a named member stands at the member's offset.
func (p *typePrinter) body(t *symbols.Type, base uint64, depth, show, nest int, named bool) {
	p.b.WriteString(t.Kind.String() + " ")
	if t.Name != "" {
		p.b.WriteString(t.Name + " ")
	}
	switch {
	case t.Incomplete:
		p.b.WriteString("{ /* declared, but not defined in this kernel's types */ }")
		return
	case nest > maxNesting || p.lines > maxLines:
		p.b.WriteString("{...}")
		return
	}
	p.b.WriteString("{\n")
	ms := t.Members()
	for i := range ms {
		p.member(&ms[i], base, depth+1, show, nest)
	}
	closing := ""
	if named {
		closing = p.offset(base)
	}
	p.begin(closing, depth)
	if depth == 0 && p.offsets {
		// The closing brace of the whole stands at the left edge.
		s := p.b.String()
		p.b.Reset()
		p.b.WriteString(strings.TrimRight(s, " "))
	}
	p.b.WriteByte('}')
}

func (p *typePrinter) member(m *symbols.Member, base uint64, depth, show, nest int) {
	p.lines++
	off := base + m.Offset()
	if inner, ok := inlined(m.Type); ok && (m.Name == "" || show >= 0) {
		below := show
		if m.Name != "" {
			below--
		}
		p.begin("", depth)
		pointer := m.Type.Strip().Kind == symbols.Pointer
		if pointer {
			off = 0 // the members are not part of this object
		}
		p.body(inner, off, depth, below, nest+1, m.Name != "" && !pointer)
		if decl := declarator(m); decl != "" {
			p.b.WriteString(" " + decl)
		}
		p.b.WriteString(";\n")
		return
	}
	p.begin(p.offset(off), depth)
	decl := declaration(m)
	if e := m.Type.Strip(); show >= 0 && e.Kind == symbols.Enum && e.Name == "" {
		decl = strings.Replace(decl, "{...}", constants(e), 1)
	}
	p.b.WriteString(decl + ";\n")
}

// constants spells out an enum without a tag; values stand where C would not count on to them.
func constants(t *symbols.Type) string {
	var b strings.Builder
	b.WriteByte('{')
	next := int64(0)
	for i, e := range t.Enumerators() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(e.Name)
		if e.Value != next {
			fmt.Fprintf(&b, " = %d", e.Value)
		}
		next = e.Value + 1
	}
	b.WriteByte('}')
	return b.String()
}

// inlined is the struct or union without a tag that a member's declaration must spell out.
func inlined(t *symbols.Type) (*symbols.Type, bool) {
	for range 16 {
		switch t.Kind {
		case symbols.Const, symbols.Volatile, symbols.Restrict, symbols.Array, symbols.Pointer:
			t = t.Elem()
		case symbols.Struct, symbols.Union:
			return t, t.Name == ""
		default:
			return nil, false
		}
	}
	return nil, false
}

// declarator is what stands behind the closing brace: "x", "*x[2]".
func declarator(m *symbols.Member) string {
	full := m.Type.Declare(m.Name)
	if _, rest, ok := strings.Cut(full, "{...}"); ok {
		return strings.TrimSpace(rest)
	}
	return m.Name
}

func declaration(m *symbols.Member) string {
	s := m.Type.Declare(m.Name)
	if m.BitSize != 0 {
		s += fmt.Sprintf(" : %d", m.BitSize)
	}
	return s
}

// paths shows single members with their offsets.
func (p *typePrinter) paths(w io.Writer, t *symbols.Type, paths []string) error {
	p.b.WriteString(title(t) + " {\n")
	for _, path := range paths {
		m, ok := t.Path(path)
		if !ok {
			return fmt.Errorf("%s has no member %s", title(t), path)
		}
		m.Name = path
		p.begin(p.offset(m.Offset()), 1)
		p.b.WriteString(declaration(&m) + ";\n")
	}
	p.b.WriteString("}\n")
	_, err := io.WriteString(w, p.b.String())
	return err
}

// title is how an object of t is headed: "struct list_head"; a typedef of a struct says so too, as crash does.
func title(t *symbols.Type) string {
	if s := t.Strip(); t.Kind == symbols.Typedef && (s.Kind == symbols.Struct || s.Kind == symbols.Union) {
		return s.Kind.String() + " " + t.Name
	}
	return t.String()
}

// MarshalJSON: {"kind", "name", "size", "members": [{"name", "type", "offset", "size", "bit", "bits", "members"}]};
// enumerators {"name", "value"} for an enum, "target" for a typedef. bit and bits only stand at bit-fields: the position
// in bits from offset, and the width. Members without a tag of their own carry theirs.
func (d *Definition) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	t := d.Type
	fmt.Fprintf(&b, `{"kind":%s,"name":%s,"size":%d`, jsonString(t.Kind.String()), jsonString(t.Name), t.Size)
	if d.Base != nil {
		fmt.Fprintf(&b, `,"address":"%#x"`, uint64(*d.Base))
	}
	if d.CPU != nil {
		fmt.Fprintf(&b, `,"cpu":%d`, *d.CPU)
	}
	if t.Kind == symbols.Typedef {
		fmt.Fprintf(&b, `,"target":%s`, jsonString(t.Elem().String()))
	}
	if t.Kind != symbols.Struct && t.Kind != symbols.Union && t.Kind != symbols.Enum && t.Kind != symbols.Typedef {
		fmt.Fprintf(&b, `,"declaration":%s`, jsonString(t.String()))
	}
	switch s := t.Strip(); s.Kind {
	case symbols.Struct, symbols.Union:
		ms := s.Members()
		if len(d.Members) > 0 {
			ms = nil
			for _, path := range d.Members {
				m, ok := t.Path(path)
				if !ok {
					return nil, fmt.Errorf("%s has no member %s", title(t), path)
				}
				m.Name = path
				ms = append(ms, m)
			}
		}
		n := 0
		membersJSON(&b, ms, 0, 0, &n)
	case symbols.Enum:
		b.WriteString(`,"enumerators":[`)
		for i, e := range s.Enumerators() {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"name":%s,"value":%d}`, jsonString(e.Name), e.Value)
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

func membersJSON(b *strings.Builder, ms []symbols.Member, base uint64, depth int, lines *int) {
	b.WriteString(`,"members":[`)
	for i := range ms {
		m := &ms[i]
		if *lines++; *lines > maxLines {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		off := base + m.Offset()
		fmt.Fprintf(b, `{"name":%s,"type":%s,"offset":%d,"size":%d`, jsonString(m.Name), jsonString(m.Type.String()), off, m.Type.Size)
		if m.BitSize != 0 {
			fmt.Fprintf(b, `,"bit":%d,"bits":%d`, m.BitOffset%8, m.BitSize)
		}
		if inner, ok := inlined(m.Type); ok && depth < maxNesting {
			at := off
			if m.Type.Strip().Kind == symbols.Pointer {
				at = 0
			}
			membersJSON(b, inner.Members(), at, depth+1, lines)
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
}
