package view

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"kdx/analyze/kernel"
	"kdx/symbols"
)

// maxJSONElements bounds arrays in JSON, which shows more than text does but not what only a damaged type can claim.
const maxJSONElements = 1 << 16

// WriteJSONValue writes a typed value as JSON:
//
//   - struct and union: an object by member, in their order; members of anonymous structs stand beside the others
//   - integers and bit-fields: numbers, of up to 64 bits; a reader with 53-bit numbers must mind that. 128-bit: a string
//   - bool: true or false; another byte in its place is a number
//   - enum: the constant's name, or the number if there is none
//   - pointer, function, flexible array: the address as a string, "0xffff888003a4c000"
//   - array of char: a string up to the first NUL; of other bytes (u8) and of all else: an array
//   - what could not be read: null, and the View has a gap
func WriteJSONValue(w io.Writer, x kernel.Value) error { return writeJSONValue(w, x, Style{}, "") }

// writeJSONValue is WriteJSONValue of what gaps call name. Of the style only Pointee matters: it is asked of each address.
func writeJSONValue(w io.Writer, x kernel.Value, st Style, name string) error {
	if err := x.Err(); err != nil {
		return err
	}
	j := &jsonPrinter{printer{style: st, v: x.View(), out: w}}
	if _, bits, ok := x.BitField(); ok {
		u, err := x.Uint()
		if err != nil {
			return j.null(x, name, err)
		}
		j.integerJSON(x.Type().Strip(), u, bits)
		return j.flush()
	}
	src, err := newSource(x)
	if err != nil {
		return j.null(x, name, err)
	}
	src.call(name)
	j.src = src
	j.value(x.Type(), 0, 0, "")
	return j.flush()
}

type jsonPrinter struct{ printer }

func (j *jsonPrinter) null(x kernel.Value, name string, err error) error {
	j.v.Gap(cmp.Or(name, x.Type().String()), err)
	j.b.WriteString("null")
	return j.flush()
}

func (j *jsonPrinter) missing(member string, off uint64, err error) {
	j.src.gap(member, off, err)
	j.b.WriteString("null")
}

var errTooMuch = errors.New("the rest of the value is not shown: its type nests deeper or holds more than any real one")

func (j *jsonPrinter) value(t *symbols.Type, off uint64, depth int, member string) {
	j.count++
	if j.err == nil {
		j.err = j.v.Step()
	}
	if j.err != nil {
		return
	}
	if depth > maxNesting || j.count > maxScalars {
		j.missing(member, off, errTooMuch)
		return
	}
	switch s := t.Strip(); s.Kind {
	case symbols.Struct, symbols.Union:
		if err := j.src.allMissing(off, s.Size); err != nil || s.Incomplete {
			if err == nil {
				err = fmt.Errorf("%s is declared but not defined in this kernel's types", s)
			}
			j.missing(member, off, err)
			return
		}
		j.b.WriteByte('{')
		j.members(s, off, depth, member, true)
		j.b.WriteByte('}')
	case symbols.Array:
		j.array(s, off, depth, member)
	case symbols.Func, symbols.Void:
		j.address(uint64(j.src.addr) + off)
	default:
		j.scalar(s, off, member)
	}
}

// members writes the members of t; anonymous ones are spread out. It returns whether the next is still the first.
func (j *jsonPrinter) members(t *symbols.Type, off uint64, depth int, path string, first bool) bool {
	ms := t.Members()
	for i := range ms {
		m := &ms[i]
		if j.err != nil || j.count > maxScalars {
			return first
		}
		if m.Name == "" {
			if m.Type.Composite() && depth < maxNesting {
				first = j.members(m.Type.Strip(), off+m.Offset(), depth+1, path, first)
			}
			continue
		}
		if !first {
			j.b.WriteByte(',')
		}
		first = false
		j.string(m.Name)
		j.b.WriteByte(':')
		j.member(m, off, depth+1, join(path, m.Name))
		_ = j.flush()
	}
	return first
}

func (j *jsonPrinter) member(m *symbols.Member, base uint64, depth int, path string) {
	if m.BitSize == 0 {
		j.value(m.Type, base+m.Offset(), depth, path)
		return
	}
	u, err := j.src.bitField(base, m)
	if err != nil {
		j.missing(path, base+m.Offset(), err)
		return
	}
	j.integerJSON(m.Type.Strip(), u, m.BitSize)
}

func (j *jsonPrinter) array(t *symbols.Type, off uint64, depth int, member string) {
	elem := t.Elem()
	if t.Len <= 0 || elem.Size == 0 {
		if !j.src.mem {
			j.b.WriteString("null")
			return
		}
		j.address(uint64(j.src.addr) + off)
		return
	}
	if err := j.src.allMissing(off, uint64(t.Len)*elem.Size); err != nil {
		j.missing(member, off, err)
		return
	}
	if e := elem.Strip(); e.Kind == symbols.Int && e.Size == 1 && e.Name == "char" {
		j.text(off, uint64(t.Len), member)
		return
	}
	j.b.WriteByte('[')
	for i := range t.Len {
		if i > 0 {
			j.b.WriteByte(',')
		}
		at := off + uint64(i)*elem.Size
		name := fmt.Sprintf("%s[%d]", member, i)
		if i == maxJSONElements {
			j.missing(name, at, fmt.Errorf("%d elements are more than kdx shows", t.Len))
			break
		}
		j.value(elem, at, depth+1, name)
		if j.err != nil || j.count > maxScalars {
			break
		}
	}
	j.b.WriteByte(']')
}

// text is a char array up to its NUL.
func (j *jsonPrinter) text(off, n uint64, member string) {
	const piece = 256
	var s []byte
	for at := uint64(0); at < min(n, maxJSONElements); at += piece {
		q, err := j.src.bytes(off+at, min(piece, n-at))
		for i, c := range q {
			if c == 0 {
				j.string(string(append(s, q[:i]...)))
				return
			}
		}
		if err != nil {
			j.missing(member, off+at, err)
			return
		}
		s = append(s, q...)
	}
	j.string(string(s))
}

func (j *jsonPrinter) scalar(s *symbols.Type, off uint64, member string) {
	q, err := j.src.bytes(off, s.Size)
	if err != nil {
		j.missing(member, off, err)
		return
	}
	switch {
	case s.Kind == symbols.Pointer && s.Size <= 8:
		j.address(decode(q, j.v))
	case s.Kind == symbols.Float:
		f, err := strconv.ParseFloat(floatText(q, j.v.ByteOrder()), 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			j.string(floatText(q, j.v.ByteOrder()))
			return
		}
		j.b.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
	case s.Size == 0 || s.Size > 8:
		j.string(wideInt(q, bigEndian(j.v), s.Signed).String())
	default:
		u := decode(q, j.v)
		if s.Kind == symbols.Int && s.Size == j.v.WordSize() {
			j.pointee(u)
		}
		j.integerJSON(s, u, uint32(s.Size*8))
	}
}

func (j *jsonPrinter) integerJSON(t *symbols.Type, u uint64, bits uint32) {
	v := signExtend(u, bits)
	switch {
	case t.Kind == symbols.Enum:
		if !t.Signed {
			v = int64(u)
		}
		if name, ok := t.EnumeratorName(v); ok {
			j.string(name)
			return
		}
	case t.Kind == symbols.Bool && u <= 1:
		j.b.WriteString(strconv.FormatBool(u == 1))
		return
	case t.Kind == symbols.Pointer:
		j.address(u)
		return
	}
	if t.Signed {
		j.b.WriteString(strconv.FormatInt(v, 10))
		return
	}
	j.b.WriteString(strconv.FormatUint(u, 10))
}

func (j *jsonPrinter) address(a uint64) {
	j.pointee(a)
	j.b.WriteString(`"0x` + strconv.FormatUint(a, 16) + `"`)
}

func (j *jsonPrinter) string(s string) { j.b.WriteString(jsonString(s)) }

// jsonString quotes s; bytes that are no UTF-8 become U+FFFD.
func jsonString(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // init_task->comm should be readable
	if err := enc.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}
