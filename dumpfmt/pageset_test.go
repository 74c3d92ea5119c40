package dumpfmt

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Ranges over words and chunks are held against pages that are added and taken one by one.
func TestPageSetRange(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var s PageSet
	want := make(map[uint64]bool)
	const limit = 3 * chunkPages
	for range 400 {
		from := rnd.Uint64N(limit)
		to := from + rnd.Uint64N(200)
		if rnd.IntN(20) == 0 {
			to = from + rnd.Uint64N(2*chunkPages)
		}
		add := rnd.IntN(3) > 0
		if add {
			s.AddRange(from, to)
		} else {
			s.RemoveRange(from, to)
		}
		for p := from; p < to; p++ {
			if add {
				want[p] = true
			} else {
				delete(want, p)
			}
		}
	}
	if s.Len() != uint64(len(want)) {
		t.Errorf("Len = %d; want %d", s.Len(), len(want))
	}
	got := slices.Collect(s.All())
	if len(got) != len(want) || !slices.IsSorted(got) {
		t.Fatalf("All gave %d pages; want %d, sorted", len(got), len(want))
	}
	for _, p := range got {
		if !want[p] || !s.Has(p) {
			t.Fatalf("page %d is in the set, or Has says otherwise", p)
		}
	}
}

func TestPageSetEmptyRange(t *testing.T) {
	var s PageSet
	s.RemoveRange(5, 100)
	s.AddRange(7, 7)
	if s.Len() != 0 {
		t.Errorf("Len = %d; want 0", s.Len())
	}
}
