package view

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
	"kdx/symbols/demangle"
)

// Style says how values are written as text.
type Style struct {
	Hex bool // integers in hexadecimal; addresses always are
	// Format is gdb's letter of print/FMT for scalars: x, d, u, o, t (binary), c, a (address and symbol), z (hexadecimal,
	// padded); 0 for each type's own.
	Format byte
	// Pointee says what lies at a kernel address; nil if pointers are shown without. It is asked for pointers, and for integers
	// of a word's size, of which some are addresses.
	Pointee func(addr uint64) (Pointee, bool)
}

const (
	// maxElements is how much of an array or string text shows, as crash does.
	maxElements = 256
	maxNesting  = 48      // a damaged type can nest without end; the kernel's deepest nest some 15 deep
	maxScalars  = 1 << 18 // of one value: more text than anybody reads
)

// Text of a typed value the way gdb's print writes it at the top level: a pointer is preceded by its type.
func WriteValue(w io.Writer, x kernel.Value, st Style) error {
	return writeNamedValue(w, x, st, "", true, "")
}

// writeValue writes x; lines after the first begin with prefix.
func writeValue(w io.Writer, x kernel.Value, st Style, prefix string, top bool) error {
	return writeNamedValue(w, x, st, prefix, top, "")
}

// writeNamedValue is writeValue of what gaps call name.
func writeNamedValue(w io.Writer, x kernel.Value, st Style, prefix string, top bool, name string) error {
	if err := x.Err(); err != nil {
		return err
	}
	p := &printer{style: st, prefix: prefix, v: x.View(), out: w}
	if _, bits, ok := x.BitField(); ok {
		u, err := x.Uint()
		if err != nil {
			return p.failed(x, name, err)
		}
		p.integer(x.Type().Strip(), u, bits)
		return p.flush()
	}
	src, err := newSource(x)
	if err != nil {
		return p.failed(x, name, err)
	}
	src.call(name)
	p.src = src
	p.value(x.Type(), 0, 0, "", top)
	return p.flush()
}

// printer writes one value. Its output is flushed at each member, so that a large object is not held.
type printer struct {
	style  Style
	prefix string
	v      *kernel.View
	src    *source
	b      strings.Builder
	out    io.Writer
	err    error
	count  int
}

func (p *printer) flush() error {
	if p.err != nil {
		return p.err
	}
	_, p.err = io.WriteString(p.out, p.b.String())
	p.b.Reset()
	return p.err
}

func (p *printer) failed(x kernel.Value, name string, err error) error {
	p.v.Gap(cmp.Or(name, x.Type().String()), err)
	p.b.WriteString(missing(err))
	return p.flush()
}

func (p *printer) newline(depth int) {
	p.b.WriteByte('\n')
	p.b.WriteString(p.prefix)
	for range depth {
		p.b.WriteString("  ")
	}
}

// step counts what was written; false ends the value.
func (p *printer) step(depth int) bool {
	p.count++
	if p.err == nil {
		p.err = p.v.Step()
	}
	if p.err != nil {
		return false
	}
	if depth > maxNesting || p.count > maxScalars {
		p.b.WriteString("...")
		return false
	}
	return true
}

func (p *printer) value(t *symbols.Type, off uint64, depth int, member string, top bool) {
	if !p.step(depth) {
		return
	}
	switch s := t.Strip(); s.Kind {
	case symbols.Struct, symbols.Union:
		p.composite(s, off, depth, member)
	case symbols.Array:
		p.array(s, off, depth, member)
	case symbols.Func:
		fmt.Fprintf(&p.b, "{%s} %#x%s", s, uint64(p.src.addr)+off, p.symbol(uint64(p.src.addr)+off, false))
	case symbols.Void:
		fmt.Fprintf(&p.b, "<%s has no type: cast it>", p.src.name)
	default:
		p.scalar(t, s, off, member, top)
	}
}

func (p *printer) composite(t *symbols.Type, off uint64, depth int, member string) {
	if t.Incomplete {
		p.b.WriteString("<incomplete type>")
		return
	}
	if err := p.src.allMissing(off, t.Size); err != nil {
		p.src.gap(member, off, err)
		p.b.WriteString(missing(err))
		return
	}
	ms := t.Members()
	if len(ms) == 0 {
		p.b.WriteString("{<No data fields>}")
		return
	}
	p.b.WriteByte('{')
	for i := range ms {
		if i > 0 {
			p.b.WriteByte(',')
		}
		p.newline(depth + 1)
		p.member(&ms[i], off, depth+1, member)
		if p.flush() != nil || p.count > maxScalars {
			return
		}
	}
	p.newline(depth)
	p.b.WriteByte('}')
}

// member writes "name = value".
func (p *printer) member(m *symbols.Member, base uint64, depth int, path string) {
	if m.Name != "" {
		p.b.WriteString(m.Name)
		p.b.WriteString(" = ")
		path = join(path, m.Name)
	}
	if m.BitSize == 0 {
		p.value(m.Type, base+m.Offset(), depth, path, false)
		return
	}
	u, err := p.src.bitField(base, m)
	if err != nil {
		p.src.gap(path, base+m.Offset(), err)
		p.b.WriteString(missing(err))
		return
	}
	p.integer(m.Type.Strip(), u, m.BitSize)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// bitField is the member's bits, not sign-extended.
func (s *source) bitField(base uint64, m *symbols.Member) (uint64, error) {
	bit := uint32(m.BitOffset % 8)
	if m.BitSize > 64 {
		return 0, fmt.Errorf("bit-field of %d bits", m.BitSize)
	}
	q, err := s.bytes(base+m.Offset(), uint64(bit+m.BitSize+7)/8)
	if err != nil {
		return 0, err
	}
	return kernel.ExtractBits(q, bit, m.BitSize, bigEndian(s.v)), nil
}

func bigEndian(v *kernel.View) bool { return v.ByteOrder().Uint16([]byte{0, 1}) == 1 }

// isChar reports whether gdb shows the type as characters: every integer of one byte, so u8 too.
func isChar(t *symbols.Type) bool {
	s := t.Strip()
	return s.Kind == symbols.Int && s.Size == 1
}

func (p *printer) array(t *symbols.Type, off uint64, depth int, member string) {
	elem := t.Elem()
	if t.Len <= 0 || elem.Size == 0 {
		p.flexible(elem, off)
		return
	}
	size := uint64(t.Len) * elem.Size
	if err := p.src.allMissing(off, size); err != nil {
		p.src.gap(member, off, err)
		p.b.WriteString(missing(err))
		return
	}
	if isChar(elem) && (p.style.Format == 0 || p.style.Format == 's') {
		p.charArray(off, uint64(t.Len), member)
		return
	}
	p.b.WriteByte('{')
	for i := range t.Len {
		if i > 0 {
			p.b.WriteString(", ")
		}
		p.value(elem, off+uint64(i)*elem.Size, depth+1, fmt.Sprintf("%s[%d]", member, i), false)
		if p.err != nil || p.count > maxScalars {
			return
		}
		if i+1 == maxElements && t.Len > maxElements {
			p.b.WriteString("...")
			break
		}
	}
	p.b.WriteByte('}')
}

// flexible is an array of unknown length: where it is and, for characters, the text there.
func (p *printer) flexible(elem *symbols.Type, off uint64) {
	if !p.src.mem {
		p.b.WriteString("<no address>")
		return
	}
	p.pointer(elem, uint64(p.src.addr)+off)
}

// charArray drops one NUL at the end, as that is no part of the text in C; others are shown.
func (p *printer) charArray(off, n uint64, member string) {
	text, err := p.src.bytes(off, min(n, maxElements))
	if err == nil && n <= maxElements && text[n-1] == 0 {
		text = text[:n-1]
	}
	quoteC(&p.b, text, err == nil && n > maxElements)
	if err != nil {
		p.src.gap(member, off+uint64(len(text)), err)
		p.b.WriteString(" " + missing(err))
	}
}

func (p *printer) scalar(t, s *symbols.Type, off uint64, member string, top bool) {
	q, err := p.src.bytes(off, s.Size)
	if err != nil {
		p.src.gap(member, off, err)
		p.b.WriteString(missing(err))
		return
	}
	switch {
	case s.Kind == symbols.Float:
		p.b.WriteString(floatText(q, p.v.ByteOrder()))
	case s.Size == 16:
		p.wide(q, s.Signed)
	case s.Size == 0 || s.Size > 8:
		fmt.Fprintf(&p.b, "<%s of %d bytes>", s.Kind, s.Size)
	case s.Kind == symbols.Pointer:
		addr := decode(q, p.v)
		if p.style.Format != 0 && p.style.Format != 's' && p.style.Format != 'a' {
			p.integer(s, addr, uint32(s.Size*8))
			return
		}
		if top && !plainCharPointer(t) {
			fmt.Fprintf(&p.b, "(%s) ", t)
		}
		p.pointer(s.Elem(), addr)
	default:
		u := decode(q, p.v)
		p.integer(s, u, uint32(s.Size*8))
		if x, ok := p.pointee(u); ok && s.Kind == symbols.Int && s.Size == p.v.WordSize() {
			p.b.WriteString(" " + x.Text())
		}
	}
}

// plainCharPointer is char * or const char *, the only pointers that are not preceded by their type.
func plainCharPointer(t *symbols.Type) bool {
	for t.Kind == symbols.Const || t.Kind == symbols.Volatile || t.Kind == symbols.Restrict {
		t = t.Elem()
	}
	if t.Kind != symbols.Pointer {
		return false
	}
	e := t.Elem()
	for e.Kind == symbols.Const || e.Kind == symbols.Volatile {
		e = e.Elem()
	}
	return e.Kind == symbols.Int && e.Name == "char"
}

// pointer writes an address, its symbol and, for characters, the text there.
func (p *printer) pointer(elem *symbols.Type, addr uint64) {
	fmt.Fprintf(&p.b, "%#x%s", addr, p.symbol(addr, isChar(elem)))
	if x, ok := p.pointee(addr); ok && x.Symbol == "" {
		p.b.WriteString(" " + x.Text())
	}
	if addr == 0 || !isChar(elem) || p.style.Format == 'a' {
		return
	}
	p.b.WriteByte(' ')
	if !p.v.Arch().IsKernel(addr) {
		p.b.WriteString("<no address of the kernel>")
		return
	}
	text, err := p.v.CString(vmem.Addr(addr), maxElements)
	if err != nil && text == "" {
		if missing(err) != "<not mapped>" {
			p.v.Gap(fmt.Sprintf("text at %#x", addr), err)
		}
		p.b.WriteString(missing(err))
		return
	}
	quoteC(&p.b, []byte(text), len(text) == maxElements)
	if err != nil {
		p.b.WriteString(" " + missing(err))
	}
}

// pointee is what lies at addr, if that is to be told.
func (p *printer) pointee(addr uint64) (Pointee, bool) {
	if p.style.Pointee == nil || !p.v.Arch().IsKernel(addr) {
		return Pointee{}, false
	}
	return p.style.Pointee(addr)
}

// symbol is " <name+offset>", or "" if addr has no name; text says that it is that of a string. Small numbers are no addresses,
// although per-CPU symbols have such values.
func (p *printer) symbol(addr uint64, text bool) string {
	if !p.v.Arch().IsKernel(addr) {
		return ""
	}
	s, err := p.v.NameAt(vmem.Addr(addr), text)
	if err != nil {
		return ""
	}
	if addr == s.Addr {
		return " <" + demangle.Name(s.Name) + ">"
	}
	return fmt.Sprintf(" <%s+%d>", demangle.Name(s.Name), addr-s.Addr)
}
