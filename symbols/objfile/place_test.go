package objfile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type rela struct {
	off    uint64
	typ    uint32
	sym    uint32
	addend int64
}

// relocatable is a file with .text (section 1), .init.text (2), .debug_info (3) whose relocations are rels, .debug_ranges (4, the
// same), and four symbols: .text, .init.text, .debug_info and an absolute one, 0x1234.
func relocatable(order binary.ByteOrder, machine elf.Machine, data []byte, rels []rela) []byte {
	var table, syms bytes.Buffer
	w := func(b *bytes.Buffer, values ...any) {
		for _, v := range values {
			_ = binary.Write(b, order, v) // to a buffer: it does not fail
		}
	}
	for _, r := range rels {
		w(&table, r.off, uint64(r.sym)<<32|uint64(r.typ), r.addend)
	}
	w(&syms, elf.Sym64{})
	for _, index := range []uint16{1, 2, 3} {
		w(&syms, elf.Sym64{Info: 3, Shndx: index})
	}
	w(&syms, elf.Sym64{Shndx: uint16(elf.SHN_ABS), Value: 0x1234}, elf.Sym64{})
	type section struct {
		name       string
		typ        elf.SectionType
		flags      elf.SectionFlag
		link, info uint32
		entsize    uint64
		data       []byte
	}
	secs := []section{{}, {".text", elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_EXECINSTR, 0, 0, 0, make([]byte, 16)},
		{".init.text", elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_EXECINSTR, 0, 0, 0, make([]byte, 16)},
		{".debug_info", elf.SHT_PROGBITS, 0, 0, 0, 0, data}, {".debug_ranges", elf.SHT_PROGBITS, 0, 0, 0, 0, data},
		{".rela.debug_info", elf.SHT_RELA, elf.SHF_INFO_LINK, 7, 3, 24, table.Bytes()}, {".rela.debug_ranges", elf.SHT_RELA, elf.SHF_INFO_LINK, 7, 4, 24, table.Bytes()},
		{".symtab", elf.SHT_SYMTAB, 0, 8, 1, 24, syms.Bytes()}, {".strtab", elf.SHT_STRTAB, 0, 0, 0, 0, []byte{0}}, {".shstrtab", elf.SHT_STRTAB, 0, 0, 0, 0, nil}}
	names := []byte{0}
	at := make([]uint32, len(secs))
	for i := range secs {
		at[i] = uint32(len(names))
		names = append(append(names, secs[i].name...), 0)
	}
	secs[len(secs)-1].data = names
	var body, heads bytes.Buffer
	for i, s := range secs {
		w(&heads, elf.Section64{Name: at[i], Type: uint32(s.typ), Flags: uint64(s.flags), Off: uint64(64 + body.Len()), Size: uint64(len(s.data)), Link: s.link, Info: s.info, Entsize: s.entsize, Addralign: 1})
		body.Write(s.data)
	}
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(machine), Version: 1, Shoff: uint64(64 + body.Len()), Ehsize: 64, Shentsize: 64, Shnum: uint16(len(secs)), Shstrndx: uint16(len(secs) - 1)}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[4], h.Ident[5], h.Ident[6] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	if order == binary.ByteOrder(binary.BigEndian) {
		h.Ident[5] = byte(elf.ELFDATA2MSB)
	}
	var out bytes.Buffer
	w(&out, h)
	out.Write(body.Bytes())
	out.Write(heads.Bytes())
	return out.Bytes()
}

const textAt = 0xffffffffc0123000

func placed(t *testing.T, file []byte) *File {
	t.Helper()
	f, err := New(file, "module.ko")
	if err != nil {
		t.Fatal(err)
	}
	f.Place(map[string]uint64{".text": textAt})
	return f
}

func TestRelocate(t *testing.T) {
	le := binary.LittleEndian
	word := func(x uint64) string { return string(le.AppendUint64(nil, x)) }
	tests := []struct {
		name    string
		machine elf.Machine
		rel     rela
		want    string // of 16 bytes of 0xee; "" for an error
		err     string
	}{
		{"64", elf.EM_X86_64, rela{0, 1, 1, 5}, word(textAt+5) + "\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"64, of init code", elf.EM_X86_64, rela{0, 1, 2, 5}, word(0) + "\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"32, an offset in another section", elf.EM_X86_64, rela{4, 10, 3, 7}, "\xee\xee\xee\xee\x07\x00\x00\x00\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"32S", elf.EM_X86_64, rela{0, 11, 1, 0}, "\x00\x30\x12\xc0\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"32 that does not fit", elf.EM_X86_64, rela{0, 10, 1, 0}, "", "does not fit"},
		{"PC32", elf.EM_X86_64, rela{8, 2, 3, 0}, "\xee\xee\xee\xee\xee\xee\xee\xee\xf8\xff\xff\xff\xee\xee\xee\xee", ""},
		{"PC64", elf.EM_X86_64, rela{8, 24, 1, 0}, "\xee\xee\xee\xee\xee\xee\xee\xee" + word(textAt-8), ""},
		{"NONE", elf.EM_X86_64, rela{1 << 40, 0, 99, 0}, strings.Repeat("\xee", 16), ""},
		{"absolute", elf.EM_X86_64, rela{0, 10, 4, 0}, "\x34\x12\x00\x00" + strings.Repeat("\xee", 12), ""},
		{"undefined", elf.EM_X86_64, rela{0, 1, 5, 9}, word(0) + "\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"offset beyond", elf.EM_X86_64, rela{9, 1, 1, 0}, "", "outside the section"},
		{"offset far beyond", elf.EM_X86_64, rela{^uint64(0), 1, 1, 0}, "", "outside the section"},
		{"symbol beyond", elf.EM_X86_64, rela{0, 1, 6, 0}, "", "no symbol 6"},
		{"unknown type", elf.EM_X86_64, rela{0, 8, 1, 0}, "", "R_X86_64_RELATIVE"},
		{"AArch64 ABS64", elf.EM_AARCH64, rela{0, 257, 1, 1}, word(textAt+1) + "\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"AArch64 PREL32", elf.EM_AARCH64, rela{4, 261, 3, 0}, "\xee\xee\xee\xee\xfc\xff\xff\xff\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"PPC64 ADDR64", elf.EM_PPC64, rela{0, 38, 1, 1}, word(textAt+1) + "\xee\xee\xee\xee\xee\xee\xee\xee", ""},
		{"RISC-V ADD8", elf.EM_RISCV, rela{0, 33, 4, 0}, "\x22" + strings.Repeat("\xee", 15), ""},
		{"RISC-V SUB6", elf.EM_RISCV, rela{0, 52, 4, 0}, "\xfa" + strings.Repeat("\xee", 15), ""},
		{"another machine", elf.EM_MIPS, rela{0, 1, 1, 0}, "", "EM_MIPS"},
	}
	for _, tc := range tests {
		f := placed(t, relocatable(le, tc.machine, bytes.Repeat([]byte{0xee}, 16), []rela{tc.rel}))
		got, err := f.Section(".debug_info")
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: Section = % x, %v; want an error with %q", tc.name, got, err, tc.err)
			}
			continue
		}
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: Section = % x, %v; want % x", tc.name, got, err, tc.want)
		}
	}
	f := placed(t, relocatable(le, elf.EM_X86_64, make([]byte, 16), []rela{{0, 1, 2, 5}}))
	if got, err := f.Section(".debug_ranges"); err != nil || got[0] != 1 {
		t.Errorf(".debug_ranges of init code = % x, %v; want 1: a 0 would end the list", got, err)
	}
	big := placed(t, relocatable(binary.BigEndian, elf.EM_S390, make([]byte, 16), []rela{{0, 22, 1, 1}}))
	if got, err := big.Section(".debug_info"); err != nil || binary.BigEndian.Uint64(got) != textAt+1 {
		t.Errorf("s390x: Section = % x, %v; want %#x", got, err, uint64(textAt+1))
	}
}

func TestPlace(t *testing.T) {
	file := relocatable(binary.LittleEndian, elf.EM_X86_64, make([]byte, 16), nil)
	f, err := New(file, "module.ko")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Section(".debug_info"); err == nil || !strings.Contains(err.Error(), "relocatable") {
		t.Errorf("Section before Place = %v; want an error", err)
	}
	f = placed(t, file)
	if got := f.Text(); !slices.Equal(got, [][2]uint64{{textAt, textAt + 16}}) {
		t.Errorf("Text = %x; want .text alone", got)
	}
	if f.Address(".text") != textAt || f.Address(".init.text") != 0 || f.Address(".nothing") != 0 {
		t.Errorf("Address = %#x, %#x, %#x", f.Address(".text"), f.Address(".init.text"), f.Address(".nothing"))
	}
	if _, err := f.Section(".debug_info"); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(file, relocatable(binary.LittleEndian, elf.EM_X86_64, make([]byte, 16), nil)) {
		t.Error("relocation changed the file's own bytes")
	}
}

// TestCompiled: what gcc writes, plain and compressed, leads to the function's place.
func TestCompiled(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc, which makes the module that is read, is not installed")
	}
	for _, flags := range [][]string{{"-gdwarf-4"}, {"-gdwarf-5"}, {"-gdwarf-5", "-gz=zlib"}, {"-gdwarf-4", "-ffunction-sections"}} {
		out := filepath.Join(t.TempDir(), "module.ko")
		cmd := exec.Command("gcc", append(flags, "-c", "-x", "c", "-", "-o", out)...)
		cmd.Stdin = strings.NewReader("int counter;\nint count(int n) { return counter += n; }\n")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, msg)
		}
		f, err := Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.Place(map[string]uint64{".text": textAt, ".text.count": textAt, ".bss": 0xffffffffc0200000})
		b, err := f.Section(".debug_info")
		if err != nil {
			t.Errorf("%v: %v", flags, err)
			continue
		}
		for _, want := range []uint64{textAt, 0xffffffffc0200000} {
			if !bytes.Contains(b, binary.LittleEndian.AppendUint64(nil, want)) {
				t.Errorf("%v: .debug_info does not have %#x", flags, want)
			}
		}
	}
}

// FuzzRelocate: a module file can be anything.
func FuzzRelocate(f *testing.F) {
	f.Add(relocatable(binary.LittleEndian, elf.EM_X86_64, make([]byte, 16), []rela{{0, 1, 1, 5}, {8, 10, 3, 1}}))
	f.Add(relocatable(binary.BigEndian, elf.EM_S390, make([]byte, 16), []rela{{0, 22, 1, 5}}))
	f.Add(relocatable(binary.LittleEndian, elf.EM_RISCV, make([]byte, 16), []rela{{0, 52, 1, 5}, {1, 61, 3, 1}}))
	f.Fuzz(func(t *testing.T, file []byte) {
		o, err := New(file, "module.ko")
		if err != nil {
			return
		}
		o.Place(map[string]uint64{".text": textAt})
		for _, name := range []string{".debug_info", ".debug_ranges", ".symtab", ".text"} {
			if _, err := o.Section(name); err != nil && strings.Contains(err.Error(), "mistake in kdx") {
				t.Error(err)
			}
		}
		o.Text()
		o.BuildID()
	})
}
