package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kdx/symbols"
)

// memory is a sparse set of words; code is bytes.
type memory struct {
	words map[uint64]uint64
	code  map[uint64][]byte
}

func (m *memory) ReadMemory(p []byte, addr uint64) (int, error) {
	for start, code := range m.code {
		if addr >= start && addr+uint64(len(p)) <= start+uint64(len(code)) {
			return copy(p, code[addr-start:]), nil
		}
	}
	for n := 0; n < len(p); n += 8 {
		w, ok := m.words[addr+uint64(n)]
		if !ok || len(p)-n < 8 {
			return n, fmt.Errorf("address %#x is not there", addr+uint64(n))
		}
		binary.LittleEndian.PutUint64(p[n:], w)
	}
	return len(p), nil
}

// rows maps function starts (of 0x100 bytes) to their row.
type rows map[uint64]symbols.Row

func (r rows) Name() string { return "test" }
func (r rows) RowAt(pc uint64) (symbols.Row, error) {
	row, ok := r[pc&^0xff]
	if !ok {
		return row, symbols.ErrNotFound
	}
	return row, nil
}

const (
	fnA     = 0xffffffff81000100
	fnB     = 0xffffffff81000200
	fnC     = 0xffffffff81000300
	fnIRQ   = 0xffffffff81000400
	fnStart = 0xffffffff81000500
	fnNone  = 0xffffffff81000600 // no row
	stackLo = 0xffffc90000000000
	stackHi = stackLo + 0x4000
	irqLo   = 0xffffc90000100000
	irqHi   = irqLo + 0x4000
)

// plain is a frame of size bytes, the return address included.
func plain(size int64) symbols.Row {
	return symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: RSP, Off: size}, RA: symbols.Rule{Kind: symbols.RuleAtCFA, Off: -8}}
}

func testConfig(m *memory, r rows) *Config {
	return &Config{Mem: m, Rows: r, Order: binary.LittleEndian,
		IsText: func(pc uint64) bool { return pc >= 0xffffffff81000000 && pc < 0xffffffff82000000 },
		Stacks: []Stack{{"IRQ", irqLo, irqHi}, {"task", stackLo, stackHi}}}
}

func start(pc, sp uint64) Regs {
	var r Regs
	r.Set(RIP, pc)
	r.Set(RSP, sp)
	return r
}

func pcs(t *Trace) string {
	var out []string
	for _, f := range t.Frames {
		s := fmt.Sprintf("%x/%s", f.PC&0xfff, f.Stack)
		if f.Exact {
			s += "!"
		}
		if f.Sure != Sure {
			s += "?"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func putRegs(m *memory, at uint64, p PtRegs) {
	for i, r := range p.all() {
		m.words[at+uint64(i)*8] = *r
	}
}

func TestRun(t *testing.T) {
	end := symbols.Row{Frame: symbols.FrameEnd}
	tests := []struct {
		name string
		prep func(m *memory, r rows)
		regs Regs
		want string
		end  string // substring of End; "" for none
		user bool
	}{
		{"calls to the end", func(m *memory, r rows) {
			r[fnA], r[fnB], r[fnStart] = plain(16), plain(24), end
			m.words[stackLo+0x108] = fnB + 5
			m.words[stackLo+0x120] = fnStart + 9
		}, start(fnA+1, stackLo+0x100), "101/task! 205/task 509/task", "", false},
		{"an interrupt on its own stack", func(m *memory, r rows) {
			r[fnA], r[fnB], r[fnStart] = plain(8), plain(8), end
			r[fnIRQ] = symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegDeref, Reg: RSP}, RA: symbols.Rule{Kind: symbols.RuleAtCFA, Off: -8}}
			r[fnC] = symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: RSP}, Frame: symbols.FrameRegs}
			m.words[irqHi-16] = fnIRQ + 1      // fnA returns to the switch
			m.words[irqHi-8] = stackLo + 0x208 // the task's stack pointer
			m.words[stackLo+0x200] = fnC + 2   // back on the task's stack
			putRegs(m, stackLo+0x208, PtRegs{RIP: fnB + 7, CS: 0x10, SS: 0x18, RSP: stackLo + 0x300, RFLAGS: 2})
			m.words[stackLo+0x300] = fnStart + 3
		}, start(fnA+1, irqHi-16), "101/IRQ! 401/IRQ 302/task 207/task! 503/task", "", false},
		{"a system call", func(m *memory, r rows) {
			r[fnA] = plain(8)
			r[fnC] = symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: RSP}, Frame: symbols.FrameRegs}
			m.words[stackLo+0x100] = fnC + 4
			putRegs(m, stackLo+0x108, PtRegs{RIP: 0x401000, CS: 0x33, SS: 0x2b, RSP: 0x7ffe0000, RFLAGS: 2})
		}, start(fnA+1, stackLo+0x100), "101/task! 304/task", "", true},
		{"a thread that was cloned and never ran", func(m *memory, r rows) {
			r[fnStart] = end
			putRegs(m, stackHi-PtRegsSize-16, PtRegs{RIP: 0x401000, CS: 0x33, SS: 0x2b, RSP: 0x7ffe0000, RFLAGS: 0x206})
		}, start(fnStart+1, stackHi-PtRegsSize-24), "501/task!", "", true},
		{"a call through NULL", func(m *memory, r rows) {
			r[fnStart] = end
			m.words[stackLo+0x100] = fnStart + 4
		}, start(0, stackLo+0x100), "0/task! 504/task", "", false},
		{"a stack that was overwritten", func(m *memory, r rows) {
			r[fnA] = plain(8)
			m.words[stackLo+0x100] = 0x4141414141414141
		}, start(fnA+1, stackLo+0x100), "101/task!", "0x4141414141414141, which is no kernel code", false},
		{"a frame that goes down", func(m *memory, r rows) {
			r[fnA] = plain(-64)
			m.words[stackLo+0xb8] = fnA + 1
		}, start(fnA+1, stackLo+0x100), "101/task!", "not above its own", false},
		{"off the stack", func(m *memory, r rows) {
			r[fnA], r[fnB] = plain(0x8000), end
			m.words[stackLo+0x80f8] = fnB + 1
		}, start(fnA+1, stackLo+0x100), "101/task!", "no stack of this task or CPU", false},
		{"a page that is missing", func(m *memory, r rows) { r[fnA] = plain(8) },
			start(fnA+1, stackLo+0x100), "101/task!", "is not there", false},
		{"code without a row", func(m *memory, r rows) {}, start(fnNone+1, stackLo+0x100), "601/task!", "no unwind row", false},
		{"saved registers that are none", func(m *memory, r rows) {
			r[fnC] = symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: RSP}, Frame: symbols.FrameRegs}
			putRegs(m, stackLo+0x100, PtRegs{RIP: fnA, CS: 0x1234, SS: 0x18})
		}, start(fnC+1, stackLo+0x100), "301/task!", "CS 0x1234", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m := &memory{words: map[uint64]uint64{}, code: map[uint64][]byte{}}
			r := rows{}
			tc.prep(m, r)
			got := testConfig(m, r).Run(tc.regs, true, 0)
			if s := pcs(got); s != tc.want {
				t.Errorf("frames = %s; want %s (end: %v)", s, tc.want, got.End)
			}
			if (got.User != nil) != tc.user {
				t.Errorf("user registers = %v; want %v", got.User, tc.user)
			}
			switch {
			case tc.end == "" && got.End != nil:
				t.Errorf("End = %v; want none", got.End)
			case tc.end != "" && (got.End == nil || !strings.Contains(got.End.Error(), tc.end)):
				t.Errorf("End = %v; want %q", got.End, tc.end)
			}
		})
	}
}

// TestStackLoop: a stack whose frames lead back to themselves ends, whatever the rows say.
func TestStackLoop(t *testing.T) {
	m := &memory{words: map[uint64]uint64{stackLo + 0x100: fnC + 1}, code: map[uint64][]byte{}}
	putRegs(m, stackLo+0x108, PtRegs{RIP: fnA + 1, CS: 0x10, SS: 0x18, RSP: stackLo + 0x100, RFLAGS: 2})
	r := rows{fnA: plain(8), fnC: symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: RSP}, Frame: symbols.FrameRegs}}
	got := testConfig(m, r).Run(start(fnA+1, stackLo+0x100), true, 0)
	if got.End == nil {
		t.Errorf("Run = %d frames without an error; want one that says that the stack loops", len(got.Frames))
	}
}

func TestRecover(t *testing.T) {
	m := &memory{words: map[uint64]uint64{stackLo + 0x100: fnNone}, code: map[uint64][]byte{}}
	r := rows{fnA: plain(8), fnStart: {Frame: symbols.FrameEnd}}
	c := testConfig(m, r)
	c.Recover = func(pc, at uint64) (uint64, bool, error) {
		if pc != fnNone {
			return 0, false, nil
		}
		if at != stackLo+0x100 {
			return 0, true, errors.New("no entry")
		}
		return fnStart + 3, true, nil
	}
	got := c.Run(start(fnA+1, stackLo+0x100), true, 0)
	if s := pcs(got); s != "101/task! 503/task" || !got.Frames[1].Traced || got.End != nil {
		t.Errorf("Run = %s, traced %v, end %v; want the recovered address", s, got.Frames[len(got.Frames)-1].Traced, got.End)
	}
}

func TestFollowCode(t *testing.T) {
	// push rbp; push rbx; sub rsp,0x18; test edi,edi; je +5; add rsp,0x18; pop rbx(…); the jump's target: nop
	code := []byte{0x55, 0x53, 0x48, 0x83, 0xec, 0x18, 0x85, 0xff, 0x74, 0x07, 0x48, 0x83, 0xc4, 0x18, 0x5b, 0x5d, 0xc3, 0x90, 0x90}
	tests := []struct {
		name   string
		target int64
		depth  int64
		err    bool
	}{
		{"at the entry", 0, 0, false}, {"after one push", 1, 8, false}, {"in the body", 17, 40, false},
		{"behind the epilogue's add", 14, 16, false}, {"inside an instruction", 3, 0, true}, {"beyond the code", 100, 0, true},
	}
	for _, tc := range tests {
		got, err := followCode(code, tc.target)
		if (err != nil) != tc.err || got.depth != tc.depth {
			t.Errorf("%s: followCode(%d) = %d, %v; want %d, error %v", tc.name, tc.target, got.depth, err, tc.depth, tc.err)
		}
	}
	if got, err := followCode(append([]byte{0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x01, 0xca}, code...), 17+7); err != nil || got.depth != 40 {
		t.Errorf("followCode behind endbr64 and clac = %d, %v; want 40", got.depth, err)
	}
	body, _ := followCode(code, 17)
	if len(body.saved) != 2 {
		t.Errorf("followCode(17) saved %v; want rbp and rbx", body.saved)
	}
}

// TestByCode: a function without a row is unwound by its code if the return address is behind a call of it.
func TestByCode(t *testing.T) {
	body := make([]byte, 0x100)
	copy(body, []byte{0x55, 0x48, 0x83, 0xec, 0x10, 0x90, 0x90}) // push rbp; sub rsp,16; nop
	caller := make([]byte, 0x100)
	caller[0x10] = 0xe8
	const rel = fnNone - (fnStart + 0x15)
	binary.LittleEndian.PutUint32(caller[0x11:], uint32(rel))
	m := &memory{words: map[uint64]uint64{stackLo + 0x118: fnStart + 0x15, stackLo + 0x110: 0x77}, code: map[uint64][]byte{fnNone: body, fnStart: caller}}
	c := testConfig(m, rows{fnStart: {Frame: symbols.FrameEnd}})
	c.Function = func(pc uint64) (uint64, uint64, bool) { return pc &^ 0xff, 0x100, true }
	got := c.Run(start(fnNone+5, stackLo+0x100), true, 0)
	if s := pcs(got); s != "605/task! 515/task" || got.End != nil {
		t.Errorf("Run = %s, %v; want the caller", s, got.End)
	}
	if v, ok := got.Frames[1].Regs.Get(RBP); !ok || v != 0x77 {
		t.Errorf("rbp = %#x, %v; want the pushed 0x77", v, ok)
	}
	caller[0x10] = 0x90 // no call any more
	got = c.Run(start(fnNone+5, stackLo+0x100), true, 0)
	if got.End == nil || len(got.Frames) != 1 {
		t.Errorf("Run = %s, %v; want an end, as the return address is behind no call", pcs(got), got.End)
	}
}

// FuzzFollowCode: code in a dump can be anything.
func FuzzFollowCode(f *testing.F) {
	f.Add([]byte{0x55, 0x48, 0x83, 0xec, 0x10, 0x90}, int64(5))
	f.Add([]byte{0xeb, 0xfe}, int64(1))
	f.Add([]byte("&H\x83\xec\xff"), int64(5)) // a frame below nothing
	f.Fuzz(func(t *testing.T, code []byte, target int64) {
		if len(code) > maxCode {
			return
		}
		if got, err := followCode(code, target); err == nil && got.depth < 0 {
			t.Errorf("followCode = depth %d; want none below 0", got.depth)
		}
	})
}
