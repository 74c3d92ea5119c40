package dumpfmt

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// fakeSource has pages whose first byte is their pfn; each 8th is excluded, each 9th zero, each 11th a hole.
type fakeSource struct {
	info  Info
	mu    sync.Mutex
	reads int
}

func newFake() *fakeSource {
	return &fakeSource{info: Info{PageSize: 4096, MaxPFN: 1 << 12, ByteOrder: binary.LittleEndian}}
}

func (s *fakeSource) Info() *Info  { return &s.info }
func (s *fakeSource) Close() error { return nil }

func (s *fakeSource) State(pfn uint64) PageState {
	switch {
	case pfn >= s.info.MaxPFN:
		return Absent
	case pfn%8 == 7:
		return Excluded
	case pfn%9 == 8:
		return Zero
	case pfn%11 == 10:
		return ZeroOrExcluded
	}
	return Present
}

func (s *fakeSource) ReadPage(dst []byte, pfn uint64) error {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	if st := s.State(pfn); st != Present {
		return &PageError{Addr: Phys(pfn * 4096), PFN: pfn, State: st, Level: 31}
	}
	for i := range dst {
		dst[i] = byte(pfn)
	}
	return nil
}

func TestPage(t *testing.T) {
	src := newFake()
	im := NewImage(src, Options{CacheBytes: 64 << 12})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range 5000 {
				pfn := rnd.Uint64N(1 << 12)
				page, err := im.Page(pfn)
				switch st := src.State(pfn); {
				case st == Excluded:
					var pe *PageError
					if !errors.As(err, &pe) || pe.PFN != pfn {
						t.Errorf("Page(%d) error = %v", pfn, err)
					}
				case err != nil:
					t.Errorf("Page(%d) error = %v", pfn, err)
				case st == Present && page[4095] != byte(pfn), st != Present && page[0] != 0:
					t.Errorf("Page(%d) has wrong bytes", pfn)
				}
			}
		})
	}
	wg.Wait()
	if im.UnsureReads() == 0 {
		t.Error("holes were not counted")
	}
	held := 0
	for i := range im.shards {
		held += len(im.shards[i].slots)
	}
	if held > 64 {
		t.Errorf("%d pages in a cache of 64", held)
	}
}

func TestPageIsCached(t *testing.T) {
	src := newFake()
	im := NewImage(src, Options{})
	for range 10 {
		if _, err := im.Page(1); err != nil {
			t.Fatal(err)
		}
	}
	if src.reads != 1 {
		t.Errorf("%d reads of one page; want 1", src.reads)
	}
}

// TestPageThatIsNotThere: what walks ask for a million times costs no buffer each time.
func TestPageThatIsNotThere(t *testing.T) {
	im := NewImage(newFake(), Options{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 4000
	for range n {
		if _, err := im.Page(7); err == nil {
			t.Fatal("an excluded page was read")
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > n*4096/2 { // the race detector empties pools at random
		t.Errorf("%d reads of an excluded page took %d bytes", n, got)
	}
	p, err := im.Page(5)
	if err != nil || p[0] != 5 || p[4095] != 5 {
		t.Errorf("page 5 behind them: %v", err)
	}
}

func TestReadPhys(t *testing.T) {
	im := NewImage(newFake(), Options{})
	buf := make([]byte, 3*4096)
	if n, err := im.ReadPhys(buf, 4096+100); n != len(buf) || err != nil || buf[0] != 1 || buf[len(buf)-1] != 4 {
		t.Errorf("ReadPhys = %d, %v, bytes %d…%d", n, err, buf[0], buf[len(buf)-1])
	}
	n, err := im.ReadPhys(buf, 6*4096+10)
	var pe *PageError
	if n != 4086 || !errors.As(err, &pe) || pe.Addr != 7*4096 || pe.State != Excluded || pe.Level != 31 {
		t.Errorf("ReadPhys into page 7 = %d, %v; want 4086 bytes and the address 0x7000", n, err)
	}
	zero := NewImage(newFake(), Options{ZeroExcluded: true})
	if n, err := zero.ReadPhys(buf, 6*4096+10); n != len(buf) || err != nil || buf[5000] != 0 || zero.UnsureReads() != 1 {
		t.Errorf("with ZeroExcluded: %d, %v, unsure %d", n, err, zero.UnsureReads())
	}
	if _, err := zero.ReadPhys(buf, 1<<40); err == nil {
		t.Error("absent memory reads as zeros")
	}
}

func TestPageSet(t *testing.T) {
	var s PageSet
	want := []uint64{0, 1, 63, 64, 32767, 32768, 1 << 28, 1<<36 + 5}
	for _, i := range []int{3, 0, 7, 1, 6, 2, 5, 4, 3, 3} {
		s.Add(want[i])
	}
	if got := slices.Collect(s.All()); !slices.Equal(got, want) || s.Len() != 8 {
		t.Errorf("All() = %d, Len() = %d; want %d", got, s.Len(), want)
	}
	if !s.Has(1<<28) || s.Has(2) || s.Has(1<<50) {
		t.Error("Has() is wrong")
	}
}

func TestPageSize(t *testing.T) {
	for size, want := range map[uint64]bool{0: false, 1024: false, 4096: true, 5000: false, 65536: true, 1 << 20: false} {
		if got := ValidPageSize(size); got != want {
			t.Errorf("ValidPageSize(%d) = %v; want %v", size, got, want)
		}
	}
}
