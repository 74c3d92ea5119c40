package elfcore

import (
	"cmp"
	"slices"
)

// kind of an extent, best first: where segments overlap, bytes that are there win over bytes that are lost, and those
// over a hole.
type kind uint8

const (
	backed   kind = iota // the bytes are in the file
	zeroed               // they are zeros, says the file
	lost                 // they should be in the file, but it ends before them
	excluded             // they were left out, says the file
	hole                 // p_memsz beyond p_filesz, without a word why
	kinds
)

// tail is what the flags of a segment say of its part that is not in the file.
func tail(flags uint32) kind {
	switch flags & (tailZero | tailExcluded) {
	case tailZero:
		return zeroed
	case tailExcluded:
		return excluded
	}
	return hole
}

// extent is physical memory [start, end). Extents of a source are sorted and don't overlap.
type extent struct {
	start, end uint64
	offset     int64 // of start in the file, if backed
	kind       kind
}

// flatten sorts extents, cuts away what overlaps and joins what goes on in the file. It works in place: only the few
// extents that really overlap are copied.
func flatten(all []extent) []extent {
	slices.SortStableFunc(all, byStart)
	var mended []extent
	out := all[:0]
	for i := 0; i < len(all); {
		j, end := i+1, all[i].end
		for j < len(all) && all[j].start < end {
			end = max(end, all[j].end)
			j++
		}
		if j == i+1 {
			out = append(out, all[i])
		} else {
			mended = append(mended, mend(all[i:j])...)
		}
		i = j
	}
	if len(mended) > 0 {
		out = append(out, mended...)
		slices.SortFunc(out, byStart)
	}
	return join(out)
}

func byStart(a, b extent) int { return cmp.Compare(a.start, b.start) }

func join(in []extent) []extent {
	out := in[:0]
	for _, e := range in {
		if n := len(out); n > 0 && out[n-1].continues(e) {
			out[n-1].end = e.end
		} else {
			out = append(out, e)
		}
	}
	return out
}

// mend resolves a cluster of overlapping extents, which are sorted by their start.
func mend(cluster []extent) []extent {
	var layers [kinds][]extent
	for _, e := range cluster {
		layers[e.kind] = append(layers[e.kind], e)
	}
	flat := disjoint(layers[backed])
	for _, lower := range layers[backed+1:] {
		flat = under(flat, disjoint(lower))
	}
	return flat
}

// disjoint cuts overlaps of sorted extents of one kind away.
func disjoint(in []extent) []extent {
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
