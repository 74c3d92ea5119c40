package unwind

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/symbols"
)

// Code without rows (assembler without ORC, functions that the tables leave out, everything where a kernel has no tables) is left
// by what else shows the way. In order: a frame pointer that the code is known to keep, registers that an entry from elsewhere
// saved at the stack pointer, the function's own code, a frame pointer that leads to a return address, the words of the stack.
// Only what the code proves is sure; all else, and all that follows from it, is marked as guessed.

// caller is what a frame returns to.
type caller struct {
	ra, at, cfa uint64 // the return address, where it stood, the stack pointer after the return
	regs        Regs
	sure        bool
}

// withoutRow unwinds a frame for which cause says that there is no row.
func (u *unwinder) withoutRow(f *Frame, sp uint64, cause error) bool {
	why := cause
	if errors.Is(cause, symbols.ErrNotFound) {
		why = errNoRow
		var none *symbols.NoTableError
		if errors.As(cause, &none) {
			why = fmt.Errorf("%w (%s)", errNoRow, none.Why)
		}
	}
	sp = u.switchedFrom(sp)
	if u.c.FramePointer != nil && u.c.FramePointer(f.Lookup()) {
		c, err := u.byFramePointer(sp)
		if err != nil {
			u.end(f, "%w, and %w", why, err)
			return false
		}
		c.sure = true
		return u.leave(f, c, sp)
	}
	if u.outermost(sp) {
		return false
	}
	if u.entered(f, sp) {
		if u.c.EntryCode == nil || !u.c.EntryCode(f.Lookup()) {
			u.sure = Guessed
		}
		return u.exception(f, sp, false)
	}
	if at, ok := u.interruptedEntry(f, sp); ok {
		return u.exception(f, at, true)
	}
	if row, ok := u.otherRow(f, why); ok {
		if cfa, err := u.rule(row.CFA, 0); err == nil {
			f.CFA = cfa
			return u.call(f, &row, cfa, sp)
		}
	}
	c, err := u.guess(f, sp)
	if err == nil {
		return u.leave(f, c, sp)
	}
	if at, ok := u.userRegs(sp); ok {
		return u.exception(f, at, false)
	}
	u.end(f, "%w, and %w", why, err)
	return false
}

// otherRow is a row from debug information for code that the kernel's own table leaves out. Such code is followed instead, unless
// registers are wanted: debug information may have to be found first.
func (u *unwinder) otherRow(f *Frame, why error) (symbols.Row, bool) {
	if why != errUndefined || !u.full {
		return symbols.Row{}, false
	}
	row, err := u.c.Complete(f.Lookup())
	return row, err == nil && row.Frame == symbols.FrameCall
}

func (u *unwinder) leave(f *Frame, c caller, sp uint64) bool {
	if !c.sure {
		u.sure = Guessed
	}
	f.CFA = c.cfa
	c.regs.Set(RSP, c.cfa)
	return u.returnTo(f, c.regs, c.ra, c.at, c.cfa, sp)
}

var errNoFunction = errors.New("no symbol says where its function begins")

// guess finds the caller of f by its code, its frame pointer or the words of its stack. The error is of the first: the others'
// say little.
func (u *unwinder) guess(f *Frame, sp uint64) (caller, error) {
	start, size, known := uint64(0), uint64(0), false
	if u.c.Function != nil {
		start, size, known = u.c.Function(f.Lookup())
	}
	why := errNoFunction
	if known = known && size != 0 && f.PC >= start; known {
		c, err := u.byCode(f, start, size, sp)
		if err == nil {
			return c, nil
		}
		why = err
	}
	if !known {
		start = 0
	}
	if c, err := u.byFramePointer(sp); err == nil {
		if called, direct, err := u.calledFrom(u.original(c.ra, c.at), start); err == nil && called && (direct || u.chained(c)) {
			return c, nil
		}
	}
	if c, ok := u.byScan(sp, start); ok {
		return c, nil
	}
	return caller{}, why
}

// byFramePointer takes RBP for the address of the saved RBP, above which the return address lies.
func (u *unwinder) byFramePointer(sp uint64) (caller, error) {
	bp, ok := u.regs.Get(RBP)
	if !ok {
		return caller{}, errors.New("its frame pointer is not known")
	}
	if bp < sp || bp > u.cur.Hi-16 || bp%8 != 0 {
		return caller{}, fmt.Errorf("its frame pointer %#x lies outside its stack", bp)
	}
	old, err := u.word(bp)
	if err != nil {
		return caller{}, fmt.Errorf("frame pointer: %w", err)
	}
	ra, err := u.word(bp + 8)
	if err != nil {
		return caller{}, fmt.Errorf("return address: %w", err)
	}
	c := caller{ra: ra, at: bp + 8, cfa: bp + 16, regs: u.regs}
	c.regs.Set(RBP, old)
	for _, r := range kept {
		c.regs.Forget(r)
	}
	return c, nil
}

// chained reports whether the frame pointer that c restores is one, too: it points further up the same stack, below a return
// address. Code that keeps no frame pointer has anything in RBP, but seldom that.
func (u *unwinder) chained(c caller) bool {
	bp, _ := c.regs.Get(RBP)
	if bp < c.cfa || bp > u.cur.Hi-16 || bp%8 != 0 {
		return false
	}
	ra, err := u.word(bp + 8)
	if err != nil {
		return false
	}
	called, _, err := u.calledFrom(u.original(ra, bp+8), 0)
	return err == nil && called
}

// maxScanned bounds the words that the scans of one trace look at: a 16 KiB stack has 2,048.
const maxScanned = 1 << 16

// byScan looks for the return address among the words of the stack above sp. One behind a call of the function at start (0 if it is
// not known) is taken if there is any; else the first one behind an indirect call, which may have been of that function; else
// the first one behind any call, as functions may be left by a jump.
func (u *unwinder) byScan(sp, start uint64) (caller, bool) {
	indirect, other := uint64(0), uint64(0)
	for at := (sp + 7) &^ 7; at+8 <= u.cur.Hi && u.words < maxScanned; at += 8 {
		u.words++
		w, err := u.word(at)
		if err != nil {
			continue // a page that was left out
		}
		ra := u.original(w, at)
		called, direct, err := u.calledFrom(ra, start)
		if err != nil || !called {
			continue
		}
		if direct {
			return scanned(w, at), true
		}
		if known := u.callsElsewhere(ra); !known && indirect == 0 {
			indirect = at
		} else if known && other == 0 {
			other = at
		}
	}
	for _, at := range []uint64{indirect, other} {
		if at == 0 {
			continue
		}
		if w, err := u.word(at); err == nil {
			return scanned(w, at), true
		}
	}
	return caller{}, false
}

// original is the return address at at, or what a tracer put ra in place of.
func (u *unwinder) original(ra, at uint64) uint64 {
	if u.c.Recover == nil {
		return ra
	}
	if orig, ok, err := u.c.Recover(ra, at); err == nil && ok {
		return orig
	}
	return ra
}

func scanned(ra, at uint64) caller { return caller{ra: ra, at: at, cfa: at + 8} }

// callsElsewhere reports whether the call before ra names its target.
func (u *unwinder) callsElsewhere(ra uint64) bool {
	var b [5]byte
	_, err := u.c.Mem.ReadMemory(b[:], ra-5)
	return err == nil && b[0] == 0xe8
}

// switchedFrom returns the stack pointer as it was before code changed to another stack without telling the tables: its word on
// the last line of the interrupt stack (arch/x86/include/asm/irq_stack.h, since 5.12). Elsewhere it is sp.
func (u *unwinder) switchedFrom(sp uint64) uint64 {
	if sp != u.cur.Hi-8 || u.cur.Hi == 0 {
		return sp
	}
	old, err := u.word(sp)
	if err != nil || old%8 != 0 {
		return sp
	}
	for _, s := range u.c.Stacks {
		if s == u.cur || old < s.Lo || old >= s.Hi-8 {
			continue
		}
		if !u.enter(old) {
			return sp
		}
		u.regs.Set(RSP, old)
		return old
	}
	return sp
}

// atTop reports whether sp is where the registers at the top of a task's stack begin. Above them lie 16 bytes with FRED (6.9,
// TOP_OF_KERNEL_STACK_PADDING), else nothing.
func (u *unwinder) atTop(sp uint64) bool {
	return sp == u.cur.Hi-PtRegsSize || sp == u.cur.Hi-PtRegsSize-16
}

// maxRoom is how far below the top of their stack the first functions of kernel threads and idle tasks begin, in bytes: registers,
// and what keeps the stack aligned.
const maxRoom = 512

// fill is what linkers put where nothing is: zeros, and where data are linked executable (7.2, for init's stack) the bytes of
// x86's long no-operations.
const fill = "\x00\x66\x2e\x0f\x1f\x84\x80\x40\x44\x90"

// outermost reports whether nothing lies above sp: room for registers that no entry ever filled.
func (u *unwinder) outermost(sp uint64) bool {
	if sp%8 != 0 || sp >= u.cur.Hi || u.cur.Hi-sp > maxRoom {
		return false
	}
	b := make([]byte, u.cur.Hi-sp)
	_, err := u.c.Mem.ReadMemory(b, sp)
	return err == nil && !slices.ContainsFunc(b, func(c byte) bool { return strings.IndexByte(fill, c) < 0 })
}

// entered reports whether registers lie at sp that an entry stub saved before it called its handler.
func (u *unwinder) entered(f *Frame, sp uint64) bool {
	if f.Exact {
		return false
	}
	p, err := u.readPtRegs(sp, false)
	if err != nil {
		return false
	}
	if p.User() {
		return u.atTop(sp) && p.userMakesSense()
	}
	return u.kernelMakesSense(p)
}

// interruptedEntry reports whether f is an entry stub that was itself interrupted, by an NMI, before it saved anything: what
// the CPU pushed lies at sp, or above an error code.
func (u *unwinder) interruptedEntry(f *Frame, sp uint64) (at uint64, ok bool) {
	if !f.Exact || u.c.EntryCode == nil || !u.c.EntryCode(f.PC) {
		return 0, false
	}
	for _, at := range []uint64{sp, sp + 8} {
		p, err := u.readPtRegs(at, true)
		if err != nil {
			continue
		}
		if p.User() && p.userMakesSense() || !p.User() && u.kernelMakesSense(p) {
			return at, true
		}
	}
	return 0, false
}

// kernelMakesSense reports whether p can be registers of kernel mode.
func (u *unwinder) kernelMakesSense(p *PtRegs) bool {
	if !p.flagsMakeSense() || (p.SS != 0 && p.SS != 0x18) || !u.c.IsText(p.RIP) {
		return false
	}
	for _, s := range u.c.Stacks {
		if p.RSP > s.Lo && p.RSP <= s.Hi {
			return true
		}
	}
	return false
}

// userMakesSense looks at more than CS, which a system call's number can look like. Flags of a process that has not run yet are made
// up: bit 1 is not set.
func (p *PtRegs) userMakesSense() bool {
	const data, xenData = 0x2b, 0xe02b
	return (p.SS == data || p.SS == xenData) && (p.RFLAGS == 0x200 || p.flagsMakeSense()) && p.RIP>>63 == 0
}

// flagsMakeSense: of RFLAGS bit 1 is 1, bits 3, 5, 15 and those from 22 on are 0.
func (p *PtRegs) flagsMakeSense() bool {
	const alwaysSet, neverSet = 0x2, 0xffffffffffc08028
	return p.RFLAGS&alwaysSet != 0 && p.RFLAGS&neverSet == 0
}

// userRegs are the registers at the very top of a task's stack, with which it came from user mode. What lies between them and sp
// can't be told.
func (u *unwinder) userRegs(sp uint64) (at uint64, ok bool) {
	for _, above := range []uint64{0, 16} {
		at := u.cur.Hi - PtRegsSize - above
		if at < sp || u.cur.Hi < PtRegsSize+above {
			continue
		}
		if p, err := u.readPtRegs(at, false); err == nil && p.User() && p.userMakesSense() {
			u.sure = Guessed
			return at, true
		}
	}
	return 0, false
}
