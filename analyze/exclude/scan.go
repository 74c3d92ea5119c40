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
	headClass found

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

// page is the class of a page by its struct page; to is where the RAM around it ends.
func (s *scan) page(pfn, to uint64) Class {
	if s.w == nil || !s.w.load(pfn, to) {
		return s.unread()
	}
	p := s.w.page(pfn)
	if p == nil {
		return s.unread()
	}
	addr := s.w.addr + (pfn-s.w.from)*s.l.size
	info, tail := s.l.tail(p)
	if !tail {
		info, tail = s.fakeHead(pfn, addr, p)
	}
	if tail {
		return s.tail(pfn, addr, info, p)
	}
	if s.fresh {
		s.fresh = false
		s.before(pfn)
	}
	s.head = 0
	if pfn < s.block {
		if s.l.inFree(p) {
			return s.blockKind
		}
		s.block = 0 // what began there says that it is longer than it is
	}
	d := s.l.decide(p, s.behind(pfn))
	return s.enter(pfn, addr, d)
}

// enter begins what a page that is no tail is the first of.
func (s *scan) enter(pfn, addr uint64, d found) Class {
	if d.class == Free || d.class == Unaccepted {
		if pfn&(1<<d.order-1) != 0 {
			return Unknown
		}
		s.block, s.blockKind = pfn+1<<d.order, d.class
		return d.class
	}
	if d.compound {
		s.head, s.headClass = addr, d
	}
	return d.class
}

// tail is the class of a tail: its head's, whose struct page lies before, though perhaps not in this scan.
func (s *scan) tail(pfn, addr, info uint64, p []byte) Class {
	s.block = 0
	head := s.l.headAddr(addr, info)
	if s.head != head || head == 0 {
		s.head = 0
		if s.fresh {
			s.lookUp(pfn, head)
		}
	}
	s.fresh = false
	if s.head == 0 {
		return Unknown
	}
	if s.l.hwpoison != 0 && s.l.word(p, s.l.flags)&s.l.hwpoison != 0 {
		return HWPoison
	}
	if s.headClass.class == HWPoison && !s.headClass.allBad {
		return Unknown // the head's flags tell of its failure alone
	}
	return s.headClass.class
}

// unread is the class of a page whose struct page can't be read.
func (s *scan) unread() Class {
	s.lost = true
	s.fresh, s.block, s.head = true, 0, 0
	return Unknown
}

// behind is the struct page behind that of pfn; nil if it can't be read.
func (s *scan) behind(pfn uint64) []byte {
	if pfn+1 >= s.w.to {
		return nil
	}
	return s.w.page(pfn + 1)
}

// fakeHead finds tails of hugetlb pages that look like their head: between 5.14 and 7.0 the kernel maps the first page of a huge page's struct
// pages in place of the others (HUGETLB_PAGE_OPTIMIZE_VMEMMAP), so that the head is seen again where a page of them begins. The tail
// behind it points to the true head.
func (s *scan) fakeHead(pfn, addr uint64, p []byte) (info uint64, ok bool) {
	if addr&(s.w.pageSize-1) != 0 || !s.l.tailBit || s.l.word(p, s.l.flags)&s.l.headMask == 0 {
		return 0, false
	}
	next := s.behind(pfn)
	if next == nil {
		return 0, false
	}
	info, ok = s.l.tail(next)
	return info, ok && s.l.headAddr(addr+s.l.size, info) < addr
}

// lookUp finds the head at an address, for a tail with which a scan begins.
func (s *scan) lookUp(pfn, head uint64) {
	at, ok := s.f.maps.pfnOf(head, pfn)
	if !ok || at >= pfn {
		return
	}
	d, addr, ok := s.peek(at)
	if ok && d.compound {
		s.head, s.headClass = addr, d
	}
}

// peek decides a page before the scan.
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
	if _, tail := s.l.tail(p); tail {
		return found{}, 0, false
	}
	var next []byte
	if pfn+1 < w.to {
		next = w.page(pfn + 1)
	}
	return s.l.decide(p, next), w.addr + (pfn-w.from)*s.l.size, true
}

// before finds the free block that pfn is in the middle of, if any: it begins at a page aligned to its size.
func (s *scan) before(pfn uint64) {
	for order := uint64(1); order < s.l.orders; order++ {
		at := pfn &^ (1<<order - 1)
		if at == pfn {
			continue
		}
		d, _, ok := s.peek(at)
		if ok && (d.class == Free || d.class == Unaccepted) && d.order < 63 && at&(1<<d.order-1) == 0 && at+1<<d.order > pfn {
			s.block, s.blockKind = at+1<<d.order, d.class
			return
		}
	}
}
