package timer_test

import (
	"context"
	"testing"
	"time"

	"kdx/analyze/kerneltest"
	"kdx/analyze/timer"
	"kdx/analyze/vmem"
)

// scatter writes words into memory that begins at base: small numbers, addresses within it, and addresses of nobody's.
func scatter(m *kerneltest.Machine, base vmem.Addr, size uint64, words []byte) {
	for i := 0; i+2 < len(words); i += 3 {
		to := uint64(base) + uint64(words[i+2])*16%size
		switch words[i+1] % 5 {
		case 0:
			to = uint64(words[i+2])
		case 1:
			to += 8
		case 2:
			to = uint64(words[i+2])<<56 | 0x100
		}
		m.Word(base+vmem.Addr(uint64(words[i])*16%size), to)
	}
}

// FuzzWheels reads wheels and queues whose words lead anywhere: reading ends, and finds no timer twice.
func FuzzWheels(f *testing.F) {
	f.Add(uint8(3), []byte{})
	f.Add(uint8(1), []byte{0, 3, 4, 4, 3, 8, 8, 3, 0})
	f.Add(uint8(2), []byte{0, 2, 7, 1, 1, 0, 2, 0, 9})
	f.Fuzz(func(t *testing.T, kind uint8, words []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		m, first := wheel(t, []string{"1", "2", "3"}[kind%3])
		scatter(m, first, 128, words)
		bases, err := timer.Wheels(m.ViewContext(ctx), []int{0})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bases {
			seen := make(map[vmem.Addr]bool)
			for _, x := range b.Timers {
				if seen[x.Addr] {
					t.Fatalf("timer %x is told twice", x.Addr)
				}
				seen[x.Addr] = true
			}
		}
		for release := range layouts {
			m, top, _ := queues(t, release)
			scatter(m, top, 256, words)
			if _, err := timer.HighRes(m.ViewContext(ctx), []int{0}); err != nil {
				t.Fatal(err)
			}
		}
		if err := ctx.Err(); err != nil {
			t.Fatalf("reading did not end: %v", err)
		}
	})
}
