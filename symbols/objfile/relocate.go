package objfile

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Fixed reports whether the contents of a section are the same wherever the file is loaded: all those of a file that is linked, and
// of a relocatable one those without relocations. dwz writes its common files so.
func (f *File) Fixed(name string) bool {
	s := f.find(name)
	return s == nil || f.fixed(s)
}

func (f *File) fixed(target *elf.Section) bool {
	if f.ELF.Type != elf.ET_REL {
		return true
	}
	for _, s := range f.ELF.Sections {
		if (s.Type == elf.SHT_REL || s.Type == elf.SHT_RELA) && s.Info < uint32(len(f.ELF.Sections)) && f.ELF.Sections[s.Info] == target {
			return false
		}
	}
	return true
}

// relocate adds to a section's contents what its relocations say. data is changed.
func (f *File) relocate(target *elf.Section, data []byte) error {
	index := -1
	for i, s := range f.ELF.Sections {
		if s == target {
			index = i
		}
	}
	for _, s := range f.ELF.Sections {
		if int(s.Info) != index {
			continue
		}
		switch s.Type {
		case elf.SHT_REL:
			return fmt.Errorf("its relocations in %s have no addends (SHT_REL): kdx knows no machine's kernel that has such", s.Name)
		case elf.SHT_RELA:
			if err := f.apply(target, s, data); err != nil {
				return fmt.Errorf("relocations in %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

const relaSize = 24 // Elf64_Rela: offset, info, addend

func (f *File) apply(target, rela *elf.Section, data []byte) error {
	if f.ELF.Class != elf.ELFCLASS64 {
		return fmt.Errorf("the file is of a 32-bit machine, whose modules kdx does not load")
	}
	kinds := relocations[f.ELF.Machine]
	if kinds == nil {
		return fmt.Errorf("kdx does not know those of %v", f.ELF.Machine)
	}
	entries, err := f.contents(rela)
	if err != nil {
		return err
	}
	if int(rela.Link) >= len(f.ELF.Sections) {
		return fmt.Errorf("its symbol table would be section %d of %d", rela.Link, len(f.ELF.Sections))
	}
	syms, err := f.symbols(f.ELF.Sections[rela.Link])
	if err != nil {
		return err
	}
	base, _ := f.address(target)
	lost := tombstone(target.Name)
	order := f.Order()
	for at := 0; at+relaSize <= len(entries); at += relaSize {
		off, info := order.Uint64(entries[at:]), order.Uint64(entries[at+8:])
		addend := order.Uint64(entries[at+16:])
		k, ok := kinds[uint32(info)]
		if !ok {
			return fmt.Errorf("entry %d is of type %s, which kdx does not know", at/relaSize, relocName(f.ELF.Machine, uint32(info)))
		}
		if k.size == 0 {
			continue
		}
		if off > uint64(len(data)) || uint64(k.size) > uint64(len(data))-off {
			return fmt.Errorf("entry %d is for offset %#x, outside the section of %#x bytes", at/relaSize, off, len(data))
		}
		v, inMemory, err := syms.value(info >> 32)
		if err != nil {
			return fmt.Errorf("entry %d: %w", at/relaSize, err)
		}
		switch v += addend; {
		case !inMemory && k.relative:
			v = 0
		case !inMemory:
			v = lost
		case k.relative:
			v -= base + off
		}
		if err := k.put(order, data[off:], v); err != nil {
			return fmt.Errorf("entry %d, for offset %#x: %w", at/relaSize, off, err)
		}
	}
	return nil
}

// tombstone is what stands for addresses in sections that are not in memory (init code, after a module was loaded). Lists of
// ranges and locations before DWARF 5 end with two zeros, so that it must not be 0 there.
func tombstone(section string) uint64 {
	if name := strings.TrimPrefix(section, ".debug_"); name == "ranges" || name == "loc" {
		return 1
	}
	return 0
}

// symtab is a symbol table by index, as its bytes.
type symtab struct {
	f        *File
	data     []byte
	extended []byte // section numbers that don't fit the table (SHT_SYMTAB_SHNDX)
	bases    []base // of sections
}

type base struct {
	addr uint64
	ok   bool
}

const symSize = 24 // Elf64_Sym: name 4, info 1, other 1, shndx 2, value 8, size 8

func (f *File) symbols(s *elf.Section) (*symtab, error) {
	if s.Type != elf.SHT_SYMTAB {
		return nil, fmt.Errorf("their symbols would be in %s, which is no symbol table", s.Name)
	}
	t := &symtab{f: f}
	var err error
	if t.data, err = f.contents(s); err != nil {
		return nil, err
	}
	for _, x := range f.ELF.Sections {
		if x.Type == elf.SHT_SYMTAB_SHNDX && int(x.Link) < len(f.ELF.Sections) && f.ELF.Sections[x.Link] == s {
			if t.extended, err = f.contents(x); err != nil {
				return nil, err
			}
		}
	}
	t.bases = make([]base, len(f.ELF.Sections))
	for i, x := range f.ELF.Sections {
		addr, ok := f.address(x)
		// Sections that are not loaded refer to each other by offset.
		t.bases[i] = base{addr, ok || x.Flags&elf.SHF_ALLOC == 0}
	}
	return t, nil
}

// value of a symbol; ok is false if it is not in memory.
func (t *symtab) value(i uint64) (v uint64, ok bool, err error) {
	if i >= uint64(len(t.data)/symSize) {
		return 0, false, fmt.Errorf("there is no symbol %d, the table has %d", i, len(t.data)/symSize)
	}
	order := t.f.Order()
	b := t.data[i*symSize:]
	value, section := order.Uint64(b[8:]), uint64(order.Uint16(b[6:]))
	switch elf.SectionIndex(section) {
	case elf.SHN_UNDEF:
		return 0, i == 0, nil // symbol 0 stands for the value 0; others are the kernel's, and debug information has no use for them
	case elf.SHN_ABS:
		return value, true, nil
	case elf.SHN_COMMON:
		return 0, false, nil
	case elf.SHN_XINDEX:
		if (i+1)*4 > uint64(len(t.extended)) {
			return 0, false, fmt.Errorf("symbol %d has no section number", i)
		}
		section = uint64(order.Uint32(t.extended[i*4:]))
	}
	if section >= uint64(len(t.bases)) {
		return 0, false, fmt.Errorf("symbol %d lies in section %d, and there are %d", i, section, len(t.bases))
	}
	return t.bases[section].addr + value, t.bases[section].ok, nil
}

// reloc is what a type of relocation does.
type reloc struct {
	size     int // bytes; 0 does nothing
	relative bool
	fit      fit
	op       op
}

type fit uint8

const (
	fitAny      fit = iota // signed or unsigned
	fitSigned              // the value is extended by its sign
	fitUnsigned            // by zeros
	fitCut                 // what does not fit is cut off
)

type op uint8

const (
	opSet op = iota
	opAdd
	opSub
	opSet6 // the lower six bits of a byte
	opSub6
)

var errFit = errors.New("the value does not fit")

func (k reloc) put(order binary.ByteOrder, p []byte, v uint64) error {
	if k.op != opSet {
		return k.change(order, p, v)
	}
	switch k.size {
	case 8:
		order.PutUint64(p, v)
		return nil
	case 4:
		order.PutUint32(p, uint32(v))
	case 2:
		order.PutUint16(p, uint16(v))
	case 1:
		p[0] = byte(v)
	}
	if k.fit == fitCut {
		return nil
	}
	bits := 8 * k.size
	signed := uint64(int64(v<<(64-bits))>>(64-bits)) == v
	unsigned := v>>bits == 0
	if k.fit == fitSigned && !signed || k.fit == fitUnsigned && !unsigned || !signed && !unsigned {
		return fmt.Errorf("%#x: %w %d bytes", v, errFit, k.size)
	}
	return nil
}

// change is for RISC-V, whose linker shortens code: differences of labels are left to relocations that add and subtract.
func (k reloc) change(order binary.ByteOrder, p []byte, v uint64) error {
	if k.op == opSub || k.op == opSub6 {
		v = -v
	}
	switch {
	case k.op == opSet6:
		p[0] = p[0]&0xc0 | byte(v)&0x3f
	case k.op == opSub6:
		p[0] = p[0]&0xc0 | (p[0]+byte(v))&0x3f
	case k.size == 8:
		order.PutUint64(p, order.Uint64(p)+v)
	case k.size == 4:
		order.PutUint32(p, order.Uint32(p)+uint32(v))
	case k.size == 2:
		order.PutUint16(p, order.Uint16(p)+uint16(v))
	default:
		p[0] += byte(v)
	}
	return nil
}

func relocName(m elf.Machine, t uint32) string {
	switch m {
	case elf.EM_X86_64:
		return elf.R_X86_64(t).String()
	case elf.EM_AARCH64:
		return elf.R_AARCH64(t).String()
	case elf.EM_PPC64:
		return elf.R_PPC64(t).String()
	case elf.EM_S390:
		return elf.R_390(t).String()
	case elf.EM_RISCV:
		return elf.R_RISCV(t).String()
	}
	return fmt.Sprint(t)
}

// relocations are those that compilers put into sections of debug information and of call frames, by machine.
var relocations = map[elf.Machine]map[uint32]reloc{
	elf.EM_X86_64: {
		uint32(elf.R_X86_64_NONE):  {},
		uint32(elf.R_X86_64_64):    {size: 8},
		uint32(elf.R_X86_64_32):    {size: 4, fit: fitUnsigned},
		uint32(elf.R_X86_64_32S):   {size: 4, fit: fitSigned},
		uint32(elf.R_X86_64_16):    {size: 2},
		uint32(elf.R_X86_64_8):     {size: 1},
		uint32(elf.R_X86_64_PC64):  {size: 8, relative: true},
		uint32(elf.R_X86_64_PC32):  {size: 4, relative: true, fit: fitSigned},
		uint32(elf.R_X86_64_PLT32): {size: 4, relative: true, fit: fitSigned},
	},
	elf.EM_AARCH64: {
		uint32(elf.R_AARCH64_NONE): {}, uint32(elf.R_AARCH64_NULL): {},
		uint32(elf.R_AARCH64_ABS64): {size: 8}, uint32(elf.R_AARCH64_ABS32): {size: 4}, uint32(elf.R_AARCH64_ABS16): {size: 2},
		uint32(elf.R_AARCH64_PREL64): {size: 8, relative: true},
		uint32(elf.R_AARCH64_PREL32): {size: 4, relative: true, fit: fitSigned},
		uint32(elf.R_AARCH64_PREL16): {size: 2, relative: true, fit: fitSigned},
	},
	elf.EM_PPC64: {
		uint32(elf.R_PPC64_NONE):   {},
		uint32(elf.R_PPC64_ADDR64): {size: 8}, uint32(elf.R_PPC64_ADDR32): {size: 4},
		uint32(elf.R_PPC64_REL64): {size: 8, relative: true}, uint32(elf.R_PPC64_REL32): {size: 4, relative: true, fit: fitSigned},
	},
	elf.EM_S390: {
		uint32(elf.R_390_NONE): {},
		uint32(elf.R_390_64):   {size: 8}, uint32(elf.R_390_32): {size: 4}, uint32(elf.R_390_16): {size: 2}, uint32(elf.R_390_8): {size: 1},
		uint32(elf.R_390_PC64): {size: 8, relative: true}, uint32(elf.R_390_PC32): {size: 4, relative: true, fit: fitSigned},
	},
	elf.EM_RISCV: {
		uint32(elf.R_RISCV_NONE): {},
		uint32(elf.R_RISCV_64):   {size: 8}, uint32(elf.R_RISCV_32): {size: 4},
		uint32(elf.R_RISCV_SET32): {size: 4, fit: fitCut}, uint32(elf.R_RISCV_SET16): {size: 2, fit: fitCut}, uint32(elf.R_RISCV_SET8): {size: 1, fit: fitCut},
		uint32(elf.R_RISCV_SET6): {size: 1, op: opSet6}, uint32(elf.R_RISCV_SUB6): {size: 1, op: opSub6},
		uint32(elf.R_RISCV_ADD64): {size: 8, op: opAdd}, uint32(elf.R_RISCV_ADD32): {size: 4, op: opAdd},
		uint32(elf.R_RISCV_ADD16): {size: 2, op: opAdd}, uint32(elf.R_RISCV_ADD8): {size: 1, op: opAdd},
		uint32(elf.R_RISCV_SUB64): {size: 8, op: opSub}, uint32(elf.R_RISCV_SUB32): {size: 4, op: opSub},
		uint32(elf.R_RISCV_SUB16): {size: 2, op: opSub}, uint32(elf.R_RISCV_SUB8): {size: 1, op: opSub},
		uint32(elf.R_RISCV_32_PCREL): {size: 4, relative: true, fit: fitSigned},
	},
}
