package locexpr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// BaseType is what typed operations say of their values. The zero BaseType is the generic type: an address, of which some
// operations treat the highest bit as a sign.
type BaseType struct {
	Size     uint64 // bytes
	Encoding uint8  // DW_ATE_*
}

// Encodings of base types, DW_ATE_*.
const (
	ateFloat      = 4
	ateSigned     = 5
	ateSignedChar = 6
)

func (t BaseType) generic() bool { return t.Size == 0 }
func (t BaseType) float() bool   { return t.Encoding == ateFloat }
func (t BaseType) signed() bool  { return t.Encoding == ateSigned || t.Encoding == ateSignedChar }

// value on the stack; bits above its size are zero.
type value struct {
	u uint64
	t BaseType
}

var (
	errMixed   = errors.New("an operation on values of different types")
	errDivide  = errors.New("a division by zero")
	errNoFloat = errors.New("an operation that floating-point numbers don't have")
)

// fits reports whether values of t can be held.
func (t BaseType) fits() error {
	if t.Size > 8 {
		return fmt.Errorf("a value of %d bytes on the stack", t.Size)
	}
	if t.float() && t.Size != 4 && t.Size != 8 {
		return fmt.Errorf("a floating-point number of %d bytes", t.Size)
	}
	return nil
}

func truncate(u, size uint64) uint64 {
	if size >= 8 {
		return u
	}
	return u & (1<<(8*size) - 1)
}

func extend(u, size uint64) int64 {
	if size == 0 || size >= 8 {
		return int64(u)
	}
	shift := 64 - 8*size
	return int64(u<<shift) >> shift
}

func (v value) asFloat() float64 {
	if v.t.Size == 4 {
		return float64(math.Float32frombits(uint32(v.u)))
	}
	return math.Float64frombits(v.u)
}

func floatValue(f float64, t BaseType) value {
	if t.Size == 4 {
		return value{uint64(math.Float32bits(float32(f))), t}
	}
	return value{math.Float64bits(f), t}
}

// convert changes the type and keeps the number.
func (v value) convert(t BaseType, addr uint64) value {
	size := t.Size
	if t.generic() {
		size = addr
	}
	switch {
	case v.t.float() && t.float():
		return floatValue(v.asFloat(), t)
	case v.t.float() && t.signed():
		return value{truncate(uint64(int64(v.asFloat())), size), t}
	case v.t.float():
		return value{truncate(uint64(v.asFloat()), size), t}
	case t.float() && v.t.signed():
		return floatValue(float64(extend(v.u, v.t.Size)), t)
	case t.float():
		return floatValue(float64(v.u), t)
	case v.t.signed():
		return value{truncate(uint64(extend(v.u, v.t.Size)), size), t}
	}
	return value{truncate(v.u, size), t}
}

// bytes of the value in the target's order.
func (v value) bytes(order binary.ByteOrder, addr uint64) []byte {
	size := v.t.Size
	if v.t.generic() {
		size = addr
	}
	b := make([]byte, 8)
	order.PutUint64(b, v.u)
	if order.Uint16([]byte{0, 1}) == 1 {
		return b[8-size:]
	}
	return b[:size]
}

func boolean(b bool) value {
	if b {
		return value{u: 1}
	}
	return value{}
}

// unary is an operation on one value.
func unary(op uint8, v value, addr uint64) (value, error) {
	size := v.t.Size
	if v.t.generic() {
		size = addr
	}
	if v.t.float() {
		switch op {
		case opAbs:
			return floatValue(math.Abs(v.asFloat()), v.t), nil
		case opNeg:
			return floatValue(-v.asFloat(), v.t), nil
		}
		return v, errNoFloat
	}
	switch op {
	case opAbs:
		if (v.t.generic() || v.t.signed()) && extend(v.u, size) < 0 {
			v.u = -v.u
		}
	case opNeg:
		v.u = -v.u
	case opNot:
		v.u = ^v.u
	}
	v.u = truncate(v.u, size)
	return v, nil
}

// twoOf is x op y, where y was on top of the stack.
func twoOf(op uint8, x, y value, addr uint64) (value, error) {
	if op >= opShl && op <= opShra {
		return shift(op, x, y, addr)
	}
	if x.t != y.t {
		return x, errMixed
	}
	if x.t.float() {
		return floats(op, x, y)
	}
	size := x.t.Size
	if x.t.generic() {
		size = addr
	}
	signed := x.t.generic() || x.t.signed()
	a, b := x.u, y.u
	if op >= opEq && op <= opNe {
		less := a < b
		if signed {
			less = extend(a, size) < extend(b, size)
		}
		return compare(op, less, a == b), nil
	}
	switch op {
	case opAnd:
		a &= b
	case opOr:
		a |= b
	case opXor:
		a ^= b
	case opPlus:
		a += b
	case opMinus:
		a -= b
	case opMul:
		a *= b
	case opDiv, opMod:
		if b == 0 {
			return x, errDivide
		}
		a = divide(op, a, b, size, signed && (op == opDiv || !x.t.generic()))
	}
	return value{truncate(a, size), x.t}, nil
}

// divide: a division of generic values is signed, a remainder is not (DWARF 5, 2.5.1.4).
func divide(op uint8, a, b, size uint64, signed bool) uint64 {
	switch {
	case !signed && op == opDiv:
		return a / b
	case !signed:
		return a % b
	}
	i, j := extend(a, size), extend(b, size)
	switch {
	case j == -1 && op == opDiv:
		return uint64(-i) // also of the smallest number, which has no opposite
	case j == -1:
		return 0
	case op == opDiv:
		return uint64(i / j)
	}
	return uint64(i % j)
}

func compare(op uint8, less, equal bool) value {
	switch op {
	case opEq:
		return boolean(equal)
	case opNe:
		return boolean(!equal)
	case opLt:
		return boolean(less)
	case opLe:
		return boolean(less || equal)
	case opGt:
		return boolean(!less && !equal)
	}
	return boolean(!less)
}

func shift(op uint8, x, y value, addr uint64) (value, error) {
	if x.t.float() || y.t.float() {
		return x, errNoFloat
	}
	size := x.t.Size
	if x.t.generic() {
		size = addr
	}
	n := min(y.u, 64)
	switch op {
	case opShl:
		x.u = truncate(x.u<<n, size)
	case opShr:
		x.u >>= n
	case opShra:
		x.u = truncate(uint64(extend(x.u, size)>>n), size)
	}
	return x, nil
}

func floats(op uint8, x, y value) (value, error) {
	a, b := x.asFloat(), y.asFloat()
	switch op {
	case opPlus:
		return floatValue(a+b, x.t), nil
	case opMinus:
		return floatValue(a-b, x.t), nil
	case opMul:
		return floatValue(a*b, x.t), nil
	case opDiv:
		return floatValue(a/b, x.t), nil
	case opEq, opGe, opGt, opLe, opLt, opNe:
		if math.IsNaN(a) || math.IsNaN(b) {
			return boolean(op == opNe), nil
		}
		return compare(op, a < b, a == b), nil
	}
	return x, errNoFloat
}
