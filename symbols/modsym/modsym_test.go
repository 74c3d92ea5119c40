package modsym

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"kdx/symbols"
	"kdx/symbols/internal/memtest"
)

const (
	symAt  = 0xffffffffc0400000
	strAt  = 0xffffffffc0410000
	typeAt = 0xffffffffc0420000
	textAt = 0xffffffffc0300000
	dataAt = 0xffffffffc0308000
)

type elfSym struct {
	name        string
	info        byte // or the letter, before 5.2
	section     uint16
	value, size uint64
}

var loop = []elfSym{
	{},
	{"loop_exit", 't', 2, textAt + 0x40, 0x20},
	{"init_loop", 't', 2, textAt, 0x30},
	{"label", 't', 2, textAt + 0x70, 0},
	{"max_loop", 'd', 5, dataAt, 4},
	{".L12", 't', 2, textAt + 4, 0},
	{"$x", 't', 2, textAt + 4, 0},
	{"printk", 'U', 0, 0, 0},
	{"per_cpu_thing", 'd', 7, 0x31000, 8},
	{"cleanup_module", 'T', 2, textAt + 0x40, 0x20},
	{"twice", 'r', 5, dataAt + 16, 4},
	{"twice", 'r', 5, dataAt + 8, 4},
}

// encode writes the tables; letters are in st_info before 5.2 and in typetab since.
func encode(syms []elfSym, bo binary.ByteOrder, word int, typetab bool) (*memtest.Memory, Module) {
	var tab, str, letters []byte
	str = append(str, 0)
	for _, s := range syms {
		name := uint32(0)
		if s.name != "" {
			name = uint32(len(str))
			str = append(append(str, s.name...), 0)
		}
		info := s.info
		if typetab {
			letters = append(letters, s.info)
			info = 0x12
		}
		b := make([]byte, 24)
		bo.PutUint32(b, name)
		if word == 4 {
			b = b[:16]
			bo.PutUint32(b[4:], uint32(s.value))
			bo.PutUint32(b[8:], uint32(s.size))
			b[12] = info
			bo.PutUint16(b[14:], s.section)
		} else {
			b[4] = info
			bo.PutUint16(b[6:], s.section)
			bo.PutUint64(b[8:], s.value)
			bo.PutUint64(b[16:], s.size)
		}
		tab = append(tab, b...)
	}
	mask := ^uint64(0)
	if word == 4 {
		mask = 0xffffffff
	}
	m := Module{Name: "loop", Symtab: symAt, Strtab: strAt, NumSyms: uint64(len(syms)),
		Ranges: []Range{{dataAt & mask, 0x1000, "data"}, {textAt & mask, 0x1000, "text"}, {}}}
	mem := new(memtest.Memory).Put(symAt, tab).Put(strAt, str)
	if typetab {
		m.Typetab = typeAt
		mem.Put(typeAt, letters)
	}
	return mem, m
}

func TestRead(t *testing.T) {
	tests := []struct {
		name    string
		bo      binary.ByteOrder
		word    int
		typetab bool
	}{
		{"6.12 x86-64", binary.LittleEndian, 8, true},
		{"5.1 x86-64", binary.LittleEndian, 8, false},
		{"5.10 s390", binary.BigEndian, 8, true},
		{"5.10 i386", binary.LittleEndian, 4, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mem, m := encode(loop, tt.bo, tt.word, tt.typetab)
			f, err := Read(mem, m, Options{Order: tt.bo, WordSize: tt.word})
			if err != nil {
				t.Fatal(err)
			}
			if f.Missing() != nil || f.Name() != "module:loop" {
				t.Errorf("Missing() = %v, Name() = %q", f.Missing(), f.Name())
			}
			check(t, f, m)
		})
	}
}

func check(t *testing.T, f *Finder, m Module) {
	text, data := m.Ranges[1].Base, m.Ranges[0].Base
	at := []struct {
		addr uint64
		want string
	}{
		{text, "init_loop"}, {text + 0x3f, "init_loop"}, {text + 0x40, "loop_exit"}, {text + 0x80, "label"}, {text + 0xfff, "label"},
		{text + 0x1000, ""}, {text - 1, ""}, {data, "max_loop"}, {data + 8, "twice"}, {0x31000, ""}, {0, ""},
	}
	for _, tt := range at {
		got, err := f.SymbolAt(tt.addr)
		if got.Name != tt.want || (tt.want == "") != errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("SymbolAt(%#x) = %q, %v; want %q", tt.addr, got.Name, err, tt.want)
		}
	}
	s, err := f.SymbolsNamed("init_loop")
	want := symbols.Symbol{Name: "init_loop", Addr: text, Size: 0x30, Letter: 't', Module: "loop"}
	if err != nil || len(s) != 1 || s[0] != want {
		t.Errorf("SymbolsNamed(init_loop) = %+v, %v; want %+v", s, err, want)
	}
	if s, _ := f.SymbolsNamed("label"); len(s) != 1 || s[0].Size != 0x1000-0x70 {
		t.Errorf("SymbolsNamed(label) = %+v; want the size to the end of its range", s)
	}
	if s, err := f.SymbolsNamed("twice"); err != nil || len(s) != 2 || s[0].Addr >= s[1].Addr {
		t.Errorf("SymbolsNamed(twice) = %+v, %v; want two by address", s, err)
	}
	for _, name := range []string{"printk", ".L12", "$x", "", "loo"} {
		if s, err := f.SymbolsNamed(name); !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("SymbolsNamed(%q) = %+v, %v; want ErrNotFound", name, s, err)
		}
	}
	all := slices.Collect(f.All())
	if len(all) != 8 || !slices.IsSortedFunc(all, func(a, b symbols.Symbol) int { return int(int64(a.Addr>>1) - int64(b.Addr>>1)) }) {
		t.Errorf("All yields %+v; want 8 by address", all)
	}
}

func TestMissing(t *testing.T) {
	mem, m := encode(loop, binary.LittleEndian, 8, true)
	mem.Hole(symAt+24*4, 4096)
	f, err := Read(mem, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Len() != 3 || !errors.Is(f.Missing(), memtest.ErrMissing) {
		t.Errorf("%d symbols, Missing() = %v; want 3, and the page's error", f.Len(), f.Missing())
	}
	for s := range f.All() { // a neighbour does not answer for what may be missing
		if got, err := f.SymbolAt(s.Addr + s.Size + 1); err == nil && got.Addr == s.Addr {
			t.Errorf("SymbolAt(behind %s) = %+v; want an error", s.Name, got)
		}
	}
	if s, err := f.SymbolsNamed("no such"); !errors.Is(err, memtest.ErrMissing) {
		t.Errorf("SymbolsNamed(no such) = %+v, %v; want what is missing", s, err)
	}
	mem, m = encode(loop, binary.LittleEndian, 8, true)
	mem.Hole(strAt+12, 4096)
	if f, err = Read(mem, m, Options{}); err != nil || f.Len() != 1 || f.Missing() == nil {
		t.Errorf("names cut off: %v, %v; want one symbol, and why there are no more", f, err)
	}
	mem, m = encode(loop, binary.LittleEndian, 8, true)
	mem.Hole(typeAt, 4096)
	if f, err = Read(mem, m, Options{}); err != nil || f.Len() != 8 {
		t.Errorf("without letters: %v; want all symbols", err)
	}
}

func TestBad(t *testing.T) {
	mem, m := encode(loop, binary.LittleEndian, 8, true)
	tests := []struct {
		name string
		do   func(*Module)
		want string
	}{
		{"no symbols", func(m *Module) { m.NumSyms = 0 }, "no symbols"},
		{"too many", func(m *Module) { m.NumSyms = 1 << 40 }, "can't be right"},
		{"table elsewhere", func(m *Module) { m.Symtab = 0x1000 }, "missing"},
		{"names elsewhere", func(m *Module) { m.Strtab = 0x1000 }, "missing"},
		{"table is something else", func(m *Module) { m.Symtab = strAt; m.NumSyms = 2 }, "damaged"},
	}
	for _, tt := range tests {
		m := m
		tt.do(&m)
		if _, err := Read(mem, m, Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.name, err, tt.want)
		}
	}
}

func FuzzModsym(f *testing.F) {
	for _, word := range []int{4, 8} {
		mem, m := encode(loop, binary.LittleEndian, word, true)
		tab, str, letters := make([]byte, int(m.NumSyms)*word*3), make([]byte, 100), make([]byte, m.NumSyms)
		_, _ = mem.ReadMemory(tab, symAt)
		_, _ = mem.ReadMemory(str, strAt)
		_, _ = mem.ReadMemory(letters, typeAt)
		f.Add(tab, str, letters, m.NumSyms, uint64(textAt), word == 4)
	}
	f.Fuzz(func(t *testing.T, tab, str, letters []byte, n, base uint64, small bool) {
		mem := new(memtest.Memory).Put(symAt, tab).Put(strAt, str).Put(typeAt, letters)
		opt := Options{WordSize: 8}
		if small {
			opt.WordSize = 4
		}
		m := Module{Name: "m", Symtab: symAt, Strtab: strAt, Typetab: typeAt, NumSyms: n,
			Ranges: []Range{{base, 0x1000, ""}, {base + 0x800, ^uint64(0), ""}, {base, 1 << 62, ""}}}
		finder, err := Read(mem, m, opt)
		if err != nil {
			return
		}
		asked := 0
		for s := range finder.All() {
			_, _ = finder.SymbolAt(s.Addr)
			if asked++; asked < 20 {
				_, _ = finder.SymbolsNamed(s.Name)
			}
		}
	})
}
