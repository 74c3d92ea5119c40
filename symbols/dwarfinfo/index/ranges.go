package index

import "kdx/symbols/dwarfinfo"

// maxBases bounds the entries of a list of ranges before the first that is a range.
const maxBases = 16

// firstRange is where the first range of a list begins, which of a function is its entry. 0 if it can't be read.
func (u *unit) firstRange(v uint64, form dwarfinfo.Form) uint64 {
	if u.Version < 5 {
		return u.firstRange4(v)
	}
	d := u.space.d
	off := v
	if form == dwarfinfo.FormRnglistx {
		if v > uint64(len(d.RngLists)) {
			return 0
		}
		rel, ok := u.sectionNumber(d.RngLists, u.rngBase+v*uint64(u.offSize), u.offSize)
		if !ok {
			return 0
		}
		off = u.rngBase + rel
	}
	if off >= uint64(len(d.RngLists)) {
		return 0
	}
	b, pos, base := d.RngLists, int(off), u.low
	for range maxBases {
		if pos < 0 || pos >= len(b) {
			return 0
		}
		kind := b[pos]
		pos++
		var x uint64
		switch kind {
		case dwarfinfo.RLEBaseAddrx, dwarfinfo.RLEStartxEndx, dwarfinfo.RLEStartxLength:
			if x, pos = uleb(b, pos); pos < 0 {
				return 0
			}
			x = u.address(x)
			if kind != dwarfinfo.RLEBaseAddrx {
				return x
			}
			base = x
		case dwarfinfo.RLEOffsetPair:
			if x, pos = uleb(b, pos); pos < 0 {
				return 0
			}
			return base + x
		case dwarfinfo.RLEBaseAddr, dwarfinfo.RLEStartEnd, dwarfinfo.RLEStartLength:
			x, ok := u.sectionNumber(b, uint64(pos), u.AddrSize)
			if !ok || kind != dwarfinfo.RLEBaseAddr {
				return x
			}
			pos += u.AddrSize
			base = x
		default:
			return 0
		}
	}
	return 0
}

func (u *unit) firstRange4(off uint64) uint64 {
	b, base := u.space.d.Ranges, u.low
	size := u.AddrSize
	highest := ^uint64(0) >> (64 - 8*size)
	for range maxBases {
		lo, ok1 := u.sectionNumber(b, off, size)
		hi, ok2 := u.sectionNumber(b, off+uint64(size), size)
		switch {
		case !ok1 || !ok2 || lo == 0 && hi == 0:
			return 0
		case lo == highest:
			base = hi
		case lo < hi:
			return base + lo
		}
		off += 2 * uint64(size)
	}
	return 0
}
