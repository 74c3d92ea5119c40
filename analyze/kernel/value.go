package kernel

import (
	"bytes"
	"fmt"

	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Value is an object in the kernel's memory, or a computed value, with its type. Navigation (Field, Index, Deref, Cast)
// is lazy and sticky: it reads what pointers it must follow and, once it failed, stays failed; terminals (Uint, Bytes,
// …) return the error. The zero Value is an error.
type Value struct {
	v    *View
	t    *symbols.Type
	mem  bool // the object lies at addr; else its bytes are in raw
	addr vmem.Addr
	raw  []byte
	bit  uint32 // bit-field: first bit counted from addr
	bits uint32 // bit-field: width; 0 otherwise
	err  error
}

// NewValue is a value that lies nowhere in memory; raw holds t.Size bytes in the target's byte order.
func (v *View) NewValue(t *symbols.Type, raw []byte) Value { return Value{v: v, t: t, raw: raw} }

// Failed is a Value that carries err.
func (v *View) Failed(err error) Value { return Value{v: v, err: err} }

// Err is the error of the navigation so far.
func (x Value) Err() error {
	if x.err == nil && x.t == nil {
		return fmt.Errorf("no value")
	}
	return x.err
}

// View that the value belongs to.
func (x Value) View() *View { return x.v }

// In is the value seen by another View, for values that outlive the command that found them.
func (x Value) In(v *View) Value {
	x.v = v
	return x
}

// Type of the value; nil if Err is set.
func (x Value) Type() *symbols.Type { return x.t }

// Addr is where the object lies; ok is false for a computed value and for a bit-field.
func (x Value) Addr() (addr vmem.Addr, ok bool) { return x.addr, x.mem && x.err == nil && x.bits == 0 }

// BitField returns the position of a bit-field in bits from its container's Addr, and its width; ok is false for others.
func (x Value) BitField() (bit, width uint32, ok bool) { return x.bit, x.bits, x.bits != 0 }

func (x Value) fail(format string, args ...any) Value {
	return Value{v: x.v, err: fmt.Errorf(format, args...)}
}

// Field is the member at path ("a", "a.b"), also inside anonymous members. A pointer to a struct is followed first, as
// -> does in C.
func (x Value) Field(path string) Value {
	if x.Err() != nil {
		return x
	}
	if x.t.Strip().Kind == symbols.Pointer {
		x = x.Deref()
		if x.err != nil {
			return x
		}
	}
	m, ok := x.t.Path(path)
	if !ok {
		if x.t.Strip().Incomplete {
			return x.fail("%s is declared but not defined in this kernel's types", x.t)
		}
		return x.fail("%s has no member %s", x.t, path)
	}
	y := x
	y.t = m.Type
	if m.BitSize != 0 {
		y.bit, y.bits = uint32(m.BitOffset%64), m.BitSize
		m.BitOffset -= m.BitOffset % 64
	} else {
		y.bit, y.bits = 0, 0
	}
	off := m.BitOffset / 8
	if x.mem {
		y.addr += vmem.Addr(off)
		return y
	}
	if off > uint64(len(x.raw)) {
		return x.fail("%s: member %s lies outside the value", x.t, path)
	}
	y.raw = x.raw[off:]
	return y
}

// Has reports whether the value's struct (or the struct it points to) has the member.
func (x Value) Has(path string) bool {
	if x.Err() != nil {
		return false
	}
	t := x.t.Strip()
	if t.Kind == symbols.Pointer {
		t = t.Elem()
	}
	_, ok := t.Path(path)
	return ok
}

// Index is element i of an array, or of what a pointer points to; i is not checked against the array's length, as in C.
func (x Value) Index(i int64) Value {
	if x.Err() != nil {
		return x
	}
	t := x.t.Strip()
	switch t.Kind {
	case symbols.Pointer:
		p, err := x.Uint()
		if err != nil {
			return x.fail("%w", err)
		}
		return x.v.Object(t.Elem(), vmem.Addr(p+uint64(i)*t.Elem().Size))
	case symbols.Array:
		off := uint64(i) * t.Elem().Size
		y := x
		y.t = t.Elem()
		if x.mem {
			y.addr += vmem.Addr(off)
			return y
		}
		if i < 0 || off > uint64(len(x.raw)) {
			return x.fail("element %d lies outside the value", i)
		}
		y.raw = x.raw[off:]
		return y
	}
	return x.fail("%s is neither array nor pointer", x.t)
}

// Deref is what a pointer points to.
func (x Value) Deref() Value {
	if x.Err() != nil {
		return x
	}
	t := x.t.Strip()
	switch t.Kind {
	case symbols.Pointer:
	case symbols.Array:
		return x.Index(0)
	default:
		return x.fail("%s is no pointer", x.t)
	}
	p, err := x.Uint()
	if err != nil {
		return x.fail("%w", err)
	}
	if p == 0 {
		return x.fail("%s is NULL", x.t)
	}
	return x.v.Object(t.Elem(), vmem.Addr(p))
}

// Cast is the same bytes seen as t.
func (x Value) Cast(t *symbols.Type) Value {
	if x.Err() != nil {
		return x
	}
	x.t = t
	return x
}

// ContainerOf is the struct tag whose member at path is this object, or is what this pointer points to.
func (x Value) ContainerOf(tag, path string) Value {
	if x.Err() != nil {
		return x
	}
	if x.t.Strip().Kind == symbols.Pointer {
		x = x.Deref()
		if x.err != nil {
			return x
		}
	}
	t, err := x.v.Struct(tag)
	if err != nil {
		return x.fail("%w", err)
	}
	off, ok := t.OffsetOf(path)
	if !ok {
		return x.fail("%s has no member %s", t, path)
	}
	addr, ok := x.Addr()
	if !ok {
		return x.fail("container_of: the value has no address")
	}
	return x.v.Object(t, addr-vmem.Addr(off))
}

// Bytes are the bytes of the object, t.Size of them.
func (x Value) Bytes() ([]byte, error) {
	if err := x.Err(); err != nil {
		return nil, err
	}
	if x.bits != 0 {
		return x.bitFieldBytes()
	}
	size := sizeOf(x.t)
	const limit = 1 << 28 // no object of a kernel is larger; a damaged type may claim it
	if size > limit {
		return nil, fmt.Errorf("%s claims %d bytes", x.t, size)
	}
	if !x.mem {
		if uint64(len(x.raw)) < size {
			return nil, fmt.Errorf("%s: only %d of %d bytes are known", x.t, len(x.raw), size)
		}
		return x.raw[:size], nil
	}
	p := make([]byte, size)
	if err := x.v.Read(p, x.addr); err != nil {
		return nil, fmt.Errorf("%s: %w", x.t, err)
	}
	return p, nil
}

func sizeOf(t *symbols.Type) uint64 {
	t = t.Strip()
	if t.Kind == symbols.Array && t.Len > 0 {
		return uint64(t.Len) * sizeOf(t.Elem())
	}
	return t.Size
}

// Uint is the value of an integer, bool, enum or pointer, zero-extended from its type's width. An array decays to its
// address.
func (x Value) Uint() (uint64, error) {
	u, _, err := x.scalar()
	return u, err
}

// Int is Uint, sign-extended if the type is signed.
func (x Value) Int() (int64, error) {
	u, bits, err := x.scalar()
	if err != nil {
		return 0, err
	}
	if t := x.t.Strip(); t.Signed && bits < 64 && u>>(bits-1)&1 != 0 {
		u |= ^uint64(0) << bits
	}
	return int64(u), nil
}

// Pointer is Uint as an address.
func (x Value) Pointer() (vmem.Addr, error) {
	u, err := x.Uint()
	return vmem.Addr(u), err
}

// Bool is whether the value is not zero.
func (x Value) Bool() (bool, error) {
	u, err := x.Uint()
	return u != 0, err
}

func (x Value) scalar() (u uint64, bits uint32, err error) {
	if err := x.Err(); err != nil {
		return 0, 0, err
	}
	t := x.t.Strip()
	switch t.Kind {
	case symbols.Int, symbols.Bool, symbols.Enum, symbols.Pointer:
	case symbols.Array:
		if x.mem {
			return uint64(x.addr), 64, nil
		}
		return 0, 0, fmt.Errorf("%s is no number", x.t)
	default:
		return 0, 0, fmt.Errorf("%s is no number", x.t)
	}
	if t.Size == 0 || t.Size > 8 {
		return 0, 0, fmt.Errorf("%s has %d bytes, which is no number that kdx reads", x.t, t.Size)
	}
	if x.bits != 0 {
		u, err = x.bitField()
		return u, x.bits, err
	}
	var b [8]byte
	p := b[:t.Size]
	if x.mem {
		if err := x.v.Read(p, x.addr); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", x.t, err)
		}
	} else if copy(p, x.raw) < len(p) {
		return 0, 0, fmt.Errorf("%s: the value has too few bytes", x.t)
	}
	return x.v.decodeUint(p), uint32(t.Size * 8), nil
}

// bitField reads only the bytes that hold the field: the container may end before the 64-bit window does.
func (x Value) bitField() (uint64, error) {
	var b [9]byte // 64 bits that start inside a byte
	first, last := x.bit/8, (x.bit+x.bits+7)/8
	if x.bits > 64 || last-first > uint32(len(b)) {
		return 0, fmt.Errorf("%s: bit-field of %d bits", x.t, x.bits)
	}
	p := b[:last-first]
	if x.mem {
		if err := x.v.Read(p, x.addr+vmem.Addr(first)); err != nil {
			return 0, fmt.Errorf("%s: %w", x.t, err)
		}
	} else {
		if int(last) > len(x.raw) {
			return 0, fmt.Errorf("%s: the value has too few bytes", x.t)
		}
		copy(p, x.raw[first:last])
	}
	return ExtractBits(p, x.bit-first*8, x.bits, x.v.bigEndian()), nil
}

func (k *Kernel) bigEndian() bool { return k.ByteOrder().Uint16([]byte{0, 1}) == 1 }

// ExtractBits takes width bits from p, starting at bit: counted from the least significant bit of the first byte, or on
// big-endian targets from the most significant.
func ExtractBits(p []byte, bit, width uint32, big bool) uint64 {
	var u uint64
	for i := range width {
		n := bit + i
		if big {
			u = u<<1 | uint64(p[n/8]>>(7-n%8)&1)
		} else {
			u |= uint64(p[n/8]>>(n%8)&1) << i
		}
	}
	return u
}

// bitFieldBytes is a bit-field's value in the bytes of its declared type.
func (x Value) bitFieldBytes() ([]byte, error) {
	i, err := x.Int()
	if err != nil {
		return nil, err
	}
	p := make([]byte, sizeOf(x.t))
	for n := range p {
		c := byte(i >> (8 * n))
		if x.v.bigEndian() {
			p[len(p)-1-n] = c
		} else {
			p[n] = c
		}
	}
	return p, nil
}

// CString is the text of a char array (up to its NUL) or of what a char pointer points to (at most limit bytes).
func (x Value) CString(limit int) (string, error) {
	if err := x.Err(); err != nil {
		return "", err
	}
	t := x.t.Strip()
	if t.Kind == symbols.Array {
		if t.Len <= 0 {
			if !x.mem {
				return "", fmt.Errorf("%s: the value ends where the text begins", x.t)
			}
			return x.v.CString(x.addr, limit)
		}
		p, err := x.Bytes()
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(p, 0); i >= 0 {
			p = p[:i]
		}
		return string(p[:min(len(p), limit)]), nil
	}
	p, err := x.Pointer()
	if err != nil {
		return "", err
	}
	if p == 0 {
		return "", fmt.Errorf("%s is NULL", x.t)
	}
	return x.v.CString(p, limit)
}
