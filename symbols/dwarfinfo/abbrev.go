package dwarfinfo

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"sync/atomic"
)

// Abbrev is the shape of entries: their tag and which attributes follow in which form.
type Abbrev struct {
	Code     uint64
	Tag      dwarf.Tag
	Children bool
	Attrs    []AttrForm
}

// AttrForm is an attribute of an Abbrev. Const is its value where the form is DW_FORM_implicit_const.
type AttrForm struct {
	Attr  dwarf.Attr
	Form  Form
	Const int64
}

// abbrevTable are the abbreviations of a unit. Compilers number them from 1 without gaps.
type abbrevTable struct {
	dense  []Abbrev
	sparse map[uint64]*Abbrev
	err    error
}

func (t *abbrevTable) find(code uint64) *Abbrev {
	if code-1 < uint64(len(t.dense)) {
		return &t.dense[code-1]
	}
	return t.sparse[code]
}

// maxAttrs bounds the attributes of an abbreviation; real ones have some twenty.
const maxAttrs = 1 << 8

// Units share abbreviations or have their own. These bound what units can claim whose abbreviations overlap, as multiples of the
// section: tables of them, and searches for that of a root.
const (
	maxTables = 4
	maxRoots  = 64
	minShare  = 1 << 20
)

// share reports whether n more bytes of abbreviations may be read.
func (d *Data) share(used *atomic.Uint64, n uint64, times int) bool {
	return used.Add(n) <= uint64(times*len(d.Abbrev)+minShare)
}

var errOverlap = errors.New("the abbreviations of all units together are longer than can be right")

// Abbrevs are the abbreviations of u, for scanners that compile them. It may lack those behind damage, for which err stands.
func (u *Unit) Abbrevs() ([]Abbrev, error) {
	t := u.table()
	all := t.dense
	for _, a := range t.sparse {
		all = append(all[:len(all):len(all)], *a)
	}
	return all, t.err
}

// AbbrevOffset is where u's abbreviations lie in .debug_abbrev; units may share them.
func (u *Unit) AbbrevOffset() uint64 { return u.abbrev }

func (u *Unit) table() *abbrevTable {
	d := u.Data
	if t, ok := d.abbrevs.Load(u.abbrev); ok {
		return t.(*abbrevTable)
	}
	t, _ := d.abbrevs.LoadOrStore(u.abbrev, d.parseAbbrevs(u.abbrev))
	return t.(*abbrevTable)
}

func (d *Data) parseAbbrevs(off uint64) *abbrevTable {
	t := &abbrevTable{dense: make([]Abbrev, 0, 128)}
	if !d.share(&d.tableBytes, 0, maxTables) {
		t.err = fmt.Errorf("%s: .debug_abbrev at %#x: %w", d.Name, off, errOverlap)
		return t
	}
	b := d.buf(d.Abbrev, off, uint64(len(d.Abbrev)), 0)
	// Attributes of many abbreviations share an array: a kernel has half a million abbreviations.
	var attrs, shared []AttrForm
	for {
		a, ok := parseAbbrev(&b, attrs[:0])
		if !ok {
			break
		}
		if attrs = a.Attrs; len(attrs) > cap(shared)-len(shared) {
			shared = make([]AttrForm, 0, max(512, len(attrs)))
		}
		from := len(shared)
		shared = append(shared, attrs...)
		a.Attrs = shared[from:len(shared):len(shared)]
		if a.Code == uint64(len(t.dense))+1 {
			t.dense = append(t.dense, a)
			continue
		}
		if t.sparse == nil {
			t.sparse = make(map[uint64]*Abbrev)
		}
		t.sparse[a.Code] = &a
	}
	d.share(&d.tableBytes, b.off-min(off, b.off), maxTables)
	if b.err != nil {
		t.err = fmt.Errorf("%s: .debug_abbrev at %#x: %w", d.Name, off, b.err)
	}
	return t
}

// findAbbrev reads the one declaration with that code, and steps over those before it.
func (d *Data) findAbbrev(off, code uint64) (a Abbrev, ok bool) {
	b := d.buf(d.Abbrev, off, uint64(len(d.Abbrev)), 0)
	if !d.share(&d.rootBytes, 0, maxRoots) {
		return a, false
	}
	defer func() { d.share(&d.rootBytes, b.off-min(off, b.off), maxRoots) }()
	for b.err == nil {
		at := b.off
		switch b.uleb() {
		case 0:
			return a, false
		case code:
			b.off = at
			return parseAbbrev(&b, nil)
		}
		b.uleb()
		b.u8()
		for b.err == nil {
			attr, form := b.uleb(), b.uleb()
			if attr == 0 && form == 0 {
				break
			}
			if Form(form) == FormImplicitConst {
				b.sleb()
			}
		}
	}
	return a, false
}

// parseAbbrev reads one declaration, whose attributes may use attrs; ok is false at the end of the table.
func parseAbbrev(b *buf, attrs []AttrForm) (a Abbrev, ok bool) {
	a.Attrs = attrs
	a.Code = b.uleb()
	if a.Code == 0 || b.err != nil {
		return a, false
	}
	a.Tag = dwarf.Tag(b.uleb())
	a.Children = b.u8() != 0
	for {
		f := AttrForm{Attr: dwarf.Attr(b.uleb()), Form: Form(b.uleb())}
		if f.Form == FormImplicitConst {
			f.Const = b.sleb()
		}
		if b.err != nil {
			return a, false
		}
		if f.Attr == 0 && f.Form == 0 {
			return a, true
		}
		if a.Attrs = append(a.Attrs, f); len(a.Attrs) > maxAttrs {
			b.err = fmt.Errorf("an abbreviation with more than %d attributes", maxAttrs)
			return a, false
		}
	}
}
