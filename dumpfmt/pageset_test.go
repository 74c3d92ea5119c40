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

func TestPageSetTake(t *testing.T) {
	var a, b, c PageSet
	b.AddRange(10, 100)
	a.Take(&b)
	if a.Len() != 90 || b.Len() != 0 || b.Has(10) {
		t.Errorf("after Take: %d and %d pages; want 90 and 0", a.Len(), b.Len())
	}
	c.AddRange(50, 150)
	c.AddRange(chunkPages, chunkPages+3)
	a.Take(&c)
	if a.Len() != 143 || !a.Has(149) || !a.Has(chunkPages) || a.Has(150) {
		t.Errorf("after Take: %d pages; want 143", a.Len())
	}
	if w := a.Word(70); w != ^uint64(0) {
		t.Errorf("Word(70) = %#x; want all ones", w)
	}
	if w := a.Word(5); w != ^uint64(1<<10-1) {
		t.Errorf("Word(5) = %#x; want all but the first ten", w)
	}
	if w := a.Word(5 * chunkPages); w != 0 {
		t.Errorf("Word of an empty place = %#x", w)
	}
}
