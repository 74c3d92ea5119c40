package kallsyms

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kdx/symbols"
	"kdx/symbols/internal/memtest"
)

const (
	text64 = 0xffffffff8b200000
	text32 = 0xc0100000
)

type layoutTest struct {
	name   string
	enc    encoder
	syms   []sym
	layout string
}

func layoutTests() []layoutTest {
	long := func(s []sym) []sym {
		for i := range s {
			if s[i].name == "sys_get_struct_7" {
				// 300 characters that no token shortens: more than 127 tokens, so the length takes two bytes
				s[i].name = strings.Repeat("xyZ", 100)
			}
		}
		return s
	}
	return []layoutTest{
		{"5.10 x86-64", encoder{word: 8, base: text64 + 0x800000, addrs: "percpu", align: 8}, withPercpu(someSyms(600, text64)), "absolute-percpu"},
		{"6.1 x86-64", encoder{word: 8, base: text64 + 0x800000, addrs: "percpu", align: 8, long: true, seqs: true}, withPercpu(long(someSyms(600, text64))), "absolute-percpu, long names"},
		{"6.12 x86-64", encoder{word: 8, base: text64 + 0x800000, addrs: "percpu", align: 8, long: true, newer: true}, withPercpu(long(someSyms(600, text64))), "absolute-percpu, long names"},
		{"6.15 x86-64", encoder{word: 8, base: text64 + 0x800000, addrs: "relative", align: 8, long: true, newer: true}, long(someSyms(600, text64)), "relative, long names"},
		{"7.2 x86-64", encoder{word: 8, base: text64 + 0x800000, addrs: "place", align: 4, long: true, newer: true}, long(someSyms(600, text64)), "place-relative, long names"},
		{"5.10 arm64", encoder{word: 8, base: text64 + 0x800000, addrs: "relative", align: 8}, someSyms(600, text64), "relative"},
		{"4.4 x86-64", encoder{word: 8, base: text64 + 0x800000, addrs: "words", align: 8, wideNum: true}, withPercpu(someSyms(600, text64)), "addresses"},
		{"4.4 ppc64, big-endian", encoder{word: 8, order: binary.BigEndian, base: text64 + 0x800000, addrs: "words", align: 8, wideNum: true}, someSyms(600, text64), "addresses"},
		{"5.10 i386", encoder{word: 4, base: text32 + 0x800000, addrs: "relative", align: 4}, someSyms(600, text32), "relative"},
		{"s390, big-endian", encoder{word: 8, order: binary.BigEndian, base: 0x1800000, addrs: "relative", align: 8, long: true}, long(someSyms(600, 0x1001000)), "relative, long names"},
	}
}

// checkTable compares a table with what was encoded.
func checkTable(t *testing.T, got *Table, want []sym) {
	t.Helper()
	all := slices.Collect(got.All())
	if len(all) != len(want) {
		t.Fatalf("%d symbols; want %d", len(all), len(want))
	}
	for i, w := range want {
		if g := all[i]; g.Name != w.name || g.Addr != w.addr || g.Letter != w.letter {
			t.Fatalf("symbol %d = %+v; want %+v", i, g, w)
		}
	}
	for _, w := range []sym{want[3], want[len(want)-1]} {
		g, err := got.SymbolsNamed(w.name)
		if err != nil || len(g) != 1 || g[0].Addr != w.addr {
			t.Errorf("SymbolsNamed(%s) = %+v, %v; want one at %#x", w.name, g, err, w.addr)
		}
	}
	if g, err := got.SymbolsNamed("twice"); err != nil || len(g) != 2 || g[0].Addr+4 != g[1].Addr {
		t.Errorf("SymbolsNamed(twice) = %+v, %v; want two, by address", g, err)
	}
	if _, err := got.SymbolsNamed("nothing"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("SymbolsNamed(nothing): %v; want ErrNotFound", err)
	}
}

func TestRead(t *testing.T) {
	for _, tt := range layoutTests() {
		t.Run(tt.name, func(t *testing.T) {
			mem, loc, opt := tt.enc.build(tt.syms)
			got, err := Read(mem, loc, opt)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got.Layout(), tt.layout) {
				t.Errorf("Layout() = %q; want %q", got.Layout(), tt.layout)
			}
			if got.Missing() != nil {
				t.Errorf("Missing() = %v; want nil", got.Missing())
			}
			checkTable(t, got, tt.syms)
		})
	}
}

// Without the address of _stext the layout in which addresses rise is taken.
func TestReadWithoutStext(t *testing.T) {
	for _, tt := range layoutTests() {
		t.Run(tt.name, func(t *testing.T) {
			mem, loc, opt := tt.enc.build(tt.syms)
			opt.Stext = 0
			got, err := Read(mem, loc, opt)
			if err != nil {
				t.Fatal(err)
			}
			checkTable(t, got, tt.syms)
		})
	}
}

func TestScan(t *testing.T) {
	for _, tt := range layoutTests() {
		t.Run(tt.name, func(t *testing.T) {
			mem, want, opt := tt.enc.build(tt.syms)
			start := tt.enc.base &^ 0xfff
			got, err := Scan(mem, start, start+64<<20, opt)
			if err != nil {
				t.Fatal(err)
			}
			got.Markers = 0
			if tt.enc.wideNum && tt.enc.order == binary.BigEndian {
				want.NumSyms += 4 // the half of the word that has the number
			}
			if got != want {
				t.Errorf("Scan() = %+v; want %+v", got, want)
			}
		})
	}
}

func TestScanFindsNothing(t *testing.T) {
	mem := new(memtest.Memory).Put(0x1000, make([]byte, 1<<20))
	if _, err := Scan(mem, 0x1000, 64<<20, Options{}); err == nil {
		t.Error("Scan of zeros: no error")
	}
	if _, err := Scan(mem, 0x1000, 0, Options{}); err == nil {
		t.Error("Scan of an empty range: no error")
	}
}

func TestSymbolAt(t *testing.T) {
	enc := encoder{word: 8, base: text64 + 0x800000, addrs: "percpu", align: 8, long: true}
	mem, loc, opt := enc.build(withPercpu(someSyms(600, text64)))
	tab, err := Read(mem, loc, opt)
	if err != nil {
		t.Fatal(err)
	}
	end := uint64(text64 + 600*16)
	tests := []struct {
		addr uint64
		want string
	}{
		{text64, "_stext"},      // the first of three at one address
		{text64 + 15, "_stext"}, // they end together
		{text64 + 16, "sys_get_struct_1"},
		{end + 5, "twice"},
		{end + 8, "_etext"},
		{end + 8 + maxGap, ""}, // the gap behind the text is not the last function's
		{end + 0x200000, "init_task"},
		{end + 0x201000 + 0x7ffff, "big_buffer"}, // data may be large
		{text64 - 1, ""},
		{0x31980, ""}, // per-CPU offsets are no addresses
		{0x100, ""},
		{^uint64(0), ""},
	}
	for _, tt := range tests {
		got, err := tab.SymbolAt(tt.addr)
		if got.Name != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("SymbolAt(%#x) = %q, %v; want %q", tt.addr, got.Name, err, tt.want)
		}
	}
	s, _ := tab.SymbolAt(text64 + 17)
	if s.Size != 16 {
		t.Errorf("size of %s = %d; want 16", s.Name, s.Size)
	}
}

// 7.2 links x86-64's .data executable, so that nm takes its symbols for text.
func TestDataIsNoText(t *testing.T) {
	syms := []sym{{'T', "_stext", text64}, {'T', "a", text64 + 16}, {'T', "_sdata", text64 + 32}, {'T', "init_task", text64 + 32}, {'T', "x", text64 + 40}, {'D', "_edata", text64 + 48}}
	enc := encoder{word: 8, base: text64 + 0x1000, addrs: "place", align: 4, newer: true}
	tab, err := Read(enc.build(syms))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]byte{"a": 'T', "init_task": 'D', "x": 'D'} {
		if got, _ := tab.SymbolsNamed(name); len(got) != 1 || got[0].Letter != want {
			t.Errorf("%s = %+v; want letter %c", name, got, want)
		}
	}
}

// A page of the table that the dump does not have costs the symbols that it describes, no others.
func TestHoles(t *testing.T) {
	syms := someSyms(20000, text64)
	enc := encoder{word: 8, base: text64 + 0x800000, addrs: "relative", align: 8, long: true}
	build := func() (*memtest.Memory, Location, Options) { e := enc; return e.build(syms) }
	_, loc, _ := build()
	tests := []struct {
		name string
		hole uint64
		min  int
		gone string
	}{
		{"offsets", (loc.Offsets + 40000) &^ 0xfff, len(syms) - 2048, "addresses of"},
		{"names", (loc.Names + 100000) &^ 0xfff, len(syms) - 1500, "names"},
	}
	for _, tt := range tests {
		mem, loc, opt := build()
		mem.Hole(tt.hole, 4096)
		tab, err := Read(mem, loc, opt)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if tab.Len() < tt.min || tab.Len() >= len(syms) {
			t.Errorf("%s: %d of %d symbols; want at least %d, but not all", tt.name, tab.Len(), len(syms), tt.min)
		}
		if err := tab.Missing(); err == nil || !errors.Is(err, memtest.ErrMissing) || !strings.Contains(err.Error(), tt.gone) {
			t.Errorf("%s: Missing() = %v; want what page is missing", tt.name, err)
		}
		for _, n := range []int{42, 19990} { // before and behind the hole
			got, err := tab.SymbolsNamed(fmt.Sprintf("sys_get_struct_%d", n))
			if err != nil || got[0].Addr != text64+uint64(n)*16 {
				t.Errorf("%s: sys_get_struct_%d = %v, %v", tt.name, n, got, err)
			}
		}
		// Nothing is said of a symbol in the hole: neither that there is no such name, nor that its neighbour is there.
		lost := 0
		for n := range 20000 {
			if _, err := tab.SymbolsNamed(fmt.Sprintf("sys_get_struct_%d", n)); err != nil {
				lost++
				if !errors.Is(err, memtest.ErrMissing) {
					t.Errorf("%s: SymbolsNamed(a lost symbol): %v; want what page is missing", tt.name, err)
				}
				if s, err := tab.SymbolAt(text64 + uint64(n)*16 + 4); err == nil || !errors.Is(err, memtest.ErrMissing) {
					t.Errorf("%s: SymbolAt(in a lost symbol) = %v, %v; want what page is missing", tt.name, s, err)
				}
			}
		}
		if lost == 0 {
			t.Errorf("%s: no symbol is lost", tt.name)
		}
	}
}

// TestLies changes one thing so that the table can't be right, and wants a sentence.
func TestLies(t *testing.T) {
	enc := encoder{word: 8, base: text64 + 0x800000, addrs: "percpu", align: 8, long: true}
	put := func(addr func(Location) uint64, b ...byte) func(*memtest.Memory, *Location, *Options, []byte) {
		return func(_ *memtest.Memory, l *Location, _ *Options, image []byte) {
			copy(image[addr(*l)-enc.base:], b)
		}
	}
	tests := []struct {
		name string
		do   func(*memtest.Memory, *Location, *Options, []byte)
		want string
	}{
		{"count of zero", put(func(l Location) uint64 { return l.NumSyms }, 0, 0, 0, 0), "number of symbols"},
		{"count too large", put(func(l Location) uint64 { return l.NumSyms }, 0xff, 0xff, 0xff, 0x7f), "number of symbols"},
		{"count lies", put(func(l Location) uint64 { return l.NumSyms }, 0, 0, 0x10, 0), "don't decode"},
		{"index falls", put(func(l Location) uint64 { return l.TokenIndex + 20 }, 1, 0), "token index"},
		{"names are zeros", put(func(l Location) uint64 { return l.Names }, make([]byte, 5000)...), "don't decode"},
		{"another kernel's _stext", func(_ *memtest.Memory, _ *Location, o *Options, _ []byte) { o.Stext += 16 }, "_stext"},
		{"names elsewhere", func(_ *memtest.Memory, l *Location, _ *Options, _ []byte) { l.Names = 0x1000 }, "names at 0x1000"},
		{"no token table", func(_ *memtest.Memory, l *Location, _ *Options, _ []byte) { l.TokenTable = 0x1000 }, "token table"},
		{"no names", func(_ *memtest.Memory, l *Location, _ *Options, _ []byte) { l.Names = 0 }, "not all known"},
		{"no addresses", func(_ *memtest.Memory, l *Location, _ *Options, _ []byte) { l.Offsets = 0 }, "neither"},
		{"offsets excluded", func(m *memtest.Memory, l *Location, _ *Options, _ []byte) { m.Hole(l.Offsets&^0xfff, 1<<14) }, "missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := enc
			mem, loc, opt := e.build(withPercpu(someSyms(600, text64)))
			tt.do(mem, &loc, &opt, e.buf)
			_, err := Read(mem, loc, opt)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read: %v; want an error with %q", err, tt.want)
			}
		})
	}
}

// An unsorted table (nobody makes one) is sorted.
func TestUnsorted(t *testing.T) {
	syms := []sym{{'T', "b", text64 + 32}, {'T', "_stext", text64}, {'T', "a", text64 + 16}, {'T', "a2", text64 + 16}}
	enc := encoder{word: 8, base: text64 + 0x1000, addrs: "place", align: 4, newer: true}
	tab, err := Read(enc.build(syms))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tab.SymbolAt(text64 + 20); err != nil || got.Name != "a" {
		t.Errorf("SymbolAt = %v, %v; want a", got, err)
	}
	if got, err := tab.SymbolsNamed("b"); err != nil || got[0].Addr != text64+32 {
		t.Errorf("SymbolsNamed(b) = %v, %v", got, err)
	}
}

func FuzzKallsyms(f *testing.F) {
	for _, tt := range layoutTests() {
		e := tt.enc
		e.build(withPercpu(someSyms(300, text64)))
		f.Add(e.buf, uint16(e.locs["names"]-e.base), uint16(e.locs["token_table"]-e.base), uint16(e.locs["offsets"]-e.base), e.word == 4, true)
	}
	f.Fuzz(func(t *testing.T, image []byte, names, tokens, offsets uint16, small, stext bool) {
		const base = text64
		mem := new(memtest.Memory).Put(base, image)
		opt := Options{WordSize: 8}
		if small {
			opt.WordSize = 4
		}
		if stext {
			opt.Stext = text64
		}
		loc := Location{Names: base + uint64(names), NumSyms: base + uint64(names) - 8, TokenTable: base + uint64(tokens),
			TokenIndex: base + uint64(tokens) + 1024, Offsets: base + uint64(offsets), RelativeBase: base, Addresses: base + uint64(offsets)}
		use(Read(mem, loc, opt))
		if l, err := Scan(mem, base, base+uint64(len(image)), opt); err == nil {
			use(Read(mem, l, opt))
		}
	})
}

// use asks a table everything.
func use(t *Table, err error) {
	if err != nil {
		return
	}
	asked := 0
	for s := range t.All() {
		_, _ = t.SymbolAt(s.Addr)
		if asked++; asked < 20 { // all may have the same name
			_, _ = t.SymbolsNamed(s.Name)
		}
	}
	_, _ = t.SymbolAt(0)
	_, _ = t.SymbolAt(^uint64(0))
}

func BenchmarkRead(b *testing.B) {
	enc := encoder{word: 8, base: text64 + 0x2000000, addrs: "percpu", align: 8, long: true}
	mem, loc, opt := enc.build(withPercpu(someSyms(150000, text64)))
	b.ReportAllocs()
	for b.Loop() {
		t, err := Read(mem, loc, opt)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := t.SymbolsNamed("init_task"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSymbolAt(b *testing.B) {
	enc := encoder{word: 8, base: text64 + 0x2000000, addrs: "percpu", align: 8, long: true}
	mem, loc, opt := enc.build(withPercpu(someSyms(150000, text64)))
	t, err := Read(mem, loc, opt)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i += 7777
		if _, err := t.SymbolAt(text64 + i%2400000); err != nil {
			b.Fatal(err)
		}
	}
}
