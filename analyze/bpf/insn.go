package bpf

import (
	"encoding/binary"
	"fmt"
)

const insnSize = 8

// Insn is an instruction; a load of 64 bits has 16 bytes.
type Insn struct {
	Index int    // of its first 8 bytes
	Code  byte   // opcode
	Bytes []byte // as they lie in memory
	Text  string
}

// Operand is a kind of constant that has a name.
type Operand int

// The kinds.
const (
	MapAddress Operand = iota
	Helper             // an offset from __bpf_call_base
)

// Classes and fields of the opcode (include/uapi/linux/bpf.h, bpf_common.h).
const (
	classLD    = 0
	classLDX   = 1
	classST    = 2
	classSTX   = 3
	classALU   = 4
	classJMP   = 5
	classJMP32 = 6
	classALU64 = 7

	modeIMM    = 0x00
	modeABS    = 0x20
	modeIND    = 0x40
	modeMEM    = 0x60
	modeMEMSX  = 0x80
	modeATOMIC = 0xc0
	// Modes of the verifier's own, behind which an exception table stands (5.3, 6.6, 6.9).
	modeProbeMem   = 0x20
	modeProbeMemSX = 0x40
	modeProbeMem32 = 0xa0

	sourceReg = 8
)

// Decode writes instructions as the kernel's verifier does in its log. name may give a constant's name, "" for none.
func Decode(code []byte, bo binary.ByteOrder, name func(Operand, uint64) string) []Insn {
	var out []Insn
	for i := 0; i+insnSize <= len(code); {
		d := decoder{code: code[i], dst: code[i+1] & 15, src: code[i+1] >> 4, off: int16(bo.Uint16(code[i+2:])), imm: int32(bo.Uint32(code[i+4:])), name: name}
		if bo.Uint16([]byte{0, 1}) == 1 { // big-endian targets have the registers the other way round
			d.dst, d.src = d.src, d.dst
		}
		n := insnSize
		if d.code == classLD|modeIMM|0x18 && i+2*insnSize <= len(code) {
			n = 2 * insnSize
			d.high = bo.Uint32(code[i+12:])
		}
		out = append(out, Insn{i / insnSize, d.code, code[i : i+n], d.text()})
		i += n
	}
	return out
}

type decoder struct {
	code, dst, src byte
	off            int16
	imm            int32
	high           uint32 // upper half of a 64-bit constant
	name           func(Operand, uint64) string
}

func (d *decoder) bad() string { return fmt.Sprintf("(unknown opcode %02x)", d.code) }

func (d *decoder) text() string {
	switch d.code & 7 {
	case classALU, classALU64:
		return d.alu()
	case classJMP, classJMP32:
		return d.jump()
	case classSTX:
		return d.storeReg()
	case classST:
		if mode := d.code & 0xe0; mode != modeMEM && mode != modeProbeMem32 {
			if mode == modeATOMIC {
				return "nospec" // a barrier that the verifier adds (5.14)
			}
			return d.bad()
		}
		return fmt.Sprintf("*(%s *)(r%d %+d) = %d", d.size("u"), d.dst, d.off, d.imm)
	case classLDX:
		switch d.code & 0xe0 {
		case modeMEM, modeProbeMem, modeProbeMem32:
			return fmt.Sprintf("r%d = *(%s *)(r%d %+d)", d.dst, d.size("u"), d.src, d.off)
		case modeMEMSX, modeProbeMemSX:
			return fmt.Sprintf("r%d = *(%s *)(r%d %+d)", d.dst, d.size("s"), d.src, d.off)
		}
		return d.bad()
	}
	return d.load()
}

func (d *decoder) size(sign string) string {
	return sign + map[byte]string{0x00: "32", 0x08: "16", 0x10: "8", 0x18: "64"}[d.code&0x18]
}

func (d *decoder) load() string {
	switch d.code & 0xe0 {
	case modeABS:
		return fmt.Sprintf("r0 = *(%s *)skb[%d]", d.size("u"), d.imm)
	case modeIND:
		return fmt.Sprintf("r0 = *(%s *)skb[r%d + %d]", d.size("u"), d.src, d.imm)
	case modeIMM:
		if d.code&0x18 != 0x18 {
			return d.bad()
		}
		x := uint64(d.high)<<32 | uint64(uint32(d.imm))
		if n := d.name(MapAddress, x); n != "" {
			return fmt.Sprintf("r%d = %s", d.dst, n)
		}
		return fmt.Sprintf("r%d = %#x", d.dst, x)
	}
	return d.bad()
}

// atomics by the immediate of an atomic operation.
var atomics = map[int32]string{0x00: "+=", 0x40: "|=", 0x50: "&=", 0xa0: "^="}

var fetches = map[int32]string{0x01: "add", 0x41: "or", 0x51: "and", 0xa1: "xor"}

func (d *decoder) storeReg() string {
	switch d.code & 0xe0 {
	case modeMEM, modeProbeMem32:
		return fmt.Sprintf("*(%s *)(r%d %+d) = r%d", d.size("u"), d.dst, d.off, d.src)
	case modeATOMIC:
		long := ""
		if d.code&0x18 == 0x18 {
			long = "64"
		}
		at := fmt.Sprintf("(%s *)(r%d %+d)", d.size("u"), d.dst, d.off)
		switch {
		case atomics[d.imm] != "":
			return fmt.Sprintf("lock *%s %s r%d", at, atomics[d.imm], d.src)
		case fetches[d.imm] != "":
			return fmt.Sprintf("r%d = atomic%s_fetch_%s(%s, r%d)", d.src, long, fetches[d.imm], at, d.src)
		case d.imm == 0xf1:
			return fmt.Sprintf("r0 = atomic%s_cmpxchg(%s, r0, r%d)", long, at, d.src)
		case d.imm == 0xe1:
			return fmt.Sprintf("r%d = atomic%s_xchg(%s, r%d)", d.src, long, at, d.src)
		case d.imm == 0x100: // 6.15
			return fmt.Sprintf("r%d = load_acquire((%s *)(r%d %+d))", d.dst, d.size("u"), d.src, d.off)
		case d.imm == 0x110: // 6.15
			return fmt.Sprintf("store_release(%s, r%d)", at, d.src)
		}
	}
	return d.bad()
}

var aluOps = [16]string{"+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "end"}

func (d *decoder) alu() string {
	reg := "r"
	if d.code&7 == classALU {
		reg = "w"
	}
	op := aluOps[d.code>>4]
	right := fmt.Sprint(d.imm)
	if d.code&sourceReg != 0 {
		right = fmt.Sprintf("%s%d", reg, d.src)
	}
	switch op {
	case "":
		return d.bad()
	case "neg":
		return fmt.Sprintf("%s%d = -%s%d", reg, d.dst, reg, d.dst)
	case "end":
		form := "le"
		if d.code&7 == classALU64 { // 6.6
			form = "bswap"
		} else if d.code&sourceReg != 0 {
			form = "be"
		}
		return fmt.Sprintf("r%d = %s%d r%d", d.dst, form, d.imm, d.dst)
	case "=":
		if d.code&sourceReg != 0 && (d.off == 8 || d.off == 16 || d.off == 32) { // 6.6
			return fmt.Sprintf("%s%d = (s%d)%s", reg, d.dst, d.off, right)
		}
	case "/=", "%=":
		if d.off == 1 { // 6.6
			op = "s" + op
		}
	}
	return fmt.Sprintf("%s%d %s %s", reg, d.dst, op, right)
}

var jumpOps = [16]string{1: "==", 2: ">", 3: ">=", 4: "&", 5: "!=", 6: "s>", 7: "s>=", 10: "<", 11: "<=", 12: "s<", 13: "s<="}

func (d *decoder) jump() string {
	wide := d.code&7 == classJMP
	switch op := d.code >> 4; {
	case op == 0 && wide:
		return fmt.Sprintf("goto pc%+d", d.off)
	case op == 0: // 6.6
		return fmt.Sprintf("gotol pc%+d", d.imm)
	case op == 8 && wide:
		return d.call()
	case op == 9 && wide:
		return "exit"
	case op == 15 && wide: // the verifier's own
		return "tail_call"
	case op == 14 && !wide || op == 14 && d.code&sourceReg == 0: // 6.10
		if d.src == 0 {
			return fmt.Sprintf("may_goto pc%+d", d.off)
		}
		return fmt.Sprintf("goto_or_nop pc%+d", d.off)
	case jumpOps[op] != "":
		reg := "r"
		if !wide {
			reg = "w"
		}
		right := fmt.Sprintf("%#x", uint32(d.imm))
		if d.code&sourceReg != 0 {
			right = fmt.Sprintf("%s%d", reg, d.src)
		}
		return fmt.Sprintf("if %s%d %s %s goto pc%+d", reg, d.dst, jumpOps[op], right, d.off)
	}
	return d.bad()
}

// call of a helper, of a function of the program itself (4.16), or of the kernel (5.13).
func (d *decoder) call() string {
	const pseudoCall, pseudoKfunc = 1, 2
	switch {
	case d.src == pseudoCall:
		return fmt.Sprintf("call pc%+d", d.imm)
	case d.code&sourceReg != 0:
		return fmt.Sprintf("callx r%d", d.dst)
	}
	name := d.name(Helper, uint64(uint32(d.imm)))
	if name == "" {
		name = "unknown"
		if d.src == pseudoKfunc {
			name = "kernel-function"
		}
	}
	return fmt.Sprintf("call %s#%d", name, d.imm)
}
