package kallsyms

import (
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"sort"
	"sync"

	"kdx/symbols"
)

// Sizes are not in the table: a symbol ends where the next begins. Where a section ends there is a gap, which must not
// count as part of the section's last symbol.
const (
	maxGap  = 64 << 10
	maxData = 64 << 20 // a data symbol may be large (__log_buf) if its neighbour is in the same section
)

// Table is the kernel's symbol table. It implements symbols.SymbolFinder and is safe for many goroutines.
//
// Of several symbols at one address the first in the table is the one that SymbolAt gives, as the kernel's own messages
// do: scripts/kallsyms sorts strong before weak and those with fewer leading underscores first.
type Table struct {
	names    *nameTable
	addrs    []uint64 // rising
	absolute uint64   // below this, addresses are absolute values and offsets into per-CPU areas
	layout   string
	missing  error

	index nameIndex
}

var _ symbols.SymbolFinder = (*Table)(nil)

// Name is "kallsyms".
func (t *Table) Name() string { return "kallsyms" }

// Len is the number of symbols.
func (t *Table) Len() int { return len(t.addrs) }

// Layout says how the table was read, for diagnosis.
func (t *Table) Layout() string {
	if t.names.long {
		return t.layout + ", long names"
	}
	return t.layout
}

// Missing says what could not be read of the table; nil if it is whole.
func (t *Table) Missing() error { return t.missing }

func (t *Table) symbol(i, next int) symbols.Symbol {
	return symbols.Symbol{Name: t.names.name(i), Addr: t.addrs[i], Size: t.size(i, next), Letter: t.names.letters[i]}
}

// next is the index of the first symbol above i's address.
func (t *Table) next(i int) int {
	a := t.addrs[i]
	for k := i + 1; k < min(i+8, len(t.addrs)); k++ {
		if t.addrs[k] > a {
			return k
		}
	}
	return i + sort.Search(len(t.addrs)-i, func(k int) bool { return t.addrs[i+k] > a })
}

func (t *Table) size(i, next int) uint64 {
	if next >= len(t.addrs) {
		return maxGap
	}
	d := t.addrs[next] - t.addrs[i]
	if d <= maxGap {
		return d
	}
	if isData(t.names.letters[i]) && t.names.letters[i]|0x20 == t.names.letters[next]|0x20 && d <= maxData {
		return d
	}
	return maxGap
}

func isData(letter byte) bool {
	switch letter | 0x20 {
	case 'd', 'b', 'r':
		return true
	}
	return false
}

// SymbolsNamed returns the symbols of that name in address order.
func (t *Table) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	var out []symbols.Symbol
	for i := range t.index.find(t.names, name) {
		out = append(out, t.symbol(i, t.next(i)))
	}
	if out == nil {
		return nil, symbols.ErrNotFound
	}
	return out, nil
}

// SymbolAt returns the symbol that covers addr. Absolute symbols, which on x86-64 before 6.15 are the per-CPU variables,
// cover nothing.
func (t *Table) SymbolAt(addr uint64) (symbols.Symbol, error) {
	if addr < t.absolute {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	next := sort.Search(len(t.addrs), func(i int) bool { return t.addrs[i] > addr })
	if next == 0 || t.addrs[next-1] < t.absolute {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	i, _ := slices.BinarySearch(t.addrs, t.addrs[next-1])
	s := t.symbol(i, next)
	if addr-s.Addr >= s.Size || s.Letter|0x20 == 'a' {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	return s, nil
}

// All yields the symbols in address order, absolute ones first.
func (t *Table) All() iter.Seq[symbols.Symbol] {
	return func(yield func(symbols.Symbol) bool) {
		next := 0
		for i := range t.addrs {
			if next <= i {
				next = t.next(i)
			}
			if !yield(t.symbol(i, next)) {
				return
			}
		}
	}
}

// nameIndex is a hash table of names, made when first asked: many uses of a dump need addresses only.
type nameIndex struct {
	once  sync.Once
	seed  maphash.Seed
	slots []uint64 // hash<<32 | index+1; open addressing
	more  []uint32 // the next index+1 of the same name
}

func (x *nameIndex) build(names *nameTable) {
	n := names.len()
	x.seed = maphash.MakeSeed()
	size := 64
	for size < n*3/2 {
		size *= 2
	}
	x.slots = make([]uint64, size)
	x.more = make([]uint32, n)
	// Backwards, so that each list of equal names ends up in address order.
	for i := n - 1; i >= 0; i-- {
		name := names.name(i)
		slot, first := x.slot(names, name)
		if first >= 0 {
			x.more[i] = uint32(first) + 1
		}
		*slot = *slot&^0xffffffff | uint64(i+1)
	}
}

// slot finds name's slot, and the index of its first symbol or -1. The slot of a new name already holds its hash.
func (x *nameIndex) slot(names *nameTable, name string) (*uint64, int) {
	h := maphash.String(x.seed, name)
	mask := uint64(len(x.slots) - 1)
	tag := h &^ 0xffffffff
	for k := h & mask; ; k = (k + 1) & mask {
		s := &x.slots[k]
		if *s == 0 {
			*s = tag
			return s, -1
		}
		if i := int(uint32(*s)) - 1; *s&^0xffffffff == tag && names.name(i) == name {
			return s, i
		}
	}
}

func (x *nameIndex) find(names *nameTable, name string) iter.Seq[int] {
	return func(yield func(int) bool) {
		x.once.Do(func() { x.build(names) })
		for i := x.first(names, name); i >= 0; i = int(x.more[i]) - 1 {
			if !yield(i) {
				return
			}
		}
	}
}

func (x *nameIndex) first(names *nameTable, name string) int {
	h := maphash.String(x.seed, name)
	mask := uint64(len(x.slots) - 1)
	for k := h & mask; x.slots[k] != 0; k = (k + 1) & mask {
		if i := int(uint32(x.slots[k])) - 1; x.slots[k]>>32 == h>>32 && names.name(i) == name {
			return i
		}
	}
	return -1
}

// String names the table and its size.
func (t *Table) String() string { return fmt.Sprintf("kallsyms: %d symbols (%s)", t.Len(), t.Layout()) }
