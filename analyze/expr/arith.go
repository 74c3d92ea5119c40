package expr

import (
	"kdx/analyze/kernel"
	"kdx/symbols"
)

// number is an integer with its C type. u is sign-extended to 64 bits if the type is signed.
type number struct {
	u uint64
	t *symbols.Type
}

// integer is x as a number, promoted as C does: what is smaller than int becomes int.
func (e *evaluator) integer(pos int, x kernel.Value) (number, error) {
	t := x.Type().Strip()
	switch t.Kind {
	case symbols.Int, symbols.Bool, symbols.Enum:
	case symbols.Void:
		return number{}, e.unknownType(pos)
	case symbols.Float:
		return number{}, e.errorf(pos, "kdx does not calculate with floating point")
	default:
		return number{}, e.errorf(pos, "%s is no number", x.Type())
	}
	if t.Size > 8 {
		return number{}, e.errorf(pos, "kdx calculates with up to 64 bits, %s has %d", x.Type(), t.Size*8)
	}
	if e.typesOnly {
		return number{0, e.promoted(x, t)}, nil
	}
	i, err := x.Int()
	if err != nil {
		return number{}, e.fail(pos, err)
	}
	return number{uint64(i), e.promoted(x, t)}, nil
}

func (e *evaluator) promoted(x kernel.Value, t *symbols.Type) *symbols.Type {
	_, bits, isField := x.BitField()
	switch {
	case t.Size < 4, isField && (bits < 32 || bits == 32 && t.Signed):
		return e.base.int_
	case t.Size == 4 && t.Signed:
		return e.base.int_
	case t.Size == 4:
		return e.base.uint_
	case t.Kind == symbols.Enum && t.Signed:
		return e.base.long
	case t.Kind == symbols.Enum:
		return e.base.ulong
	}
	return t
}

// usual are C's usual arithmetic conversions of two promoted types.
func (e *evaluator) usual(a, b *symbols.Type) *symbols.Type {
	switch {
	case a.Size > b.Size:
		return a
	case a.Size < b.Size:
		return b
	case !a.Signed:
		return a
	}
	return b
}

// fit cuts u to t's width.
func fit(u uint64, t *symbols.Type) uint64 {
	if t.Size >= 8 {
		return u
	}
	bits := 64 - t.Size*8
	if t.Signed {
		return uint64(int64(u<<bits) >> bits)
	}
	return u << bits >> bits
}

func (e *evaluator) truth(n *node) (bool, error) {
	x, err := e.rvalue(n)
	if err != nil {
		return false, err
	}
	if x.Type().Strip().Kind == symbols.Pointer {
		u, err := x.Uint()
		if err != nil {
			return false, e.fail(n.pos, err)
		}
		return u != 0, nil
	}
	k, err := e.integer(n.pos, x)
	return k.u != 0, err
}

func (e *evaluator) bool(b bool) kernel.Value {
	if b {
		return e.make(e.base.int_, 1)
	}
	return e.make(e.base.int_, 0)
}

func (e *evaluator) unary(n *node) (kernel.Value, error) {
	kid := n.kids[0]
	switch n.text {
	case "&":
		return e.addressOf(n)
	case "*":
		x, err := e.eval(kid)
		if err != nil {
			return x, err
		}
		return e.follow(n.pos, x)
	case "!":
		if e.typesOnly {
			return e.bool(false), nil
		}
		b, err := e.truth(kid)
		return e.bool(!b), err
	}
	x, err := e.rvalue(kid)
	if err != nil {
		return x, err
	}
	k, err := e.integer(kid.pos, x)
	if err != nil {
		return x, err
	}
	switch n.text {
	case "-":
		k.u = -k.u
	case "~":
		k.u = ^k.u
	}
	return e.make(k.t, k.u), nil
}

func (e *evaluator) addressOf(n *node) (kernel.Value, error) {
	saved := e.rawPerCPU
	e.rawPerCPU = saved || e.opt.CPU < 0
	x, err := e.eval(n.kids[0])
	e.rawPerCPU = saved
	if err != nil {
		return x, err
	}
	if _, _, ok := x.BitField(); ok {
		return x, e.errorf(n.pos, "a bit-field has no address")
	}
	addr, ok := x.Addr()
	if !ok {
		return x, e.errorf(n.pos, "& wants something that lies in memory")
	}
	return e.make(symbols.PointerTo(x.Type(), e.v.WordSize()), uint64(addr)), nil
}

func (e *evaluator) binary(n *node) (kernel.Value, error) {
	switch n.text {
	case ",":
		if !e.typesOnly {
			if x, err := e.eval(n.kids[0]); err != nil {
				return x, err
			}
		}
		return e.eval(n.kids[1])
	case "&&", "||":
		if e.typesOnly {
			return e.bool(false), nil
		}
		left, err := e.truth(n.kids[0])
		if err != nil || left == (n.text == "||") {
			return e.bool(left), err
		}
		right, err := e.truth(n.kids[1])
		return e.bool(right), err
	case "@":
		return e.repeat(n)
	}
	a, err := e.rvalue(n.kids[0])
	if err != nil {
		return a, err
	}
	b, err := e.rvalue(n.kids[1])
	if err != nil {
		return b, err
	}
	if isPointer(a) || isPointer(b) {
		return e.pointers(n, a, b)
	}
	x, err := e.integer(n.kids[0].pos, a)
	if err != nil {
		return a, err
	}
	y, err := e.integer(n.kids[1].pos, b)
	if err != nil {
		return b, err
	}
	if n.text == "<<" || n.text == ">>" {
		return e.shift(n, x, y)
	}
	return e.arithmetic(n, x, y)
}

func isPointer(x kernel.Value) bool { return x.Type().Strip().Kind == symbols.Pointer }

func (e *evaluator) shift(n *node, x, y number) (kernel.Value, error) {
	if e.typesOnly {
		return e.make(x.t, 0), nil
	}
	bits := x.t.Size * 8
	if y.u >= bits {
		return kernel.Value{}, e.errorf(n.pos, "C does not say what a shift of a %d-bit %s by %d is; 1UL has 64 bits", bits, x.t, int64(y.u))
	}
	switch {
	case n.text == "<<":
		return e.make(x.t, fit(x.u<<y.u, x.t)), nil
	case x.t.Signed:
		return e.make(x.t, uint64(int64(x.u)>>y.u)), nil
	}
	return e.make(x.t, x.u>>y.u), nil
}

func (e *evaluator) arithmetic(n *node, x, y number) (kernel.Value, error) {
	t := e.usual(x.t, y.t)
	a, b := fit(x.u, t), fit(y.u, t)
	less, equal := a < b, a == b
	if t.Signed {
		less = int64(a) < int64(b)
	}
	switch n.text {
	case "==":
		return e.bool(equal), nil
	case "!=":
		return e.bool(!equal), nil
	case "<":
		return e.bool(less), nil
	case "<=":
		return e.bool(less || equal), nil
	case ">":
		return e.bool(!less && !equal), nil
	case ">=":
		return e.bool(!less), nil
	case "+":
		return e.make(t, a+b), nil
	case "-":
		return e.make(t, a-b), nil
	case "*":
		return e.make(t, a*b), nil
	case "&":
		return e.make(t, a&b), nil
	case "|":
		return e.make(t, a|b), nil
	case "^":
		return e.make(t, a^b), nil
	}
	if e.typesOnly {
		return e.make(t, 0), nil
	}
	if b == 0 {
		return kernel.Value{}, e.errorf(n.pos, "division by zero")
	}
	switch {
	case n.text == "/" && t.Signed:
		return e.make(t, uint64(int64(a)/int64(b))), nil
	case n.text == "/":
		return e.make(t, a/b), nil
	case t.Signed:
		return e.make(t, uint64(int64(a)%int64(b))), nil
	}
	return e.make(t, a%b), nil
}

// pointers are operations with a pointer on at least one side.
func (e *evaluator) pointers(n *node, a, b kernel.Value) (kernel.Value, error) {
	switch n.text {
	case "+":
		if isPointer(b) && !isPointer(a) {
			return e.offset(n, b, a, n.kids[0].pos, 1)
		}
		if !isPointer(b) {
			return e.offset(n, a, b, n.kids[1].pos, 1)
		}
	case "-":
		if !isPointer(b) {
			return e.offset(n, a, b, n.kids[1].pos, -1)
		}
		if isPointer(a) {
			return e.difference(n, a, b)
		}
	case "==", "!=", "<", ">", "<=", ">=":
		x, err := e.address(n.kids[0].pos, a)
		if err != nil {
			return a, err
		}
		y, err := e.address(n.kids[1].pos, b)
		if err != nil {
			return b, err
		}
		return e.arithmetic(n, number{x, e.base.ulong}, number{y, e.base.ulong})
	}
	return a, e.errorf(n.pos, "%s is not defined for %s and %s: cast a pointer to unsigned long", n.text, a.Type(), b.Type())
}

// address is a pointer's or an integer's value.
func (e *evaluator) address(pos int, x kernel.Value) (uint64, error) {
	if !isPointer(x) {
		k, err := e.integer(pos, x)
		return k.u, err
	}
	if e.typesOnly {
		return 0, nil
	}
	u, err := x.Uint()
	if err != nil {
		return 0, e.fail(pos, err)
	}
	return u, nil
}

func (e *evaluator) offset(n *node, p, i kernel.Value, pos int, sign int64) (kernel.Value, error) {
	k, err := e.integer(pos, i)
	if err != nil {
		return i, err
	}
	if e.typesOnly {
		return e.make(p.Type(), 0), nil
	}
	return e.add(n.pos, p, sign*int64(k.u))
}

func (e *evaluator) difference(n *node, a, b kernel.Value) (kernel.Value, error) {
	size, err := e.stride(n.pos, a.Type().Strip().Elem())
	if err != nil {
		return a, err
	}
	other, err := e.stride(n.pos, b.Type().Strip().Elem())
	if err != nil {
		return b, err
	}
	if size != other || size == 0 {
		return a, e.errorf(n.pos, "%s and %s point to objects of different sizes, so their distance has no unit", a.Type(), b.Type())
	}
	x, err := e.address(n.kids[0].pos, a)
	if err != nil {
		return a, err
	}
	y, err := e.address(n.kids[1].pos, b)
	if err != nil {
		return b, err
	}
	return e.make(e.base.long, uint64(int64(x-y)/int64(size))), nil
}

// repeat is gdb's object@count: an array of so many objects.
func (e *evaluator) repeat(n *node) (kernel.Value, error) {
	x, err := e.eval(n.kids[0])
	if err != nil {
		return x, err
	}
	b, err := e.rvalue(n.kids[1])
	if err != nil {
		return b, err
	}
	k, err := e.integer(n.kids[1].pos, b)
	if err != nil {
		return b, err
	}
	addr, ok := x.Addr()
	if !ok {
		return x, e.errorf(n.pos, "the left of @ must lie in memory")
	}
	const most = 1 << 24
	count := int64(k.u)
	if e.typesOnly {
		count = 1
	}
	if count < 1 || count > most {
		return x, e.errorf(n.kids[1].pos, "a count of %d; 1 to %d make sense", count, most)
	}
	return e.v.Object(symbols.ArrayOf(x.Type(), count), addr), nil
}

func (e *evaluator) cast(n *node) (kernel.Value, error) {
	x, err := e.eval(n.kids[0])
	if err != nil {
		return x, err
	}
	t := n.typ.Strip()
	addr, inMemory := x.Addr()
	if x.Type() == noDebugData && inMemory {
		// Of a variable without a type, a cast says which it has.
		return e.v.Object(n.typ, addr), nil
	}
	switch t.Kind {
	case symbols.Int, symbols.Bool, symbols.Enum, symbols.Pointer:
	default:
		if inMemory && x.Type().Size == n.typ.Size && n.typ.Size > 0 {
			return x.Cast(n.typ), nil
		}
		return x, e.errorf(n.pos, "%s can't be cast to %s: cast a pointer and follow it, as in *(%s *)&x", x.Type(), n.typ, n.typ)
	}
	if t.Size > 8 {
		return x, e.errorf(n.pos, "kdx calculates with up to 64 bits, %s has %d", n.typ, t.Size*8)
	}
	u, err := e.address(n.kids[0].pos, e.decay(x))
	if err != nil {
		return x, err
	}
	if t.Kind == symbols.Bool && u != 0 {
		u = 1
	}
	return e.make(n.typ, fit(u, t)), nil
}
