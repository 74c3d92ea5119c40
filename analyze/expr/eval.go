package expr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// evaluator walks a syntax tree.
type evaluator struct {
	v    *kernel.View
	src  string
	opt  Options
	base *bases
	// typesOnly: nothing is read, only types matter (sizeof, whatis).
	typesOnly bool
	// rawPerCPU: a per-CPU variable means its place in the area, as behind & and in per_cpu().
	rawPerCPU bool
}

func (e *evaluator) errorf(pos int, format string, args ...any) error {
	return &Error{Src: e.src, Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// fail is an error of the kernel's memory or symbols.
func (e *evaluator) fail(pos int, err error) error {
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	msg := err.Error()
	var fault *vmem.FaultError
	if errors.As(err, &fault) && fault.VA < e.v.PageSize() {
		msg += ": a NULL pointer was followed"
	}
	return &Error{Src: e.src, Pos: pos, Msg: msg, Err: err}
}

// make is a computed value of type t.
func (e *evaluator) make(t *symbols.Type, u uint64) kernel.Value {
	size := t.Strip().Size
	raw := make([]byte, min(size, 16))
	low := min(len(raw), 8)
	for i := range low {
		c := byte(u >> (8 * i))
		if e.big() {
			raw[len(raw)-1-i] = c
		} else {
			raw[i] = c
		}
	}
	return e.v.NewValue(t, raw)
}

func (e *evaluator) big() bool { return e.v.ByteOrder().Uint16([]byte{0, 1}) == 1 }

func (e *evaluator) typeOf(n *node) (*symbols.Type, error) {
	saved := e.typesOnly
	e.typesOnly = true
	x, err := e.eval(n)
	e.typesOnly = saved
	if err != nil {
		return nil, err
	}
	return x.Type(), nil
}

func (e *evaluator) eval(n *node) (kernel.Value, error) {
	x, err := e.node(n)
	if err != nil {
		return x, err
	}
	if err := x.Err(); err != nil {
		return x, e.fail(n.pos, err)
	}
	return x, nil
}

func (e *evaluator) node(n *node) (kernel.Value, error) {
	switch n.op {
	case opInt:
		return e.make(e.literalType(n.tok), n.tok.num), nil
	case opChar:
		return e.make(e.base.char, uint64(n.tok.text[0])), nil
	case opString:
		raw := append([]byte(n.tok.text), 0)
		return e.v.NewValue(symbols.ArrayOf(e.base.char, int64(len(raw))), raw), nil
	case opIdent:
		return e.ident(n.tok)
	case opHistory:
		return e.history(n)
	case opType:
		return kernel.Value{}, e.errorf(n.pos, "%s is a type, no value", n.typ)
	case opUnary:
		return e.unary(n)
	case opBinary:
		return e.binary(n)
	case opTernary:
		return e.ternary(n)
	case opMember:
		return e.member(n)
	case opIndex:
		return e.index(n)
	case opCast:
		return e.cast(n)
	case opSizeof:
		return e.sizeof(n)
	case opOffsetof:
		return e.make(e.base.ulong, n.tok.num), nil
	case opContainerOf:
		return e.containerOf(n)
	case opPerCPU, opPerCPUPtr:
		return e.perCPU(n)
	}
	return kernel.Value{}, e.errorf(n.pos, "this can't be evaluated")
}

// literalType is the first of C's types that holds the number.
func (e *evaluator) literalType(t token) *symbols.Type {
	b := e.base
	unsigned := strings.Contains(t.suf, "u")
	long := strings.Contains(t.suf, "l")
	fits := func(bits uint) bool { return t.num < 1<<bits }
	hex := !t.dec
	longBits := uint(b.long.Size * 8)
	switch {
	case !long && !unsigned && fits(31):
		return b.int_
	case !long && (unsigned || hex) && fits(32):
		return b.uint_
	case !unsigned && fits(longBits-1):
		return b.long
	case (unsigned || hex || longBits == 64) && (longBits == 64 || fits(longBits)):
		return b.ulong
	case !unsigned && fits(63):
		return b.llong
	}
	return b.ullong
}

// history finds $3, $ (the last), $$ (the one before), $$2 (two before the last).
func (e *evaluator) history(n *node) (kernel.Value, error) {
	text, count := n.tok.text, len(e.opt.History)
	at := count
	switch {
	case text == "$":
	case text == "$$":
		at = count - 1
	case strings.HasPrefix(text, "$$"):
		k, err := strconv.Atoi(text[2:])
		if err != nil {
			return kernel.Value{}, e.errorf(n.pos, "there is no value %s", text)
		}
		at = count - k
	default:
		k, err := strconv.Atoi(text[1:])
		if err != nil {
			return kernel.Value{}, e.errorf(n.pos, "there is no value %s", text)
		}
		at = k
	}
	if at < 1 || at > count {
		return kernel.Value{}, e.errorf(n.pos, "there is no value %s: p has shown %d so far", text, count)
	}
	return e.opt.History[at-1].In(e.v), nil
}

func (e *evaluator) ternary(n *node) (kernel.Value, error) {
	if e.typesOnly {
		return e.eval(n.kids[1])
	}
	yes, err := e.truth(n.kids[0])
	if err != nil {
		return kernel.Value{}, err
	}
	if yes {
		return e.rvalue(n.kids[1])
	}
	return e.rvalue(n.kids[2])
}

// rvalue evaluates n; an array becomes the pointer to its first element, a function its address.
func (e *evaluator) rvalue(n *node) (kernel.Value, error) {
	x, err := e.eval(n)
	if err != nil {
		return x, err
	}
	return e.decay(x), nil
}

func (e *evaluator) decay(x kernel.Value) kernel.Value {
	addr, ok := x.Addr()
	if !ok {
		return x
	}
	switch t := x.Type().Strip(); t.Kind {
	case symbols.Array:
		return e.make(symbols.PointerTo(t.Elem(), e.v.WordSize()), uint64(addr))
	case symbols.Func:
		return e.make(symbols.PointerTo(t, e.v.WordSize()), uint64(addr))
	}
	return x
}

func (e *evaluator) member(n *node) (kernel.Value, error) {
	x, err := e.eval(n.kids[0])
	if err != nil {
		return x, err
	}
	// gdb takes . and -> for each other, and so does everybody who types fast.
	if t := x.Type().Strip(); t.Kind == symbols.Pointer || t.Kind == symbols.Array {
		if x, err = e.follow(n.kids[0].pos, x); err != nil {
			return x, err
		}
	}
	if x.Type() == noDebugData {
		return x, e.unknownType(n.kids[0].pos)
	}
	if _, ok := x.Type().Member(n.text); !ok {
		return x, e.noMember(n.pos, x.Type(), n.text)
	}
	return x.Field(n.text), nil
}

func (e *evaluator) unknownType(pos int) error {
	name := e.src[pos:]
	for i := range len(name) {
		if !isIdentByte(name[i]) && (name[i] < '0' || name[i] > '9') {
			name = name[:i]
			break
		}
	}
	if name == "" {
		name = "name"
	}
	return e.errorf(pos, "the kernel's type data do not say what type %s has: give it, as in *(unsigned long *)&%s", name, name)
}

// follow is what a pointer points to. NULL is followed too: &((struct page *)0)->lru is an offset.
func (e *evaluator) follow(pos int, x kernel.Value) (kernel.Value, error) {
	x = e.decay(x)
	t := x.Type().Strip()
	switch t.Kind {
	case symbols.Pointer:
	case symbols.Func:
		return x, nil
	case symbols.Int, symbols.Enum:
		// gdb reads a long at a number that is taken for an address.
		t = symbols.PointerTo(e.base.long, e.v.WordSize())
	case symbols.Void:
		return x, e.unknownType(pos)
	default:
		return x, e.errorf(pos, "%s is no pointer", x.Type())
	}
	if t.Elem().Strip().Kind == symbols.Void {
		return x, e.errorf(pos, "what void * points to has no type: cast the pointer first")
	}
	if e.typesOnly {
		return e.v.Object(t.Elem(), 0), nil
	}
	if addr, ok := x.Addr(); ok && e.rawPerCPU && e.v.IsPerCPU(addr) {
		return x, e.errorf(pos, "this pointer is per-CPU: say of which CPU, as in name:0 or per_cpu(name, 0)")
	}
	p, err := x.Uint()
	if err != nil {
		return x, e.fail(pos, err)
	}
	return e.v.Object(t.Elem(), vmem.Addr(p)), nil
}

func (e *evaluator) index(n *node) (kernel.Value, error) {
	x, err := e.eval(n.kids[0])
	if err != nil {
		return x, err
	}
	i, err := e.rvalue(n.kids[1])
	if err != nil {
		return i, err
	}
	if e.typesOnly {
		if t := x.Type().Strip(); t.Kind == symbols.Array || t.Kind == symbols.Pointer {
			return e.v.Object(t.Elem(), 0), nil
		}
	}
	k, err := e.integer(n.kids[1].pos, i)
	if err != nil {
		return i, err
	}
	t := x.Type().Strip()
	switch t.Kind {
	case symbols.Array:
		if _, inMemory := x.Addr(); !inMemory && (int64(k.u) < 0 || int64(k.u) >= t.Len) {
			return x, e.errorf(n.pos, "element %d is outside %s", int64(k.u), x.Type())
		}
		return x.Index(int64(k.u)), nil
	case symbols.Pointer:
		p, err := e.add(n.pos, x, int64(k.u))
		if err != nil {
			return x, err
		}
		return e.follow(n.pos, p)
	}
	if x.Type() == noDebugData {
		return x, e.unknownType(n.kids[0].pos)
	}
	return x, e.errorf(n.pos, "%s is neither array nor pointer", x.Type())
}

// add moves a pointer by i elements.
func (e *evaluator) add(pos int, x kernel.Value, i int64) (kernel.Value, error) {
	p, err := x.Uint()
	if err != nil {
		return x, e.fail(pos, err)
	}
	size, err := e.stride(pos, x.Type().Strip().Elem())
	if err != nil {
		return x, err
	}
	return e.make(x.Type(), p+uint64(i)*size), nil
}

// stride is by how much a pointer to t moves; GNU C gives void and functions one byte.
func (e *evaluator) stride(pos int, t *symbols.Type) (uint64, error) {
	s := t.Strip()
	switch {
	case s.Kind == symbols.Void || s.Kind == symbols.Func:
		return 1, nil
	case s.Incomplete || t.Size == 0 && s.Kind != symbols.Struct && s.Kind != symbols.Union:
		return 0, e.errorf(pos, "the size of %s is not known", t)
	}
	return t.Size, nil
}

func (e *evaluator) sizeof(n *node) (kernel.Value, error) {
	t := n.typ
	if t == nil {
		var err error
		if t, err = e.typeOf(n.kids[0]); err != nil {
			return kernel.Value{}, err
		}
	}
	s := t.Strip()
	switch {
	case t == noDebugData:
		return kernel.Value{}, e.unknownType(n.pos)
	case s.Kind == symbols.Void || s.Kind == symbols.Func:
		return e.make(e.base.ulong, 1), nil
	case s.Incomplete:
		return kernel.Value{}, e.errorf(n.pos, "%s is declared, but this kernel's types do not define it", t)
	}
	return e.make(e.base.ulong, t.Size), nil
}

func (e *evaluator) containerOf(n *node) (kernel.Value, error) {
	x, err := e.rvalue(n.kids[0])
	if err != nil {
		return x, err
	}
	result := symbols.PointerTo(n.typ, e.v.WordSize())
	if e.typesOnly {
		return e.make(result, 0), nil
	}
	if k := x.Type().Strip().Kind; k == symbols.Struct || k == symbols.Union {
		addr, ok := x.Addr()
		if !ok {
			return x, e.errorf(n.kids[0].pos, "container_of wants a pointer")
		}
		return e.make(result, uint64(addr)-n.tok.num), nil
	}
	p, err := x.Uint()
	if err != nil {
		return x, e.fail(n.kids[0].pos, err)
	}
	return e.make(result, p-n.tok.num), nil
}

// perCPU is per_cpu(variable, cpu) and per_cpu_ptr(pointer, cpu).
func (e *evaluator) perCPU(n *node) (kernel.Value, error) {
	saved := e.rawPerCPU
	e.rawPerCPU = true
	x, err := e.eval(n.kids[0])
	e.rawPerCPU = saved
	if err != nil || e.typesOnly {
		return x, err
	}
	c, err := e.rvalue(n.kids[1])
	if err != nil {
		return c, err
	}
	cpu, err := e.integer(n.kids[1].pos, c)
	if err != nil {
		return c, err
	}
	if int64(cpu.u) < 0 || int64(cpu.u) > 1<<20 {
		return x, e.errorf(n.kids[1].pos, "there is no CPU %d", int64(cpu.u))
	}
	off, err := e.v.PerCPUOffset(int(cpu.u))
	if err != nil {
		return x, e.fail(n.kids[1].pos, err)
	}
	if n.op == opPerCPUPtr {
		if x.Type().Strip().Kind != symbols.Pointer {
			return x, e.errorf(n.kids[0].pos, "per_cpu_ptr wants a pointer, %s is none", x.Type())
		}
		p, err := x.Uint()
		if err != nil {
			return x, e.fail(n.kids[0].pos, err)
		}
		return e.make(x.Type(), p+off), nil
	}
	addr, ok := x.Addr()
	if !ok {
		return x, e.errorf(n.kids[0].pos, "per_cpu wants a per-CPU variable")
	}
	return e.v.Object(x.Type(), addr+vmem.Addr(off)), nil
}
