package locexpr

import (
	"encoding/binary"
	"fmt"
	"sort"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/internal/numbers"
)

// Operations, DW_OP_*. Those from 0xe0 on are GNU's; they became standard in DWARF 5 under other numbers.
const (
	opAddr            = 0x03
	opDeref           = 0x06
	opConst1u         = 0x08
	opConst1s         = 0x09
	opConst2u         = 0x0a
	opConst2s         = 0x0b
	opConst4u         = 0x0c
	opConst4s         = 0x0d
	opConst8u         = 0x0e
	opConst8s         = 0x0f
	opConstu          = 0x10
	opConsts          = 0x11
	opDup             = 0x12
	opDrop            = 0x13
	opOver            = 0x14
	opPick            = 0x15
	opSwap            = 0x16
	opRot             = 0x17
	opXderef          = 0x18
	opAbs             = 0x19
	opAnd             = 0x1a
	opDiv             = 0x1b
	opMinus           = 0x1c
	opMod             = 0x1d
	opMul             = 0x1e
	opNeg             = 0x1f
	opNot             = 0x20
	opOr              = 0x21
	opPlus            = 0x22
	opPlusUconst      = 0x23
	opShl             = 0x24
	opShr             = 0x25
	opShra            = 0x26
	opXor             = 0x27
	opBra             = 0x28
	opEq              = 0x29
	opGe              = 0x2a
	opGt              = 0x2b
	opLe              = 0x2c
	opLt              = 0x2d
	opNe              = 0x2e
	opSkip            = 0x2f
	opLit0            = 0x30
	opReg0            = 0x50
	opBreg0           = 0x70
	opRegx            = 0x90
	opFbreg           = 0x91
	opBregx           = 0x92
	opPiece           = 0x93
	opDerefSize       = 0x94
	opXderefSize      = 0x95
	opNop             = 0x96
	opPushObject      = 0x97
	opCall2           = 0x98
	opCall4           = 0x99
	opCallRef         = 0x9a
	opFormTLS         = 0x9b
	opCallFrameCFA    = 0x9c
	opBitPiece        = 0x9d
	opImplicitValue   = 0x9e
	opStackValue      = 0x9f
	opImplicitPointer = 0xa0
	opAddrx           = 0xa1
	opConstx          = 0xa2
	opEntryValue      = 0xa3
	opConstType       = 0xa4
	opRegvalType      = 0xa5
	opDerefType       = 0xa6
	opXderefType      = 0xa7
	opConvert         = 0xa8
	opReinterpret     = 0xa9

	opGNUPushTLS         = 0xe0
	opGNUUninit          = 0xf0
	opGNUImplicitPointer = 0xf2
	opGNUEntryValue      = 0xf3
	opGNUConstType       = 0xf4
	opGNURegvalType      = 0xf5
	opGNUDerefType       = 0xf6
	opGNUConvert         = 0xf7
	opGNUReinterpret     = 0xf9
	opGNUParameterRef    = 0xfa
	opGNUAddrIndex       = 0xfb
	opGNUConstIndex      = 0xfc
	opGNUVariableValue   = 0xfd
)

// standard are the DWARF 5 operations that mean the same as GNU's.
var standard = map[uint8]uint8{opGNUPushTLS: opFormTLS, opGNUImplicitPointer: opImplicitPointer, opGNUEntryValue: opEntryValue,
	opGNUConstType: opConstType, opGNURegvalType: opRegvalType, opGNUDerefType: opDerefType, opGNUConvert: opConvert,
	opGNUReinterpret: opReinterpret, opGNUAddrIndex: opAddrx, opGNUConstIndex: opConstx}

// instr is one decoded operation.
type instr struct {
	op    uint8
	at    int // offset in the expression
	a, b  uint64
	block []byte
}

// Sizes of what operands refer to depend on the unit.
type sizes struct {
	order   binary.ByteOrder
	addr    int
	offset  int // of references to .debug_info
	version int
}

// maxExpression bounds an expression in bytes; real ones have some hundred.
const maxExpression = 1 << 16

func decode(expr []byte, s sizes) ([]instr, error) {
	if len(expr) > maxExpression {
		return nil, fmt.Errorf("an expression of %d bytes can't be right", len(expr))
	}
	var out []instr
	r := numbers.Reader{Order: s.order, Data: expr}
	for r.Off < len(expr) {
		in := instr{at: r.Off}
		in.op = r.U8()
		if std, ok := standard[in.op]; ok {
			in.op = std
		}
		if err := in.operands(&r, s); err != nil {
			return nil, err
		}
		if r.Err != nil {
			return nil, fmt.Errorf("operation %#x at byte %d of an expression: %w", in.op, in.at, r.Err)
		}
		out = append(out, in)
	}
	return out, nil
}

func (in *instr) operands(r *numbers.Reader, s sizes) error {
	switch op := in.op; {
	case op >= opLit0 && op < opLit0+32:
		in.a, in.op = uint64(op-opLit0), opConstu
	case op >= opReg0 && op < opReg0+32:
		in.a, in.op = uint64(op-opReg0), opRegx
	case op >= opBreg0 && op < opBreg0+32:
		in.a, in.b, in.op = uint64(op-opBreg0), uint64(r.SLEB()), opBregx
	case op >= opDup && op <= opRot && op != opPick, op >= opXderef && op <= opPlus, op >= opShl && op <= opXor, op >= opEq && op <= opNe:
	default:
		return in.other(r, s)
	}
	return nil
}

func (in *instr) other(r *numbers.Reader, s sizes) error {
	switch in.op {
	case opAddr:
		in.a = r.Uint(s.addr)
	case opDeref, opNop, opPushObject, opFormTLS, opCallFrameCFA, opStackValue, opGNUUninit:
	case opConst1u, opConst2u, opConst4u, opConst8u:
		in.a, in.op = r.Uint(1<<((in.op-opConst1u)/2)), opConstu
	case opConst1s, opConst2s, opConst4s, opConst8s:
		in.a, in.op = uint64(r.Sint(1<<((in.op-opConst1s)/2))), opConstu
	case opConsts:
		in.a, in.op = uint64(r.SLEB()), opConstu
	case opConstu, opPlusUconst, opRegx, opPiece, opAddrx, opConstx, opConvert, opReinterpret:
		in.a = r.ULEB()
	case opPick, opDerefSize, opXderefSize:
		in.a = uint64(r.U8())
	case opBra, opSkip:
		in.a = uint64(r.Sint(2))
		in.a += uint64(r.Off) // the target's offset
	case opFbreg:
		in.a = uint64(r.SLEB())
	case opBregx:
		in.a, in.b = r.ULEB(), uint64(r.SLEB())
	case opCall2:
		in.a = r.Uint(2)
	case opCall4, opGNUParameterRef:
		in.a = r.Uint(4)
	case opCallRef, opGNUVariableValue:
		in.a = r.Uint(s.offset)
	case opBitPiece:
		in.a, in.b = r.ULEB(), r.ULEB()
	case opImplicitValue, opEntryValue:
		in.block = r.Take(r.ULEB())
	case opImplicitPointer:
		size := s.offset
		if s.version == 2 {
			size = s.addr
		}
		in.a, in.b = r.Uint(size), uint64(r.SLEB())
	case opConstType:
		in.a = r.ULEB()
		in.block = r.Take(uint64(r.U8()))
	case opRegvalType:
		in.a, in.b = r.ULEB(), r.ULEB()
	case opDerefType, opXderefType:
		in.a, in.b = uint64(r.U8()), r.ULEB()
	default:
		return fmt.Errorf("operation %#x at byte %d of an expression is not known", in.op, in.at)
	}
	return nil
}

// index is the place in code of the operation at byte offset at; len(code) for the end of the expression.
func index(code []instr, at uint64, end int) (int, bool) {
	if at == uint64(end) {
		return len(code), true
	}
	i := sort.Search(len(code), func(i int) bool { return uint64(code[i].at) >= at })
	return i, i < len(code) && uint64(code[i].at) == at
}

// Register is the register that expr consists of (DW_OP_reg*, DW_OP_regval_type); ok is false for other expressions.
func Register(expr []byte, u *dwarfinfo.Unit) (n uint64, ok bool) {
	code, err := decode(expr, sizesOf(u))
	if err != nil || len(code) != 1 {
		return 0, false
	}
	return code[0].a, code[0].op == opRegx || code[0].op == opRegvalType
}

// Part is a piece of a value that lies in a register.
type Part struct {
	Expr []byte // the register
	Size uint64 // bytes; 0 for the whole value
}

// Registers takes an expression apart that consists of registers: one, or pieces in several.
func Registers(expr []byte, u *dwarfinfo.Unit) (parts []Part, ok bool) {
	code, err := decode(expr, sizesOf(u))
	if err != nil || len(code) == 0 || code[0].op != opRegx {
		return nil, false
	}
	if len(code) == 1 {
		return []Part{{Expr: expr}}, true
	}
	if len(code)%2 != 0 {
		return nil, false
	}
	for i := 0; i < len(code); i += 2 {
		if code[i].op != opRegx || code[i+1].op != opPiece || code[i+1].a > 8 {
			return nil, false
		}
		parts = append(parts, Part{Expr: expr[code[i].at:code[i+1].at], Size: code[i+1].a})
	}
	return parts, true
}

func sizesOf(u *dwarfinfo.Unit) sizes {
	s := sizes{order: u.Data.Order, addr: u.AddrSize, offset: 4, version: u.Version}
	if u.Dwarf64 {
		s.offset = 8
	}
	return s
}
