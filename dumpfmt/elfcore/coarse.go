package elfcore

import "kdx/dumpfmt"

const (
	// fewSegments can be counted without PN_XNUM, which not every reader knows. Those that look through all of them for each
	// address stay quick, too.
	fewSegments = xnum - 1 - missingRuns*2
	// manySegments still leave room in maxSegments for what only shows while pages are written.
	manySegments = maxSegments / 2
	// longRun of pages is always left out; makedumpfile keeps all that are shorter.
	longRun = 256
	// worth is which part of the pages that stay may be added for the sake of few segments.
	worth = 8
)

// Coarsen adds short runs of pages that would be left out to keep, if there are so many runs that an ELF dump of it would
// have more segments than all readers can count, and that takes few pages; or more than any reader takes. The shortest
// go first, and none has longRun pages or more. Pages that src can't give are never added. It returns how many were.
func Coarsen(src dumpfmt.Source, keep *dumpfmt.PageSet) uint64 {
	var h histogram
	h.long = uint64(len(src.Info().Segments) + len(src.Info().Ranges))
	for from, to := range gaps(keep) {
		if to-from < longRun && given(src, from, to) {
			h.short[to-from]++
		} else {
			h.long++
		}
	}
	limit, added := h.limit(fewSegments)
	if h.segments(limit) > fewSegments || added > keep.Len()/worth {
		limit, _ = h.limit(manySegments)
	}
	before := keep.Len()
	for from, to := range gaps(keep) {
		// The pages lie behind what the loop has yet to see.
		if to-from < limit && given(src, from, to) {
			keep.AddRange(from, to)
		}
	}
	return keep.Len() - before
}

// histogram counts runs that are left out, by their length.
type histogram struct {
	short [longRun]uint64
	long  uint64 // those that stay out
}

// segments that there are if runs shorter than limit are kept.
func (h *histogram) segments(limit uint64) uint64 {
	n := h.long
	for _, runs := range h.short[limit:] {
		n += runs
	}
	return n
}

// limit is the smallest that gives at most so many segments, or longRun; and how many pages are kept for it.
func (h *histogram) limit(segments uint64) (limit, pages uint64) {
	for limit = 1; limit < longRun && h.segments(limit) > segments; limit++ {
		pages += h.short[limit] * limit
	}
	return limit, pages
}

// gaps are the runs of pages between those of the set.
func gaps(set *dumpfmt.PageSet) func(yield func(from, to uint64) bool) {
	return func(yield func(from, to uint64) bool) {
		next, first := uint64(0), true
		for pfn := range set.All() {
			if !first && pfn != next && !yield(next, pfn) {
				return
			}
			next, first = pfn+1, false
		}
	}
}

// given reports whether the source has the bytes of all these pages.
func given(src dumpfmt.Source, from, to uint64) bool {
	for pfn := from; pfn < to; pfn++ {
		if st := src.State(pfn); st != dumpfmt.Present && st != dumpfmt.Zero {
			return false
		}
	}
	return true
}
