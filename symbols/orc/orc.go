// Package orc finds unwind rows in the ORC tables that an x86-64 kernel and its modules keep in memory.
//
// ORC is a sorted table of places in the text and, beside it, a 6-byte entry for each: where the caller's stack pointer
// is and where rbp was saved. The entries changed meaning several times. A hash in .orc_header names the format since
// 6.4 and 6.3.10, but distributions ship newer formats without it, so the entries themselves decide.
package orc

import (
	"errors"
	"fmt"

	"kdx/symbols"
)

// Tables says where the tables are.
type Tables struct {
	IP, IPEnd           uint64 // __start_orc_unwind_ip, __stop_…; a module's arch.orc_unwind_ip and num_orcs entries of 4 bytes
	Entries, EntriesEnd uint64 // __start_orc_unwind, __stop_…; a module's arch.orc_unwind and num_orcs entries of 6 bytes
	Header              uint64 // __start_orc_header, 20 bytes; 0 if there is none
}

// ModuleTables are the tables of a module, from its struct module's arch.orc_unwind_ip, orc_unwind and num_orcs.
func ModuleTables(ip, entries, num uint64) Tables {
	num = min(num, maxEntries+1)
	return Tables{IP: ip, IPEnd: ip + num*ipSize, Entries: entries, EntriesEnd: entries + num*entrySize}
}

// Range of text, [Start, End).
type Range struct{ Start, End uint64 }

// Options for Read.
type Options struct {
	// Text is where the tables apply: the kernel's _stext to _etext (and init text), or a module's text. Without it, all
	// between the first and the last entry, which may wrongly include other modules.
	Text []Range
	// Version of the format if it is known, as for a module when the kernel's is; 0 otherwise.
	Version Version
	// Module's name, or "" for the kernel.
	Module string
}

// Version of the format. The numbers are not the kernel's.
type Version int

const (
	V1 Version = iota + 1 // 4.14 to 6.2
	V2                    // 6.3: a signal bit
	V3                    // 6.4: types for "undefined" and "end of stack" in place of the end bit
	V4                    // 7.1: registers renumbered
)

const (
	ipSize     = 4
	entrySize  = 6
	headerSize = 20
	maxEntries = 16 << 20 // a distribution's kernel has 0.4 million
)

// Finder knows the rows of the kernel or of one module. It implements symbols.RowFinder and is safe for many goroutines.
type Finder struct {
	name    string
	n       int
	base    uint64 // of the ip table: its entries count from their own place
	ips     blocks
	entries blocks
	text    []Range
	version Version
	how     string // the version was found
}

var _ symbols.RowFinder = (*Finder)(nil)

var errEmpty = errors.New("there are no entries")

// Read prepares the tables. It reads little of them; lookups read the rest as they need it.
func Read(mem symbols.Memory, t Tables, opt Options) (*Finder, error) {
	f := &Finder{name: "orc", base: t.IP, text: opt.Text}
	if opt.Module != "" {
		f.name = "orc:" + opt.Module
	}
	if t.IP == 0 || t.Entries == 0 || t.IPEnd <= t.IP || t.EntriesEnd <= t.Entries {
		return nil, fmt.Errorf("%s: %w: %w", f.name, errEmpty, symbols.ErrNotFound)
	}
	n, m := (t.IPEnd-t.IP)/ipSize, (t.EntriesEnd-t.Entries)/entrySize
	if n > maxEntries || n != m {
		return nil, fmt.Errorf("%s: %d places at %#x, but %d entries at %#x: the tables' bounds can't be right", f.name, n, t.IP, m, t.Entries)
	}
	f.n = int(n)
	f.ips = newBlocks(mem, t.IP, f.n, ipSize)
	f.entries = newBlocks(mem, t.Entries, f.n, entrySize)
	if err := f.decide(mem, t, opt); err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if len(f.text) == 0 {
		first, err := f.ip(0)
		if err != nil {
			return nil, fmt.Errorf("%s: first place at %#x: %w", f.name, t.IP, err)
		}
		last, err := f.ip(f.n - 1)
		if err != nil {
			return nil, fmt.Errorf("%s: last place at %#x: %w", f.name, t.IP, err)
		}
		f.text = []Range{{first, last}}
	}
	return f, nil
}

// Name is "orc" or "orc:MODULE".
func (f *Finder) Name() string { return f.name }

// Len is the number of entries.
func (f *Finder) Len() int { return f.n }

// Version is the format, and how it was found out: "header", "entries" or "given".
func (f *Finder) Version() (Version, string) { return f.version, f.how }

// ip is the place of entry i.
func (f *Finder) ip(i int) (uint64, error) {
	b, err := f.ips.at(i)
	if err != nil {
		return 0, err
	}
	return place(f.base, i, b), nil
}

// RowAt returns the row for the instruction at pc.
func (f *Finder) RowAt(pc uint64) (symbols.Row, error) {
	if !f.covers(pc) {
		return symbols.Row{}, symbols.ErrNotFound
	}
	i, err := f.find(pc)
	if err != nil {
		return symbols.Row{}, fmt.Errorf("unwind table for %#x: %w", pc, err)
	}
	if i < 0 {
		return symbols.Row{}, symbols.ErrNotFound
	}
	b, err := f.entries.at(i)
	if err != nil {
		return symbols.Row{}, fmt.Errorf("unwind entry for %#x: %w", pc, err)
	}
	row, ok := parse(b, f.version).row()
	if !ok {
		return symbols.Row{}, fmt.Errorf("unwind entry %d for %#x (% x) is damaged", i, pc, b[:entrySize])
	}
	row.From = f.name
	return row, nil
}

func (f *Finder) covers(pc uint64) bool {
	for _, r := range f.text {
		if pc >= r.Start && pc < r.End {
			return true
		}
	}
	return false
}

// find returns the last entry whose place is at or below pc, or -1. Of two at one place the first is the end of what was
// linked before, and the last is the real one.
func (f *Finder) find(pc uint64) (int, error) {
	lo, hi := 0, f.n // ip(lo-1) <= pc < ip(hi)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		a, err := f.ip(mid)
		if err != nil {
			return f.findBeside(pc)
		}
		if a <= pc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1, nil
}

// findBeside is find for tables with missing pages: what is there may still answer.
func (f *Finder) findBeside(pc uint64) (int, error) {
	var missing error
	best := -1
	for k := range f.ips.count() {
		first, n := f.ips.span(k)
		a, err := f.ip(first)
		if err != nil {
			missing = err
			continue
		}
		if a > pc {
			break
		}
		missing = nil
		for i := first; i < first+n; i++ {
			a, err := f.ip(i)
			if err != nil {
				return -1, err
			}
			if a > pc {
				return best, nil
			}
			best = i
		}
	}
	return best, missing
}
