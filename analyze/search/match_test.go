package search

import (
	"encoding/binary"
	"fmt"
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

// BenchmarkValues is the pace at which one core looks through a page: an empty one, one of addresses and small numbers, and one of noise;
// beside that at which it copies one.
func BenchmarkValues(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	pages := map[string][]byte{"zeros": make([]byte, 4096), "structs": make([]byte, 4096), "noise": make([]byte, 4096)}
	for i := 0; i < 4096; i += 8 {
		binary.LittleEndian.PutUint64(pages["noise"][i:], r.Uint64())
		switch r.IntN(4) {
		case 0:
			binary.LittleEndian.PutUint64(pages["structs"][i:], 0xffff888000000000+r.Uint64N(1<<32)&^63)
		case 1:
			binary.LittleEndian.PutUint64(pages["structs"][i:], r.Uint64N(100))
		}
	}
	b.Run("copy", func(b *testing.B) {
		to := make([]byte, 4096)
		b.SetBytes(4096)
		for b.Loop() {
			copy(to, pages["noise"])
		}
	})
	for _, unit := range []uint64{8, 4, 2} {
		for _, n := range []int{1, 3, 8} {
			for name, page := range pages {
				b.Run(fmt.Sprintf("%d bytes, %d values, %s", unit, n, name), func(b *testing.B) {
					s := &searcher{order: binary.LittleEndian, page: 4096, q: Query{Unit: unit}}
					for i := range n {
						s.q.Values = append(s.q.Values, 0xffff8880deadbe08+uint64(i)*0x1230)
					}
					s.prepare()
					b.SetBytes(4096)
					for b.Loop() {
						s.values(nil, 0, page)
					}
				})
			}
		}
	}
}
