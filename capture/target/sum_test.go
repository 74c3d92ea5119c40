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
		if got != l.want() {
			t.Fatalf("%d bytes: read back %x; written %x", len(file), got, l.want())
		}
		file[r.IntN(len(file))] ^= 4
		got = sum{}
		got.add(file, 0)
		if got == l.want() {
			t.Fatalf("%d bytes: a flipped bit was not noticed", len(file))
		}
	}
}

// TestSumNotices: errors as hardware makes them.
func TestSumNotices(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	file := make([]byte, 64<<10)
	for i := range file {
		file[i] = byte(r.Uint32())
	}
	const page = 4096
	sumOf := func(b []byte) (s sum) {
		s.add(b, 0)
		return s
	}
	want := sumOf(file)
	for what, damage := range map[string]func(b []byte){
		"pages that changed places": func(b []byte) {
			swapped := append([]byte{}, b[2*page:3*page]...)
			copy(b[2*page:], b[7*page:8*page])
			copy(b[7*page:], swapped)
		},
		"a sector of another time":  func(b []byte) { clear(b[512:1024]) },
		"words that changed places": func(b []byte) { copy(b[8:16], file[16:24]); copy(b[16:24], file[8:16]) },
		"a line that is always wrong": func(b []byte) {
			for i := 7; i < len(b); i += 64 {
				b[i] ^= 0x80
			}
		},
		"two highest bits":     func(b []byte) { b[7] ^= 0x80; b[15] ^= 0x80 },
		"a page that is moved": func(b []byte) { copy(b[page:], file[:page]) },
	} {
		b := append([]byte{}, file...)
		damage(b)
		if sumOf(b) == want {
			t.Errorf("%s: not noticed", what)
		}
	}
}

// TestFactors: neighbours that are alike would let errors cancel each other.
func TestFactors(t *testing.T) {
	seen := map[uint64]bool{}
	for i := range uint64(1 << 14) {
		f := factor(i * step)
		if f&1 == 0 || seen[f] {
			t.Fatalf("place %d has the factor %#x, which is even or another's", i, f)
		}
		seen[f] = true
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
