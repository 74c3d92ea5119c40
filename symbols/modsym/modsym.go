// Package modsym reads the symbols of loaded modules: the kernel keeps each module's ELF symbol table, with addresses
// filled in, for its own kallsyms.
package modsym

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"

	"kdx/symbols"
)

// Module says where a module's symbols and memory are. All of it is in struct module.
type Module struct {
	Name    string
	Symtab  uint64 // kallsyms->symtab: Elf64_Sym or Elf32_Sym
	Strtab  uint64
	NumSyms uint64
	Typetab uint64  // kallsyms->typetab, nm(1) letters, since 5.2; 0 before, when st_info held them
	Ranges  []Range // the module's memory; symbols outside have a name and an address, but cover nothing
}

// Range of memory.
type Range struct {
	Base, Size uint64
	Kind       string // for diagnosis
}

// Options say what kind of machine the module is from.
type Options struct {
	Order    binary.ByteOrder // nil means little-endian
	WordSize int              // bytes, 4 or 8; 0 means 8
}

const (
	maxSymbols = 1 << 20 // the largest modules (amdgpu) have 30,000
	maxStrings = 64 << 20
	readStep   = 1 << 20
	maxName    = 1024
)

// Finder knows the symbols of one module. It implements symbols.SymbolFinder and is safe for many goroutines.
//
// Of several symbols at one address the first in the table is the one that SymbolAt gives, as in the kernel's messages:
// local names come before the global aliases init_module and cleanup_module.
type Finder struct {
	name    string
	module  string
	syms    []symbols.Symbol // by address
	names   []uint32         // indices into syms, by name and address
	ranges  []Range          // by base
	missing error
}

var _ symbols.SymbolFinder = (*Finder)(nil)

// Read decodes a module's symbols. A table with holes gives the symbols that are there; Missing then says what is not.
func Read(mem symbols.Memory, m Module, opt Options) (*Finder, error) {
	f := &Finder{name: "module:" + m.Name, module: m.Name}
	if m.NumSyms == 0 || m.Symtab == 0 || m.Strtab == 0 {
		return nil, fmt.Errorf("module %s has no symbols: %w", m.Name, symbols.ErrNotFound)
	}
	if m.NumSyms > maxSymbols {
		return nil, fmt.Errorf("module %s: %d symbols can't be right", m.Name, m.NumSyms)
	}
	for _, r := range m.Ranges {
		if r.Size > 0 && r.Base+r.Size-1 >= r.Base {
			f.ranges = append(f.ranges, r)
		}
	}
	slices.SortFunc(f.ranges, func(a, b Range) int { return cmp.Compare(a.Base, b.Base) })
	if err := f.read(mem, m, opt); err != nil {
		return nil, fmt.Errorf("module %s: symbols: %w", m.Name, err)
	}
	return f, nil
}

// Name is "module:NAME".
func (f *Finder) Name() string { return f.name }

// Len is the number of symbols.
func (f *Finder) Len() int { return len(f.syms) }

// Missing says what could not be read of the table; nil if it is whole.
func (f *Finder) Missing() error { return f.missing }

// raw is one element of the symbol table.
type raw struct {
	name        uint32
	info        byte
	section     uint16
	value, size uint64
}

func parse(b []byte, bo binary.ByteOrder, word int) raw {
	if word == 4 {
		return raw{bo.Uint32(b), b[12], bo.Uint16(b[14:]), uint64(bo.Uint32(b[4:])), uint64(bo.Uint32(b[8:]))}
	}
	return raw{bo.Uint32(b), b[4], bo.Uint16(b[6:]), bo.Uint64(b[8:]), bo.Uint64(b[16:])}
}

func (f *Finder) read(mem symbols.Memory, m Module, opt Options) error {
	bo, size := opt.Order, 24
	if bo == nil {
		bo = binary.LittleEndian
	}
	if opt.WordSize == 4 {
		size = 16
	}
	n := int(m.NumSyms)
	table, err := readUpTo(mem, m.Symtab, n*size)
	if got := len(table) / size; got < n {
		f.missing = fmt.Errorf("module %s: %d of %d symbols are missing: %w", m.Name, n-got, n, err)
		if n = got; n == 0 {
			return fmt.Errorf("table at %#x: %w", m.Symtab, err)
		}
	}
	last := uint32(0)
	for i := range n {
		last = max(last, bo.Uint32(table[i*size:]))
	}
	if last > maxStrings {
		return fmt.Errorf("table at %#x is damaged: a name at offset %#x", m.Symtab, last)
	}
	text, err := readUpTo(mem, m.Strtab, int(last)+maxName)
	if len(text) == 0 {
		return fmt.Errorf("names at %#x: %w", m.Strtab, err)
	}
	var letters []byte
	if m.Typetab != 0 {
		letters, _ = readUpTo(mem, m.Typetab, n) // without them, symbols have letter '?'
	}
	names := string(text)
	lost := 0
	for i := range n {
		r := parse(table[i*size:], bo, opt.WordSize)
		if r.section == 0 || r.name == 0 {
			continue // undefined, or without a name
		}
		name, ok := cString(names, r.name)
		if !ok {
			lost++
			continue
		}
		if hidden(name) {
			continue
		}
		letter := byte('?')
		switch {
		case i < len(letters):
			letter = letters[i]
		case m.Typetab == 0:
			letter = r.info
		}
		if letter|0x20 < 'a' || letter|0x20 > 'z' {
			letter = '?'
		}
		f.syms = append(f.syms, symbols.Symbol{Name: name, Addr: r.value, Size: r.size, Letter: letter, Module: m.Name})
	}
	if lost > 0 && f.missing == nil {
		f.missing = fmt.Errorf("module %s: %d of %d symbols have no readable name", m.Name, lost, n)
	}
	f.index()
	return nil
}

func readUpTo(mem symbols.Memory, addr uint64, n int) ([]byte, error) {
	var buf []byte
	for len(buf) < n {
		at := len(buf)
		step := min(n-at, readStep)
		buf = append(buf, make([]byte, step)...)
		got, err := mem.ReadMemory(buf[at:], addr+uint64(at))
		got = min(max(got, 0), step)
		if err != nil || got < step {
			return buf[:at+got], err
		}
	}
	return buf, nil
}

func cString(table string, at uint32) (string, bool) {
	if uint64(at) >= uint64(len(table)) {
		return "", false
	}
	s := table[at:min(len(table), int(at)+maxName)]
	end := strings.IndexByte(s, 0)
	if end <= 0 {
		return "", false
	}
	return s[:end], true
}

// hidden names mark code and data for the assembler or are its labels; the kernel hides them, too.
func hidden(name string) bool {
	return name[0] == '$' || strings.HasPrefix(name, ".L") || strings.HasPrefix(name, "L0\x01")
}

func (f *Finder) index() {
	slices.SortStableFunc(f.syms, func(a, b symbols.Symbol) int { return cmp.Compare(a.Addr, b.Addr) })
	f.names = make([]uint32, len(f.syms))
	for i := range f.names {
		f.names[i] = uint32(i)
	}
	slices.SortStableFunc(f.names, func(a, b uint32) int { return strings.Compare(f.syms[a].Name, f.syms[b].Name) })
	// Assembler labels have no size: they reach to what comes next.
	for i := len(f.syms) - 1; i >= 0; i-- {
		s := &f.syms[i]
		if s.Size != 0 || f.missing != nil { // what comes next may be what is missing
			continue
		}
		r, ok := f.rangeOf(s.Addr)
		if !ok {
			continue
		}
		end := r.Base + r.Size
		if k := f.next(i); k < len(f.syms) && f.syms[k].Addr < end {
			end = f.syms[k].Addr
		}
		s.Size = end - s.Addr
	}
}

// next is the index of the first symbol above i's address.
func (f *Finder) next(i int) int {
	a := f.syms[i].Addr
	return i + sort.Search(len(f.syms)-i, func(k int) bool { return f.syms[i+k].Addr > a })
}

func (f *Finder) rangeOf(addr uint64) (Range, bool) {
	i := sort.Search(len(f.ranges), func(i int) bool { return f.ranges[i].Base > addr })
	if i == 0 || addr-f.ranges[i-1].Base >= f.ranges[i-1].Size {
		return Range{}, false
	}
	return f.ranges[i-1], true
}

// SymbolsNamed returns the symbols of that name in address order.
func (f *Finder) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	i := sort.Search(len(f.names), func(i int) bool { return f.syms[f.names[i]].Name >= name })
	var out []symbols.Symbol
	for ; i < len(f.names) && f.syms[f.names[i]].Name == name; i++ {
		out = append(out, f.syms[f.names[i]])
	}
	if out == nil && f.missing != nil {
		return nil, f.missing // it may have been there
	}
	if out == nil {
		return nil, symbols.ErrNotFound
	}
	return out, nil
}

// SymbolAt returns the last symbol at or below addr in the same range of the module's memory.
func (f *Finder) SymbolAt(addr uint64) (symbols.Symbol, error) {
	r, ok := f.rangeOf(addr)
	if !ok {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	next := sort.Search(len(f.syms), func(i int) bool { return f.syms[i].Addr > addr })
	if next == 0 || f.syms[next-1].Addr < r.Base {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	a := f.syms[next-1].Addr
	i := sort.Search(next, func(i int) bool { return f.syms[i].Addr >= a })
	if f.missing != nil && addr-a >= max(f.syms[i].Size, 1) {
		return symbols.Symbol{}, f.missing
	}
	return f.syms[i], nil
}

// All yields the symbols in address order.
func (f *Finder) All() iter.Seq[symbols.Symbol] { return slices.Values(f.syms) }
