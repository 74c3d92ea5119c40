package kallsyms

import (
	"fmt"
	"iter"
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
	entries
	absolute uint64 // below this, addresses are absolute values and offsets into per-CPU areas
	layout   string
	long     bool // two-byte lengths
	missing  error
	// cuts are symbols behind which others are lost, and the address of the first of these, 0 if that is lost, too.
	cuts map[int]uint64
}

// entries of a table, by rising address.
type entries interface {
	len() int
	addr(i int) uint64
	addresses() []uint64 // of all
	letter(i int) byte
	name(i int) string
	// find yields the entries of that name, rising.
	find(name string) iter.Seq[int]
	// above is the first entry whose address is above a.
	above(a uint64) int
	// each yields all entries.
	each(yield func(i int, name string, letter byte) bool)
	// err says that memory can't be read any more.
	err() error
}

// unpacked is a table that is all in memory: one of which parts are missing, or that is not sorted.
type unpacked struct {
	names   *nameTable
	addrs   []uint64
	missing error
	cuts    map[int]uint64
	index   func() *nameindex.Index // made when first asked
}

func (t *unpacked) len() int                       { return len(t.addrs) }
func (t *unpacked) addr(i int) uint64              { return t.addrs[i] }
func (t *unpacked) addresses() []uint64            { return t.addrs }
func (t *unpacked) err() error                     { return nil }
func (t *unpacked) letter(i int) byte              { return t.names.letters[i] }
func (t *unpacked) name(i int) string              { return t.names.name(i) }
func (t *unpacked) find(name string) iter.Seq[int] { return t.index().Find(name) }

func (t *unpacked) above(a uint64) int {
	return sort.Search(len(t.addrs), func(i int) bool { return t.addrs[i] > a })
}

func (t *unpacked) each(yield func(i int, name string, letter byte) bool) {
	for i := range t.addrs {
		if !yield(i, t.name(i), t.letter(i)) {
			return
		}
	}
}

var _ symbols.SymbolFinder = (*Table)(nil)

// Name is "kallsyms".
func (t *Table) Name() string { return "kallsyms" }

// Len is the number of symbols.
func (t *Table) Len() int { return t.len() }

// Layout says how the table was read, for diagnosis.
func (t *Table) Layout() string {
	if t.long {
		return t.layout + ", long names"
	}
	return t.layout
}

// Missing says what could not be read of the table; nil if it is whole.
func (t *Table) Missing() error {
	if t.missing != nil {
		return t.missing
	}
	return t.err()
}

func (t *Table) symbol(i, next int) symbols.Symbol {
	addr, letter, after := t.addr(i), t.letter(i), uint64(0)
	if next < t.len() {
		after = t.addr(next)
	}
	return symbols.Symbol{Name: t.name(i), Addr: addr, Size: t.size(addr, letter, next, after), Letter: letter}
}

// size of a symbol. next is the first above its address, and after the address of that.
func (t *Table) size(addr uint64, letter byte, next int, after uint64) uint64 {
	if end, cut := t.cuts[next-1]; cut {
		return min(max(end, addr)-addr, maxGap) // unknown, 0, if its end is
	}
	if next >= t.len() {
		return maxGap
	}
	d := after - addr
	if d <= maxGap {
		return d
	}
	if isData(letter) && letter|0x20 == t.letter(next)|0x20 && d <= maxData {
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
	for i := range t.find(name) {
		out = append(out, t.symbol(i, t.above(t.addr(i))))
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
	next := t.above(addr)
	if next == 0 {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	at := t.addr(next - 1)
	if at < t.absolute {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	first := 0
	if at > 0 {
		first = t.above(at - 1)
	}
	s := t.symbol(first, next)
	if _, cut := t.cuts[next-1]; cut && addr-s.Addr >= max(s.Size, 1) {
		return symbols.Symbol{}, t.missing
	}
	if addr != s.Addr && addr-s.Addr >= s.Size || s.Letter|0x20 == 'a' {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	return s, nil
}

func (t *Table) notFound() error {
	if err := t.Missing(); err != nil {
		return err
	}
	return symbols.ErrNotFound
}

// All yields the symbols in address order, absolute ones first.
func (t *Table) All() iter.Seq[symbols.Symbol] {
	return func(yield func(symbols.Symbol) bool) {
		addrs, next := t.addresses(), 0
		t.each(func(i int, name string, letter byte) bool {
			if i >= len(addrs) {
				return false
			}
			for next <= i || next < len(addrs) && addrs[next] == addrs[i] {
				next++
			}
			after := uint64(0)
			if next < len(addrs) {
				after = addrs[next]
			}
			return yield(symbols.Symbol{Name: name, Addr: addrs[i], Size: t.size(addrs[i], letter, next, after), Letter: letter})
		})
	}
}

// String names the table and its size.
func (t *Table) String() string { return fmt.Sprintf("kallsyms: %d symbols (%s)", t.Len(), t.Layout()) }
