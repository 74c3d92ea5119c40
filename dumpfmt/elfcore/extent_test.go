package elfcore

import (
	"math/rand/v2"
	"testing"
)

// TestFlatten holds flatten against painting each unit of memory: bytes win over lost bytes, those over holes, and of two
// equal ones any.
func TestFlatten(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for round := range 300 {
		const size = 400
		var in []extent
		best := make([]kind, size)
		for i := range best {
			best[i] = kinds
		}
		for range 1 + rnd.IntN(20) {
			start := rnd.Uint64N(size)
			e := extent{start: start, end: start + 1 + rnd.Uint64N(size-start), kind: kind(rnd.IntN(int(kinds)))}
			if rnd.IntN(2) == 0 {
				e.end = min(e.end, e.start+20)
			}
			// The file holds each byte of memory at 1000 + its address, so that every copy is as good as another.
			e.offset = 1000 + int64(e.start)
			for a := e.start; a < e.end; a++ {
				best[a] = min(best[a], e.kind)
			}
			in = append(in, e)
		}
		flat := flatten(in)
		got := make([]kind, size)
		for i := range got {
			got[i] = kinds
		}
		end := uint64(0)
		for i, e := range flat {
			if e.start < end || e.start >= e.end || e.kind == backed && e.offset != 1000+int64(e.start) {
				t.Fatalf("round %d: extent %d is %+v, behind %d", round, i, e, end)
			}
			end = e.end
			for a := e.start; a < e.end; a++ {
				got[a] = e.kind
			}
		}
		for a := range got {
			if got[a] != best[a] {
				t.Fatalf("round %d: kind at %d is %d; want %d (%+v)", round, a, got[a], best[a], flat)
			}
		}
	}
}
