package unwind

import (
	"encoding/binary"
	"fmt"
	"testing"

	"kdx/symbols"
)

// calling is code of 0x100 bytes at start, with a direct call of target (0: an indirect one) that returns to start+at.
func calling(start, at, target uint64) []byte {
	code := make([]byte, 0x100)
	for i := range code {
		code[i] = 0x90
	}
	if target == 0 {
		copy(code[at-2:], []byte{0xff, 0xd0}) // call *%rax
		return code
	}
	code[at-5] = 0xe8
	binary.LittleEndian.PutUint32(code[at-4:], uint32(target-start-at))
	return code
}

// opaque is code that can't be followed: it takes its stack pointer from elsewhere.
func opaque() []byte { return append([]byte{0x48, 0x89, 0xc4}, make([]byte, 0xfd)...) } // mov %rax,%rsp

func TestFallback(t *testing.T) {
	tests := []struct {
		name string
		prep func(m *memory, regs *Regs)
		want string
		end  bool
		user bool
	}{
		{"frame pointers", func(m *memory, regs *Regs) {
			regs.Set(RBP, stackLo+0x140)
			m.words[stackLo+0x120] = fnC + 0x20 // stale, and of another function
			m.words[stackLo+0x140], m.words[stackLo+0x148] = stackLo+0x200, fnB+0x20
			m.words[stackLo+0x200], m.words[stackLo+0x208] = 0, fnStart+0x20
		}, "610/task! 220/task? 520/task?", false, false},
		{"a frame pointer that is none", func(m *memory, regs *Regs) {
			regs.Set(RBP, stackLo+0x140)
			m.words[stackLo+0x140], m.words[stackLo+0x148] = 77, fnC+0x20
			m.words[stackLo+0x160] = fnStart + 0x40 // calls it directly
		}, "610/task! 540/task?", false, false},
		{"a direct call further up", func(m *memory, _ *Regs) {
			m.words[stackLo+0x108] = fnStart + 0x80 // text, but behind no call
			m.words[stackLo+0x110] = fnC + 0x20
			m.words[stackLo+0x130] = fnStart + 0x40
		}, "610/task! 540/task?", false, false},
		{"an indirect call", func(m *memory, _ *Regs) {
			m.words[stackLo+0x108] = fnC + 0x20 // of another function
			m.words[stackLo+0x130] = fnStart + 0x60
		}, "610/task! 560/task?", false, false},
		{"a jump to it", func(m *memory, _ *Regs) { m.words[stackLo+0x130] = fnStart + 0x20 }, "610/task! 520/task?", false, false},
		{"nothing", func(m *memory, _ *Regs) { m.words[stackLo+0x130] = 1 }, "610/task!", true, false},
		{"nothing below user mode", func(m *memory, _ *Regs) {
			putRegs(m, stackHi-PtRegsSize, PtRegs{RIP: 0x401000, CS: 0x33, SS: 0x2b, RSP: 0x7ffe0000, RFLAGS: 0x246})
		}, "610/task!", false, true},
	}
	for _, tc := range tests {
		m := &memory{words: map[uint64]uint64{}, code: map[uint64][]byte{fnNone: opaque()}}
		for at := uint64(stackLo); at < stackHi; at += 8 {
			m.words[at] = 0
		}
		m.code[fnB] = calling(fnB, 0x20, fnNone)
		m.code[fnC] = calling(fnC, 0x20, fnA)
		m.code[fnStart] = calling(fnStart, 0x20, fnB)
		copy(m.code[fnStart][0x30:], calling(fnStart+0x30, 0x10, fnNone)[:0x10])
		copy(m.code[fnStart][0x50:], calling(fnStart+0x50, 0x10, 0)[:0x10])
		r := rows{fnStart: {Frame: symbols.FrameEnd}}
		c := testConfig(m, r)
		c.Function = func(pc uint64) (uint64, uint64, bool) { return pc &^ 0xff, 0x100, true }
		regs := start(fnNone+0x10, stackLo+0x100)
		tc.prep(m, &regs)
		if tc.name == "frame pointers" { // fnB has no row either, and its code shows nothing
			m.code[fnB] = append(opaque()[:3], m.code[fnB][3:]...)
		} else {
			r[fnB] = symbols.Row{Frame: symbols.FrameEnd}
		}
		got := c.Run(regs, true, 0)
		if s := pcs(got); s != tc.want || (got.End != nil) != tc.end || (got.User != nil) != tc.user {
			t.Errorf("%s: frames = %s, end %v, user %v; want %s, ending badly %v, user %v", tc.name, s, got.End, got.User != nil, tc.want, tc.end, tc.user)
		}
	}
}

// TestEntered: without rows, saved registers are recognised below the handler that they were saved for, and the empty ones with
// which a kernel thread's stack begins end a trace.
func TestEntered(t *testing.T) {
	const sp = stackHi - 0x400
	m := &memory{words: map[uint64]uint64{}, code: map[uint64][]byte{}}
	r := rows{fnA: plain(8), fnB: plain(int64(stackHi - PtRegsSize - (sp + 0x180)))}
	m.words[sp] = fnC + 4
	putRegs(m, sp+8, PtRegs{RIP: fnB + 7, CS: 0x10, SS: 0x18, RSP: sp + 0x180, RFLAGS: 0x246, RBX: 5})
	m.words[stackHi-PtRegsSize-8] = fnC + 9
	putRegs(m, stackHi-PtRegsSize, PtRegs{})
	got := testConfig(m, r).Run(start(fnA, sp), true, 0)
	if s := pcs(got); s != "100/task! 304/task 207/task!? 309/task?" || got.End != nil {
		t.Fatalf("Run = %s, %v; want to the empty registers", s, got.End)
	}
	if v, ok := got.Frames[2].Regs.Get(RBX); v != 5 || !ok {
		t.Errorf("rbx of what was interrupted = %d, %v; want the saved 5", v, ok)
	}
}

// TestInterruptedEntry: an NMI in the first instruction of an entry stub, of which only the code's place is known.
func TestInterruptedEntry(t *testing.T) {
	const sp = stackLo + 0x100
	for _, tc := range []struct {
		name  string
		at    uint64
		entry bool
		want  bool
	}{
		{"without an error code", sp, true, true},
		{"with an error code", sp + 8, true, true},
		{"in other code", sp, false, false},
		{"nothing saved", sp + 0x80, true, false},
	} {
		m := &memory{words: map[uint64]uint64{}, code: map[uint64][]byte{fnNone: opaque()}}
		for at := uint64(stackLo); at < stackHi; at += 8 {
			m.words[at] = 6
		}
		for i, w := range []uint64{0x401000, 0x33, 0x202, 0x7ffe0000, 0x2b} {
			m.words[tc.at+uint64(i)*8] = w
		}
		c := testConfig(m, rows{})
		c.EntryCode = func(uint64) bool { return tc.entry }
		got := c.Run(start(fnNone, sp), true, 0)
		if user := got.User != nil && got.User.RIP == 0x401000; user != tc.want || (got.End == nil) != tc.want {
			t.Errorf("%s: user mode reached: %v, end %v; want %v", tc.name, user, got.End, tc.want)
		}
	}
}

// TestOutermost: the stack that the kernel is linked with holds no-operations where no registers were ever put.
func TestOutermost(t *testing.T) {
	for _, tc := range []struct {
		word uint64
		want bool
	}{{0, true}, {0x1f0f2e6600000000, true}, {0x0000000000841f0f, true}, {0xffffffff81000000, false}, {6, false}} {
		m := &memory{words: map[uint64]uint64{}, code: map[uint64][]byte{fnNone: opaque()}}
		for at := uint64(stackLo); at < stackHi; at += 8 {
			m.words[at] = tc.word
		}
		got := testConfig(m, rows{}).Run(start(fnNone+4, stackHi-PtRegsSize), true, 0)
		if (got.End == nil) != tc.want {
			t.Errorf("words of %#x above: the trace ends with %v; want that it is whole: %v", tc.word, got.End, tc.want)
		}
	}
}

// TestRegisters: what calls keep is known above a frame only through a row that knows all registers and agrees about the caller.
func TestRegisters(t *testing.T) {
	m := &memory{words: map[uint64]uint64{stackLo + 0x108: fnB + 5, stackLo + 0x100: 0xb0b}, code: map[uint64][]byte{}}
	r := rows{fnA: plain(16), fnB: {Frame: symbols.FrameEnd}}
	full := plain(16)
	full.Complete = true
	full.Saved = []symbols.RegRule{{Reg: RBX, Rule: symbols.Rule{Kind: symbols.RuleAtCFA, Off: -16}}, {Reg: 99, Rule: symbols.Rule{Kind: symbols.RuleCFAPlus}}}
	shifted := full
	shifted.CFA.Off = 24
	regs := start(fnA+1, stackLo+0x100)
	for _, n := range []int{RBX, R12, RAX} {
		regs.Set(n, 1)
	}
	tests := []struct {
		name     string
		complete rows
		wanted   bool
		rbx, r12 string
	}{
		{"not wanted", rows{fnA: full}, false, "-", "-"},
		{"agreeing", rows{fnA: full}, true, "0xb0b", "0x1"},
		{"of another caller", rows{fnA: shifted}, true, "-", "-"},
		{"none", rows{}, true, "-", "-"},
	}
	for _, tc := range tests {
		c := testConfig(m, r)
		c.Complete, c.Registers = tc.complete.RowAt, tc.wanted
		got := c.Run(regs, true, 0)
		if len(got.Frames) != 2 || got.End != nil {
			t.Fatalf("%s: %s, %v; want two frames", tc.name, pcs(got), got.End)
		}
		caller := got.Frames[1].Regs
		for n, want := range map[int]string{RBX: tc.rbx, R12: tc.r12, RAX: "-", RSP: "0xffffc90000000110"} {
			s := "-"
			if v, ok := caller.Get(n); ok {
				s = fmt.Sprintf("%#x", v)
			}
			if s != want {
				t.Errorf("%s: %s of the caller = %s; want %s", tc.name, RegName(n), s, want)
			}
		}
	}
}

// TestWanting: a row that leads on by a register which ORC did not follow is tried again with all registers.
func TestWanting(t *testing.T) {
	m := &memory{words: map[uint64]uint64{stackLo + 0x108: fnB + 5, stackLo + 0x100: stackLo + 0x200, stackLo + 0x1f8: fnStart + 5}, code: map[uint64][]byte{}}
	realigned := symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: R13}, RA: symbols.Rule{Kind: symbols.RuleAtCFA, Off: -8}}
	full := plain(16)
	full.Complete = true
	full.Saved = []symbols.RegRule{{Reg: R13, Rule: symbols.Rule{Kind: symbols.RuleAtExpr, Expr: "\x77\x00"}}} // breg7 0
	c := testConfig(m, rows{fnA: plain(16), fnB: realigned, fnStart: {Frame: symbols.FrameEnd}})
	if got := c.Run(start(fnA+1, stackLo+0x100), true, 0); got.End == nil {
		t.Errorf("Run without complete rows = %s; want an end, as r13 is not known", pcs(got))
	}
	c.Complete = rows{fnA: full}.RowAt
	if got := c.Run(start(fnA+1, stackLo+0x100), true, 0); pcs(got) != "101/task! 205/task 505/task" || got.End != nil {
		t.Errorf("Run = %s, %v; want three frames", pcs(got), got.End)
	}
}
