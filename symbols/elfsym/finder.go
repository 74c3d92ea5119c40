package elfsym

import (
	"iter"
	"sort"

	"kdx/symbols"
)

// Finder knows a file's symbols at the addresses of a running kernel. It implements symbols.SymbolFinder and is safe for
// many goroutines.
type Finder struct {
	name  string
	table *table
	shift uint64
	fixed int // so many entries at the start don't move
}

var _ symbols.SymbolFinder = (*Finder)(nil)

// Symbols are the file's symbols, moved by the KASLR offset (the difference of a symbol's address in the kernel to
// Address, modulo 2^64).
func (f *File) Symbols(shift uint64) (*Finder, error) {
	t, err := f.table()
	if err != nil {
		return nil, err
	}
	fixed := sort.Search(len(t.entries), func(i int) bool { return !t.entries[i].fixed })
	return &Finder{name: "vmlinux", table: t, shift: shift, fixed: fixed}, nil
}

// Name is "vmlinux".
func (f *Finder) Name() string { return f.name }

// Len is the number of symbols.
func (f *Finder) Len() int { return len(f.table.entries) }

func (f *Finder) symbol(i int) symbols.Symbol {
	e := &f.table.entries[i]
	s := symbols.Symbol{Name: f.table.name(i), Addr: e.addr, Size: e.size, Letter: e.letter}
	if !e.fixed {
		s.Addr += f.shift
	}
	return s
}

// SymbolsNamed returns the symbols of that name in address order.
func (f *Finder) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	var out []symbols.Symbol
	for i := range f.table.index().Find(name) {
		out = append(out, f.symbol(i))
	}
	if out == nil {
		return nil, symbols.ErrNotFound
	}
	return out, nil
}

// maxGap is how far behind its end a symbol still covers what no other symbol names.
const maxGap = 64 << 10

// SymbolAt returns the last symbol at or below addr, of several the first in the table's order. That is what the kernel's
// own messages give: labels inside an assembly function, though its size spans them, and the padding behind a function.
// Symbols that don't move cover nothing.
func (f *Finder) SymbolAt(addr uint64) (symbols.Symbol, error) {
	linked := addr - f.shift
	e := f.table.entries[f.fixed:]
	next := sort.Search(len(e), func(i int) bool { return e[i].addr > linked })
	if next == 0 {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	at := e[next-1].addr
	i := sort.Search(next, func(i int) bool { return e[i].addr >= at })
	if past := linked - at; past >= e[i].size && past-e[i].size >= maxGap {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	return f.symbol(f.fixed + i), nil
}

// All yields the symbols in address order.
func (f *Finder) All() iter.Seq[symbols.Symbol] {
	return func(yield func(symbols.Symbol) bool) {
		for i := range f.table.entries {
			if !yield(f.symbol(i)) {
				return
			}
		}
	}
}
