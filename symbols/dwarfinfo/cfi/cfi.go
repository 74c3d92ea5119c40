// Package cfi finds unwind rows in the call frame information of an ELF file, .debug_frame and .eh_frame.
//
// Unlike ORC it knows every register that a function saved, and knows nothing of code that was written in assembler without
// directives. Names of opcodes are delve's (pkg/dwarf/frame). Its reader is not used: it takes clang's CIEs of version 4 for
// something else, forgets what DW_CFA_restore restores, knows neither signal frames nor big-endian files, and loses all entries
// where one is damaged. A test holds this package against it where both are right.
//
// Sources: DWARF 5, section 6.4; Linux Standard Base, "Exception Frames".
package cfi

import (
	"debug/elf"
	"fmt"
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/objfile"
)

// Finder knows the rows of one file. It implements symbols.RowFinder and is safe for many goroutines. The file is read by the
// first question for an address that its code covers.
type Finder struct {
	f     *objfile.File
	shift uint64
	name  string
	text  [][2]uint64
	open  func() []*table
	fault error // of open

	mu   sync.Mutex
	rows map[uint64]symbols.Row
}

var _ symbols.RowFinder = (*Finder)(nil)

// maxRows bounds the cache: the tasks of a busy machine wait in some hundred places.
const maxRows = 4096

// New makes a finder of f's rows. shift is what is added to linked addresses (modulo 2^64); name is what rows say that they are
// from. f stays open as long as the finder is used.
func New(f *objfile.File, shift uint64, name string) *Finder {
	c := &Finder{f: f, shift: shift, name: name, text: f.Text(), rows: make(map[uint64]symbols.Row)}
	c.open = sync.OnceValue(c.read)
	return c
}

// Name is as given.
func (c *Finder) Name() string { return c.name }

// Len is the number of functions (more exactly, of frame descriptions) that the file has rows for.
func (c *Finder) Len() int {
	n := 0
	for _, t := range c.open() {
		n += len(t.fdes)
	}
	return n
}

// Functions yields the addresses [begin, end) of all that the file has rows for.
func (c *Finder) Functions(yield func(begin, end uint64) bool) {
	for _, t := range c.open() {
		for i := range t.fdes {
			if !yield(t.fdes[i].begin+c.shift, t.fdes[i].end+c.shift) {
				return
			}
		}
	}
}

// read indexes both sections, .debug_frame first: what has both has it with more.
func (c *Finder) read() []*table {
	var out []*table
	for _, section := range []string{".debug_frame", ".eh_frame"} {
		if !c.f.Has(section) {
			continue
		}
		data, err := c.f.Section(section)
		if err != nil {
			c.fault = err
			continue
		}
		t := &table{section: section, data: data, addr: c.f.Address(section), eh: section == ".eh_frame", order: c.f.Order(), wordSize: 8}
		if c.f.ELF.Class == elf.ELFCLASS32 {
			t.wordSize = 4
		}
		if err := mapfile.Guard(c.f.Path, func() error { t.read(); return nil }); err != nil {
			c.fault = err
		}
		out = append(out, t)
	}
	return out
}

// RowAt returns the row for the instruction at pc.
func (c *Finder) RowAt(pc uint64) (symbols.Row, error) {
	linked := pc - c.shift
	if !c.covers(linked) {
		return symbols.Row{}, symbols.ErrNotFound
	}
	c.mu.Lock()
	row, ok := c.rows[pc]
	c.mu.Unlock()
	if ok {
		return row, nil
	}
	row, err := c.find(linked)
	if err != nil {
		return symbols.Row{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rows) == maxRows {
		clear(c.rows)
	}
	c.rows[pc] = row
	return row, nil
}

func (c *Finder) covers(linked uint64) bool {
	for _, r := range c.text {
		if linked-r[0] < r[1]-r[0] {
			return true
		}
	}
	return false
}

func (c *Finder) find(linked uint64) (symbols.Row, error) {
	failure := error(symbols.ErrNotFound)
	for _, t := range c.open() {
		f := t.find(linked)
		if f == nil {
			if t.damage != nil {
				failure = fmt.Errorf("%s: %w", c.f.Path, t.damage)
			}
			continue
		}
		var s state
		err := mapfile.Guard(c.f.Path, func() (err error) {
			s, err = t.rowAt(f, linked)
			return err
		})
		if err != nil {
			return symbols.Row{}, fmt.Errorf("%s: section %s: unwind row for %#x, of the code at %#x as linked: %w", c.f.Path, t.section, linked+c.shift, f.begin, err)
		}
		return c.row(f.cie, s), nil
	}
	if c.fault != nil {
		return symbols.Row{}, c.fault
	}
	return symbols.Row{}, failure
}

// row puts a state into the neutral form.
func (c *Finder) row(ci *cie, s state) symbols.Row {
	row := symbols.Row{CFA: s.cfa, Signal: ci.signal, From: c.name, Complete: true}
	ra, ok := s.rule(uint16(ci.ra))
	switch {
	case ok && ra.Kind == symbols.RuleUndefined:
		row.Frame = symbols.FrameEnd // DWARF 5, 6.4.4: nothing called it
	case !ok || ra.Kind == symbols.RuleSame: // still where the call left it
		ra = symbols.Rule{Kind: symbols.RuleRegPlus, Reg: uint16(ci.ra)}
	}
	row.RA = ra
	if s.cfa == (symbols.Rule{}) {
		row.Frame = symbols.FrameUndefined
	}
	for _, r := range s.regs {
		if r.Reg != uint16(ci.ra) && r.Rule.Kind != symbols.RuleSame {
			row.Saved = append(row.Saved, r)
		}
	}
	return row
}
