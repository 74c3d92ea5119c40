package kallsyms

import (
	"fmt"
	"iter"
	"slices"
	"sort"

	"kdx/symbols"
	"kdx/symbols/internal/nameindex"
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
	// cuts are symbols behind which others are lost, and the address of the first of these, 0 if that is lost, too.
	cuts map[int]uint64

	index func() *nameindex.Index // made when first asked: many uses of a dump need addresses only
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
	if end, cut := t.cuts[next-1]; cut {
		return min(max(end, t.addrs[i])-t.addrs[i], maxGap) // unknown, 0, if its end is
	}
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

// SymbolsNamed returns the symbols of that name in address order. In a table with holes a name that is not there may have
// been in a hole: the error is then Missing's.
func (t *Table) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	var out []symbols.Symbol
	for i := range t.index().Find(name) {
		out = append(out, t.symbol(i, t.next(i)))
	}
	if out == nil {
		return nil, t.notFound()
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
	if _, cut := t.cuts[next-1]; cut && addr-s.Addr >= max(s.Size, 1) {
		return symbols.Symbol{}, t.missing
	}
	if addr != s.Addr && addr-s.Addr >= s.Size || s.Letter|0x20 == 'a' {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	return s, nil
}

func (t *Table) notFound() error {
	if t.missing != nil {
		return t.missing
	}
	return symbols.ErrNotFound
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

// String names the table and its size.
func (t *Table) String() string { return fmt.Sprintf("kallsyms: %d symbols (%s)", t.Len(), t.Layout()) }
