package lines

import (
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// bytesOf makes bytes of numbers, strings and bytes.
func bytesOf(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, p)
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, p)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, p)
		case string:
			b = append(append(b, p...), 0)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func sized(body []byte) []byte { return bytesOf(uint32(len(body)), body) }

// program4 is a line program of version 4 with these opcodes, of one directory "d" with the files "a.c" and "b.c".
func program4(ops ...any) []byte {
	head := bytesOf(1, 1, 1, 0xfb, 14, 13, []byte{0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1}, "d", 0, "a.c", 1, 0, 0, "b.c", 1, 0, 0, 0)
	return sized(bytesOf(uint16(4), uint32(len(head)), head, bytesOf(ops...)))
}

// program5 is the same of version 5.
func program5(ops ...any) []byte {
	head := bytesOf(1, 1, 1, 0xfb, 14, 13, []byte{0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1},
		1, columnPath, int(dwarfinfo.FormString), 2, "/top", "d",
		2, columnPath, int(dwarfinfo.FormString), columnDir, int(dwarfinfo.FormUdata), 2, "a.c", 1, "b.c", 1)
	return sized(bytesOf(uint16(5), 8, 0, uint32(len(head)), head, bytesOf(ops...)))
}

func setAddress(a uint64) []byte { return bytesOf(opExtended, 9, extSetAddress, a) }

var endSequence = []byte{opExtended, 1, extEndSequence}

// abbrevs are shapes for the units below: 1 a unit, 2 a function, 3 an inlined function, 4 a function with a name, 5 a block
// without ranges, 6 a function made from another.
var abbrevs = bytesOf(
	1, int(dwarf.TagCompileUnit), 1, int(dwarf.AttrName), int(dwarfinfo.FormString), int(dwarf.AttrCompDir), int(dwarfinfo.FormString), int(dwarf.AttrStmtList), int(dwarfinfo.FormSecOffset),
	int(dwarf.AttrLowpc), int(dwarfinfo.FormAddr), int(dwarf.AttrHighpc), int(dwarfinfo.FormData4), 0, 0,
	2, int(dwarf.TagSubprogram), 1, int(dwarf.AttrName), int(dwarfinfo.FormString), int(dwarf.AttrLowpc), int(dwarfinfo.FormAddr), int(dwarf.AttrHighpc), int(dwarfinfo.FormData4), 0, 0,
	3, int(dwarf.TagInlinedSubroutine), 1, int(dwarf.AttrAbstractOrigin), int(dwarfinfo.FormRef4), int(dwarf.AttrLowpc), int(dwarfinfo.FormAddr), int(dwarf.AttrHighpc), int(dwarfinfo.FormData4),
	int(dwarf.AttrCallFile), int(dwarfinfo.FormData1), int(dwarf.AttrCallLine), int(dwarfinfo.FormData1), 0, 0,
	4, int(dwarf.TagSubprogram), 0, int(dwarf.AttrName), int(dwarfinfo.FormString), 0, 0,
	5, int(dwarf.TagLexDwarfBlock), 1, 0, 0,
	6, int(dwarf.TagSubprogram), 0, int(dwarf.AttrSpecification), int(dwarfinfo.FormRef4), 0, 0,
	0)

// data makes the DWARF of one unit, whose code is [0x1000, 0x2000), with these entries below its root.
func data(t testing.TB, line []byte, entries ...any) *dwarfinfo.Data {
	body := bytesOf(uint16(4), uint32(0), 8, 1, "d/a.c", "/top", uint32(0), uint64(0x1000), uint32(0x1000), bytesOf(entries...), 0)
	d := &dwarfinfo.Data{Name: "test", Order: binary.LittleEndian, Info: sized(body), Abbrev: abbrevs, Line: line}
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	return d
}

// firstEntry is the offset in the unit of the first entry below the root.
const firstEntry = 11 + 1 + 6 + 5 + 4 + 8 + 4

func inlinedAt(origin, line int) []byte {
	return bytesOf(3, uint32(origin), uint64(0x1000), uint32(0x1000), 2, line)
}

func TestProgram(t *testing.T) {
	ops := []any{setAddress(0x1000), opSetColumn, 7, opCopy, opAdvancePC, 0x10, opAdvanceLine, 9, opSetFile, 2, opCopy, opCopy, opAdvancePC, 0x10, opAdvanceLine, 0x76, opCopy,
		opConstAddPC, opFixedAdvancePC, 0x20, 0, 13 + 5*14 + 5 + 3, opAdvancePC, 4, endSequence}
	for version, line := range map[int][]byte{4: program4(ops...), 5: program5(ops...)} {
		f := New(data(t, line, 2, "fn", uint64(0x1000), uint32(0x1000), 0), 0, "test")
		file := map[int][2]string{4: {"d/a.c", "d/b.c"}, 5: {"d/b.c", ""}}[version] // tables begin with 1, and with 0
		for pc, want := range map[uint64]symbols.Place{
			0x1000: {File: file[0], Line: 1, Column: 7}, 0x100f: {File: file[0], Line: 1, Column: 7},
			0x1010: {File: file[1], Line: 10, Column: 7}, 0x1020: {}, // line 0
			0x1020 + 17 + 0x20 + 5: {File: file[1], Line: 3, Column: 7},
		} {
			ps, err := f.PlacesAt(pc)
			if err != nil || len(ps) != 1 {
				t.Fatalf("version %d, %#x: %v, %v", version, pc, ps, err)
			}
			if got := ps[0]; got.File != want.File || got.Line != want.Line || want.Line != 0 && got.Column != want.Column || got.Function != "fn" {
				t.Errorf("version %d, %#x: %+v; want %+v", version, pc, got, want)
			}
		}
	}
}

// TestDamaged: what is damaged is an error that says where, or leaves the rest alone.
func TestDamaged(t *testing.T) {
	fn := []any{2, "fn", uint64(0x1000), uint32(0x1000)}
	good := program4(setAddress(0x1000), opCopy, opAdvancePC, 0x10, endSequence)
	deep := append([]any{}, fn...)
	for range maxDepth + 1 {
		deep = append(deep, inlinedAt(firstEntry, 3))
	}
	for _, x := range []struct {
		name, want string
		line       []byte
		entries    []any
	}{
		{"no end", "no end", program4(setAddress(0x1000), opCopy, opAdvancePC, 0x10), fn},
		{"cut opcode", "end early", program4(setAddress(0x1000), opCopy, opAdvancePC), fn},
		{"long", "claims", bytesOf(uint32(0x7fffffff), uint16(4)), fn},
		{"version", "version 9", sized(bytesOf(uint16(9), uint32(0))), fn},
		{"ranges", "line range", sized(bytesOf(uint16(4), uint32(4), 1, 1, 1, 0, 0, 13, []byte{0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1}, 0, 0)), fn},
		{"files", "columns", sized(bytesOf(uint16(5), 8, 0, uint32(9), 1, 1, 1, 0xfb, 14, 1, 0, 0xff, 0xff, 0x7f)), fn},
		{"depth", "without end", good, deep},
		{"abbreviation", "abbreviation 99", good, append(append([]any{}, fn...), 99)},
	} {
		ps, err := New(data(t, x.line, x.entries...), 0, "test").PlacesAt(0x1000)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, %v; want an error with %q", x.name, ps, err, x.want)
		}
	}
	// Behind the end of one sequence lies damage: the sequence is good.
	ps, err := New(data(t, program4(setAddress(0x1000), opCopy, opAdvancePC, 0x10, endSequence, opAdvancePC), fn...), 0, "test").PlacesAt(0x1004)
	if err != nil || ps[0].Line != 1 {
		t.Errorf("before the damage: %v, %v", ps, err)
	}
	// An index without a file, and names that name each other.
	f := New(data(t, program4(setAddress(0x1000), opSetFile, 77, opCopy, opAdvancePC, 0x10, endSequence),
		2, "fn", uint64(0x1000), uint32(0x1000), inlinedAt(firstEntry+17+19, 3), 0, 0, 6, uint32(firstEntry+17+19)), 0, "test")
	ps, err = f.PlacesAt(0x1000)
	if err != nil || len(ps) != 2 || ps[0].File != "" || ps[0].Line != 1 || ps[1].File != "d/b.c" || ps[1].Line != 3 {
		t.Errorf("no such file: %+v, %v", ps, err)
	}
	// A block without ranges is looked into.
	f = New(data(t, good, 2, "fn", uint64(0x1000), uint32(0x1000), 5, 0, 5, inlinedAt(firstEntry, 3), 0, 0, 0), 0, "test")
	if ps, err = f.PlacesAt(0x1000); err != nil || len(ps) != 2 || ps[0].Function != "fn" || !ps[0].Inlined {
		t.Errorf("in a block without ranges: %+v, %v", ps, err)
	}
}

func FuzzLines(f *testing.F) {
	f.Add(program4(setAddress(0x1000), opCopy, opAdvancePC, 0x10, endSequence), bytesOf(2, "fn", uint64(0x1000), uint32(0x1000), inlinedAt(firstEntry, 3), 0, 0))
	f.Add(program5(setAddress(0x1000), opSetFile, 1, opCopy, 200, 199, endSequence, setAddress(0x1100), 77, endSequence), bytesOf(5, 5, 2, "fn", uint64(0x1000), uint32(0x10)))
	f.Add(program4(opExtended, 20, extDefineFile, "c.c", 0, 0, 0), bytesOf(6, uint32(firstEntry)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 4}, []byte{})
	f.Fuzz(func(t *testing.T, line, entries []byte) {
		x := New(data(t, line, entries), 0, "test")
		for _, pc := range []uint64{0, 0x1000, 0x1008, 0x1fff} {
			ps, err := x.PlacesAt(pc)
			if err == nil && (len(ps) == 0 || len(ps) > maxDepth+1) {
				t.Fatalf("%#x: %d places and no error", pc, len(ps))
			}
			if err != nil && strings.Contains(err.Error(), "a mistake in kdx") {
				t.Fatal(err)
			}
			if err == nil && ps[len(ps)-1].Inlined {
				t.Fatalf("%#x: inlined into nothing", pc)
			}
		}
		for _, n := range []int{1, 3} {
			code, err := x.LineCode("a.c", n)
			if err != nil {
				if strings.Contains(err.Error(), "a mistake in kdx") {
					t.Fatal(err)
				}
				continue
			}
			for i, c := range code {
				if c.Line < n || c.End <= c.Addr || i > 0 && c.File == code[i-1].File && c.Addr < code[i-1].End {
					t.Fatalf("line %d: %+v", n, code)
				}
			}
		}
	})
}

// TestMany: the cache of units stays bounded, and what was dropped is read again.
func TestMany(t *testing.T) {
	d := compile(t)
	f := New(d, 0, "test")
	fn := symbol(t, d, "outer")
	if _, err := f.PlacesAt(fn.Value); err != nil {
		t.Fatal(err)
	}
	u := d.UnitAt(fn.Value)
	f.units.mu.Lock()
	f.units.cost = maxCost * 2
	f.units.evict(nil)
	kept := len(f.units.units)
	f.units.mu.Unlock()
	if kept != 0 {
		t.Errorf("%d units are kept", kept)
	}
	if table := f.units.get(u); len(table.seqs) == 0 || table.lineErr != nil && !errors.Is(table.lineErr, errNoProgram) {
		t.Errorf("read again: %v", table.lineErr)
	}
}
