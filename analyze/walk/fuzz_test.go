package walk_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// fuzzPages is how many pages of memory a fuzzed walk finds.
const fuzzPages = 4

// FuzzWalks walks memory whose words are small numbers, and pointers to each other with the low bits that xarrays and maple trees
// give theirs. Whatever they say, walks end.
func FuzzWalks(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{1, 0, 1, 0, 1, 1, 1, 2, 0, 3}, uint16(0))
	f.Add([]byte{0, 6, 2, 8, 2, 8, 2, 9, 0, 1, 2, 0}, uint16(16))
	f.Add([]byte{3, 0, 3, 32, 3, 64, 0, 9, 3, 96, 4, 8, 4, 0}, uint16(8))
	f.Fuzz(func(t *testing.T, words []byte, at uint16) {
		m := kerneltest.New(t, decls)
		base := m.AllocPage()
		for range fuzzPages - 1 {
			m.AllocPage()
		}
		const size = fuzzPages * 4096
		for i := 0; i+1 < len(words) && i*4 < size; i += 2 {
			kind, low := words[i], uint64(words[i+1])
			to := uint64(base) + low*64%size
			switch kind % 7 {
			case 0:
				to = low
			case 2: // a node of an xarray or radix tree
				to |= 2
			case 3: // a node of a maple tree with its type: see mte_node_type
				to = to&^0xff | low&0xf<<3 | 4
			case 4:
				to |= 1
			case 5:
				to += 8
			case 6: // nobody's memory
				to = low << 56
			}
			m.Word(base+vmem.Addr(i*4), to)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := base + vmem.Addr(at)%size&^7
		v := m.ViewContext(ctx)
		ends(t, "List", walk.List(v, start, 0))
		ends(t, "HList", walk.HList(v, start, 8))
		ends(t, "RBTree", walk.RBTree(v, start, 16))
		ends(t, "RBPlaces", walk.RBPlaces(v, start, 0))
		ends(t, "RBPlacesInOrder", walk.RBPlacesInOrder(v, start, 0))
		ends(t, "XArray", walk.XArray(v, start))
		ends(t, "XANodePlaces", walk.XANodePlaces(v, uint64(start)|2))
		ends(t, "IDR", walk.IDR(v, start))
		ends(t, "Maple", walk.Maple(v, start))
		ends(t, "MapleItems", walk.MapleItems(v, uint64(start), true))
		if err := ctx.Err(); err != nil {
			t.Fatalf("the walks did not end: %v", err)
		}
	})
}

// ends fails if a walk yields more than so little memory can hold.
func ends[T any](t *testing.T, what string, seq iter.Seq2[T, error]) {
	t.Helper()
	n := 0
	for range seq {
		if n++; n > 1<<20 {
			t.Fatalf("%s yields no end", what)
		}
	}
}
