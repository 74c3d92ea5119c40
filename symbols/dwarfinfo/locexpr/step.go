package locexpr

import (
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/internal/numbers"
)

// step does one operation, other than branches and pieces.
func (m *machine) step(in *instr) error {
	switch op := in.op; {
	case op == opDup || op == opOver || op == opPick:
		n := in.a // of pick
		if op == opOver {
			n = 1
		}
		v, err := m.from(n)
		if err != nil {
			return err
		}
		return m.pushValue(v)
	case op == opDrop:
		_, err := m.pop()
		return err
	case op == opSwap || op == opRot:
		return m.rotate(op)
	case op == opAbs || op == opNeg || op == opNot:
		v, err := m.pop()
		if err != nil {
			return err
		}
		if v, err = unary(op, v, m.addrSize()); err != nil {
			return err
		}
		return m.pushValue(v)
	case op >= opAnd && op <= opPlus || op >= opShl && op <= opXor || op >= opEq && op <= opNe:
		return m.arithmetic(op)
	case op >= opConstType && op <= opReinterpret:
		return m.typed(in)
	case op >= opRegx && op != opNop && op != opGNUUninit || op == opAddr:
		return m.place(in)
	}
	switch in.op {
	case opConstu:
		return m.push(in.a)
	case opPlusUconst:
		v, err := m.pop()
		if err != nil {
			return err
		}
		if v.t.float() {
			return errNoFloat
		}
		size := v.t.Size
		if v.t.generic() {
			size = m.addrSize()
		}
		v.u = truncate(v.u+in.a, size)
		return m.pushValue(v)
	case opDeref:
		return m.deref(m.addrSize(), BaseType{})
	case opXderef:
		return errSpaces
	}
	return nil // DW_OP_nop; DW_OP_GNU_uninit is said of variables that are not set yet
}

func (m *machine) rotate(op uint8) error {
	n := 2
	if op == opRot {
		n = 3
	}
	if len(m.stack) < n {
		return errUnderflow
	}
	s := m.stack[len(m.stack)-n:]
	top := s[n-1]
	copy(s[1:], s[:n-1])
	s[0] = top
	return nil
}

func (m *machine) arithmetic(op uint8) error {
	y, err := m.pop()
	if err != nil {
		return err
	}
	x, err := m.pop()
	if err != nil {
		return err
	}
	v, err := twoOf(op, x, y, m.addrSize())
	if err != nil {
		return err
	}
	return m.pushValue(v)
}

func (m *machine) deref(size uint64, t BaseType) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	u, err := m.read(v.u, size)
	if err != nil {
		return err
	}
	return m.pushValue(value{u, t})
}

// place does operations on registers, frames and other places, and those that end a description.
func (m *machine) place(in *instr) error {
	switch in.op {
	case opAddr:
		return m.push(m.Context.Relocate(in.a))
	case opRegx, opImplicitValue, opImplicitPointer, opStackValue:
		m.kind = map[uint8]kind{opRegx: kindRegister, opImplicitValue: kindBytes, opImplicitPointer: kindPointer, opStackValue: kindValue}[in.op]
		m.last = *in
		return nil
	case opBregx:
		u, err := m.Frame.Reg(int(min(in.a, 1<<16)))
		if err != nil {
			return err
		}
		return m.push(u + in.b)
	case opFbreg:
		base, err := m.Context.FrameBase()
		if err != nil {
			return err
		}
		return m.push(base + in.a)
	case opCallFrameCFA:
		cfa, ok := m.Frame.CFA()
		if !ok {
			return lost("the frame could not be unwound, so that its caller's stack pointer is not known")
		}
		return m.push(cfa)
	case opDerefSize:
		return m.deref(in.a, BaseType{})
	case opAddrx, opConstx:
		u, ok := m.Unit.IndexedAddr(in.a)
		if !ok {
			return numbers.ErrEnd
		}
		if in.op == opAddrx {
			u = m.Context.Relocate(u)
		}
		return m.push(u)
	case opEntryValue:
		return m.pushOf(m.Context.EntryValue(in.block))
	case opGNUParameterRef:
		return m.pushOf(m.Context.Parameter(m.unitRef(in.a)))
	case opGNUVariableValue:
		return m.pushOf(m.Context.VariableValue(m.ref(in.a)))
	case opCall2, opCall4:
		return m.call(m.unitRef(in.a))
	case opCallRef:
		return m.call(m.ref(in.a))
	case opFormTLS:
		return errTLS
	case opXderefSize:
		return errSpaces
	}
	return errNoObject
}

func (m *machine) pushOf(u uint64, err error) error {
	if err != nil {
		return err
	}
	return m.push(u)
}

func (m *machine) ref(off uint64) dwarfinfo.Ref { return dwarfinfo.Ref{Data: m.Unit.Data, Off: off} }

func (m *machine) unitRef(off uint64) dwarfinfo.Ref { return m.ref(m.Unit.Off + off) }

// call runs another entry's expression on this stack.
func (m *machine) call(to dwarfinfo.Ref) error {
	expr, err := m.Context.Expression(to)
	if err != nil {
		return err
	}
	if m.calls++; m.calls > maxCalls {
		return errCalls
	}
	err = m.run(expr, false)
	m.calls--
	return err
}

func (m *machine) typed(in *instr) error {
	off := in.a
	if in.op == opRegvalType || in.op == opDerefType {
		off = in.b
	}
	var t BaseType
	if off != 0 || in.op != opConvert && in.op != opReinterpret { // 0 is the generic type
		var err error
		if t, err = m.Context.BaseType(m.unitRef(off)); err != nil {
			return err
		}
		if err := t.fits(); err != nil {
			return err
		}
	}
	switch in.op {
	case opConstType:
		if uint64(len(in.block)) != t.Size {
			return errSize
		}
		switch t.Size {
		case 1, 2, 4, 8:
		default:
			return errSize
		}
		r := numbers.Reader{Order: m.Unit.Data.Order, Data: in.block}
		return m.pushValue(value{r.Uint(int(t.Size)), t})
	case opRegvalType:
		u, err := m.Frame.Reg(int(min(in.a, 1<<16)))
		if err != nil {
			return err
		}
		return m.pushValue(value{truncate(u, t.Size), t})
	case opDerefType:
		if in.a != t.Size {
			return errSize
		}
		return m.deref(in.a, t)
	case opXderefType:
		return errSpaces
	}
	v, err := m.pop()
	if err != nil {
		return err
	}
	if in.op == opConvert {
		return m.pushValue(v.convert(t, m.addrSize()))
	}
	from, to := v.t.Size, t.Size
	if v.t.generic() {
		from = m.addrSize()
	}
	if t.generic() {
		to = m.addrSize()
	}
	if from != to {
		return errSize
	}
	return m.pushValue(value{v.u, t})
}
