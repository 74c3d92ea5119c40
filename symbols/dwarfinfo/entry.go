package dwarfinfo

import (
	"debug/dwarf"
	"fmt"
	"iter"

	"kdx/symbols/dwarfinfo/internal/numbers"
)

// Entry is one DIE. It belongs to its Reader and is overwritten by the Reader's next step; Clone keeps it.
type Entry struct {
	Unit     *Unit
	Off      uint64 // in .debug_info
	Tag      dwarf.Tag
	Children bool
	Fields   []Field

	next uint64 // offset behind it
}

// Field is an attribute with its value: Block for strings in place, blocks and expressions, Val for all else. References are
// offsets in .debug_info (or in that of Alt).
type Field struct {
	Attr  dwarf.Attr
	Form  Form
	Val   uint64
	Block []byte
}

// Ref names an entry: of Data, or of its Alt.
type Ref struct {
	Data *Data
	Off  uint64
}

// Clone is a copy that outlives the Reader's next step.
func (e *Entry) Clone() *Entry {
	c := *e
	c.Fields = append([]Field(nil), e.Fields...)
	return &c
}

// Ref is the entry's own name.
func (e *Entry) Ref() Ref { return Ref{e.Unit.Data, e.Off} }

// Field is the attribute, nil if the entry lacks it.
func (e *Entry) Field(a dwarf.Attr) *Field {
	for i := range e.Fields {
		if e.Fields[i].Attr == a {
			return &e.Fields[i]
		}
	}
	return nil
}

// Uint is the value of a constant, offset, flag or index, as it stands (addresses: see Addr).
func (e *Entry) Uint(a dwarf.Attr) (uint64, bool) {
	f := e.Field(a)
	if f == nil || f.Block != nil {
		return 0, false
	}
	return f.Val, true
}

// Flag reports whether the flag is there and set.
func (e *Entry) Flag(a dwarf.Attr) bool {
	f := e.Field(a)
	return f != nil && f.Val != 0
}

// Str is a string attribute's value, "" if the entry lacks it or it can't be read.
func (e *Entry) Str(a dwarf.Attr) string {
	f := e.Field(a)
	if f == nil {
		return ""
	}
	b, _ := e.Unit.stringOf(f, nil)
	return string(b)
}

// StrBytes is Str without a copy; the bytes may be mapped.
func (e *Entry) StrBytes(a dwarf.Attr) []byte {
	f := e.Field(a)
	if f == nil {
		return nil
	}
	b, _ := e.Unit.stringOf(f, nil)
	return b
}

func (e *Entry) str(a dwarf.Attr, r *root) string {
	f := e.Field(a)
	if f == nil {
		return ""
	}
	b, _ := e.Unit.stringOf(f, r)
	return string(b)
}

// stringOf resolves a string form. r is the unit's root if it is being read just now.
func (u *Unit) stringOf(f *Field, r *root) ([]byte, error) {
	d := u.Data
	switch f.Form {
	case FormString:
		return f.Block, nil
	case FormStrp:
		return numbers.StringAt(d.Str, f.Val)
	case FormLineStrp:
		return numbers.StringAt(d.LineStr, f.Val)
	case FormStrpSup, FormGNUStrpAlt:
		if d.Alt == nil {
			return nil, errNoAlt
		}
		return numbers.StringAt(d.Alt.Str, f.Val)
	case FormStrx, FormStrx1, FormStrx2, FormStrx3, FormStrx4, FormGNUStrIndex:
		if r == nil {
			r = u.root()
		}
		size := uint64(4)
		if u.Dwarf64 {
			size = 8
		}
		if f.Val > uint64(len(d.StrOffsets)) {
			return nil, errEnd
		}
		b := d.buf(d.StrOffsets, r.strOffsets+f.Val*size, uint64(len(d.StrOffsets)), u.AddrSize)
		b.dwarf64 = u.Dwarf64
		off := b.offset()
		if b.err != nil {
			return nil, b.err
		}
		return numbers.StringAt(d.Str, off)
	}
	return nil, fmt.Errorf("form %#x is no string", uint16(f.Form))
}

var errNoAlt = fmt.Errorf("it is in the file that .gnu_debugaltlink names, which was not found")

// Addr is the value of an address attribute, as linked.
func (e *Entry) Addr(a dwarf.Attr) (uint64, bool) {
	f := e.Field(a)
	if f == nil {
		return 0, false
	}
	return e.addr(f, nil)
}

func (e *Entry) addr(f *Field, r *root) (uint64, bool) {
	switch f.Form {
	case FormAddr:
		return f.Val, true
	case FormAddrx, FormAddrx1, FormAddrx2, FormAddrx3, FormAddrx4, FormGNUAddrIndex:
		return e.Unit.indexedAddr(f.Val, r)
	}
	return 0, false
}

// IndexedAddr is the address that .debug_addr holds for u at index i.
func (u *Unit) IndexedAddr(i uint64) (uint64, bool) { return u.indexedAddr(i, nil) }

func (u *Unit) indexedAddr(i uint64, r *root) (uint64, bool) {
	if r == nil {
		r = u.root()
	}
	d := u.Data
	if i > uint64(len(d.Addr)) {
		return 0, false
	}
	b := d.buf(d.Addr, r.addrBase+i*uint64(u.AddrSize), uint64(len(d.Addr)), u.AddrSize)
	a := b.addr()
	return a, b.err == nil
}

// Ref is the entry that a reference attribute names; ok is false if there is none, or it lies in a file that was not found.
func (e *Entry) RefTo(a dwarf.Attr) (Ref, bool) {
	f := e.Field(a)
	if f == nil {
		return Ref{}, false
	}
	d := e.Unit.Data
	switch f.Form {
	case FormRef1, FormRef2, FormRef4, FormRef8, FormRefUdata, FormRefAddr:
		return Ref{d, f.Val}, true
	case FormRefSig8:
		off, ok := d.signatures[f.Val]
		return Ref{d, off}, ok
	case FormRefSup4, FormRefSup8, FormGNURefAlt:
		return Ref{d.Alt, f.Val}, d.Alt != nil
	}
	return Ref{}, false
}

// Reader steps through entries. It belongs to one goroutine.
type Reader struct {
	d    *Data
	unit *Unit
	tab  *abbrevTable
	off  uint64
	e    Entry
}

// Reader makes a reader that stands nowhere yet.
func (d *Data) Reader() *Reader { return &Reader{d: d} }

// Seek goes to the entry at off of .debug_info.
func (r *Reader) Seek(off uint64) error {
	u := r.unit
	if u == nil || off < u.First || off >= u.End {
		if u = r.d.UnitOf(off); u == nil {
			return fmt.Errorf("%s: no unit of .debug_info holds an entry at %#x", r.d.Name, off)
		}
		r.unit, r.tab = u, u.table()
	}
	r.off = off
	return nil
}

// Next reads the entry that the reader stands at and goes behind it: to its first child if it has children. A nil entry is the
// mark at the end of siblings, or the end of the unit.
func (r *Reader) Next() (*Entry, error) {
	if r.unit == nil || r.off >= r.unit.End {
		return nil, nil
	}
	b := r.d.buf(r.d.Info, r.off, r.unit.End, r.unit.AddrSize)
	b.dwarf64 = r.unit.Dwarf64
	at := r.off
	code := b.uleb()
	if b.err == nil && code == 0 {
		r.off = b.off
		return nil, nil
	}
	a := r.tab.find(code)
	if a == nil {
		return nil, fmt.Errorf("%s: the entry at %#x of .debug_info has abbreviation %d, which does not exist", r.d.Name, at, code)
	}
	return r.decode(a, at, &b)
}

func (r *Reader) decode(a *Abbrev, at uint64, b *buf) (*Entry, error) {
	e := &r.e
	*e = Entry{Unit: r.unit, Off: at, Tag: a.Tag, Children: a.Children, Fields: e.Fields[:0]}
	for i := range a.Attrs {
		f := Field{Attr: a.Attrs[i].Attr, Form: a.Attrs[i].Form}
		b.value(&f, r.unit, a.Attrs[i].Const)
		e.Fields = append(e.Fields, f)
	}
	if b.err != nil {
		return nil, fmt.Errorf("%s: the entry at %#x of .debug_info: %w", r.d.Name, at, b.err)
	}
	r.off = b.off
	e.next = b.off
	return e, nil
}

// rootOf reads a unit's root entry without reading all its abbreviations: opening a kernel reads the roots of thousands.
func (r *Reader) rootOf(u *Unit) (*Entry, error) {
	if _, ok := r.d.abbrevs.Load(u.abbrev); ok {
		if err := r.Seek(u.First); err != nil {
			return nil, err
		}
		e, err := r.Next()
		if err == nil && e == nil {
			err = fmt.Errorf("%s: the unit at %#x of .debug_info is empty", r.d.Name, u.Off)
		}
		return e, err
	}
	b := r.d.buf(r.d.Info, u.First, u.End, u.AddrSize)
	b.dwarf64 = u.Dwarf64
	code := b.uleb()
	a, ok := r.d.findAbbrev(u.abbrev, code)
	if !ok {
		return nil, fmt.Errorf("%s: the unit at %#x of .debug_info begins with abbreviation %d, which does not exist", r.d.Name, u.Off, code)
	}
	r.unit = u
	e, err := r.decode(&a, u.First, &b)
	r.unit = nil // the reader has no table for it
	return e, err
}

// Skip goes behind e and all below it. e must be what Next returned last.
func (r *Reader) Skip(e *Entry) error {
	if !e.Children {
		return nil
	}
	if f := e.Field(dwarf.AttrSibling); f != nil && f.Val > e.next && f.Val <= r.unit.End {
		r.off = f.Val
		return nil
	}
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil {
			return err
		}
		switch {
		case e != nil && e.Children:
			depth++
		case e == nil && r.off >= r.unit.End:
			return nil
		case e == nil:
			depth--
		}
	}
	return nil
}

// Entry reads the entry at off.
func (d *Data) Entry(off uint64) (*Entry, error) {
	r := d.Reader()
	if err := r.Seek(off); err != nil {
		return nil, err
	}
	e, err := r.Next()
	if err == nil && e == nil {
		err = fmt.Errorf("%s: there is no entry at %#x of .debug_info", d.Name, off)
	}
	return e, err
}

// Children yields the direct children of the entry at off; an error ends them.
func (d *Data) Children(off uint64) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		r := d.Reader()
		err := r.Seek(off)
		if err != nil {
			yield(nil, err)
			return
		}
		parent, err := r.Next()
		if err != nil {
			yield(nil, err)
			return
		}
		if parent == nil || !parent.Children {
			return
		}
		for {
			e, err := r.Next()
			if err != nil {
				yield(nil, err)
				return
			}
			if e == nil {
				return
			}
			at, children := *e, e.Children
			if !yield(e, nil) {
				return
			}
			if !children {
				continue
			}
			r.off = at.next
			if err := r.Skip(&at); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
