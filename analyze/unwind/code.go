package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"kdx/symbols"
)

// Some functions have no unwind rows on purpose: STACK_FRAME_NON_STANDARD, __crash_kexec among them, which is where
// every panic that was dumped by kdump stands. Their frames are found by following their code from the entry to the PC
// and counting what it does to the stack pointer. The result is believed if the return address that it leads to is
// behind a call of this very function.

// codeFrame is a frame as the code says.
type codeFrame struct {
	depth int64 // bytes from the stack pointer, or if byRBP from RBP, up to the return address
	byRBP bool
	saved []symbols.RegRule
}

const (
	maxCode  = 64 << 10 // bytes of a function that is followed
	maxSteps = 50000
)

var errNoPath = errors.New("its code does not show how large its frame is")

var calleeSaved = map[x86asm.Reg]uint16{x86asm.RBX: RBX, x86asm.RBP: RBP, x86asm.R12: R12, x86asm.R13: R13, x86asm.R14: R14, x86asm.R15: R15}

// pathState is what is known at one instruction.
type pathState struct {
	at    int64 // offset in the code
	depth int64
	frame int64 // depth at which RBP points; -1 if RBP is no frame pointer
	lost  bool  // the stack pointer was moved by an amount that the code does not show; RBP still counts
}

// followCode walks all paths from the function's entry until one reaches target; code starts at the entry.
func followCode(code []byte, target int64) (codeFrame, error) {
	saved := make(map[uint16]int64)
	seen := make(map[int64]bool)
	work := []pathState{{frame: -1}}
	for steps := 0; len(work) > 0 && steps < maxSteps; steps++ {
		s := work[len(work)-1]
		work = work[:len(work)-1]
		if s.depth < 0 || s.at < 0 || s.at >= int64(len(code)) || seen[s.at] {
			continue
		}
		if s.at == target {
			return finish(s, saved), nil
		}
		seen[s.at] = true
		if n := unknownLen(code[s.at:]); n > 0 {
			s.at += n
			work = append(work, s)
			continue
		}
		inst, err := x86asm.Decode(code[s.at:], 64)
		if err != nil || inst.Op == 0 { // without an error, a lone prefix
			continue
		}
		work = append(work, next(s, &inst, saved)...)
	}
	return codeFrame{}, errNoPath
}

// unknownLen is the length of instructions that the decoder does not know and that leave the stack alone: endbr64, with
// which functions begin, and the 0f 01 group (stac, clac, xgetbv, rdpkru, …) with a register operand. 0 for others.
func unknownLen(code []byte) int64 {
	switch {
	case len(code) >= 4 && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3]|1 == 0xfb:
		return 4
	case len(code) >= 3 && code[0] == 0x0f && code[1] == 0x01 && code[2] >= 0xc0:
		return 3
	}
	return 0
}

// lose is the state once the stack pointer can't be followed.
func (s pathState) lose() []pathState {
	if s.frame < 0 {
		return nil
	}
	s.lost = true
	return []pathState{s}
}

func finish(s pathState, saved map[uint16]int64) codeFrame {
	f := codeFrame{depth: s.depth}
	if s.lost {
		f.depth, f.byRBP = s.frame, true
	}
	for reg, depth := range saved {
		if depth <= s.depth {
			f.saved = append(f.saved, symbols.RegRule{Reg: reg, Rule: symbols.Rule{Kind: symbols.RuleAtCFA, Off: -8 - depth}})
		}
	}
	return f
}

// next are the states behind an instruction.
func next(s pathState, inst *x86asm.Inst, saved map[uint16]int64) []pathState {
	n := s
	n.at += int64(inst.Len)
	reg0, _ := inst.Args[0].(x86asm.Reg)
	switch inst.Op {
	case x86asm.RET, x86asm.LRET, x86asm.IRETQ, x86asm.UD2, x86asm.UD1, x86asm.HLT:
		return nil
	case x86asm.JMP:
		rel, ok := inst.Args[0].(x86asm.Rel)
		if !ok {
			return nil
		}
		n.at += int64(rel)
	case x86asm.PUSH, x86asm.PUSHF, x86asm.PUSHFQ:
		n.depth += 8
		if r, ok := calleeSaved[reg0]; ok {
			if _, done := saved[r]; !done {
				saved[r] = n.depth
			}
		}
	case x86asm.POP, x86asm.POPF, x86asm.POPFQ:
		n.depth -= 8
		if reg0 == x86asm.RBP {
			if n.frame = -1; s.lost {
				return nil
			}
		}
	case x86asm.SUB, x86asm.ADD:
		if reg0 != x86asm.RSP {
			break
		}
		imm, ok := inst.Args[1].(x86asm.Imm)
		if !ok { // a variable amount of room: the random offset of system calls' stacks (5.13), arrays of variable length
			return n.lose()
		}
		if inst.Op == x86asm.ADD {
			imm = -imm
		}
		n.depth += int64(imm)
	case x86asm.LEA:
		if m, ok := inst.Args[1].(x86asm.Mem); ok && reg0 == x86asm.RSP && m.Index == 0 {
			switch {
			case m.Base == x86asm.RSP:
				n.depth -= m.Disp
			case m.Base == x86asm.RBP && s.frame >= 0:
				n.depth, n.lost = s.frame-m.Disp, false
			default:
				return nil
			}
		}
	case x86asm.MOV:
		src, _ := inst.Args[1].(x86asm.Reg)
		switch {
		case reg0 == x86asm.RBP && src == x86asm.RSP:
			if s.lost {
				return nil
			}
			n.frame = s.depth
		case reg0 == x86asm.RSP && src == x86asm.RBP && s.frame >= 0:
			n.depth, n.lost = s.frame, false
		case reg0 == x86asm.RSP:
			return nil // a switch to another stack
		}
	case x86asm.LEAVE:
		if s.frame < 0 {
			return nil
		}
		n.depth, n.frame, n.lost = s.frame-8, -1, false
	case x86asm.AND:
		if reg0 == x86asm.RSP {
			return n.lose() // aligned
		}
	case x86asm.CALL:
	default:
		if rel, ok := inst.Args[0].(x86asm.Rel); ok { // conditional jumps and loops
			jump := n
			jump.at += int64(rel)
			return []pathState{jump, n}
		}
	}
	return []pathState{n}
}

// byCode unwinds a frame whose function has no rows. The error says why its code does not lead to the caller.
func (u *unwinder) byCode(f *Frame, start, size, sp uint64) (caller, error) {
	code := make([]byte, min(size, maxCode))
	if n, err := u.c.Mem.ReadMemory(code, start); err != nil {
		code = code[:n]
	}
	frame, err := followCode(code, int64(f.PC-start))
	if err != nil {
		return caller{}, err
	}
	if frame.byRBP {
		bp, ok := u.regs.Get(RBP)
		if !ok || bp < sp || bp > u.cur.Hi {
			return caller{}, errors.New("the frame pointer that its code keeps lies outside its stack")
		}
		sp = bp
	}
	at := sp + uint64(frame.depth)
	ra, err := u.word(at)
	if err != nil {
		return caller{}, fmt.Errorf("its return address can't be read: %w", err)
	}
	called, direct, err := u.calledFrom(u.original(ra, at), start)
	if err != nil {
		return caller{}, fmt.Errorf("the code before its return address %#x can't be read: %w", ra, err)
	}
	if !called {
		return caller{}, fmt.Errorf("what should be its return address at %#x, %#x, is behind no call", at, ra)
	}
	c := caller{ra: ra, at: at, cfa: at + 8, regs: u.regs, sure: direct}
	for _, s := range frame.saved {
		if v, err := u.rule(s.Rule, c.cfa); err == nil {
			c.regs.Set(int(s.Reg), v)
		} else {
			c.regs.Forget(int(s.Reg))
		}
	}
	return c, nil
}

// calledFrom reports whether the instruction before ra is a call, and whether it calls the function at start.
func (u *unwinder) calledFrom(ra, start uint64) (called, direct bool, err error) {
	if ra < 8 || !u.c.IsText(ra-1) {
		return false, false, nil
	}
	var b [7]byte
	if _, err := u.c.Mem.ReadMemory(b[:], ra-7); err != nil {
		return false, false, err
	}
	if b[2] == 0xe8 {
		rel := int32(binary.LittleEndian.Uint32(b[3:]))
		return true, ra+uint64(int64(rel)) == start, nil
	}
	for n := 2; n <= 7; n++ { // call *reg and call *mem: ff /2, with prefixes up to 7 bytes
		inst, err := x86asm.Decode(b[7-n:], 64)
		if err == nil && inst.Op == x86asm.CALL && inst.Len == n {
			return true, false, nil
		}
	}
	return false, false, nil
}

var errUndefined = fmt.Errorf("the kernel's unwind table leaves it out")
