package orc

import (
	"encoding/binary"

	"kdx/symbols"
)

// reg is a base register of an entry, numbered as in 7.1's ORC_REG_….
type reg uint8

const (
	regUndefined reg = iota
	regAX
	regDX
	regSP
	regBP
	regDI
	regR10
	regR13
	regPrevSP
	regSPIndirect
	regBPIndirect
	regBad
)

// oldRegs are the numbers before 7.1. 10 was AX in 7.0 only.
var oldRegs = [16]reg{regUndefined, regPrevSP, regDX, regDI, regBP, regSP, regR10, regR13, regBPIndirect, regSPIndirect, regAX,
	regBad, regBad, regBad, regBad, regBad}

// kind is an entry's type as in 6.4's ORC_TYPE_….
type kind uint8

const (
	kindUndefined kind = iota
	kindEnd
	kindCall
	kindRegs
	kindRegsPartial
	kindBad
)

// entry is struct orc_entry in a form that is the same for all versions.
type entry struct {
	spOff, bpOff int16
	sp, bp       reg
	kind         kind
	signal       bool
	oldSP        bool // before 5.12, SP_INDIRECT added its offset before it looked into memory
}

// parse reads struct orc_entry. Its last two bytes, from the lowest bit: sp_reg and bp_reg of 4 bits each, then
//
//	v1     type:2 end:1
//	v2     type:2 signal:1 end:1
//	v3, v4 type:3 signal:1
func parse(b []byte, v Version) entry {
	e := entry{
		spOff: int16(binary.LittleEndian.Uint16(b)),
		bpOff: int16(binary.LittleEndian.Uint16(b[2:])),
	}
	sp, bp, flags := b[4]&0xf, b[4]>>4, b[5]
	if v < V4 {
		e.sp, e.bp = oldRegs[sp], oldRegs[bp]
	} else {
		e.sp, e.bp = min(reg(sp), regBad), min(reg(bp), regBad)
	}
	if v >= V3 {
		e.kind, e.signal = min(kind(flags&7), kindBad), flags&8 != 0
		if flags&0xf0 != 0 {
			e.kind = kindBad
		}
		return e
	}
	e.kind = kindCall + kind(flags&3) // call, regs, partial regs; 3 becomes bad
	end, spare := flags&4 != 0, flags&^7
	e.signal = e.kind != kindCall
	if v == V2 {
		e.signal, end, spare = flags&4 != 0, flags&8 != 0, flags&^15
	}
	if e.sp == regUndefined {
		e.kind = kindUndefined
		if end {
			e.kind = kindEnd
		}
	}
	if spare != 0 {
		e.kind = kindBad
	}
	e.oldSP = v == V1 && e.sp == regSPIndirect && e.kind != kindCall
	return e
}

// DWARF numbers of registers.
const (
	rax = 0
	rdx = 1
	rcx = 2
	rbx = 3
	rsi = 4
	rdi = 5
	rbp = 6
	rsp = 7
	r10 = 10
	r13 = 13
)

func atCFA(off int64) symbols.Rule { return symbols.Rule{Kind: symbols.RuleAtCFA, Off: off} }

// struct pt_regs has been the same since before ORC: r15 first, then what the processor pushes.
var (
	wholeRegs = []symbols.RegRule{
		{Reg: 15, Rule: atCFA(0)}, {Reg: 14, Rule: atCFA(8)}, {Reg: r13, Rule: atCFA(16)}, {Reg: 12, Rule: atCFA(24)},
		{Reg: rbp, Rule: atCFA(32)}, {Reg: rbx, Rule: atCFA(40)}, {Reg: 11, Rule: atCFA(48)}, {Reg: r10, Rule: atCFA(56)},
		{Reg: 9, Rule: atCFA(64)}, {Reg: 8, Rule: atCFA(72)}, {Reg: rax, Rule: atCFA(80)}, {Reg: rcx, Rule: atCFA(88)},
		{Reg: rdx, Rule: atCFA(96)}, {Reg: rsi, Rule: atCFA(104)}, {Reg: rdi, Rule: atCFA(112)}, {Reg: rsp, Rule: atCFA(152)},
	}
	partialRegs = []symbols.RegRule{{Reg: rsp, Rule: atCFA(24)}}
)

const (
	regsIP    = 128 // offset of ip in struct pt_regs
	partialIP = 0   // in the processor's frame
)

// row is the neutral form. ok is false if the entry makes no sense.
func (e entry) row() (symbols.Row, bool) {
	r := symbols.Row{Signal: e.signal}
	switch e.kind {
	case kindUndefined:
		r.Frame = symbols.FrameUndefined
		return r, true
	case kindEnd:
		r.Frame = symbols.FrameEnd
		return r, true
	}
	var ok bool
	if r.CFA, ok = e.cfa(); !ok {
		return r, false
	}
	switch e.kind {
	case kindCall:
		r.RA = atCFA(-8)
	case kindRegs:
		r.Frame, r.RA, r.Saved = symbols.FrameRegs, atCFA(regsIP), wholeRegs
		return r, true
	case kindRegsPartial:
		r.Frame, r.RA, r.Saved = symbols.FrameRegsPartial, atCFA(partialIP), partialRegs
	default:
		return r, false
	}
	switch e.bp {
	case regUndefined: // rbp is what it was
	case regPrevSP:
		r.Saved = withBP(r.Saved, atCFA(int64(e.bpOff)))
	case regBP:
		r.Saved = withBP(r.Saved, symbols.Rule{Kind: symbols.RuleAtRegPlus, Reg: rbp, Off: int64(e.bpOff)})
	default:
		return r, false
	}
	return r, true
}

func withBP(saved []symbols.RegRule, rule symbols.Rule) []symbols.RegRule {
	out := make([]symbols.RegRule, 0, 2)
	return append(append(out, saved...), symbols.RegRule{Reg: rbp, Rule: rule})
}

func (e entry) cfa() (symbols.Rule, bool) {
	off := int64(e.spOff)
	plus := func(n uint16, off int64) (symbols.Rule, bool) {
		return symbols.Rule{Kind: symbols.RuleRegPlus, Reg: n, Off: off}, true
	}
	switch e.sp {
	case regSP:
		return plus(rsp, off)
	case regBP:
		return plus(rbp, off)
	case regSPIndirect:
		if e.oldSP {
			return symbols.Rule{Kind: symbols.RuleAtRegPlus, Reg: rsp, Off: off}, true
		}
		return symbols.Rule{Kind: symbols.RuleRegDeref, Reg: rsp, Off: off}, true
	case regBPIndirect:
		return symbols.Rule{Kind: symbols.RuleAtRegPlus, Reg: rbp, Off: off}, true
	// The others are values that entry code and realigned stacks keep in a register; the kernel ignores the offset.
	case regR10:
		return plus(r10, 0)
	case regR13:
		return plus(r13, 0)
	case regDI:
		return plus(rdi, 0)
	case regDX:
		return plus(rdx, 0)
	case regAX:
		return plus(rax, 0)
	}
	return symbols.Rule{}, false
}
