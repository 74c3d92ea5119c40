package elfsym

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kdx/symbols/internal/nameindex"
)

// entry is a symbol as linked.
type entry struct {
	addr, size uint64
	name       uint32 // offset in the string table
	length     uint16
	section    uint16
	letter     byte
	fixed      bool // does not move with KASLR: absolute values and offsets into per-CPU areas
}

// table is the file's symbols by address; of several at one address the one that the kernel's kallsyms would prefer comes
// first.
type table struct {
	entries []entry
	strings string
	index   func() *nameindex.Index
}

func (t *table) name(i int) string {
	e := &t.entries[i]
	return t.strings[e.name : e.name+uint32(e.length)]
}

// ErrNoSymbols: the file was stripped of its symbols, as the kernel in a boot image is.
var ErrNoSymbols = errors.New("it has no symbol table: it is a stripped vmlinux, or no kernel at all")

func (f *File) readTable() (*table, error) {
	symtab := f.elf.SectionByType(elf.SHT_SYMTAB)
	if symtab == nil {
		return nil, ErrNoSymbols
	}
	raw, err := f.section(symtab, maxSymtab)
	if err != nil {
		return nil, err
	}
	if symtab.Link == 0 || int(symtab.Link) >= len(f.elf.Sections) {
		return nil, fmt.Errorf("the symbol table's strings are in section %d, which does not exist", symtab.Link)
	}
	names, err := f.section(f.elf.Sections[symtab.Link], maxSymtab)
	if err != nil {
		return nil, err
	}
	t := &table{strings: string(names)}
	size := 24
	if f.Class == elf.ELFCLASS32 {
		size = 16
	}
	text := f.textStart()
	t.entries = make([]entry, 0, len(raw)/size)
	for at := size; at+size <= len(raw); at += size { // the first is empty
		if e, ok := f.parse(raw[at:at+size], t.strings, text); ok {
			t.entries = append(t.entries, e)
		}
	}
	if len(t.entries) == 0 {
		return nil, ErrNoSymbols
	}
	t.sort()
	t.index = sync.OnceValue(func() *nameindex.Index { return nameindex.New(len(t.entries), t.name) })
	return t, nil
}

// textStart is the lowest address of code. Sections below it are x86-64's per-CPU area, which was linked at 0 until 6.14.
func (f *File) textStart() uint64 {
	for _, s := range f.elf.Sections {
		if s.Name == ".text" || s.Name == ".head.text" {
			return s.Addr
		}
	}
	return 0
}

func (f *File) parse(b []byte, names string, text uint64) (entry, bool) {
	bo := f.Order
	e := entry{name: bo.Uint32(b)}
	var info byte
	if f.Class == elf.ELFCLASS32 {
		e.addr, e.size, info, e.section = uint64(bo.Uint32(b[4:])), uint64(bo.Uint32(b[8:])), b[12], bo.Uint16(b[14:])
	} else {
		info, e.section, e.addr, e.size = b[4], bo.Uint16(b[6:]), bo.Uint64(b[8:]), bo.Uint64(b[16:])
	}
	section := elf.SectionIndex(e.section)
	switch elf.ST_TYPE(info) {
	case elf.STT_SECTION, elf.STT_FILE, elf.STT_TLS:
		return e, false
	}
	if section == elf.SHN_UNDEF || uint64(e.name) >= uint64(len(names)) {
		return e, false
	}
	rest := names[e.name:min(len(names), int(e.name)+1024)]
	end := strings.IndexByte(rest, 0)
	if end <= 0 || hidden(rest[:end]) {
		return e, false
	}
	e.length = uint16(end)
	e.fixed = e.addr < text
	e.letter = f.letter(section, elf.ST_BIND(info))
	if e.fixed && e.letter|0x20 == 'd' {
		e.letter -= 'd' - 'a' // as kallsyms has it
	}
	return e, true
}

// hidden names are the assembler's labels and marks, and checksums, as scripts/kallsyms leaves them out.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".L") || name[0] == '$' || strings.HasPrefix(name, "__crc_")
}

// letter is what nm(1) prints.
func (f *File) letter(section elf.SectionIndex, bind elf.SymBind) byte {
	l := byte('a')
	if int(section) < len(f.elf.Sections) {
		s := f.elf.Sections[section]
		switch {
		case s.Flags&elf.SHF_EXECINSTR != 0 && s.Name != ".data": // 7.x links .data executable
			l = 't'
		case s.Type == elf.SHT_NOBITS:
			l = 'b'
		case s.Flags&elf.SHF_WRITE != 0:
			l = 'd'
		default:
			l = 'r'
		}
	} else if section != elf.SHN_ABS {
		l = '?'
	}
	switch {
	case bind == elf.STB_WEAK && l == 't':
		return 'W'
	case bind == elf.STB_WEAK:
		return 'V'
	case bind == elf.STB_LOCAL || l == '?':
		return l
	}
	return l - 0x20
}

// sort orders by address and, at one address, as scripts/kallsyms does: weak symbols last, then what the linker script
// defines, then those with fewer leading underscores first, then by name.
func (t *table) sort() {
	rank := func(e *entry) int {
		name := t.strings[e.name : e.name+uint32(e.length)]
		n := len(name) - len(strings.TrimLeft(name, "_"))
		if linkerMade(name) {
			n += 1 << 16
		}
		if e.letter == 'W' || e.letter == 'V' {
			n += 1 << 17
		}
		return n
	}
	slices.SortFunc(t.entries, func(a, b entry) int {
		if c := cmp.Compare(a.addr, b.addr); c != 0 {
			return c
		}
		if c := cmp.Compare(rank(&a), rank(&b)); c != 0 {
			return c
		}
		return strings.Compare(t.strings[a.name:a.name+uint32(a.length)], t.strings[b.name:b.name+uint32(b.length)])
	})
}

// linkerMade reports whether a name looks like those that linker scripts give to the bounds of sections.
func linkerMade(name string) bool {
	rest, ok := strings.CutPrefix(name, "__")
	if !ok {
		return false
	}
	return strings.HasPrefix(rest, "start_") || strings.HasPrefix(rest, "stop_") || strings.HasPrefix(rest, "end_") ||
		strings.HasSuffix(rest, "_start") || strings.HasSuffix(rest, "_end")
}
