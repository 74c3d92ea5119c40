package elfcore

import (
	"testing"

	"kdx/dumpfmt"
)

// plain is a source of memory in which each page that is a multiple of 1000 is lost.
type plain struct{ info dumpfmt.Info }

func (p *plain) Info() *dumpfmt.Info           { return &p.info }
func (p *plain) ReadPage([]byte, uint64) error { return nil }
func (p *plain) Close() error                  { return nil }
func (p *plain) State(pfn uint64) dumpfmt.PageState {
	if pfn%1000 == 0 {
		return dumpfmt.Excluded
	}
	return dumpfmt.Present
}

func TestCoarsen(t *testing.T) {
	src := &plain{dumpfmt.Info{Ranges: []dumpfmt.PhysRange{{Start: 0, End: 1 << 40}}}}
	build := func(n uint64, lengths ...uint64) *dumpfmt.PageSet {
		var set dumpfmt.PageSet
		pfn := uint64(1)
		for i := range n {
			set.Add(pfn)
			pfn += 1 + lengths[i%uint64(len(lengths))]
		}
		return &set
	}
	runs := func(set *dumpfmt.PageSet) uint64 {
		n := uint64(1)
		for range gaps(set) {
			n++
		}
		return n
	}
	few := build(1000, 1, 2, 3)
	if n := Coarsen(src, few); n != 0 {
		t.Errorf("%d pages were added where that is not needed", n)
	}
	if n := Coarsen(src, build(150000, 1, 5, 300)); n != 0 {
		t.Errorf("%d pages were added, which are more than few segments are worth", n)
	}
	for _, test := range []struct {
		lengths []uint64
		least   uint64 // of the runs that are still left out
	}{
		{[]uint64{1, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300}, 300},
		{[]uint64{2, 1, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300}, 2},
	} {
		set := build(67500, test.lengths...)
		lost := 0
		for pfn := range set.All() {
			if src.State(pfn) != dumpfmt.Present {
				lost++
			}
		}
		before := set.Len()
		if n := Coarsen(src, set); n == 0 || n != set.Len()-before {
			t.Errorf("%d: %d pages were added; the set grew by %d", test.lengths, n, set.Len()-before)
		}
		if r := runs(set); r > fewSegments+500 {
			t.Errorf("%d: %d runs are left", test.lengths, r)
		}
		for from, to := range gaps(set) {
			if to-from < test.least && given(src, from, to) {
				t.Fatalf("%d: pages %d to %d could have been added", test.lengths, from, to)
			}
		}
		for pfn := range set.All() {
			if src.State(pfn) != dumpfmt.Present {
				lost--
			}
		}
		if lost != 0 {
			t.Errorf("%d: %d pages were added that the source lacks", test.lengths, -lost)
		}
	}
}
