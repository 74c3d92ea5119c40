// Package disasm turns x86-64 code in memory into the lines that people know from objdump and crash: AT&T syntax,
// branch targets and addresses relative to the instruction pointer with their symbols. Memory of a running kernel is
// patched (alternatives, static calls and keys, ftrace, kprobes): what is shown is what the CPU would have run.
package disasm

import (
	"fmt"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// MaxLen is the length of the longest instruction in bytes.
const MaxLen = 15

// Inst is one decoded instruction.
type Inst struct {
	Addr  uint64
	Bytes []byte
	Text  string // "call   0xffffffff81000000", without symbols
	// Ref is the address that the instruction names: a branch's target, or a place relative to the instruction pointer.
	Ref    uint64
	HasRef bool
	Branch bool // Ref is a branch's target
	Bad    bool // the bytes are no instruction; Bytes has one byte and decoding goes on behind it
	UD2    bool
}

// Decode decodes the first instruction of code, which lies at addr. Bytes that are no instruction, or whose rest is not
// in code, give a Bad one of one byte.
func Decode(code []byte, addr uint64) Inst {
	if in, ok := extra(code, addr); ok {
		return in
	}
	x, err := x86asm.Decode(code, 64)
	if err != nil || x.Op == 0 || x.Len == 0 || x.Len > len(code) {
		return Inst{Addr: addr, Bytes: code[:min(1, len(code))], Text: "(bad)", Bad: true}
	}
	in := Inst{Addr: addr, Bytes: code[:x.Len], UD2: x.Op == x86asm.UD2}
	for i, a := range x.Args {
		if m, ok := a.(x86asm.Mem); ok {
			x.Args[i] = address(&x, m)
		}
	}
	next := addr + uint64(x.Len)
	for _, a := range x.Args {
		switch a := a.(type) {
		case x86asm.Rel:
			in.Ref, in.HasRef, in.Branch = next+uint64(int64(a)), true, true
		case x86asm.Mem:
			if a.Base == x86asm.RIP {
				in.Ref, in.HasRef = next+uint64(a.Disp), true
			}
		}
	}
	in.Text = text(&x, addr, in.Bytes)
	return in
}

// Annotated is Text with what symbol knows of Ref, as objdump writes it. symbol gives "name" or "name+12", or "".
func (in *Inst) Annotated(symbol func(uint64) string) string {
	if !in.HasRef {
		return in.Text
	}
	name := symbol(in.Ref)
	switch {
	case in.Branch && name == "":
		return in.Text
	case in.Branch:
		return in.Text + " <" + name + ">"
	case name == "":
		return fmt.Sprintf("%s        # %#x", in.Text, in.Ref)
	}
	return fmt.Sprintf("%s        # %#x <%s>", in.Text, in.Ref, name)
}

// address mends what x86asm gives: displacements of 32 bits come without their sign, and a base of r12, which is only
// encoded with an index byte, comes with an index that isn't there.
func address(x *x86asm.Inst, m x86asm.Mem) x86asm.Mem {
	offset64 := x.Opcode>>26 == 0xa0>>2 // mov between rax and an absolute address of 64 bits
	if m.Disp>>31 == 1 && !offset64 {
		m.Disp -= 1 << 32
	}
	if m.Base == x86asm.R12 && m.Index == 0 {
		m.Scale = 0
	}
	return m
}

func text(x *x86asm.Inst, addr uint64, code []byte) string {
	if x.Op == x86asm.NOP && len(code) > 1 && code[0] != 0xf3 {
		return longNop(x, code)
	}
	s := x86asm.GNUSyntax(*x, addr, nil)
	prefix, rest := "", s
	for {
		p, r, ok := strings.Cut(rest, " ")
		if !ok || !prefixNames[p] && !strings.HasPrefix(p, "rex") {
			break
		}
		prefix, rest = prefix+p+" ", r
	}
	op, args, _ := strings.Cut(rest, " ")
	op, args = modern(x, op, args, code), immediates(x, operands(x, args, code))
	if args == "" {
		return prefix + op
	}
	return fmt.Sprintf("%-6s %s", prefix+op, args)
}

var prefixNames = map[string]bool{"lock": true, "rep": true, "repz": true, "repn": true, "repnz": true, "bnd": true, "data16": true, "data32": true,
	"addr32": true, "cs": true, "ds": true, "es": true, "ss": true, "fs": true, "gs": true, "notrack": true, "xacquire": true, "xrelease": true}

// longNop spells the nops with which the kernel fills what it patched out, as binutils does: each spare prefix apart.
func longNop(x *x86asm.Inst, code []byte) string {
	var b strings.Builder
	data16, cs := 0, false
	for _, c := range code {
		if c == 0x66 {
			data16++
		} else if c == 0x2e {
			cs = true
		} else {
			break
		}
	}
	for range data16 - 1 {
		b.WriteString("data16 ")
	}
	if cs {
		b.WriteString("cs ")
	}
	op := "nopl"
	switch {
	case data16 > 0 && code[0] == 0x66 && !isMem(x.Args[0]):
		return strings.Repeat("data16 ", data16-1) + "xchg   %ax,%ax"
	case data16 > 0:
		op = "nopw"
	}
	for _, c := range code {
		if !isPrefix(c) {
			break
		}
		if c&0xf8 == 0x48 {
			op = "nopq"
		}
	}
	if !isMem(x.Args[0]) {
		return x86asm.GNUSyntax(*x, 0, nil)
	}
	m := x.Args[0].(x86asm.Mem)
	m.Segment = 0
	y := *x
	y.Op, y.Args = x86asm.NOP, x86asm.Args{m}
	y.Prefix = x86asm.Prefixes{}
	_, args, _ := strings.Cut(x86asm.GNUSyntax(y, 0, nil), " ")
	return fmt.Sprintf("%-6s %s", b.String()+op, operands(&y, args, code))
}

func isMem(a x86asm.Arg) bool { _, ok := a.(x86asm.Mem); return ok }

// modern spells mnemonics as binutils does since 2.30: no suffix where the operand leaves no choice.
func modern(x *x86asm.Inst, op, args string, code []byte) string {
	switch x.Op {
	case x86asm.CALL, x86asm.RET, x86asm.JMP, x86asm.LEAVE, x86asm.LRET:
		return strings.TrimSuffix(op, "q")
	case x86asm.PUSH, x86asm.POP, x86asm.PUSHFQ, x86asm.POPFQ:
		return strings.TrimSuffix(op, "q")
	case x86asm.LGDT, x86asm.LIDT, x86asm.SGDT, x86asm.SIDT:
		return op[:4]
	case x86asm.ANDN, x86asm.BEXTR, x86asm.BLSI, x86asm.BLSMSK, x86asm.BLSR, x86asm.BZHI, x86asm.MULX, x86asm.PDEP, x86asm.PEXT,
		x86asm.RORX, x86asm.SARX, x86asm.SHLX, x86asm.SHRX:
		return strings.TrimRight(op, "lq")
	case x86asm.MOVSXD:
		return "movslq"
	case x86asm.CDQE:
		return "cltq"
	case x86asm.MOV:
		if _, imm := x.Args[1].(x86asm.Imm); imm && len(code) >= 10 && code[len(code)-9]&0xf8 == 0xb8 && code[len(code)-10]&0xf8 == 0x48 {
			return "movabs"
		}
	}
	return op
}

// operands mends memory operands: binutils writes out a scale of 1, and a displacement of 0 that the encoding holds.
func operands(x *x86asm.Inst, args string, code []byte) string {
	args = zeroDisp(x, args, code)
	for _, a := range x.Args {
		m, ok := a.(x86asm.Mem)
		if ok && m.Base == 0 && m.Index == 0 && m.Disp < 0 {
			args = strings.Replace(args, fmt.Sprintf("%#x", m.Disp), fmt.Sprintf("%#x", uint64(m.Disp)), 1)
		}
		if !ok || m.Scale != 1 || m.Index == 0 {
			continue
		}
		i := strings.IndexByte(args, '(')
		if i < 0 {
			continue
		}
		n := strings.IndexByte(args[i:], ')')
		if n >= 0 && strings.Count(args[i:i+n], ",") == 1 {
			args = args[:i+n] + ",1" + args[i+n:]
		}
	}
	return args
}

// immediates writes negative numbers as binutils does: in two's complement of the operand's size.
func immediates(x *x86asm.Inst, args string) string {
	for _, a := range x.Args {
		imm, ok := a.(x86asm.Imm)
		if !ok {
			continue
		}
		if imm == 1 && x.Opcode>>25 == 0xd0>>1 {
			return "$1," + args // a shift by the constant 1 has an encoding of its own
		}
		if imm >= 0 && (x.Op != x86asm.PUSH || imm>>31 != 1) {
			continue
		}
		u := uint64(imm)
		if x.Op == x86asm.PUSH && u>>31 == 1 {
			u |= 0xffffffff << 32 // x86asm leaves out the sign
		}
		switch operandBytes(x) {
		case 1:
			u &= 0xff
		case 2:
			u &= 0xffff
		case 4:
			u &= 0xffffffff
		}
		args = strings.Replace(args, fmt.Sprintf("$%#x", int64(imm)), fmt.Sprintf("$%#x", u), 1)
	}
	return args
}

// operandBytes is the size of what an immediate is combined with, in bytes.
func operandBytes(x *x86asm.Inst) int {
	if x.Op == x86asm.PUSH {
		return 8
	}
	switch r := x.Args[0].(type) {
	case x86asm.Reg:
		switch {
		case r >= x86asm.AL && r <= x86asm.R15B:
			return 1
		case r >= x86asm.AX && r <= x86asm.R15W:
			return 2
		case r >= x86asm.EAX && r <= x86asm.R15L:
			return 4
		}
	case x86asm.Mem:
		return x.MemBytes
	}
	return x.DataSize / 8
}

// zeroDisp writes out a displacement of 0 that the encoding holds, which x86asm leaves out.
func zeroDisp(x *x86asm.Inst, args string, code []byte) string {
	for _, a := range x.Args {
		m, ok := a.(x86asm.Mem)
		if !ok || m.Disp != 0 || m.Base == 0 && m.Index == 0 || m.Base != 0 && m.Base != x86asm.RIP && !hasDisp(code) {
			continue
		}
		if i := strings.IndexByte(args, '('); i >= 0 {
			return args[:i] + "0x0" + args[i:]
		}
	}
	return args
}

// hasDisp reports whether the ModRM byte says that a displacement follows (mod 01 and 10).
func hasDisp(code []byte) bool {
	i := 0
	for i < len(code) && isPrefix(code[i]) {
		i++
	}
	if i+1 < len(code) && code[i] == 0x0f {
		i++
		if code[i] == 0x38 || code[i] == 0x3a {
			i++
		}
	}
	i++
	return i < len(code) && (code[i]>>6 == 1 || code[i]>>6 == 2)
}

func isPrefix(b byte) bool {
	switch b {
	case 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3:
		return true
	}
	return b&0xf0 == 0x40 // REX
}
