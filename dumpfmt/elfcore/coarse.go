package elfcore

import "kdx/dumpfmt"

const (
	// fewSegments can be counted without PN_XNUM, which not every reader knows. Those that look through all of them for each
	// address stay quick, too.
	fewSegments = xnum - 1 - missingRuns*2
	// longRun of pages is always left out; makedumpfile keeps all that are shorter.
	longRun = 256
)

// Coarsen adds short runs of pages that would be left out to keep, if there are so many runs that an ELF dump of it would
// have more segments than all readers can count. The shortest go first, and none has longRun pages or more. Pages that src
// can't give are never added. It returns how many were.
func Coarsen(src dumpfmt.Source, keep *dumpfmt.PageSet) uint64 {
	segments := uint64(len(src.Info().Segments) + len(src.Info().Ranges))
	var short [longRun]uint64 // runs by their length
	for from, to := range gaps(keep) {
		if to-from < longRun && given(src, from, to) {
			short[to-from]++
		} else {
			segments++
		}
	}
	limit := uint64(longRun)
	for limit > 1 && segments+short[limit-1] <= fewSegments {
		limit--
		segments += short[limit]
	}
	if limit == 1 {
		return 0
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
