package view

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"kdx/analyze/kernel"
	"kdx/symbols"
)

func decode(q []byte, v *kernel.View) uint64 {
	bo := v.ByteOrder()
	switch len(q) {
	case 1:
		return uint64(q[0])
	case 2:
		return uint64(bo.Uint16(q))
	case 4:
		return uint64(bo.Uint32(q))
	case 8:
		return bo.Uint64(q)
	}
	// Odd sizes are no C integers, but a damaged type may have one.
	var u uint64
	for i := range q {
		c := q[i]
		if !bigEndian(v) {
			c = q[len(q)-1-i]
		}
		u = u<<8 | uint64(c)
	}
	return u
}

// signExtend is the value of the low bits of u.
func signExtend(u uint64, bits uint32) int64 {
	if bits == 0 || bits >= 64 {
		return int64(u)
	}
	return int64(u<<(64-bits)) >> (64 - bits)
}

// integer writes an integer, bool, enum or (under a format) pointer of the given width.
func (p *printer) integer(t *symbols.Type, u uint64, bits uint32) {
	if f := p.style.Format; f != 0 && f != 's' && p.formatted(t, u, bits, f) {
		return
	}
	switch {
	case t.Kind == symbols.Enum:
		p.b.WriteString(enumText(t, u, bits, p.style.Hex))
		return
	case p.style.Hex:
		p.b.WriteString("0x" + strconv.FormatUint(u, 16))
		return
	case t.Kind == symbols.Bool && u <= 1:
		p.b.WriteString(strconv.FormatBool(u == 1))
		return
	case t.Signed:
		p.b.WriteString(strconv.FormatInt(signExtend(u, bits), 10))
	default:
		p.b.WriteString(strconv.FormatUint(u, 10))
	}
	if t.Kind == symbols.Int && t.Size == 1 {
		c := byte(u)
		if t.Signed {
			c = byte(signExtend(u, bits))
		}
		p.b.WriteByte(' ')
		quoteChar(&p.b, c)
	}
}

// formatted writes u under gdb's print/f; false leaves it to the type's own form.
func (p *printer) formatted(t *symbols.Type, u uint64, bits uint32, f byte) bool {
	switch f {
	case 'x':
		p.b.WriteString("0x" + strconv.FormatUint(u, 16))
	case 'z':
		s := strconv.FormatUint(u, 16)
		p.b.WriteString("0x")
		for range int(bits+3)/4 - len(s) {
			p.b.WriteByte('0')
		}
		p.b.WriteString(s)
	case 'o':
		if u != 0 {
			p.b.WriteByte('0')
		}
		p.b.WriteString(strconv.FormatUint(u, 8))
	case 't':
		p.b.WriteString(strconv.FormatUint(u, 2))
	case 'd':
		p.b.WriteString(strconv.FormatInt(signExtend(u, bits), 10))
	case 'u':
		p.b.WriteString(strconv.FormatUint(u, 10))
	case 'c':
		if t.Signed {
			p.b.WriteString(strconv.FormatInt(signExtend(u&0xff, 8), 10))
		} else {
			p.b.WriteString(strconv.FormatUint(u&0xff, 10))
		}
		p.b.WriteByte(' ')
		quoteChar(&p.b, byte(u))
	case 'a':
		p.b.WriteString("0x" + strconv.FormatUint(u, 16) + p.symbol(u, false))
	default:
		return false
	}
	return true
}

// enumText is the constant's name; of an enum of flags the names of its bits, "(A | B | unknown: 0x8)".
func enumText(t *symbols.Type, u uint64, bits uint32, hex bool) string {
	v := int64(u)
	if t.Signed {
		v = signExtend(u, bits)
	}
	if name, ok := t.EnumeratorName(v); ok {
		return name
	}
	if isFlagEnum(t) {
		return flagText(t, u)
	}
	if hex {
		return "0x" + strconv.FormatUint(u, 16)
	}
	return strconv.FormatInt(v, 10)
}

// isFlagEnum: each constant is one bit of its own (zero aside).
func isFlagEnum(t *symbols.Type) bool {
	var seen uint64
	for _, e := range t.Enumerators() {
		u := uint64(e.Value)
		if e.Value < 0 || u&(u-1) != 0 || seen&u != 0 {
			return false
		}
		seen |= u
	}
	return true
}

func flagText(t *symbols.Type, u uint64) string {
	if u == 0 {
		return "0"
	}
	s := ""
	add := func(part string) {
		if s != "" {
			s += " | "
		}
		s += part
	}
	for _, e := range t.Enumerators() {
		if bit := uint64(e.Value); bit != 0 && u&bit != 0 {
			add(e.Name)
			u &^= bit
		}
	}
	if u != 0 {
		add("unknown: 0x" + strconv.FormatUint(u, 16))
	}
	return "(" + s + ")"
}

// wide writes a 128-bit integer.
func (p *printer) wide(q []byte, signed bool) {
	n := wideInt(q, bigEndian(p.v), signed)
	if p.style.Hex || p.style.Format == 'x' {
		p.b.WriteString("0x" + wideInt(q, bigEndian(p.v), false).Text(16))
		return
	}
	p.b.WriteString(n.String())
}

func wideInt(q []byte, big_, signed bool) *big.Int {
	be := make([]byte, len(q))
	for i, c := range q {
		if big_ {
			be[i] = c
		} else {
			be[len(q)-1-i] = c
		}
	}
	n := new(big.Int).SetBytes(be)
	if signed && len(be) > 0 && be[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(q)*8)))
	}
	return n
}

func floatText(q []byte, bo binary.ByteOrder) string {
	switch len(q) {
	case 4:
		return strconv.FormatFloat(float64(math.Float32frombits(bo.Uint32(q))), 'g', 9, 64)
	case 8:
		return strconv.FormatFloat(math.Float64frombits(bo.Uint64(q)), 'g', 17, 64)
	}
	return "<float of " + strconv.Itoa(len(q)) + " bytes>"
}
