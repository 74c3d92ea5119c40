package search

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLanes holds the fast ways through memory against reading value by value, at edges of every kind, in both byte orders.
func TestLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		p := make([]byte, r.IntN(400))
		for i := range p {
			p[i] = byte(r.IntN(3)) * 0x7f // 0, 0x7f, 0xfe: many equal values, and borrows between neighbours
		}
		var order binary.ByteOrder = binary.LittleEndian
		if r.IntN(2) == 0 {
			order = binary.BigEndian
		}
		unit := []uint64{2, 4, 8}[r.IntN(3)]
		s := &searcher{order: order, q: Query{Unit: unit, Values: []uint64{r.Uint64(), 0, 0x7f7f7f7f7f7f7f7f, 0x7f00, 0xfe007f}, Mask: []uint64{0, 0xff, ^uint64(0xffff)}[r.IntN(3)]}}
		s.prepare()
		addr := uint64(0x1000 + r.IntN(16))
		var want []Hit
		skip := (unit - addr%unit) % unit
		for i := skip; i+unit <= uint64(len(p)); i += unit {
			var v uint64
			switch unit {
			case 2:
				v = uint64(order.Uint16(p[i:]))
			case 4:
				v = uint64(order.Uint32(p[i:]))
			default:
				v = order.Uint64(p[i:])
			}
			for which, x := range s.q.Values {
				if (v^x)&^s.q.Mask&(^uint64(0)>>(64-8*unit)) == 0 {
					want = append(want, Hit{addr + i, v, which})
				}
			}
		}
		if got := s.values(nil, addr, p); !slices.Equal(got, want) {
			t.Fatalf("unit %d, mask %#x, %v, %d bytes at %#x: %d hits; want %d", unit, s.q.Mask, order, len(p), addr, len(got), len(want))
		}
	}
}

// BenchmarkValues is the pace at which one core looks through memory, beside that at which it copies the same.
func BenchmarkValues(b *testing.B) {
	p := make([]byte, 64<<20)
	to := make([]byte, len(p))
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			copy(to, p)
		}
	})
	for _, unit := range []uint64{8, 4, 2} {
		b.Run(string('0'+rune(unit))+" bytes", func(b *testing.B) {
			s := &searcher{order: binary.LittleEndian, q: Query{Unit: unit, Values: []uint64{0x1234}}}
			s.prepare()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				s.values(nil, 0, p)
			}
		})
	}
}
