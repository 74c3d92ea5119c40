// Package search finds values and strings in memory: in address order, on all cores, past the cache of pages.
package search

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// Query is what to look for.
type Query struct {
	// Unit is the size of a value in bytes: 2, 4 or 8. Values are sought at multiples of it.
	Unit   uint64
	Values []uint64
	Mask   uint64 // bits that do not matter
	// Strings are sought at any byte, over the edges of pages too; a Query with strings has no values.
	Strings []string
}

// Hit is a place where something was found.
type Hit struct {
	Addr  uint64 // as the extents count: virtual, or physical
	Value uint64 // as memory has it; of a string 0
	Which int    // index into Values or Strings
}

// Missed is what could not be looked at, in pages. First says where and why for one of each.
type Missed struct {
	Excluded, Unreadable uint64
	// Unsure pages were taken for zeros: the dump does not say whether they are that or were left out.
	Unsure     uint64
	FirstLeft  uint64 // address of the first excluded page
	FirstError error  // of the first unreadable page
}

func (m *Missed) add(o *Missed) {
	if m.Excluded == 0 {
		m.FirstLeft = o.FirstLeft
	}
	if m.FirstError == nil {
		m.FirstError = o.FirstError
	}
	m.Excluded += o.Excluded
	m.Unreadable += o.Unreadable
	m.Unsure += o.Unsure
}

// Report makes gaps of what was missed: one of each kind, with how much and where it begins.
func (m *Missed) Report(v *kernel.View) {
	if m.Excluded > 0 {
		v.Gap("memory searched", fmt.Errorf("%d pages are not in the dump (excluded), the first at %#x", m.Excluded, m.FirstLeft))
	}
	if m.Unreadable > 0 {
		v.Gap("memory searched", fmt.Errorf("%d pages can't be read; the first: %w", m.Unreadable, m.FirstError))
	}
	if m.Unsure > 0 {
		v.Gap("memory searched", fmt.Errorf("%d pages were taken for zeros: the dump does not say whether they were, or were left out", m.Unsure))
	}
}

// Extent is a run of memory that lies side by side in both address spaces.
type Extent struct {
	Addr uint64 // of the first byte, as hits are to be told
	Phys dumpfmt.Phys
	Len  uint64 // bytes
}

func (e Extent) end() uint64 { return e.Addr + e.Len }

// unit is what one worker searches before it takes on more: enough to be worth a read ahead, small enough that a few of
// them, were each word a hit, are no burden.
const unit = 1 << 20

type job struct {
	extents []Extent
	after   []byte // what follows the last extent, for strings that begin in it
	done    chan found
}

type found struct {
	hits   []Hit
	missed Missed
	err    error
}

// Run searches the extents, which are in ascending order of addresses. Hits come in that order, those of one address by
// Which; missed is complete when the sequence ends. An error ends it: it is the context's.
func Run(v *kernel.View, q Query, extents []Extent, missed *Missed) iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		ctx, cancel := context.WithCancel(v.Context())
		workers := runtime.GOMAXPROCS(0)
		jobs := make(chan *job)
		order := make(chan *job, 4*workers)
		s := &searcher{img: v.Image(), order: v.ByteOrder(), q: q, page: v.PageSize()}
		s.prepare()
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer close(order)
			defer close(jobs)
			s.cut(extents, func(j *job) bool {
				select {
				case order <- j:
				case <-ctx.Done():
					return false
				}
				select {
				case jobs <- j:
					return true
				case <-ctx.Done():
					return false
				}
			})
		}()
		for range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for j := range jobs {
					j.done <- s.run(ctx, j)
				}
			}()
		}
		for {
			var j *job
			var ok bool
			select {
			case j, ok = <-order:
			case <-ctx.Done():
				yield(Hit{}, ctx.Err())
				return
			}
			if !ok {
				return
			}
			var f found
			select {
			case f = <-j.done:
			case <-ctx.Done():
				yield(Hit{}, ctx.Err())
				return
			}
			missed.add(&f.missed)
			for _, h := range f.hits {
				if !yield(h, nil) {
					return
				}
			}
			if f.err != nil {
				yield(Hit{}, f.err)
				return
			}
		}
	}
}

// cut makes jobs of the extents.
func (s *searcher) cut(extents []Extent, each func(*job) bool) {
	j := &job{done: make(chan found, 1)}
	room := uint64(unit)
	flush := func(next *Extent) bool {
		if len(j.extents) == 0 {
			return true
		}
		last := j.extents[len(j.extents)-1]
		if next != nil && next.Addr == last.end() {
			j.after = s.peek(*next)
		}
		ok := each(j)
		j, room = &job{done: make(chan found, 1)}, unit
		return ok
	}
	for i, e := range extents {
		for e.Len > 0 {
			if room == 0 && !flush(&e) {
				return
			}
			n := min(e.Len, room)
			if at := uint64(e.Phys) % unit; n > unit-at { // the next begins where a batch of the file's does
				n = unit - at
			}
			j.extents = append(j.extents, Extent{e.Addr, e.Phys, n})
			room -= n
			e = Extent{e.Addr + n, e.Phys + dumpfmt.Phys(n), e.Len - n}
		}
		if i == len(extents)-1 {
			flush(nil)
		}
	}
}

// peek reads the bytes with which a string that begins before e could go on.
func (s *searcher) peek(e Extent) []byte {
	if s.longest < 2 {
		return nil
	}
	b := make([]byte, min(uint64(s.longest-1), e.Len))
	n, _ := s.img.ReadPhys(b, e.Phys)
	return b[:n]
}

// run searches one job.
func (s *searcher) run(ctx context.Context, j *job) found {
	var f found
	w := worker{s: s, f: &f}
	for _, e := range j.extents {
		if err := w.extent(ctx, e); err != nil {
			f.err = err
			return f
		}
	}
	w.finish(j.after)
	return f
}

// worker is one job's way through memory: for strings it keeps the end of the page before.
type worker struct {
	s    *searcher
	f    *found
	next uint64 // the address after the last page
	tail []byte // its last bytes, from which a string may go on
	join []byte
}

func (w *worker) extent(ctx context.Context, e Extent) error {
	size := w.s.page
	first := uint64(e.Phys) / size
	last := (uint64(e.Phys) + e.Len + size - 1) / size
	return w.s.img.ReadRange(ctx, first, last, func(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
		// What of the page belongs to the extent.
		lo, hi := uint64(0), size
		if pfn == first {
			lo = uint64(e.Phys) % size
		}
		if pfn == last-1 {
			hi = uint64(e.Phys) + e.Len - pfn*size
		}
		addr := e.Addr + pfn*size + lo - uint64(e.Phys)
		switch st {
		case dumpfmt.Excluded:
			if w.f.missed.Excluded++; w.f.missed.Excluded == 1 {
				w.f.missed.FirstLeft = addr
			}
			return nil
		case dumpfmt.Absent:
			return nil
		case dumpfmt.ZeroOrExcluded:
			w.f.missed.Unsure++
		case dumpfmt.Unreadable:
			if w.f.missed.Unreadable++; w.f.missed.Unreadable == 1 {
				w.f.missed.FirstError = err
			}
			return nil
		}
		if page == nil {
			return errors.New("a page came without its bytes") // no format does that
		}
		if len(w.s.q.Strings) > 0 {
			w.strings(addr, page[lo:hi])
			return nil
		}
		if st != dumpfmt.Present && !w.s.zero {
			return nil
		}
		w.f.hits = w.s.values(w.f.hits, addr, page[lo:hi])
		return nil
	})
}

// strings searches a page, and where it follows on the one before, what lies over the edge.
func (w *worker) strings(addr uint64, p []byte) {
	if w.next != addr {
		w.tail = w.tail[:0]
	}
	begin := len(w.f.hits)
	w.edge(p)
	w.s.strings(w.f, addr, p)
	slices.SortFunc(w.f.hits[begin:], compareHits)
	n := min(len(p), w.s.longest-1)
	if len(p) < w.s.longest-1 && len(w.tail) > 0 { // a piece shorter than the string
		w.tail = append(w.tail, p...)
		if over := len(w.tail) - (w.s.longest - 1); over > 0 {
			w.tail = append(w.tail[:0], w.tail[over:]...)
		}
	} else {
		w.tail = append(w.tail[:0], p[len(p)-n:]...)
	}
	w.next = addr + uint64(len(p))
}

// edge searches for strings that begin in the tail and end in p.
func (w *worker) edge(p []byte) {
	if len(w.tail) == 0 {
		return
	}
	w.join = append(append(w.join[:0], w.tail...), p[:min(len(p), w.s.longest-1)]...)
	at := w.next - uint64(len(w.tail))
	for which, text := range w.s.texts {
		w.s.each(w.join, text, func(i int) {
			if i < len(w.tail) && i+len(text) > len(w.tail) {
				w.f.hits = append(w.f.hits, Hit{Addr: at + uint64(i), Which: which})
			}
		})
	}
}

// finish searches over the edge to what another job has.
func (w *worker) finish(after []byte) {
	if len(w.s.q.Strings) == 0 || len(after) == 0 {
		return
	}
	begin := len(w.f.hits)
	w.edge(after)
	slices.SortFunc(w.f.hits[begin:], compareHits)
}

func compareHits(a, b Hit) int {
	switch {
	case a.Addr != b.Addr && a.Addr < b.Addr, a.Addr == b.Addr && a.Which < b.Which:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Kinds of kernel memory, by what maps it.
type Kinds struct {
	Direct bool // the direct map of all memory
	Image  bool // the kernel's text and static data
	Mapped bool // vmalloc, modules, the map of pages, areas of CPUs
}

// Kernel are the extents of kernel memory between start and end, which is the last address.
func Kernel(v *kernel.View, k Kinds, start, end uint64) ([]Extent, error) {
	direct, ok := v.Arch().DirectMap()
	if !ok {
		return nil, errors.New("the kernel's direct map of memory is not known")
	}
	img := v.Image().Info()
	var out []Extent
	if k.Direct {
		for _, e := range Physical(v, 0, ^uint64(0)) {
			e.Addr = uint64(direct) + uint64(e.Phys)
			out = append(out, e)
		}
	}
	if !k.Image && !k.Mapped {
		return clip(out, start, end), nil
	}
	tables, ok := v.Arch().Kernel().(vmem.Mapper)
	if !ok {
		return nil, errors.New("kdx can't tell what this architecture's kernel maps")
	}
	m := &mappings{v: v, kinds: k, direct: uint64(direct), size: img.MaxPFN * img.PageSize, limit: img.MaxPFN * img.PageSize,
		start: start, end: end, seen: make(map[dumpfmt.Phys]bool)}
	m.image, m.imageEnd = image(v)
	if err := tables.Mappings(v.Context(), m); err != nil {
		return nil, err
	}
	if m.broken != nil {
		v.Gap("kernel page tables", m.broken)
	}
	out = clip(append(out, m.out...), start, end)
	slices.SortFunc(out, func(a, b Extent) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	return out, nil
}

// image is where the kernel's text and static data lie; both 0 if that is not known.
func image(v *kernel.View) (from, to uint64) {
	text, err := v.Symbol("_stext")
	if err != nil {
		return 0, 0
	}
	end, err := v.Symbol("_end")
	if err != nil {
		return 0, 0
	}
	if start, err := v.Symbol("_text"); err == nil {
		text = start
	}
	const huge = 2 << 20 // pages that map the image go on behind its end
	return text.Addr, (end.Addr + huge - 1) &^ (huge - 1)
}

// mappings collects what the kernel's page tables map beside the direct map.
type mappings struct {
	v               *kernel.View
	kinds           Kinds
	direct, size    uint64 // of the direct map
	limit           uint64 // end of physical memory
	image, imageEnd uint64
	start, end      uint64
	seen            map[dumpfmt.Phys]bool
	out             []Extent
	broken          error
}

func (m *mappings) Table(va, size uint64, at dumpfmt.Phys) bool {
	if size == 0 {
		return true
	}
	if va+(size-1) < m.start || va > m.end || va >= m.direct && va-m.direct < m.size && va-m.direct+size <= m.size {
		return false
	}
	if m.seen[at] {
		return false
	}
	m.seen[at] = true
	return true
}

func (m *mappings) Leaf(va, size uint64, at dumpfmt.Phys) {
	if va-m.direct < m.size || uint64(at) >= m.limit || va+(size-1) < m.start || va > m.end {
		return
	}
	inImage := va >= m.image && va < m.imageEnd
	if inImage && !m.kinds.Image || !inImage && !m.kinds.Mapped {
		return
	}
	if n := len(m.out); n > 0 && m.out[n-1].end() == va && m.out[n-1].Phys+dumpfmt.Phys(m.out[n-1].Len) == at {
		m.out[n-1].Len += size
		return
	}
	m.out = append(m.out, Extent{va, at, size})
}

func (m *mappings) Broken(va uint64, err error) {
	if m.broken == nil {
		m.broken = fmt.Errorf("what is mapped from %#x on is not searched: %w", va, err)
	}
}

// Physical are the extents of physical memory between start and end, which is the last address.
func Physical(v *kernel.View, start, end uint64) []Extent {
	var out []Extent
	for _, r := range v.Image().Info().Ranges {
		out = append(out, Extent{uint64(r.Start), r.Start, uint64(r.End - r.Start)})
	}
	slices.SortFunc(out, func(a, b Extent) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	// Ranges of damaged headers may overlap.
	kept := out[:0]
	next := uint64(0)
	for _, e := range out {
		if e.end() <= next && next > 0 || e.Len == 0 {
			continue
		}
		if e.Addr < next {
			e.Len -= next - e.Addr
			e.Phys += dumpfmt.Phys(next - e.Addr)
			e.Addr = next
		}
		next = e.end()
		kept = append(kept, e)
	}
	return clip(kept, start, end)
}

// Virtual are the extents of what a space maps between start and end, which is the last address. What is not mapped is passed over; page tables
// that can't be read are counted in missed, in pages.
func Virtual(v *kernel.View, space vmem.Space, start, end uint64, missed *Missed) ([]Extent, error) {
	var out []Extent
	page := v.PageSize()
	for at := start; at <= end; {
		if err := v.Step(); err != nil {
			return nil, err
		}
		f, err := space.Translate(at)
		n := page - at%page
		var fault *vmem.FaultError
		switch {
		case err == nil:
			n = min(f.Left, end-at+1)
			if n == 0 { // to the very last address
				n = f.Left
			}
			if k := len(out); k > 0 && out[k-1].end() == at && out[k-1].Phys+dumpfmt.Phys(out[k-1].Len) == f.Phys {
				out[k-1].Len += n
			} else {
				out = append(out, Extent{at, f.Phys, n})
			}
		case errors.As(err, &fault) && fault.Err == nil:
			if fault.Entry == 0 {
				n = max(n, fault.Left)
			}
		default:
			if missed.Unreadable++; missed.Unreadable == 1 {
				missed.FirstError = err
			}
		}
		if at+n < at {
			break
		}
		at += n
	}
	return out, nil
}

// clip leaves what lies between start and end, which is the last address.
func clip(in []Extent, start, end uint64) []Extent {
	var out []Extent
	for _, e := range in {
		last := e.end() - 1
		if e.Len == 0 || last < start || e.Addr > end {
			continue
		}
		if e.Addr < start {
			e.Phys += dumpfmt.Phys(start - e.Addr)
			e.Len -= start - e.Addr
			e.Addr = start
		}
		if last > end {
			e.Len -= last - end
		}
		out = append(out, e)
	}
	return out
}
