package orc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kdx/symbols"
	"kdx/symbols/internal/memtest"
)

// The tables as the kernel's linker script places them.
const (
	text    = 0xffffffff81000000
	ipAt    = 0xffffffff82c00000
	entryAt = 0xffffffff82d00000
	hashAt  = 0xffffffff82bff000
)

// raw is an entry with the numbers of a version.
type raw struct {
	pc           uint64
	spOff, bpOff int16
	sp, bp       uint8
	flags        uint8
}

// numbers of registers and flags by version.
type numbering struct {
	sp, bp, prev, dx, di, r10, r13, bpInd, spInd uint8
	call, regs, partial, endFlags, s             uint8
}

var numberings = map[Version]numbering{
	V1: {sp: 5, bp: 4, prev: 1, dx: 2, di: 3, r10: 6, r13: 7, bpInd: 8, spInd: 9, call: 0, regs: 1, partial: 2, endFlags: 4},
	V2: {sp: 5, bp: 4, prev: 1, dx: 2, di: 3, r10: 6, r13: 7, bpInd: 8, spInd: 9, call: 0, regs: 1, partial: 2, endFlags: 8, s: 4},
	V3: {sp: 5, bp: 4, prev: 1, dx: 2, di: 3, r10: 6, r13: 7, bpInd: 8, spInd: 9, call: 2, regs: 3, partial: 4, endFlags: 1, s: 8},
	V4: {sp: 3, bp: 4, prev: 8, dx: 2, di: 5, r10: 6, r13: 7, bpInd: 10, spInd: 9, call: 2, regs: 3, partial: 4, endFlags: 1, s: 8},
}

// table is one of each kind, in a kernel with many ordinary functions behind.
func table(v Version, functions int) []raw {
	n := numberings[v]
	out := []raw{
		{pc: text, flags: n.endFlags},
		{pc: text + 0x10, spOff: 8, sp: n.sp, flags: n.call},
		{pc: text + 0x20, spOff: 16, bpOff: -16, sp: n.bp, bp: n.prev, flags: n.call},
		{pc: text + 0x30, sp: n.sp, flags: n.regs | n.s},
		{pc: text + 0x40, spOff: 8, sp: n.sp, flags: n.partial | n.s},
		{pc: text + 0x50, sp: n.r10, bp: n.bp, flags: n.call},
		{pc: text + 0x60, spOff: 16, sp: n.spInd, flags: n.call},
		{pc: text + 0x70, spOff: -24, bpOff: 0, sp: n.bpInd, bp: n.bp, flags: n.call},
		{pc: text + 0x80, sp: n.r13, flags: n.call},
		{pc: text + 0x90, sp: n.di, flags: n.call},
		{pc: text + 0xa0, sp: n.dx, flags: n.call},
		{pc: text + 0xb0},  // a gap
		{pc: text + 0x100}, // where one file's code ends
		{pc: text + 0x100, spOff: 24, sp: n.sp, flags: n.call}, // and the next one's begins
	}
	for i := range functions {
		out = append(out, raw{pc: text + 0x1000 + uint64(i)*16, spOff: int16(8 * (i%8 + 1)), sp: n.sp, flags: n.call})
	}
	return append(out, raw{pc: text + 0x1000 + uint64(functions)*16})
}

func encode(entries []raw) (ips, orcs []byte) {
	for i, e := range entries {
		ips = binary.LittleEndian.AppendUint32(ips, uint32(e.pc-(ipAt+uint64(4*i))))
		orcs = binary.LittleEndian.AppendUint16(orcs, uint16(e.spOff))
		orcs = binary.LittleEndian.AppendUint16(orcs, uint16(e.bpOff))
		orcs = append(orcs, e.sp|e.bp<<4, e.flags)
	}
	return ips, orcs
}

func memory(entries []raw) (*memtest.Memory, Tables) {
	ips, orcs := encode(entries)
	return new(memtest.Memory).Put(ipAt, ips).Put(entryAt, orcs),
		Tables{IP: ipAt, IPEnd: ipAt + uint64(len(ips)), Entries: entryAt, EntriesEnd: entryAt + uint64(len(orcs))}
}

func plus(n uint16, off int64) symbols.Rule {
	return symbols.Rule{Kind: symbols.RuleRegPlus, Reg: n, Off: off}
}

// rows are what table must give, whatever the version.
func rows() map[uint64]symbols.Row {
	bpAt := func(off int64) symbols.Rule { return symbols.Rule{Kind: symbols.RuleAtRegPlus, Reg: rbp, Off: off} }
	ra := atCFA(-8)
	want := map[uint64]symbols.Row{
		text + 4:     {Frame: symbols.FrameEnd},
		text + 0x10:  {CFA: plus(rsp, 8), RA: ra},
		text + 0x1f:  {CFA: plus(rsp, 8), RA: ra},
		text + 0x20:  {CFA: plus(rbp, 16), RA: ra, Saved: []symbols.RegRule{{Reg: rbp, Rule: atCFA(-16)}}},
		text + 0x30:  {CFA: plus(rsp, 0), RA: atCFA(128), Saved: wholeRegs, Frame: symbols.FrameRegs, Signal: true},
		text + 0x40:  {CFA: plus(rsp, 8), RA: atCFA(0), Saved: partialRegs, Frame: symbols.FrameRegsPartial, Signal: true},
		text + 0x50:  {CFA: plus(r10, 0), RA: ra, Saved: []symbols.RegRule{{Reg: rbp, Rule: bpAt(0)}}},
		text + 0x60:  {CFA: symbols.Rule{Kind: symbols.RuleRegDeref, Reg: rsp, Off: 16}, RA: ra},
		text + 0x70:  {CFA: symbols.Rule{Kind: symbols.RuleAtRegPlus, Reg: rbp, Off: -24}, RA: ra, Saved: []symbols.RegRule{{Reg: rbp, Rule: bpAt(0)}}},
		text + 0x80:  {CFA: plus(r13, 0), RA: ra},
		text + 0x90:  {CFA: plus(rdi, 0), RA: ra},
		text + 0xa0:  {CFA: plus(rdx, 0), RA: ra},
		text + 0xb5:  {Frame: symbols.FrameUndefined},
		text + 0x100: {CFA: plus(rsp, 24), RA: ra},
	}
	for pc, r := range want {
		r.From = "orc"
		want[pc] = r
	}
	return want
}

func TestVersions(t *testing.T) {
	header := map[Version][headerSize]byte{}
	for h, v := range hashes {
		header[v] = h
	}
	for v := V1; v <= V4; v++ {
		for _, how := range []string{"entries", "header", "given"} {
			if how == "header" && v == V1 {
				continue
			}
			t.Run(fmt.Sprintf("v%d by %s", v, how), func(t *testing.T) {
				mem, tables := memory(table(v, 3000))
				opt := Options{}
				switch how {
				case "header":
					h := header[v]
					mem.Put(hashAt, h[:])
					tables.Header = hashAt
				case "given":
					opt.Version = v
				}
				f, err := Read(mem, tables, opt)
				if err != nil {
					t.Fatal(err)
				}
				if got, by := f.Version(); got != v || by != how {
					t.Errorf("Version() = %d by %s; want %d by %s", got, by, v, how)
				}
				for pc, want := range rows() {
					got, err := f.RowAt(pc)
					if err != nil {
						t.Errorf("RowAt(%#x): %v", pc, err)
						continue
					}
					if d := cmp.Diff(want, got); d != "" {
						t.Errorf("RowAt(%#x): %s", pc, d)
					}
				}
			})
		}
	}
}

// An unknown hash is a newer kernel or a distribution's: the entries decide.
func TestUnknownHeader(t *testing.T) {
	mem, tables := memory(table(V4, 3000))
	mem.Put(hashAt, make([]byte, headerSize))
	tables.Header = hashAt
	f, err := Read(mem, tables, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if v, how := f.Version(); v != V4 || how != "entries" {
		t.Errorf("Version() = %d by %s; want 4 by entries", v, how)
	}
}

// Before 5.12, the stack pointer of a pt_regs frame could be in memory at rsp plus an offset.
func TestOldIndirect(t *testing.T) {
	n := numberings[V1]
	tab := table(V1, 3000)
	tab[3].sp, tab[3].spOff = n.spInd, 8
	mem, tables := memory(tab)
	f, err := Read(mem, tables, Options{})
	if err != nil {
		t.Fatal(err)
	}
	row, err := f.RowAt(text + 0x30)
	want := symbols.Rule{Kind: symbols.RuleAtRegPlus, Reg: rsp, Off: 8}
	if err != nil || row.CFA != want {
		t.Errorf("CFA = %+v, %v; want %+v", row.CFA, err, want)
	}
}

func TestRanges(t *testing.T) {
	mem, tables := memory(table(V3, 3000))
	f, err := Read(mem, tables, Options{Module: "nvme", Text: []Range{{text, text + 0x100}, {text + 0x1000, text + 0x2000}}})
	if err != nil {
		t.Fatal(err)
	}
	if f.Name() != "orc:nvme" {
		t.Errorf("Name() = %q; want orc:nvme", f.Name())
	}
	for pc, ok := range map[uint64]bool{text - 1: false, text + 0x10: true, text + 0x100: false, text + 0xfff: false, text + 0x1000: true, text + 0x2000: false, 0: false, ^uint64(0): false} {
		row, err := f.RowAt(pc)
		if ok != (err == nil) || !ok && !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("RowAt(%#x) = %+v, %v; want found: %v", pc, row, err, ok)
		}
		if ok && row.From != "orc:nvme" {
			t.Errorf("RowAt(%#x).From = %q", pc, row.From)
		}
	}
}

// What a missing page describes is an error; all else is answered.
func TestHoles(t *testing.T) {
	const functions = 30000
	for _, at := range []uint64{ipAt, entryAt} {
		mem, tables := memory(table(V3, functions))
		hole := at + 0x8000
		mem.Hole(hole, 4096)
		f, err := Read(mem, tables, Options{Version: V3, Text: []Range{{text, text + 0x1000 + functions*16}}})
		if err != nil {
			t.Fatal(err)
		}
		good, bad := 0, 0
		for i := range uint64(functions) {
			row, err := f.RowAt(text + 0x1000 + i*16 + 3)
			switch {
			case err == nil:
				good++
				if want := int64(8 * (i%8 + 1)); row.CFA.Off != want {
					t.Fatalf("row %d: CFA offset %d; want %d", i, row.CFA.Off, want)
				}
			case errors.Is(err, memtest.ErrMissing):
				bad++
			default:
				t.Fatalf("row %d: %v", i, err)
			}
		}
		if bad == 0 || bad > 1100 {
			t.Errorf("hole at %#x: %d rows good, %d bad; want the rows of one page bad", hole, good, bad)
		}
	}
}

func TestBad(t *testing.T) {
	mem, tables := memory(table(V3, 100))
	junk := make([]byte, 6*1000)
	for i := range junk {
		junk[i] = byte(i*31) | 0xf0
	}
	junkIP, _ := encode(table(V3, 985))
	tests := []struct {
		name   string
		mem    symbols.Memory
		tables Tables
		want   string
	}{
		{"none", mem, Tables{}, "no entries"},
		{"ends before it starts", mem, Tables{IP: 8, IPEnd: 4, Entries: 8, EntriesEnd: 4}, "no entries"},
		{"counts differ", mem, Tables{IP: tables.IP, IPEnd: tables.IPEnd - 4, Entries: tables.Entries, EntriesEnd: tables.EntriesEnd}, "bounds"},
		{"huge", mem, ModuleTables(ipAt, entryAt, 1<<60), "bounds"},
		{"excluded", new(memtest.Memory), tables, "missing"},
		{"junk", new(memtest.Memory).Put(ipAt, junkIP).Put(entryAt, junk), ModuleTables(ipAt, entryAt, 1000), "no sense"},
	}
	for _, tt := range tests {
		_, err := Read(tt.mem, tt.tables, Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.name, err, tt.want)
		}
	}
}

func FuzzORC(f *testing.F) {
	for v := V1; v <= V4; v++ {
		ips, orcs := encode(table(v, 50))
		f.Add(ips, orcs, uint8(v), uint64(text+0x20))
		f.Add(ips, orcs, uint8(0), uint64(text+0x100))
	}
	f.Fuzz(func(t *testing.T, ips, orcs []byte, v uint8, pc uint64) {
		mem := new(memtest.Memory).Put(ipAt, ips).Put(entryAt, orcs)
		finder, err := Read(mem, ModuleTables(ipAt, entryAt, uint64(len(ips)/4)), Options{Version: Version(v)})
		if err != nil {
			return
		}
		_, _ = finder.RowAt(pc)
		for _, r := range finder.text {
			_, _ = finder.RowAt(r.Start)
			_, _ = finder.RowAt(r.End - 1)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	mem, tables := memory(table(V3, 170000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(mem, tables, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRowAt(b *testing.B) {
	mem, tables := memory(table(V3, 170000))
	f, err := Read(mem, tables, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i += 7777
		if _, err := f.RowAt(text + 0x1000 + i%2700000); err != nil {
			b.Fatal(err)
		}
	}
}
