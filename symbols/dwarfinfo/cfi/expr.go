package cfi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/symbols/dwarfinfo/internal/numbers"
)

// Env is what an expression of a rule may ask.
type Env struct {
	Order binary.ByteOrder
	// Reg is a register of the frame; Memory reads the target's.
	Reg    func(n int) (uint64, bool)
	Memory func(p []byte, addr uint64) error
}

// Bounds of expressions: the longest that compilers write for unwinding have some ten operations.
const (
	maxOps   = 10000
	maxDepth = 256
)

// Opcodes of expressions, DW_OP_* (DWARF 5, 7.7.1).
const (
	opAddr                                                   = 0x03
	opDeref                                                  = 0x06
	opConst1u, opConst1s, opConst2u, opConst2s               = 0x08, 0x09, 0x0a, 0x0b
	opConst4u, opConst4s, opConst8u, opConst8s               = 0x0c, 0x0d, 0x0e, 0x0f
	opConstu, opConsts, opDup, opDrop, opOver, opPick        = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
	opSwap, opRot, opAbs, opAnd, opDiv, opMinus, opMod       = 0x16, 0x17, 0x19, 0x1a, 0x1b, 0x1c, 0x1d
	opMul, opNeg, opNot, opOr, opPlus, opPlusUconst, opShl   = 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24
	opShr, opShra, opXor, opBra                              = 0x25, 0x26, 0x27, 0x28
	opEq, opGe, opGt, opLe, opLt, opNe, opSkip               = 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f
	opLit0, opLit31, opBreg0, opBreg31, opBregx, opDerefSize = 0x30, 0x4f, 0x70, 0x8f, 0x92, 0x94
	opNop                                                    = 0x96
)

// Evaluate computes an expression of a symbols.Rule (RuleExpr, RuleAtExpr). initial is pushed first: the CFA, where the rule is
// not that of the CFA itself.
func Evaluate(expr string, env Env, initial ...uint64) (uint64, error) {
	e := evaluator{Reader: numbers.Reader{Data: []byte(expr), Order: env.Order}, env: env, stack: append([]uint64(nil), initial...)}
	for n := 0; e.Left() > 0; n++ {
		if n == maxOps {
			return 0, fmt.Errorf("its expression did not end within %d operations", maxOps)
		}
		at := e.Off
		e.step(byte(e.Uint(1)))
		if len(e.stack) > maxDepth && e.Err == nil {
			e.Err = fmt.Errorf("more than %d values on the stack", maxDepth)
		}
		if e.Err != nil {
			return 0, fmt.Errorf("its expression, at %d: %w", at, e.Err)
		}
	}
	if len(e.stack) == 0 {
		return 0, errors.New("its expression leaves no value")
	}
	return e.pop(), nil
}

type evaluator struct {
	numbers.Reader
	env   Env
	stack []uint64
}

func (e *evaluator) push(v uint64) { e.stack = append(e.stack, v) }

func (e *evaluator) fail(err error) {
	if e.Err == nil {
		e.Err = err
	}
}

func (e *evaluator) pop() uint64 {
	n := len(e.stack)
	if n == 0 {
		e.fail(errors.New("the stack is empty"))
		return 0
	}
	v := e.stack[n-1]
	e.stack = e.stack[:n-1]
	return v
}

// peek is the value that lies n below the top.
func (e *evaluator) peek(n uint64) uint64 {
	if n >= uint64(len(e.stack)) {
		e.fail(errors.New("the stack is not so deep"))
		return 0
	}
	return e.stack[uint64(len(e.stack))-1-n]
}

func (e *evaluator) breg(n uint64, off int64) {
	v, ok := uint64(0), false
	if n <= 0xffff {
		v, ok = e.env.Reg(int(n))
	}
	if !ok {
		e.fail(fmt.Errorf("register %d is not known", n))
	}
	e.push(v + uint64(off))
}

func (e *evaluator) deref(size int) {
	if size < 1 || size > 8 {
		e.fail(fmt.Errorf("a word of %d bytes", size))
		return
	}
	addr := e.pop()
	if e.Err != nil {
		return
	}
	var b [8]byte
	if err := e.env.Memory(b[:size], addr); err != nil {
		e.fail(err)
		return
	}
	w := numbers.Reader{Data: b[:size], Order: e.Order}
	e.push(w.Uint(size))
	e.Err = w.Err
}

func (e *evaluator) jump(by int64) {
	to := int64(e.Off) + by
	if to < 0 || to > int64(len(e.Data)) {
		e.fail(errors.New("a jump out of it"))
		return
	}
	e.Off = int(to)
}

func (e *evaluator) step(op byte) {
	switch {
	case op >= opLit0 && op <= opLit31:
		e.push(uint64(op - opLit0))
		return
	case op >= opBreg0 && op <= opBreg31:
		e.breg(uint64(op-opBreg0), e.SLEB())
		return
	case op >= opAbs && op <= opXor && op != opPlusUconst, op >= opEq && op <= opNe:
		e.arithmetic(op)
		return
	}
	switch op {
	case opAddr, opConst8u, opConst8s:
		e.push(e.Uint(8))
	case opConst1u:
		e.push(e.Uint(1))
	case opConst1s:
		e.push(uint64(e.Sint(1)))
	case opConst2u:
		e.push(e.Uint(2))
	case opConst2s:
		e.push(uint64(e.Sint(2)))
	case opConst4u:
		e.push(e.Uint(4))
	case opConst4s:
		e.push(uint64(e.Sint(4)))
	case opConstu:
		e.push(e.ULEB())
	case opConsts:
		e.push(uint64(e.SLEB()))
	case opBregx:
		n := e.ULEB()
		e.breg(n, e.SLEB())
	case opDeref:
		e.deref(8)
	case opDerefSize:
		e.deref(int(e.Uint(1)))
	case opDup:
		e.push(e.peek(0))
	case opDrop:
		e.pop()
	case opOver:
		e.push(e.peek(1))
	case opPick:
		e.push(e.peek(e.Uint(1)))
	case opSwap:
		a, b := e.pop(), e.pop()
		e.stack = append(e.stack, a, b)
	case opRot:
		a, b, c := e.pop(), e.pop(), e.pop()
		e.stack = append(e.stack, a, c, b)
	case opPlusUconst:
		e.push(e.pop() + e.ULEB())
	case opSkip:
		e.jump(e.Sint(2))
	case opBra:
		by := e.Sint(2)
		if e.pop() != 0 {
			e.jump(by)
		}
	case opNop:
	default:
		e.fail(fmt.Errorf("operation %#x is not known in unwind rules", op))
	}
}

func (e *evaluator) arithmetic(op byte) {
	b := e.pop()
	switch op {
	case opAbs:
		if int64(b) < 0 {
			b = -b
		}
		e.push(b)
		return
	case opNeg:
		e.push(-b)
		return
	case opNot:
		e.push(^b)
		return
	}
	a := e.pop()
	if (op == opDiv || op == opMod) && b == 0 {
		e.fail(errors.New("a division by 0"))
		return
	}
	e.push(binaryOp(op, a, b))
}

func binaryOp(op byte, a, b uint64) uint64 {
	switch op {
	case opAnd:
		return a & b
	case opDiv:
		return uint64(int64(a) / int64(b))
	case opMinus:
		return a - b
	case opMod:
		return a % b
	case opMul:
		return a * b
	case opOr:
		return a | b
	case opPlus:
		return a + b
	case opShl:
		return a << b
	case opShr:
		return a >> b
	case opShra:
		return uint64(int64(a) >> b)
	case opXor:
		return a ^ b
	}
	holds := false
	switch x, y := int64(a), int64(b); op {
	case opEq:
		holds = x == y
	case opGe:
		holds = x >= y
	case opGt:
		holds = x > y
	case opLe:
		holds = x <= y
	case opLt:
		holds = x < y
	case opNe:
		holds = x != y
	}
	if holds {
		return 1
	}
	return 0
}
