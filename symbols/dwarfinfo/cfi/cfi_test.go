package cfi

import (
	"encoding/binary"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"kdx/symbols"
	"kdx/symbols/objfile"
)

// assemble makes an ELF file of assembler.
func assemble(t testing.TB, source string, args ...string) *objfile.File {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc, which makes the file that is read, is not installed")
	}
	out := filepath.Join(t.TempDir(), "code")
	cmd := exec.Command("gcc", append([]string{"-x", "assembler", "-", "-nostdlib", "-o", out}, args...)...)
	cmd.Stdin = strings.NewReader(source)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	f, err := objfile.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// code has what compilers and the kernel's assembler write. Each function is 16 bytes.
const code = `
	.cfi_sections SECTION
	.text
	.globl _start
_start:
	.p2align 4
plain:
	.cfi_startproc
	push %rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	push %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	mov %rsp, %rbp
	.cfi_def_cfa_register rbp
	.cfi_remember_state
	pop %rbp
	.cfi_def_cfa rsp, 16
	.cfi_restore rbp
	pop %rbx
	.cfi_def_cfa_offset 8
	.cfi_restore rbx
	ret
	.cfi_restore_state
	nop
	.cfi_endproc
	.p2align 4
signal:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 40
	.cfi_val_offset rsp, -8
	.cfi_undefined rcx
	.cfi_register r8, r9
	.cfi_same_value r12
	.cfi_escape 0x10, 0x0c, 2, 0x77, 8
	.cfi_escape 0x16, 0x0d, 3, 0x77, 16, 0x06
	nop
	.cfi_escape 0x0f, 2, 0x77, 24
	nop
	.cfi_endproc
	.p2align 4
outermost:
	.cfi_startproc
	.cfi_undefined rip
	nop
	.cfi_endproc
	.p2align 4
none:
	nop
`

const (
	atCFA   = symbols.RuleAtCFA
	regPlus = symbols.RuleRegPlus
)

func TestRowAt(t *testing.T) {
	for _, section := range []string{".debug_frame", ".eh_frame"} {
		f := assemble(t, strings.ReplaceAll(code, "SECTION", section), "-static", "-Wl,--build-id=none,-Ttext=0x400000")
		const shift = 0x1000000
		c := New(f, shift, "test")
		tests := []struct {
			name  string
			at    uint64
			cfa   symbols.Rule
			saved []symbols.RegRule
		}{
			{"entry", 0, symbols.Rule{Kind: regPlus, Reg: 7, Off: 8}, nil},
			{"one push", 1, symbols.Rule{Kind: regPlus, Reg: 7, Off: 16}, []symbols.RegRule{{Reg: 3, Rule: symbols.Rule{Kind: atCFA, Off: -16}}}},
			{"frame pointer", 5, symbols.Rule{Kind: regPlus, Reg: 6, Off: 24},
				[]symbols.RegRule{{Reg: 3, Rule: symbols.Rule{Kind: atCFA, Off: -16}}, {Reg: 6, Rule: symbols.Rule{Kind: atCFA, Off: -24}}}},
			{"restored", 7, symbols.Rule{Kind: regPlus, Reg: 7, Off: 8}, nil},
			{"restored state", 8, symbols.Rule{Kind: regPlus, Reg: 6, Off: 24},
				[]symbols.RegRule{{Reg: 3, Rule: symbols.Rule{Kind: atCFA, Off: -16}}, {Reg: 6, Rule: symbols.Rule{Kind: atCFA, Off: -24}}}},
			{"signal", 16, symbols.Rule{Kind: regPlus, Reg: 7, Off: 40}, []symbols.RegRule{{Reg: 7, Rule: symbols.Rule{Kind: symbols.RuleCFAPlus, Off: -8}},
				{Reg: 2}, {Reg: 8, Rule: symbols.Rule{Kind: regPlus, Reg: 9}}, {Reg: 12, Rule: symbols.Rule{Kind: symbols.RuleAtExpr, Expr: "w\x08"}},
				{Reg: 13, Rule: symbols.Rule{Kind: symbols.RuleExpr, Expr: "w\x10\x06"}}}},
		}
		for _, tc := range tests {
			row, err := c.RowAt(shift + 0x400000 + tc.at)
			if err != nil {
				t.Errorf("%s, %s: RowAt = %v", section, tc.name, err)
				continue
			}
			if row.CFA != tc.cfa || !equal(row.Saved, tc.saved) || !row.Complete || row.From != "test" || row.Signal != (tc.name == "signal") {
				t.Errorf("%s, %s: RowAt = %+v; want %+v, %+v", section, tc.name, row, tc.cfa, tc.saved)
			}
			if want := (symbols.Rule{Kind: atCFA, Off: -8}); row.RA != want {
				t.Errorf("%s, %s: return address %+v; want %+v", section, tc.name, row.RA, want)
			}
		}
		if row, err := c.RowAt(shift + 0x400011); err != nil || row.CFA.Kind != symbols.RuleExpr || row.CFA.Expr != "w\x18" {
			t.Errorf("%s: CFA by expression = %+v, %v", section, row.CFA, err)
		}
		if row, err := c.RowAt(shift + 0x400020); err != nil || row.Frame != symbols.FrameEnd {
			t.Errorf("%s: frame of the outermost function = %v, %v; want FrameEnd", section, row.Frame, err)
		}
		for _, pc := range []uint64{shift + 0x400030, 0x400000, 0} {
			if _, err := c.RowAt(pc); !errors.Is(err, symbols.ErrNotFound) {
				t.Errorf("%s: RowAt(%#x) = %v; want ErrNotFound", section, pc, err)
			}
		}
	}
}

func equal(a, b []symbols.RegRule) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestDelve holds rows against those of delve's package, for what both read.
func TestDelve(t *testing.T) {
	f := assemble(t, strings.ReplaceAll(code, "SECTION", ".debug_frame"), "-static", "-Wl,--build-id=none,-Ttext=0x400000")
	data, err := f.Section(".debug_frame")
	if err != nil {
		t.Fatal(err)
	}
	fdes, err := frame.Parse(data, binary.LittleEndian, 0, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := New(f, 0, "test")
	if c.Len() != len(fdes) {
		t.Errorf("Len = %d; delve has %d", c.Len(), len(fdes))
	}
	for pc := uint64(0x400000); pc < 0x400007; pc++ { // not behind .cfi_restore, which delve forgets
		fde, err := fdes.FDEForPC(pc)
		if err != nil {
			t.Fatal(err)
		}
		want, err := fde.EstablishFrame(pc)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.RowAt(pc)
		if err != nil || uint64(got.CFA.Reg) != want.CFA.Reg || got.CFA.Off != want.CFA.Offset {
			t.Errorf("RowAt(%#x) = %+v, %v; delve's CFA is register %d + %d", pc, got.CFA, err, want.CFA.Reg, want.CFA.Offset)
		}
		for _, r := range got.Saved {
			if w := want.Regs[uint64(r.Reg)]; w.Rule != frame.RuleOffset || w.Offset != r.Rule.Off {
				t.Errorf("RowAt(%#x): register %d %+v; delve has %+v", pc, r.Reg, r.Rule, w)
			}
		}
	}
}

type appender interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// entries puts a CIE of a version with these instructions and one entry for [0x1000, 0x1100) together.
func entries(order appender, wide bool, version byte, cie, fde []byte) []byte {
	var out []byte
	put := func(id uint64, body []byte) {
		if wide {
			out = order.AppendUint32(out, 0xffffffff)
			out = order.AppendUint64(out, uint64(len(body))+8)
			out = order.AppendUint64(out, id)
		} else {
			out = order.AppendUint32(out, uint32(len(body))+4)
			out = order.AppendUint32(out, uint32(id))
		}
		out = append(out, body...)
	}
	head := []byte{version, 0}
	if version == 4 {
		head = append(head, 8, 0)
	}
	put(1<<64-1, append(append(head, 1, 0x78, 16), cie...)) // alignments 1 and -8, return address in 16
	body := order.AppendUint64(nil, 0x1000)
	body = order.AppendUint64(body, 0x100)
	put(0, append(body, fde...))
	return out
}

func tableOf(data []byte, order binary.ByteOrder) *table {
	t := &table{section: ".debug_frame", data: data, order: order, wordSize: 8}
	t.read()
	return t
}

// TestDialects: CIEs of clang (version 4), the 64-bit format, big-endian machines.
func TestDialects(t *testing.T) {
	cie := []byte{0x0c, 7, 8, 0x90, 1} // def_cfa r7+8; offset r16 at cfa-8
	fde := []byte{0x41, 0x0e, 16, 0x83, 2}
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		for _, wide := range []bool{false, true} {
			for _, version := range []byte{1, 3, 4} {
				tab := tableOf(entries(order, wide, version, cie, fde), order)
				if tab.damage != nil || len(tab.fdes) != 1 {
					t.Errorf("%v, 64-bit %v, version %d: %d entries, %v", order, wide, version, len(tab.fdes), tab.damage)
					continue
				}
				s, err := tab.rowAt(&tab.fdes[0], 0x1001)
				if err != nil || s.cfa != (symbols.Rule{Kind: regPlus, Reg: 7, Off: 16}) || len(s.regs) != 2 {
					t.Errorf("%v, 64-bit %v, version %d: row %+v, %v", order, wide, version, s, err)
				}
			}
		}
	}
}

// TestDamaged: damage in one entry is said, and costs no other.
func TestDamaged(t *testing.T) {
	cie := []byte{0x0c, 7, 8, 0x90, 1}
	good := entries(binary.LittleEndian, false, 1, cie, nil)
	second := binary.LittleEndian.AppendUint32(nil, 20)
	second = binary.LittleEndian.AppendUint32(second, 5) // no CIE lies there
	second = append(second, make([]byte, 16)...)
	tab := tableOf(append(append([]byte{}, good...), second...), binary.LittleEndian)
	if len(tab.fdes) != 1 || tab.damage == nil {
		t.Errorf("an entry with a wrong CIE: %d entries, damage %v; want the other one", len(tab.fdes), tab.damage)
	}
	for i := range good {
		tableOf(good[:i], binary.LittleEndian)
	}
	for name, fde := range map[string][]byte{
		"unknown opcode":          {0x3e},
		"short":                   {0x83},
		"LEB128 without end":      {0x0e, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80},
		"restored, not saved":     {0x0b},
		"offset of an expression": {0x0f, 1, 0x30, 0x0e, 1},
		"block beyond":            {0x10, 3, 0x7f},
		"register":                {0x07, 0xff, 0xff, 0xff, 1},
	} {
		tab := tableOf(entries(binary.LittleEndian, false, 1, cie, fde), binary.LittleEndian)
		if s, err := tab.rowAt(&tab.fdes[0], 0x1010); err == nil {
			t.Errorf("%s: row %+v; want an error", name, s)
		}
	}
}

func TestEvaluate(t *testing.T) {
	env := Env{Order: binary.LittleEndian,
		Reg: func(n int) (uint64, bool) { return 0x1000, n == 7 },
		Memory: func(p []byte, addr uint64) error {
			if addr != 0x1008 {
				return errors.New("not there")
			}
			copy(p, []byte{0x78, 0x56, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff})
			return nil
		}}
	tests := []struct {
		name, expr string
		initial    []uint64
		want       uint64
		err        string
	}{
		{"breg", "\x77\x7f", nil, 0xfff, ""},
		{"deref", "\x77\x08\x06", nil, 0xffffffff12345678, ""},
		{"deref_size", "\x77\x08\x94\x02", nil, 0x5678, ""},
		{"PLT's", "\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22", nil, 0, "register 16"},
		{"initial", "\x23\x10", []uint64{1}, 17, ""},
		{"arithmetic", "\x35\x33\x1c\x34\x1e\x32\x1b", nil, 4, ""}, // (5-3)*4/2
		{"branch", "\x31\x28\x01\x00\x30\x35", nil, 5, ""},
		{"for ever", "\x2f\xfd\xff", nil, 0, "operations"},
		{"too deep", "\x30\x2f\xfc\xff", nil, 0, "values"},
		{"out of it", "\x2f\x10\x00", nil, 0, "jump"},
		{"underflow", "\x22", nil, 0, "empty"},
		{"division", "\x31\x30\x1b", nil, 0, "division"},
		{"unknown", "\xe0", nil, 0, "not known"},
		{"nothing", "", nil, 0, "no value"},
		{"unreadable", "\x30\x06", nil, 0, "not there"},
		{"short", "\x0e\x01", nil, 0, "end early"},
	}
	for _, tc := range tests {
		got, err := Evaluate(tc.expr, env, tc.initial...)
		if tc.err == "" && (err != nil || got != tc.want) {
			t.Errorf("%s = %#x, %v; want %#x", tc.name, got, err, tc.want)
		}
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s = %#x, %v; want an error with %q", tc.name, got, err, tc.err)
		}
	}
	for expr, want := range map[string]uint64{"\x31\x32\x16\x1c": 1, "\x31\x32\x33\x17": 2, "\x31\x32\x14": 1, "\x31\x32\x15\x01": 1, "\x31\x32\x13": 1,
		"\x09\xff\x19": 1, "\x31\x1f": ^uint64(0), "\x34\x32\x25": 1, "\x09\xf8\x31\x26": ^uint64(3), "\x31\x32\x2d": 1, "\x31\x32\x2b": 0} {
		if got, err := Evaluate(expr, env); err != nil || got != want {
			t.Errorf("% x = %#x, %v; want %#x", expr, got, err, want)
		}
	}
}

// FuzzCFI: sections in a file can be anything.
func FuzzCFI(f *testing.F) {
	cie := []byte{0x0c, 7, 8, 0x90, 1}
	f.Add(entries(binary.LittleEndian, false, 1, cie, []byte{0x41, 0x0e, 16, 0x83, 2, 0x0a, 0x0b, 0xc3}), false)
	f.Add(entries(binary.LittleEndian, true, 4, cie, []byte{0x16, 3, 1, 0x30}), false)
	f.Add([]byte{0x14, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0, 0x10, 0, 0, 0, 0x1c, 0, 0, 0, 0, 0x10, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, data []byte, eh bool) {
		tab := &table{section: "s", data: data, order: binary.LittleEndian, wordSize: 8, eh: eh, addr: 0x2000}
		tab.read()
		for i := range tab.fdes {
			if i == 100 {
				break
			}
			d := &tab.fdes[i]
			for _, pc := range []uint64{d.begin, d.begin + (d.end-d.begin)/2, d.end - 1} {
				if got := tab.find(pc); got != nil && (pc < got.begin || pc >= got.end) {
					t.Errorf("find(%#x) = [%#x, %#x)", pc, got.begin, got.end)
				}
				if s, err := tab.rowAt(d, pc); err == nil && len(s.regs) > maxRegs {
					t.Errorf("rowAt(%#x) has %d registers", pc, len(s.regs))
				}
			}
		}
	})
}

// FuzzEvaluate: so can expressions.
func FuzzEvaluate(f *testing.F) {
	f.Add("\x77\x08\x06\x31\x22")
	f.Add("\x2f\xfd\xff")
	f.Fuzz(func(t *testing.T, expr string) {
		_, _ = Evaluate(expr, Env{Order: binary.LittleEndian, Reg: func(int) (uint64, bool) { return 1, true }, Memory: func([]byte, uint64) error { return nil }}, 5)
	})
}
