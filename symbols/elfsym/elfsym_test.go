package elfsym

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdx/symbols"
)

const (
	linkedText = 0xffffffff81000000
	linkedData = 0xffffffff82000000
	linkedBSS  = 0xffffffff83000000
	banner     = "Linux version 6.12.9-test (me@here) #1 SMP\n"
)

type section struct {
	name              string
	typ, flags        uint64
	addr              uint64
	data              []byte
	size, link, entry uint64
}

type symbol struct {
	name        string
	bind, typ   byte
	section     uint16
	value, size uint64
}

// sections of the kernel below, by number.
const (
	secText = iota + 1
	secRodata
	secData
	secPercpu
	secBSS
)

var kernelSymbols = []symbol{
	{"vmlinux.c", 0, 4, 0xfff1, 0, 0},
	{"", 0, 3, secText, linkedText, 0},
	{"_text", 1, 0, secText, linkedText, 0},
	{"_stext", 1, 0, secText, linkedText, 0},
	{"schedule", 1, 2, secText, linkedText + 0x100, 0x80},
	{"weak_alias", 2, 2, secText, linkedText + 0x100, 0x80},
	{"__schedule_alias", 1, 2, secText, linkedText + 0x100, 0x80},
	{"entry", 0, 2, secText, linkedText + 0x200, 0x100},
	{"entry_label", 0, 0, secText, linkedText + 0x240, 0},
	{".L5", 0, 0, secText, linkedText + 0x244, 0},
	{"linux_banner", 1, 1, secRodata, linkedData, uint64(len(banner)) + 1},
	{"init_task", 1, 1, secData, linkedData + 0x1000, 64},
	{"runqueues", 1, 1, secPercpu, 0x31980, 8},
	{"__crc_x", 0, 0, 0xfff1, 0x1234, 0},
	{"_end", 1, 0, secBSS, linkedBSS + 0x100, 0},
	{"undefined", 1, 0, 0, 0, 0},
}

// vmlinux writes an ELF file.
func vmlinux(class byte, bo binary.ByteOrder, syms []symbol) []byte {
	mask := func(v uint64) uint64 {
		if class == 1 {
			return v & 0xffffffff
		}
		return v
	}
	var strtab, symtab []byte
	strtab = append(strtab, 0)
	addSym := func(s symbol) {
		name := uint32(0)
		if s.name != "" {
			name = uint32(len(strtab))
			strtab = append(append(strtab, s.name...), 0)
		}
		if class == 1 {
			b := make([]byte, 16)
			bo.PutUint32(b, name)
			bo.PutUint32(b[4:], uint32(s.value))
			bo.PutUint32(b[8:], uint32(s.size))
			b[12] = s.bind<<4 | s.typ
			bo.PutUint16(b[14:], s.section)
			symtab = append(symtab, b...)
			return
		}
		b := make([]byte, 24)
		bo.PutUint32(b, name)
		b[4] = s.bind<<4 | s.typ
		bo.PutUint16(b[6:], s.section)
		bo.PutUint64(b[8:], s.value)
		bo.PutUint64(b[16:], s.size)
		symtab = append(symtab, b...)
	}
	addSym(symbol{})
	for _, s := range syms {
		addSym(s)
	}
	note := make([]byte, 12)
	bo.PutUint32(note, 4)
	bo.PutUint32(note[4:], 20)
	bo.PutUint32(note[8:], 3)
	note = append(note, "GNU\x00"...)
	for i := range 20 {
		note = append(note, byte(i+1))
	}
	symSize := uint64(24)
	if class == 1 {
		symSize = 16
	}
	secs := []section{
		{},
		{name: ".text", typ: 1, flags: 6, addr: linkedText, data: make([]byte, 0x400)},
		{name: ".rodata", typ: 1, flags: 2, addr: linkedData, data: append([]byte(banner), 0)},
		{name: ".data", typ: 1, flags: 3, addr: linkedData + 0x1000, data: make([]byte, 64)},
		{name: ".data..percpu", typ: 1, flags: 3, addr: 0x31000, data: make([]byte, 0x1000)},
		{name: ".bss", typ: 8, flags: 3, addr: linkedBSS, size: 0x100},
		{name: ".notes", typ: 7, flags: 2, addr: linkedData + 0x800, data: note},
		{name: ".symtab", typ: 2, data: symtab, link: 8, entry: symSize},
		{name: ".strtab", typ: 3, data: strtab},
		{name: ".shstrtab", typ: 3},
	}
	shstr := []byte{0}
	names := make([]uint32, len(secs))
	for i, s := range secs[1:] {
		names[i+1] = uint32(len(shstr))
		shstr = append(append(shstr, s.name...), 0)
	}
	secs[9].data = shstr
	ehsize, shsize := 64, 64
	if class == 1 {
		ehsize, shsize = 52, 40
	}
	out := make([]byte, ehsize)
	offsets := make([]uint64, len(secs))
	for i, s := range secs {
		offsets[i] = uint64(len(out))
		out = append(out, s.data...)
		for len(out)%8 != 0 {
			out = append(out, 0)
		}
	}
	shoff := uint64(len(out))
	for i, s := range secs {
		size := max(s.size, uint64(len(s.data)))
		b := make([]byte, shsize)
		bo.PutUint32(b, names[i])
		bo.PutUint32(b[4:], uint32(s.typ))
		if class == 1 {
			for k, v := range []uint64{s.flags, mask(s.addr), offsets[i], size, s.link, 0, 1, s.entry} {
				bo.PutUint32(b[8+4*k:], uint32(v))
			}
		} else {
			bo.PutUint64(b[8:], s.flags)
			bo.PutUint64(b[16:], s.addr)
			bo.PutUint64(b[24:], offsets[i])
			bo.PutUint64(b[32:], size)
			bo.PutUint32(b[40:], uint32(s.link))
			bo.PutUint64(b[48:], 1)
			bo.PutUint64(b[56:], s.entry)
		}
		out = append(out, b...)
	}
	copy(out, "\x7fELF")
	out[4], out[5], out[6] = class, 1, 1
	if bo == binary.BigEndian {
		out[5] = 2
	}
	bo.PutUint16(out[16:], 2)
	bo.PutUint16(out[18:], 62)
	bo.PutUint32(out[20:], 1)
	if class == 1 {
		bo.PutUint32(out[32:], uint32(shoff))
		bo.PutUint16(out[40:], uint16(ehsize))
		bo.PutUint16(out[46:], uint16(shsize))
		bo.PutUint16(out[48:], uint16(len(secs)))
		bo.PutUint16(out[50:], 9)
	} else {
		bo.PutUint64(out[40:], shoff)
		bo.PutUint16(out[52:], uint16(ehsize))
		bo.PutUint16(out[58:], uint16(shsize))
		bo.PutUint16(out[60:], uint16(len(secs)))
		bo.PutUint16(out[62:], 9)
	}
	return out
}

func open(data []byte) (*File, error) {
	return New(bytes.NewReader(data), int64(len(data)), "vmlinux")
}

func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		name  string
		class byte
		bo    binary.ByteOrder
	}{{"64-bit", 2, binary.LittleEndian}, {"64-bit big-endian", 2, binary.BigEndian}, {"32-bit", 1, binary.LittleEndian}} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := open(vmlinux(tt.class, tt.bo, kernelSymbols))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := f.BuildID(), "0102030405060708090a0b0c0d0e0f1011121314"; got != want {
				t.Errorf("BuildID() = %q; want %q", got, want)
			}
			if got, want := f.Banner(), strings.TrimSpace(banner); got != want {
				t.Errorf("Banner() = %q; want %q", got, want)
			}
			if got := f.Release(); got != "6.12.9-test" {
				t.Errorf("Release() = %q; want 6.12.9-test", got)
			}
		})
	}
}

func TestSymbols(t *testing.T) {
	f, err := open(vmlinux(2, binary.LittleEndian, kernelSymbols))
	if err != nil {
		t.Fatal(err)
	}
	const shift = 0xa200000
	s, err := f.Symbols(shift)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []symbols.Symbol{
		{Name: "_stext", Addr: linkedText + shift, Letter: 'T'},
		{Name: "schedule", Addr: linkedText + 0x100 + shift, Size: 0x80, Letter: 'T'},
		{Name: "weak_alias", Addr: linkedText + 0x100 + shift, Size: 0x80, Letter: 'W'},
		{Name: "entry", Addr: linkedText + 0x200 + shift, Size: 0x100, Letter: 't'},
		{Name: "init_task", Addr: linkedData + 0x1000 + shift, Size: 64, Letter: 'D'},
		{Name: "linux_banner", Addr: linkedData + shift, Size: uint64(len(banner)) + 1, Letter: 'R'},
		{Name: "_end", Addr: linkedBSS + 0x100 + shift, Letter: 'B'},
		{Name: "runqueues", Addr: 0x31980, Size: 8, Letter: 'A'}, // an offset into the per-CPU area does not move
	} {
		if got, err := s.SymbolsNamed(want.Name); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("SymbolsNamed(%s) = %+v, %v; want %+v", want.Name, got, err, want)
		}
	}
	for _, name := range []string{"vmlinux.c", ".L5", "__crc_x", "undefined", ""} {
		if got, err := s.SymbolsNamed(name); !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("SymbolsNamed(%q) = %+v, %v; want ErrNotFound", name, got, err)
		}
	}
	for addr, want := range map[uint64]string{
		linkedText + shift:         "_stext", // by name, as the kernel's own table has it
		linkedText + 0x100 + shift: "schedule",
		linkedText + 0x17f + shift: "schedule",
		linkedText + 0x185 + shift: "schedule", // the padding behind
		linkedText + 0x210 + shift: "entry",
		linkedText + 0x250 + shift: "entry_label", // though entry spans it
		linkedData + 5 + shift:     "linux_banner",
		linkedText - 1 + shift:     "",
		0x31984:                    "",
		linkedBSS + shift + 1<<20:  "",
	} {
		if got, err := s.SymbolAt(addr); got.Name != want || (want == "") != (err != nil) {
			t.Errorf("SymbolAt(%#x) = %q, %v; want %q", addr, got.Name, err, want)
		}
	}
	all := slices.Collect(s.All())
	if len(all) != 11 || all[0].Name != "runqueues" || all[1].Name != "_stext" {
		t.Errorf("All yields %+v; want 11, first what does not move", all)
	}
	if a, ok := f.Address("_stext"); !ok || a != linkedText {
		t.Errorf("Address(_stext) = %#x, %v; want %#x", a, ok, uint64(linkedText))
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	good := vmlinux(2, binary.LittleEndian, kernelSymbols)
	boot := make([]byte, 0x400)
	copy(boot[0x202:], "HdrS")
	stripped := slices.Clone(good)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"good", good, ""},
		{"empty", nil, "not an ELF"},
		{"text", []byte("hello"), "not an ELF"},
		{"boot image", boot, "boot image"},
		{"gzip", []byte{0x1f, 0x8b, 8}, "compressed"},
		{"cut in the header", good[:40], "damaged"},
		{"cut in the middle", good[:len(good)/2], "damaged"},
		{"stripped", stripTypes(stripped), "no symbol table"},
	}
	for _, tt := range tests {
		path := filepath.Join(dir, "vmlinux")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v; want an error with %q", tt.name, err, tt.want)
		}
	}
	if _, err := Open(dir); err == nil {
		t.Error("Open of a directory: no error")
	}
	if _, err := Open(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
}

// stripTypes makes the symbol table something else.
func stripTypes(elf []byte) []byte {
	shoff := binary.LittleEndian.Uint64(elf[40:])
	binary.LittleEndian.PutUint32(elf[shoff+7*64+4:], 1)
	return elf
}

func FuzzELFSym(f *testing.F) {
	f.Add(vmlinux(2, binary.LittleEndian, kernelSymbols))
	f.Add(vmlinux(1, binary.BigEndian, kernelSymbols))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := open(data)
		if err != nil {
			return
		}
		_, _, _ = file.BuildID(), file.Banner(), file.Release()
		s, err := file.Symbols(0x1000)
		if err != nil {
			return
		}
		asked := 0
		for sym := range s.All() {
			_, _ = s.SymbolAt(sym.Addr)
			if asked++; asked < 20 {
				_, _ = s.SymbolsNamed(sym.Name)
			}
		}
	})
}
