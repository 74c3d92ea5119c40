package dwarfinfo

import (
	"cmp"
	"slices"
	"sort"
)

// arange is a range of addresses that .debug_aranges says belongs to a unit.
type arange struct {
	lo, hi uint64
	unit   uint64 // offset of the unit's header
}

// readAranges reads .debug_aranges: thousands of units are told apart without reading any of them. A set that makes no sense ends
// the table; what it lacks, units know.
func (d *Data) readAranges() []arange {
	var out []arange
	for at := uint64(0); at < uint64(len(d.Aranges)); {
		b := d.buf(d.Aranges, at, uint64(len(d.Aranges)), 0)
		length := uint64(b.u32())
		if length == 0xffffffff {
			b.dwarf64, length = true, b.u64()
		}
		if b.err != nil || length > b.end-b.off {
			break
		}
		b.end = b.off + length
		next := b.end
		version := b.u16()
		unit := b.offset()
		b.size = int(b.u8())
		segment := b.u8()
		if b.err != nil || version != 2 || segment != 0 || b.size != 4 && b.size != 8 {
			break
		}
		pair := 2 * uint64(b.size) // tuples lie at multiples of their size, counted from the set's begin
		b.off = at + (b.off-at+pair-1)/pair*pair
		for b.err == nil && b.off+pair <= b.end {
			lo, n := b.addr(), b.addr()
			if lo == 0 && n == 0 {
				break
			}
			if n != 0 && lo+n > lo {
				out = append(out, arange{lo, lo + n, unit})
			}
		}
		at = next
	}
	slices.SortStableFunc(out, func(a, b arange) int { return cmp.Compare(a.lo, b.lo) })
	return out
}

// unitByAranges is the unit that .debug_aranges names for pc, if that unit says so too; denied if it does not.
func (d *Data) unitByAranges(pc uint64) (u *Unit, denied bool) {
	a := d.aranges()
	i := sort.Search(len(a), func(i int) bool { return a[i].lo > pc })
	if i == 0 || pc >= a[i-1].hi {
		return nil, false
	}
	off := a[i-1].unit
	j := sort.Search(len(d.units), func(j int) bool { return d.units[j].Off >= off })
	if j == len(d.units) || d.units[j].Off != off {
		return nil, true
	}
	pcs, _ := d.units[j].PCs()
	for _, p := range pcs {
		if p[0] <= pc && pc < p[1] {
			return d.units[j], false
		}
	}
	return nil, true
}
