package target

import (
	"math/rand/v2"
	"testing"
)

// TestSum writes a file in pieces in any order, its front twice, and leaves holes.
func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		file := make([]byte, 1+r.IntN(4*shadowSize))
		var l ledger
		write := func(from, to int) {
			for i := from; i < to; i++ {
				file[i] = byte(r.Uint32())
			}
			l.wrote(file[from:to], int64(from))
		}
		if front := min(len(file), shadowSize); front > 100 {
			write(0, 50)
			write(30, front)
			write(0, 20)
		}
		for at := min(len(file), shadowSize+r.IntN(1000)); at < len(file); {
			end := min(len(file), at+1+r.IntN(9000))
			write(at, end)
			at = end + r.IntN(100)
		}
		var got sum
		for at := 0; at < len(file); {
			end := min(len(file), at+1+r.IntN(7000))
			got.add(file[at:end], int64(at))
			at = end
		}
		if got.value != l.want() {
			t.Fatalf("%d bytes: read back %#x; written %#x", len(file), got.value, l.want())
		}
		file[r.IntN(len(file))] ^= 4
		got = sum{}
		got.add(file, 0)
		if got.value == l.want() {
			t.Fatalf("%d bytes: a flipped bit was not noticed", len(file))
		}
	}
}

func BenchmarkSum(b *testing.B) {
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	var s sum
	for b.Loop() {
		s.add(p, 1<<33)
	}
}
