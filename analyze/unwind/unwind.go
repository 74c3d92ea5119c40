// Package unwind follows a kernel stack from registers, memory and unwind rows: each step recovers the caller's
// registers as the kernel itself would, across interrupts and exceptions, until user mode or the first function of the
// task. It invents nothing: where rows, memory or sense run out, the trace ends with the reason. Package backtrace
// prepares it for tasks and CPUs.
package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/go-delve/delve/pkg/dwarf/regnum"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo/cfi"
)

// DWARF register numbers of x86-64 (System V ABI, figure 3.36).
const (
	RAX     = regnum.AMD64_Rax
	RDX     = regnum.AMD64_Rdx
	RCX     = regnum.AMD64_Rcx
	RBX     = regnum.AMD64_Rbx
	RSI     = regnum.AMD64_Rsi
	RDI     = regnum.AMD64_Rdi
	RBP     = regnum.AMD64_Rbp
	RSP     = regnum.AMD64_Rsp
	R8      = regnum.AMD64_R8
	R9      = regnum.AMD64_R9
	R10     = regnum.AMD64_R10
	R11     = regnum.AMD64_R11
	R12     = regnum.AMD64_R12
	R13     = regnum.AMD64_R13
	R14     = regnum.AMD64_R14
	R15     = regnum.AMD64_R15
	RIP     = regnum.AMD64_Rip
	numRegs = RIP + 1
)

// Regs is a set of registers by DWARF number, some of them known.
type Regs struct {
	val   [numRegs]uint64
	known uint32
}

// Get returns a register; ok is false if it is not known.
func (r *Regs) Get(n int) (v uint64, ok bool) {
	if n < 0 || n >= numRegs {
		return 0, false
	}
	return r.val[n], r.known>>n&1 != 0
}

// Set makes a register known. Others than the general ones (vector registers) are not kept.
func (r *Regs) Set(n int, v uint64) {
	if n < 0 || n >= numRegs {
		return
	}
	r.val[n] = v
	r.known |= 1 << n
}

// Forget makes a register unknown.
func (r *Regs) Forget(n int) {
	if n >= 0 && n < numRegs {
		r.known &^= 1 << n
	}
}

// What a call keeps and what it may change (System V ABI, 3.2.1). RBP, which is kept too, and RSP stand apart: all rows know them.
var (
	kept    = []int{RBX, R12, R13, R14, R15}
	scratch = []int{RAX, RDX, RCX, RSI, RDI, R8, R9, R10, R11}
)

// PtRegs is a struct pt_regs of x86-64: what an entry from user mode, an interrupt or an exception saved.
type PtRegs struct {
	R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, OrigRAX, RIP, CS, RFLAGS, RSP, SS uint64
	// Partial: only RIP, CS, RFLAGS, RSP and SS were saved there.
	Partial bool
}

// User reports whether the registers are of user mode.
func (p *PtRegs) User() bool { return p.CS&3 == 3 }

// Confidence says how a frame was found.
type Confidence uint8

const (
	// Sure: by the kernel's unwind rows from a sure frame.
	Sure Confidence = iota
	// Guessed: no row covers the code of a frame below. Its frame pointer was taken, or a word of the stack that looks like a
	// return address.
	Guessed
)

func (c Confidence) String() string {
	if c == Sure {
		return "sure"
	}
	return "guessed"
}

// Frame is one function on the stack.
type Frame struct {
	PC uint64
	// Exact: the PC was interrupted there, or is where the task runs. Otherwise it is a return address, and the call is
	// before it.
	Exact bool
	// At is the stack address at which PC was found; 0 if it comes from registers.
	At  uint64
	CFA uint64 // the caller's stack pointer; 0 if the frame could not be unwound
	// Regs are the registers as this function had them, so far as they can be recovered. Those that calls keep, other than RBP,
	// are known above a call only with Config.Registers, and if Config.Complete knows the functions below.
	Regs  Regs
	Sure  Confidence
	Stack string // name of the stack that the frame lies on, see Stack
	// Regs saved by the interrupt, exception or system call that this frame (an entry stub) handles: the next frame is
	// what was interrupted.
	Saved *PtRegs
	// SavedAt is the address of Saved.
	SavedAt uint64
	// Traced: the return address on the stack was replaced by a tracer (function graph, kretprobe) and recovered.
	Traced bool
}

// Lookup is the PC to use for symbols, rows and lines: inside the call for a return address.
func (f *Frame) Lookup() uint64 {
	if f.Exact {
		return f.PC
	}
	return f.PC - 1
}

// Stack is a range of memory that a task or CPU uses as a stack.
type Stack struct {
	Name   string // "task", "IRQ", "NMI", "#DF", …
	Lo, Hi uint64 // [Lo, Hi)
}

// Trace is a whole stack.
type Trace struct {
	Frames []Frame
	// User are the registers with which the kernel was entered from user mode; nil for kernel threads and where the
	// trace ended before.
	User *PtRegs
	// End is nil if the trace reached user mode or the task's first function; else why it stopped.
	End error
}

// Recoverer finds the return address that a tracer replaced; ok is false if pc was not replaced. cfa is the stack
// pointer after the return, at the address where the return address stood.
type Recoverer func(pc, at uint64) (orig uint64, ok bool, err error)

// Config is what unwinding one stack needs.
type Config struct {
	Mem  symbols.Memory
	Rows symbols.RowFinder
	// Complete finds rows that know all registers. ORC's know no more than where the caller is; Complete is asked where that does
	// not suffice, and for all frames if Registers is set. It may be nil.
	Complete  func(pc uint64) (symbols.Row, error)
	Registers bool
	Stacks    []Stack
	// IsText reports whether pc can be kernel code.
	IsText func(pc uint64) bool
	// Recover may be nil.
	Recover Recoverer
	// FramePointer reports whether the code at pc keeps a frame pointer although no row describes it (BPF programs).
	FramePointer func(pc uint64) bool
	// EntryCode reports whether pc lies in the stubs through which interrupts, exceptions and system calls come in. Whatever such a
	// stub calls, it has saved all registers where its stack pointer is. May be nil.
	EntryCode func(pc uint64) bool
	// Function is the start and size in bytes of the function that pc lies in; nil or !ok if unknown.
	Function func(pc uint64) (start, size uint64, ok bool)
	Order    binary.ByteOrder
}

// maxFrames bounds a trace: a 16 KiB stack holds at most 2,048 return addresses, several stacks can be chained.
const maxFrames = 4096

// Errors that end a trace.
var (
	errNoRow   = errors.New("no unwind row covers it")
	errNoStack = errors.New("it lies on no stack of this task or CPU")
)

// Run unwinds from regs. exact says that the first PC is where the CPU was (registers of a running task), not a return
// address. at is where the first PC was found, 0 for registers.
func (c *Config) Run(regs Regs, exact bool, at uint64) *Trace {
	u := &unwinder{c: c, t: &Trace{}, regs: regs, exact: exact, at: at, full: c.Registers && c.Complete != nil}
	u.run()
	if !u.wanting || u.full || c.Complete == nil {
		return u.t
	}
	// A row leads to the caller by a register that was not followed (a realigned stack, say).
	again := &unwinder{c: c, t: &Trace{}, regs: regs, exact: exact, at: at, full: true}
	again.run()
	return again.t
}

type unwinder struct {
	c     *Config
	t     *Trace
	regs  Regs
	exact bool
	at    uint64
	sure  Confidence
	trace bool // PC was recovered from a tracer
	left  []Stack
	cur   Stack
	words int  // that scans looked at
	full  bool // all registers are followed
	// wanting: the trace ended for want of a register that full might have known.
	wanting bool
}

func (u *unwinder) end(f *Frame, format string, args ...any) {
	u.t.End = fmt.Errorf("frame %#x: "+format, append([]any{f.PC}, args...)...)
}

func (u *unwinder) run() {
	for len(u.t.Frames) < maxFrames {
		pc, ok := u.regs.Get(RIP)
		if !ok {
			u.t.End = errors.New("the program counter is not known")
			return
		}
		sp, ok := u.regs.Get(RSP)
		if !ok {
			u.t.End = errors.New("the stack pointer is not known")
			return
		}
		f := Frame{PC: pc, Exact: u.exact, At: u.at, Regs: u.regs, Sure: u.sure, Traced: u.trace}
		if !u.enter(sp) && len(u.t.Frames) > 0 {
			u.t.End = fmt.Errorf("the stack pointer of %#x is %#x: %w", pc, sp, errNoStack)
			return
		}
		f.Stack = u.cur.Name
		if !u.c.IsText(pc) {
			if f.Exact && u.badCall(&f, sp) {
				continue
			}
			if u.at == 0 {
				u.t.End = fmt.Errorf("the program counter is %#x, which is no kernel code", pc)
			} else {
				u.t.End = fmt.Errorf("the return address at %#x is %#x, which is no kernel code", u.at, pc)
			}
			return
		}
		more := u.step(&f, sp)
		u.t.Frames = append(u.t.Frames, f)
		if !more {
			return
		}
	}
	u.t.End = fmt.Errorf("gave up after %d frames: the stack loops or is overwritten", maxFrames)
}

// enter notes the stack that sp lies on. A stack that was left can't come again: the kernel never returns to one.
func (u *unwinder) enter(sp uint64) bool {
	if sp-u.cur.Lo <= u.cur.Hi-u.cur.Lo && u.cur.Hi != 0 {
		return true
	}
	for _, s := range u.c.Stacks {
		if sp >= s.Lo && sp <= s.Hi {
			for _, l := range u.left {
				if l == s {
					return false
				}
			}
			if u.cur.Hi != 0 {
				u.left = append(u.left, u.cur)
			}
			u.cur = s
			return true
		}
	}
	return false
}

// badCall handles a call through a bad pointer: the PC is no code, the caller's return address is on top of the stack.
func (u *unwinder) badCall(f *Frame, sp uint64) bool {
	ra, err := u.word(sp)
	if err != nil || !u.c.IsText(ra) {
		return false
	}
	u.t.Frames = append(u.t.Frames, *f)
	u.regs.Set(RIP, ra)
	u.regs.Set(RSP, sp+8)
	u.exact, u.at = false, sp
	return true
}

func (u *unwinder) word(addr uint64) (uint64, error) {
	var b [8]byte
	if _, err := u.c.Mem.ReadMemory(b[:], addr); err != nil {
		return 0, err
	}
	return u.c.Order.Uint64(b[:]), nil
}

// step recovers the caller of f into u.regs. It returns false at the end of the trace.
func (u *unwinder) step(f *Frame, sp uint64) bool {
	row, err := u.c.Rows.RowAt(f.Lookup())
	if errors.Is(err, symbols.ErrNotFound) {
		return u.withoutRow(f, sp, err)
	}
	if err != nil {
		u.end(f, "%w", err)
		return false
	}
	switch row.Frame {
	case symbols.FrameEnd:
		// A cloned thread that has not run yet: the way out to user mode is marked as an end, and its registers lie above.
		if at, ok := u.userRegs(sp); ok {
			return u.exception(f, at, false)
		}
		return false
	case symbols.FrameUndefined:
		return u.withoutRow(f, sp, errUndefined)
	}
	if row.Complete {
		sp = u.switchedFrom(sp)
	}
	cfa, err := u.rule(row.CFA, 0)
	if err != nil {
		u.wanting = errors.As(err, new(*unknownError))
		u.end(f, "%w", err)
		return false
	}
	f.CFA = cfa
	if row.Frame != symbols.FrameCall {
		return u.exception(f, cfa, row.Frame == symbols.FrameRegsPartial)
	}
	return u.call(f, &row, cfa, sp)
}

// complete is a row for f that knows all registers and agrees with row about the caller.
func (u *unwinder) complete(f *Frame, row *symbols.Row, cfa uint64) (symbols.Row, bool) {
	if row.Complete {
		return *row, true
	}
	if !u.full {
		return *row, false
	}
	full, err := u.c.Complete(f.Lookup())
	if err != nil || full.Frame != symbols.FrameCall || full.RA != row.RA {
		return *row, false
	}
	if at, err := u.rule(full.CFA, 0); err != nil || at != cfa {
		return *row, false
	}
	return full, true
}

func (u *unwinder) call(f *Frame, row *symbols.Row, cfa, sp uint64) bool {
	next := u.regs
	next.Set(RSP, cfa)
	full, ok := u.complete(f, row, cfa)
	if !ok {
		for _, r := range kept {
			next.Forget(r) // the function may have saved and changed them
		}
	}
	for _, s := range full.Saved {
		v, err := u.rule(s.Rule, cfa)
		if err != nil {
			next.Forget(int(s.Reg))
			continue
		}
		next.Set(int(s.Reg), v)
	}
	ra, err := u.rule(row.RA, cfa)
	if err != nil {
		u.end(f, "return address: %w", err)
		return false
	}
	at := cfa - 8
	if row.RA.Kind == symbols.RuleAtCFA {
		at = uint64(int64(cfa) + row.RA.Off)
	}
	interrupted := next
	if !u.returnTo(f, next, ra, at, cfa, sp) {
		return false
	}
	if u.exact = row.Signal; u.exact {
		for _, r := range scratch { // no call was made
			if v, ok := interrupted.Get(r); ok {
				u.regs.Set(r, v)
			}
		}
	}
	return true
}

// returnTo goes on with the caller, whose return address ra stood at at.
func (u *unwinder) returnTo(f *Frame, next Regs, ra, at, cfa, sp uint64) bool {
	if cfa <= sp && cfa >= u.cur.Lo && sp <= u.cur.Hi {
		u.end(f, "its caller's stack pointer would be %#x, not above its own %#x", cfa, sp)
		return false
	}
	u.trace = false
	if u.c.Recover != nil {
		orig, ok, err := u.c.Recover(ra, at)
		if err != nil {
			u.end(f, "its return address was replaced by a tracer: %w", err)
			return false
		}
		if ok {
			ra, u.trace = orig, true
		}
	}
	next.Set(RIP, ra)
	for _, r := range scratch {
		next.Forget(r)
	}
	u.regs, u.exact, u.at = next, false, at
	return true
}

// exception goes on with what an interrupt, exception or system call interrupted.
func (u *unwinder) exception(f *Frame, at uint64, partial bool) bool {
	p, err := u.readPtRegs(at, partial)
	if err != nil {
		u.end(f, "registers saved at %#x: %w", at, err)
		return false
	}
	f.Saved, f.SavedAt = p, at
	if p.User() {
		u.t.User = p
		return false
	}
	if p.RIP == 0 && p.RSP == 0 {
		return false // a kernel thread's or the boot CPU's empty frame
	}
	next := p.regs()
	if partial {
		next = u.regs
		next.Set(RIP, p.RIP)
		next.Set(RSP, p.RSP)
	}
	u.regs, u.exact, u.at, u.trace = next, true, 0, false
	return true
}

func (u *unwinder) rule(r symbols.Rule, cfa uint64) (uint64, error) {
	off := uint64(r.Off)
	switch r.Kind {
	case symbols.RuleAtCFA:
		return u.word(cfa + off)
	case symbols.RuleCFAPlus:
		return cfa + off, nil
	case symbols.RuleExpr, symbols.RuleAtExpr:
		return u.expression(r, cfa)
	case symbols.RuleRegPlus, symbols.RuleAtRegPlus, symbols.RuleRegDeref:
		v, ok := u.regs.Get(int(r.Reg))
		if !ok {
			return 0, &unknownError{int(r.Reg)}
		}
		switch r.Kind {
		case symbols.RuleRegPlus:
			return v + off, nil
		case symbols.RuleAtRegPlus:
			return u.word(v + off)
		}
		w, err := u.word(v)
		return w + off, err
	}
	return 0, errors.New("it was not saved")
}

// unknownError: a rule depends on a register that was not recovered.
type unknownError struct{ reg int }

func (e *unknownError) Error() string {
	return fmt.Sprintf("register %s, on which it depends, is not known", RegName(e.reg))
}

// expression computes a rule that is a DWARF expression; cfa is 0 for that of the CFA itself.
func (u *unwinder) expression(r symbols.Rule, cfa uint64) (uint64, error) {
	env := cfi.Env{Order: u.c.Order, Reg: u.regs.Get, Memory: func(p []byte, addr uint64) error {
		_, err := u.c.Mem.ReadMemory(p, addr)
		return err
	}}
	var initial []uint64
	if cfa != 0 {
		initial = []uint64{cfa}
	}
	v, err := cfi.Evaluate(r.Expr, env, initial...)
	if err != nil || r.Kind == symbols.RuleExpr {
		return v, err
	}
	return u.word(v)
}

// RegName is the name of a DWARF register.
func RegName(n int) string { return strings.ToLower(regnum.AMD64ToName(uint64(n))) }
