package exclude

import (
	"context"

	"kdx/dumpfmt"
)

// scan decides the pages of a range in ascending order. It belongs to one goroutine.
type scan struct {
	f     *Filter
	l     *layout
	level int
	keep  *dumpfmt.PageSet
	stats Stats
	goes  [NumClasses]bool

	w     *window // of struct pages; nil if there are none
	look  *window // for heads that lie before
	fresh bool    // the page before was not seen: this one may belong to a block or compound page that began before

	block     uint64 // pfn behind the block of free pages that the scan is in
	blockKind Class
	head      uint64 // address of the struct page of the compound page that it is in; 0 if none
	headClass Class  // of its tails

	start, end uint64 // the run of pages that stay which is not yet in keep
	guard      uint64 // bits of protected pages, of the 64 pages around guardAt
	guardAt    uint64

	odd  uint64 // pages whose struct page is not understood
	dark uint64 // pages whose struct page can't be read
	lost bool   // the page is one of those
}

func (f *Filter) newScan(level int, keep *dumpfmt.PageSet) *scan {
	s := &scan{f: f, l: f.layout, level: level, keep: keep, fresh: true, guardAt: ^uint64(0)}
	for c := range s.goes {
		s.goes[c] = Class(c).Goes(level)
	}
	if f.maps != nil {
		s.w = newWindow(f.maps)
	}
	return s
}

// checkEvery is how many pages are decided between looks at the context: some 1 ms.
const checkEvery = 1 << 15

// pages decides [from, to).
func (s *scan) pages(ctx context.Context, from, to uint64) error {
	next := from
	for _, r := range s.f.info.Ranges {
		first := max(next, uint64(r.Start)>>s.f.shift)
		last := min(to, (uint64(r.End)-1)>>s.f.shift+1)
		if r.End == 0 || last <= next || first >= to {
			continue
		}
		s.count(Hole, first-next)
		s.fresh = s.fresh || first > next
		for first < last {
			end := min(last, first+checkEvery)
			s.ram(first, end)
			first = end
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		next = last
	}
	s.count(Hole, to-min(to, next))
	s.flush()
	return nil
}

func (s *scan) count(c Class, n uint64) {
	s.stats.Pages[c] += n
	if s.goes[c] {
		s.stats.Left[c] += n
	}
}

// ram decides pages of one range of RAM.
func (s *scan) ram(from, to uint64) {
	if s.w == nil && !s.f.states {
		s.count(Unknown, to-from)
		if s.keep != nil {
			s.keep.AddRange(from, to)
		}
		return
	}
	for pfn := from; pfn < to; pfn++ {
		s.lost = false
		c := s.page(pfn, to)
		if s.f.states {
			switch s.f.img.State(pfn) {
			case dumpfmt.Absent:
				c = Hole
			case dumpfmt.Excluded:
				c = Missing
			}
		}
		switch {
		case c == Unknown && s.lost:
			if s.w != nil && !s.w.noPages {
				s.dark++
			}
		case c == Unknown:
			s.odd++
		case c >= Free && c <= Offline && c != HWPoison && s.protected(pfn):
			c = Protected
		}
		s.stats.Pages[c]++
		if s.goes[c] {
			s.stats.Left[c]++
			continue
		}
		if pfn != s.end {
			s.flush()
			s.start = pfn
		}
		s.end = pfn + 1
	}
}

func (s *scan) flush() {
	if s.keep != nil {
		s.keep.AddRange(s.start, s.end)
	}
	s.start, s.end = 0, 0
}

func (s *scan) protected(pfn uint64) bool {
	if pfn&^63 != s.guardAt {
		s.guardAt = pfn &^ 63
		s.guard = s.f.guard.Word(pfn)
	}
	return s.guard>>(pfn&63)&1 != 0
}

// page is the class of a page by its struct page; to is where the RAM around it ends. What it answers does not depend on where the scan began.
func (s *scan) page(pfn, to uint64) Class {
	if s.w == nil || !s.w.load(pfn, to) {
		return s.unread()
	}
	p := s.w.page(pfn)
	if p == nil {
		return s.unread()
	}
	if s.fresh {
		s.fresh = false
		s.before(pfn)
	}
	addr := s.w.address(pfn)
	if info, ok := s.tailInfo(s.w, pfn, p); ok {
		return s.tail(pfn, addr, info, p)
	}
	s.head = 0
	if pfn < s.block && s.l.inFree(p) {
		return s.blockKind
	}
	d := s.l.decide(p, s.w.behind(pfn))
	if d.class == Kernel && s.l.u32(p, s.l.refcount) == 0 && s.f.listed.Has(pfn) && s.l.inFree(p) && s.l.word(p, s.l.mapping) == 0 {
		return Free
	}
	if d.class == Free || d.class == Unaccepted {
		return s.enter(pfn, d)
	}
	if d.compound {
		s.head, s.headClass = addr, d.tails
	}
	return d.class
}

// enter begins a block of free pages.
func (s *scan) enter(pfn uint64, d found) Class {
	if d.order >= 63 || pfn&(1<<d.order-1) != 0 {
		return Unknown
	}
	if end := pfn + 1<<d.order; end > s.block || end == s.block && d.class == Free {
		s.block, s.blockKind = end, d.class
	}
	return d.class
}

// tail is the class of a tail: its head says, whose struct page lies before, though perhaps not in this scan.
func (s *scan) tail(pfn, addr, info uint64, p []byte) Class {
	if head := s.l.headAddr(addr, info); s.head != head || head == 0 {
		s.lookUp(pfn, head)
	}
	switch {
	case s.head == 0:
		return Unknown
	case s.l.can[HWPoison] && s.l.word(p, s.l.flags)&s.l.hwpoison != 0:
		return HWPoison
	}
	return s.headClass
}

// unread is the class of a page whose struct page can't be read.
func (s *scan) unread() Class {
	s.lost = true
	s.fresh, s.block, s.head = true, 0, 0
	return Unknown
}

// tailInfo is layout.tail for the struct page p of a window, and finds tails of hugetlb pages that look like their head: between 5.14 and 7.0
// the kernel maps the first page of a huge page's struct pages in place of the others (HUGETLB_PAGE_OPTIMIZE_VMEMMAP), so that the head is
// seen again where a page of them begins. The tail behind it points to the true head.
func (s *scan) tailInfo(w *window, pfn uint64, p []byte) (info uint64, ok bool) {
	if info, ok = s.l.tail(p); ok {
		return info, true
	}
	addr := w.address(pfn)
	if addr&(w.pageSize-1) != 0 || !s.l.tailBit || s.l.word(p, s.l.flags)&s.l.headMask == 0 {
		return 0, false
	}
	next := w.behind(pfn)
	if next == nil {
		return 0, false
	}
	info, ok = s.l.tail(next)
	return info, ok && s.l.headAddr(addr+s.l.size, info) < addr
}

// lookUp finds the head at an address, for a tail that does not follow it in this scan.
func (s *scan) lookUp(pfn, head uint64) {
	s.head = 0
	at, ok := s.f.maps.pfnOf(head, pfn)
	if !ok || at >= pfn {
		return
	}
	if d, addr, ok := s.peek(at); ok && d.compound {
		s.head, s.headClass = addr, d.tails
	}
}

// peek decides a page that is not the scan's next; ok is false for tails.
func (s *scan) peek(pfn uint64) (d found, addr uint64, ok bool) {
	if s.look == nil {
		s.look = newWindow(s.f.maps)
	}
	w := s.look
	if !w.load(pfn, pfn+2) {
		return found{}, 0, false
	}
	p := w.page(pfn)
	if p == nil {
		return found{}, 0, false
	}
	if _, tail := s.tailInfo(w, pfn, p); tail {
		return found{}, 0, false
	}
	return s.l.decide(p, w.behind(pfn)), w.address(pfn), true
}

// before finds the block of free pages that pfn is in the middle of, if any: it begins at a page aligned to its size.
func (s *scan) before(pfn uint64) {
	s.block = 0
	for order := uint64(1); order < min(s.l.orders, 63); order++ {
		at := pfn &^ (1<<order - 1)
		if at == pfn {
			continue
		}
		d, _, ok := s.peek(at)
		if ok && (d.class == Free || d.class == Unaccepted) && at+1<<min(d.order, 62) > pfn {
			s.enter(at, d)
		}
	}
}
