package dwarfinfo

import (
	"debug/dwarf"
	"fmt"
)

// PCs are the address ranges [lo, hi) of an entry with code (DW_AT_ranges, or DW_AT_low_pc and DW_AT_high_pc), as linked;
// nil if it has none.
func (e *Entry) PCs() ([][2]uint64, error) { return e.ranges(nil) }

// EntryPC is where the entry's code begins: DW_AT_entry_pc, DW_AT_low_pc or its first range.
func (e *Entry) EntryPC() (uint64, bool) {
	if f := e.Field(dwarf.AttrEntrypc); f != nil {
		if pc, ok := e.Addr(dwarf.AttrEntrypc); ok {
			return pc, true
		}
		if low, ok := e.Addr(dwarf.AttrLowpc); ok { // DWARF 5: an offset
			return low + f.Val, true
		}
	}
	if pc, ok := e.Addr(dwarf.AttrLowpc); ok {
		return pc, true
	}
	pcs, err := e.PCs()
	if err != nil || len(pcs) == 0 {
		return 0, false
	}
	return pcs[0][0], true
}

// maxRanges bounds the list of one entry; those of whole units have some thousand.
const maxRanges = 1 << 20

func (e *Entry) ranges(r *root) ([][2]uint64, error) {
	if f := e.Field(dwarf.AttrRanges); f != nil {
		if r == nil {
			r = e.Unit.root()
		}
		if e.Unit.Version >= 5 {
			return e.Unit.rangeList5(f, r)
		}
		return e.Unit.rangeList4(f.Val+r.rangesBase, r)
	}
	low := e.Field(dwarf.AttrLowpc)
	high := e.Field(dwarf.AttrHighpc)
	if low == nil || high == nil {
		return nil, nil
	}
	lo, ok := e.addr(low, r)
	if !ok {
		return nil, fmt.Errorf("%s: the entry at %#x of .debug_info: its address can't be read", e.Unit.Data.Name, e.Off)
	}
	hi, isAddr := e.addr(high, r)
	if !isAddr {
		hi = lo + high.Val
	}
	if hi <= lo {
		return nil, nil
	}
	return [][2]uint64{{lo, hi}}, nil
}

// Kinds of entries of .debug_rnglists, DW_RLE_*.
const (
	RLEEnd          = 0
	RLEBaseAddrx    = 1
	RLEStartxEndx   = 2
	RLEStartxLength = 3
	RLEOffsetPair   = 4
	RLEBaseAddr     = 5
	RLEStartEnd     = 6
	RLEStartLength  = 7
)

func (u *Unit) rangeList5(f *Field, r *root) ([][2]uint64, error) {
	d := u.Data
	off := f.Val
	if f.Form == FormRnglistx {
		size := uint64(4)
		if u.Dwarf64 {
			size = 8
		}
		if f.Val > uint64(len(d.RngLists)) {
			return nil, errEnd
		}
		t := d.buf(d.RngLists, r.rngBase+f.Val*size, uint64(len(d.RngLists)), u.AddrSize)
		t.dwarf64 = u.Dwarf64
		off = r.rngBase + t.offset()
		if t.err != nil {
			return nil, t.err
		}
	}
	b := d.buf(d.RngLists, off, uint64(len(d.RngLists)), u.AddrSize)
	base := r.low
	var out [][2]uint64
	indexed := func() uint64 {
		a, ok := u.indexedAddr(b.uleb(), r)
		if !ok && b.err == nil {
			b.err = errEnd
		}
		return a
	}
	for len(out) < maxRanges {
		var lo, hi uint64
		switch kind := b.u8(); {
		case b.err != nil:
			return out, fmt.Errorf("%s: .debug_rnglists at %#x: %w", d.Name, off, b.err)
		case kind == RLEEnd:
			return out, nil
		case kind == RLEBaseAddrx:
			base = indexed()
			continue
		case kind == RLEBaseAddr:
			base = b.addr()
			continue
		case kind == RLEStartxEndx:
			lo, hi = indexed(), indexed()
		case kind == RLEStartxLength:
			lo = indexed()
			hi = lo + b.uleb()
		case kind == RLEOffsetPair:
			lo, hi = base+b.uleb(), base+b.uleb()
		case kind == RLEStartEnd:
			lo, hi = b.addr(), b.addr()
		case kind == RLEStartLength:
			lo = b.addr()
			hi = lo + b.uleb()
		default:
			return out, fmt.Errorf("%s: .debug_rnglists at %#x: kind %d is not known", d.Name, off, kind)
		}
		if b.err == nil && lo < hi {
			out = append(out, [2]uint64{lo, hi})
		}
	}
	return out, fmt.Errorf("%s: .debug_rnglists at %#x: a list without end", d.Name, off)
}

func (u *Unit) rangeList4(off uint64, r *root) ([][2]uint64, error) {
	d := u.Data
	b := d.buf(d.Ranges, off, uint64(len(d.Ranges)), u.AddrSize)
	base := r.low
	highest := ^uint64(0) >> (64 - 8*u.AddrSize)
	var out [][2]uint64
	for len(out) < maxRanges {
		lo, hi := b.addr(), b.addr()
		switch {
		case b.err != nil:
			return out, fmt.Errorf("%s: .debug_ranges at %#x: %w", d.Name, off, b.err)
		case lo == 0 && hi == 0:
			return out, nil
		case lo == highest:
			base = hi
		case lo < hi:
			out = append(out, [2]uint64{base + lo, base + hi})
		}
	}
	return out, fmt.Errorf("%s: .debug_ranges at %#x: a list without end", d.Name, off)
}
