package proof

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

const vmemmap = kerneltest.Base + 0x2000000

const pageDecls = `
enum pageflags { PG_locked, PG_lru = 4, __NR_PAGEFLAGS = 8 };
struct list_head { struct list_head *next, *prev; };
struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
	struct { unsigned long compound_head; }; }; union { int _mapcount; unsigned int page_type; }; int _refcount; unsigned long memcg_data; };`

// descriptors is a machine whose struct pages a test fills.
func descriptors(t *testing.T) (m *kerneltest.Machine, page func(pfn uint64, flags, next, prev, mapping, private, refs uint64) vmem.Addr) {
	m = kerneltest.New(t, pageDecls)
	m.VMCoreInfo("NUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)=ffffffff80001000\n")
	at := m.Alloc(8)
	m.Word(at, uint64(vmemmap))
	m.Var("vmemmap_base", at, "unsigned long")
	page = func(pfn uint64, flags, next, prev, mapping, private, refs uint64) vmem.Addr {
		p := vmemmap + vmem.Addr(pfn*64)
		for off, w := range map[uint64]uint64{0: flags, 8: next, 16: prev, 24: mapping, 40: private} {
			m.Word(p+vmem.Addr(off), w)
		}
		m.Put(p+52, 4, refs)
		return p
	}
	return m, page
}

func TestGivenAway(t *testing.T) {
	m, page := descriptors(t)
	list := m.Alloc(16) // the head of a list of free pages
	of := func(pfn uint64) uint64 { return uint64(vmemmap) + pfn*64 + 8 }
	m.Word(list, of(16))
	m.Word(list+8, of(24))
	page(16, 0, of(24), uint64(list), 0, 2, 0) // a free block of order 2, and a page
	page(24, 0, uint64(list), of(16), 0, 0, 0)
	page(32, 0, 0, 0, 0, 0, 0)                                             // never set up
	page(40, 0, uint64(m.Alloc(16)), uint64(list), 0, 3, 0)                // says that it is free, but is in no list: a slab
	page(48, 1<<4, of(48), of(48), uint64(list), 0, 1)                     // of a file
	page(49, 0, of(49), of(49), uint64(list)|1, 0, 1)                      // a program's
	page(50, 0, of(50), of(50), uint64(list), 0, 1)                        // the kernel's
	page(56, 1<<4, of(56), of(56), uint64(list), 0, 1)                     // of a file, with a tail
	page(57, 0, uint64(vmemmap)+56*64|1, of(56), 0xdead000000000400, 0, 0) // the tail
	c := newChecker(m.Kernel(), nil, Options{})
	for pfn, want := range map[uint64]bool{16: true, 17: true, 19: true, 20: false, 24: true, 25: false, 32: false, 40: false, 43: false, 48: true, 49: true, 50: false,
		57: true, 1 << 40: false} {
		if got := c.givenAway(pfn); got != want {
			t.Errorf("givenAway(%d) = %v; want %v", pfn, got, want)
		}
	}
}

// TestDoubts: a pointer to memory that was given away is no failure; many are, and so is each page that the kernel has by its place.
func TestDoubts(t *testing.T) {
	for name, tc := range map[string]struct {
		n      uint64
		w      why
		doubts int
		failed uint64
	}{"few": {3, byPointer, 3, 0}, "many": {20, byPointer, 0, 20}, "by place": {3, byPlace, 0, 3}} {
		m, page := descriptors(t)
		gone := make(map[uint64]dumpfmt.PageState)
		for pfn := uint64(100); pfn < 100+tc.n; pfn++ {
			page(pfn, 1<<4, 0, 0, uint64(kerneltest.Base), 0, 1)
			gone[pfn] = dumpfmt.Excluded
		}
		k := m.Kernel()
		c := newChecker(k, dumpfmt.NewImage(&altered{Source: k.Image().Source(), state: gone}, dumpfmt.Options{}), Options{Budget: -1})
		r, err := c.run(t.Context(), []area{{"pointers", func(p *pass) error {
			for pfn := range gone {
				if err := p.need(pfn, true, tc.w); err != nil {
					return err
				}
			}
			return nil
		}}})
		if err != nil || len(r.Doubts) != tc.doubts || r.Failed != tc.failed || r.OK() != (tc.failed == 0) {
			t.Errorf("%s: %v, %s", name, err, r.Text())
		}
		if !strings.Contains(r.Text(), "flags lru, refcount 1") {
			t.Errorf("%s: the report does not say what the kernel says: %s", name, r.Text())
		}
	}
}
