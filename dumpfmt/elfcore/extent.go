package elfcore

import (
	"cmp"
	"slices"
)

// kind of an extent, best first: where segments overlap, bytes that are there win over bytes that are lost, and those
// over a hole.
type kind uint8

const (
	backed kind = iota // the bytes are in the file
	lost               // they should be, but the file ends before them
	hole               // p_memsz beyond p_filesz
	kinds
)

// extent is physical memory [start, end). Extents of a source are sorted and don't overlap.
type extent struct {
	start, end uint64
	offset     int64 // of start in the file, if backed
	kind       kind
}

// layers collects extents in the order of the program headers and flattens them.
type layers [kinds][]extent

func (l *layers) add(e extent) {
	if e.start < e.end {
		l[e.kind] = append(l[e.kind], e)
	}
}

func (l *layers) flatten() []extent {
	flat := disjoint(l[backed])
	for _, lower := range l[backed+1:] {
		flat = under(flat, disjoint(lower))
	}
	return flat
}

// disjoint sorts extents of one kind and cuts overlaps away.
func disjoint(in []extent) []extent {
	slices.SortStableFunc(in, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	out := in[:0]
	end := uint64(0)
	for _, e := range in {
		if e.end <= end {
			continue
		}
		if e.start < end {
			e = e.from(end)
		}
		end = e.end
		if n := len(out); n > 0 && out[n-1].continues(e) {
			out[n-1].end = e.end
			continue
		}
		out = append(out, e)
	}
	return out
}

// continues reports whether e goes on in memory and file where x ends.
func (x extent) continues(e extent) bool {
	if x.kind != e.kind || x.end != e.start {
		return false
	}
	return x.kind != backed || x.offset+int64(x.end-x.start) == e.offset
}

func (x extent) from(start uint64) extent {
	x.offset += int64(start - x.start)
	x.start = start
	return x
}

// under adds the parts of low that top leaves free. Both are sorted and disjoint.
func under(top, low []extent) []extent {
	if len(low) == 0 {
		return top
	}
	out := make([]extent, 0, len(top)+len(low))
	for _, e := range low {
		for e.start < e.end {
			for len(top) > 0 && top[0].end <= e.start {
				out = append(out, top[0])
				top = top[1:]
			}
			if len(top) == 0 || e.end <= top[0].start {
				out = append(out, e)
				break
			}
			if e.start < top[0].start {
				head := e
				head.end = top[0].start
				out = append(out, head)
			}
			if e.end <= top[0].end {
				break
			}
			e = e.from(top[0].end)
		}
	}
	return append(out, top...)
}
