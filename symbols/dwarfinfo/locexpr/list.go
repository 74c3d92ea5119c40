package locexpr

import (
	"fmt"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/internal/numbers"
)

// At is the expression that an attribute gives for an instruction at pc, an address as linked: the attribute itself if it is
// an expression, else the first entry of its list that covers pc. nil with no error: the list has none there, and the value
// is lost at that point. always says that the attribute holds wherever the variable exists, as it is no list.
func At(u *dwarfinfo.Unit, f *dwarfinfo.Field, pc uint64) (expr []byte, always bool, err error) {
	if f.Block != nil || isBlock(f.Form) {
		return f.Block, true, nil
	}
	d := u.Data
	if u.Version >= 5 {
		off, err := list5(u, f)
		if err == nil {
			expr, err = find5(u, off, pc)
		}
		if err != nil {
			return nil, false, fmt.Errorf("%s: .debug_loclists at %#x: %w", d.Name, off, err)
		}
		return expr, false, nil
	}
	if expr, err = find4(u, f.Val, pc); err != nil {
		return nil, false, fmt.Errorf("%s: .debug_loc at %#x: %w", d.Name, f.Val, err)
	}
	return expr, false, nil
}

func isBlock(f dwarfinfo.Form) bool {
	switch f {
	case dwarfinfo.FormExprloc, dwarfinfo.FormBlock, dwarfinfo.FormBlock1, dwarfinfo.FormBlock2, dwarfinfo.FormBlock4:
		return true
	}
	return false
}

// Kinds of entries of .debug_loclists, DW_LLE_*.
const (
	lleEnd          = 0
	lleBaseAddrx    = 1
	lleStartxEndx   = 2
	lleStartxLength = 3
	lleOffsetPair   = 4
	lleDefault      = 5
	lleBaseAddr     = 6
	lleStartEnd     = 7
	lleStartLength  = 8
	lleViewPair     = 9 // GNU's: two view numbers for the next entry
)

// maxEntries bounds one list; the longest of real kernels have some thousand.
const maxEntries = 1 << 18

// list5 is where the attribute's list begins.
func list5(u *dwarfinfo.Unit, f *dwarfinfo.Field) (uint64, error) {
	if f.Form != dwarfinfo.FormLoclistx {
		return f.Val, nil
	}
	size := uint64(4)
	if u.Dwarf64 {
		size = 8
	}
	base := u.LocBase()
	section := u.Data.LocLists
	if f.Val > uint64(len(section)) || base > uint64(len(section)) || base+f.Val*size > uint64(len(section)) {
		return 0, numbers.ErrEnd
	}
	r := numbers.Reader{Order: u.Data.Order, Data: section, Off: int(base + f.Val*size)}
	off := base + r.Uint(int(size))
	return off, r.Err
}

func find5(u *dwarfinfo.Unit, off, pc uint64) ([]byte, error) {
	section := u.Data.LocLists
	if off > uint64(len(section)) {
		return nil, numbers.ErrEnd
	}
	r := numbers.Reader{Order: u.Data.Order, Data: section, Off: int(off)}
	base := u.LowPC()
	var standard []byte // of the default location, which holds where no other entry does
	indexed := func() uint64 {
		a, ok := u.IndexedAddr(r.ULEB())
		if !ok && r.Err == nil {
			r.Err = numbers.ErrEnd
		}
		return a
	}
	for range maxEntries {
		var lo, hi uint64
		kind := r.U8()
		switch kind {
		case lleEnd:
			return standard, r.Err
		case lleBaseAddrx:
			base = indexed()
			continue
		case lleBaseAddr:
			base = r.Uint(u.AddrSize)
			continue
		case lleViewPair:
			r.ULEB()
			r.ULEB()
			continue
		case lleStartxEndx:
			lo, hi = indexed(), indexed()
		case lleStartxLength:
			lo = indexed()
			hi = lo + r.ULEB()
		case lleOffsetPair:
			lo, hi = base+r.ULEB(), base+r.ULEB()
		case lleDefault:
		case lleStartEnd:
			lo, hi = r.Uint(u.AddrSize), r.Uint(u.AddrSize)
		case lleStartLength:
			lo = r.Uint(u.AddrSize)
			hi = lo + r.ULEB()
		default:
			return nil, fmt.Errorf("an entry of kind %d, which is not known", kind)
		}
		expr := r.Take(r.ULEB())
		if r.Err != nil {
			return nil, r.Err
		}
		if kind == lleDefault {
			standard = expr
		}
		if lo <= pc && pc < hi {
			return expr, nil
		}
	}
	return nil, fmt.Errorf("a list without end")
}

func find4(u *dwarfinfo.Unit, off, pc uint64) ([]byte, error) {
	section := u.Data.Loc
	if off > uint64(len(section)) {
		return nil, numbers.ErrEnd
	}
	r := numbers.Reader{Order: u.Data.Order, Data: section, Off: int(off)}
	base := u.LowPC()
	highest := ^uint64(0) >> (64 - 8*u.AddrSize)
	for range maxEntries {
		lo, hi := r.Uint(u.AddrSize), r.Uint(u.AddrSize)
		switch {
		case r.Err != nil:
			return nil, r.Err
		case lo == 0 && hi == 0:
			return nil, nil
		case lo == highest:
			base = hi
			continue
		}
		expr := r.Take(r.Uint(2))
		if r.Err != nil {
			return nil, r.Err
		}
		if base+lo <= pc && pc < base+hi {
			return expr, nil
		}
	}
	return nil, fmt.Errorf("a list without end")
}
