package scrub

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"kdx/analyze/mm"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// regexSearch looks for all expressions at once. Memory is read once in physical order, and a second time where what
// belongs together lies scattered: user memory, vmalloc areas, files. Matches over two pages are found in each of these orders.
type regexSearch struct {
	*builder
	rules   []int // their numbers
	matches []atomic.Uint64
	bytes   []atomic.Uint64
	max     uint64 // pages on either side of an edge that a match can reach
	edges   *edges
	// unreadable counts pages that should be in the dump, but can't be read.
	unreadable atomic.Uint64
	firstErr   error
	once       sync.Once
}

// chunkPages is how much is searched at a time, in pages.
const chunkPages = 256

// regexes applies all rules "regex:", which are those of all at the indices rules.
func (b *builder) regexes(rules []int, all []Rule, done []Done) error {
	if len(rules) == 0 {
		return nil
	}
	if err := b.noCompressed(); err != nil {
		return err
	}
	s := newSearch(b, rules, all)
	if err := s.physical(b.v.Context()); err != nil {
		return err
	}
	if err := s.scattered(); err != nil {
		return err
	}
	if n := s.unreadable.Load(); n > 0 {
		note := fmt.Sprintf("%d pages of the dump can't be read (the first: %v) and were not searched: they can't be in the output either", n, s.firstErr)
		done[rules[0]].Notes = append(done[rules[0]].Notes, note)
	}
	for i, n := range rules {
		done[n].Rule, done[n].Objects, done[n].Bytes = all[n].label(n+1), s.matches[i].Load(), s.bytes[i].Load()
	}
	return nil
}

func newSearch(b *builder, rules []int, all []Rule) *regexSearch {
	s := &regexSearch{builder: b, rules: rules, matches: make([]atomic.Uint64, len(rules)), bytes: make([]atomic.Uint64, len(rules)), edges: &edges{seen: make(map[[2]uint64]struct{})}}
	most := 0
	b.patterns = nil
	for _, n := range rules {
		b.patterns = append(b.patterns, all[n].expr)
		most = max(most, all[n].expr.max)
	}
	s.max = (uint64(most) + b.v.PageSize() - 1) / b.v.PageSize()
	return s
}

// physical searches memory in physical order, which is also that of the direct map and of the kernel's image.
func (s *regexSearch) physical(ctx context.Context) error {
	img, size := s.v.Image(), s.v.PageSize()
	type piece struct{ from, to uint64 }
	pieces := make(chan piece)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(pieces)
		done := uint64(0)
		for _, r := range img.Info().Ranges {
			end := (uint64(r.End) + size - 1) / size
			for from := max(done, uint64(r.Start)/size); from < end; {
				to := min(end, (from/chunkPages+1)*chunkPages)
				select {
				case pieces <- piece{from, to}:
				case <-ctx.Done():
					return ctx.Err()
				}
				from, done = to, to
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			r := newRunReader(s, (chunkPages+s.max+1)*size)
			for p := range pieces {
				if err := r.piece(ctx, p.from, p.to); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// runReader reads pages that follow each other and searches the runs of them.
type runReader struct {
	s    *regexSearch
	blk  block
	main uint64 // pfn from which on the next piece searches
}

func newRunReader(s *regexSearch, bytes uint64) *runReader {
	return &runReader{s: s, blk: block{data: make([]byte, 0, bytes)}}
}

// piece searches the pages of [from, to), and as far beyond as a match can reach.
func (r *runReader) piece(ctx context.Context, from, to uint64) error {
	img := r.s.v.Image()
	r.main = to
	r.reset()
	each := func(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
		if n := len(r.blk.pfns); n > 0 && r.blk.pfns[n-1]+1 != pfn {
			if err := r.flush(true); err != nil {
				return err
			}
		}
		if page == nil {
			if err != nil {
				r.s.missing(err)
			}
			return r.flush(true)
		}
		if pfn >= to && len(r.blk.pfns) == 0 {
			return errPieceEnd // what begins here is the next piece's
		}
		r.blk.data = append(r.blk.data, page...)
		r.blk.pfns = append(r.blk.pfns, pfn)
		return nil
	}
	end := min(img.Info().MaxPFN, to+r.s.max)
	err := readRange(ctx, img, from, end, each)
	if err != nil && !errors.Is(err, errPieceEnd) {
		return err
	}
	n := len(r.blk.pfns)
	return r.flush(n > 0 && (r.blk.pfns[n-1]+1 < end || end == img.Info().MaxPFN))
}

var errPieceEnd = errors.New("the rest belongs to the next piece")

func (r *runReader) reset() { r.blk.data, r.blk.pfns = r.blk.data[:0], r.blk.pfns[:0] }

// flush searches what was read. last says that no memory follows.
func (r *runReader) flush(last bool) error {
	if len(r.blk.pfns) == 0 {
		return nil
	}
	first, size := r.blk.pfns[0], r.s.marks.pageSize
	if first < r.main {
		r.blk.main, r.blk.last = int((r.main-first)*size), last
		if err := r.s.searchAll(&r.blk); err != nil {
			return err
		}
	}
	r.reset()
	return nil
}

// readRange reads pages in ascending order in this goroutine.
func readRange(ctx context.Context, img *dumpfmt.Image, from, to uint64, each dumpfmt.PageFunc) error {
	if r, ok := img.Source().(dumpfmt.RangeReader); ok {
		return r.ReadRange(ctx, from, to, each)
	}
	buf := make([]byte, img.Info().PageSize)
	for pfn := from; pfn < to; pfn++ {
		if pfn%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		st := img.State(pfn)
		if st == dumpfmt.Absent {
			continue
		}
		if err := dumpfmt.ReadOne(img.Source(), buf, pfn, st, each); err != nil {
			return err
		}
	}
	return nil
}

func (s *regexSearch) missing(err error) {
	s.unreadable.Add(1)
	s.once.Do(func() { s.firstErr = err })
}

// fork makes a searcher for another goroutine, which counts together with s.
func (s *regexSearch) fork() *regexSearch {
	b := &builder{v: s.v.Fork(), marks: s.marks, array: s.array, patterns: s.patterns}
	return &regexSearch{builder: b, rules: s.rules, matches: s.matches, bytes: s.bytes, max: s.max, edges: s.edges}
}

// scattered searches what belongs together and does not lie together: files, processes, vmalloc areas, on all cores.
func (s *regexSearch) scattered() error {
	a, err := s.readArray()
	if err != nil {
		return err
	}
	if err := a.complete(); err != nil {
		return err
	}
	spaces, err := s.spaces()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(s.v.Context())
	work := make(chan func(*regexSearch) error)
	send := func(f func(*regexSearch) error) bool {
		select {
		case work <- f:
			return true
		case <-ctx.Done():
			return false
		}
	}
	g.Go(func() error {
		defer close(work)
		if !send((*regexSearch).vmalloc) {
			return nil
		}
		for _, x := range spaces {
			if !send(func(s *regexSearch) error { return s.memory(x) }) {
				return nil
			}
		}
		for mapping := range a.files {
			if !send(func(s *regexSearch) error { return s.file(mapping) }) {
				return nil
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for f := range work {
				if err := f(s.fork()); err != nil { // a View each: its budget of steps is for one walk or a few
					return err
				}
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// file searches the pages of an address_space.
func (s *regexSearch) file(mapping vmem.Addr) error {
	if !s.isMapping(mapping) {
		return nil
	}
	r := newScatterReader(s)
	err := s.filePages(mapping, func(index uint64, u userPage) error {
		return r.add(index*s.v.PageSize(), u)
	})
	if err == nil {
		err = r.flush()
	}
	if err != nil {
		return fmt.Errorf("file at %#x: %w", uint64(mapping), err)
	}
	return nil
}

// isMapping tells an address_space from what else stands in page->mapping of pages that belong to drivers: its inode points
// back to it.
func (s *regexSearch) isMapping(addr vmem.Addr) bool {
	host, err := s.v.ObjectOf("address_space", addr).Field("host").Pointer()
	if err != nil || host == 0 {
		return false
	}
	back, err := s.v.ObjectOf("inode", host).Field("i_mapping").Pointer()
	if err != nil {
		return false
	}
	own, ok := s.v.ObjectOf("inode", host).Field("i_data").Addr()
	return back == addr || ok && own == addr
}

// spaces are one task of each address space.
func (s *regexSearch) spaces() ([]*task.Task, error) {
	tasks, err := task.Read(s.v)
	if err != nil {
		return nil, err
	}
	seen := make(map[vmem.Addr]bool)
	var out []*task.Task
	for _, x := range tasks.Tasks {
		if x.MM != 0 && !x.Kernel() && !seen[x.MM] {
			seen[x.MM] = true
			out = append(out, x)
		}
	}
	return out, nil
}

// memory searches a process's memory as the process sees it.
func (s *regexSearch) memory(x *task.Task) error {
	r := newScatterReader(s)
	err := s.userPages(x.MM, func(u userPage) error { return r.add(u.va, u) })
	if err == nil {
		err = r.flush()
	}
	if err != nil {
		return fmt.Errorf("memory of PID %d: %w", x.PID, err)
	}
	return nil
}

// vmalloc searches the areas of vmalloc space: modules, large tables, stacks.
func (s *regexSearch) vmalloc() error {
	space, size := s.v.Arch().Kernel(), s.v.PageSize()
	for area, err := range mm.VmapAreas(s.v) {
		if err != nil {
			return err
		}
		r := newScatterReader(s)
		for va := uint64(area.Start); va < uint64(area.End); va += size {
			f, err := space.Translate(va)
			var fault *vmem.FaultError
			if errors.As(err, &fault) && fault.Err == nil {
				continue // a guard page
			}
			if err == nil {
				err = r.add(va, userPage{pfn: uint64(f.Phys) / size, pages: 1})
			}
			if err != nil {
				return fmt.Errorf("vmalloc area at %#x: %w", uint64(area.Start), err)
			}
		}
		if err := r.flush(); err != nil {
			return fmt.Errorf("vmalloc area at %#x: %w", uint64(area.Start), err)
		}
	}
	return nil
}

// edges are pairs of pages that were searched together: the same file is mapped by many.
type edges struct {
	mu   sync.Mutex
	seen map[[2]uint64]struct{}
}

// maxEdges bounds what is remembered; beyond, some is searched twice.
const maxEdges = 1 << 20

func (e *edges) fresh(a, b uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := [2]uint64{a, b}
	if _, ok := e.seen[key]; ok {
		return false
	}
	if len(e.seen) < maxEdges {
		e.seen[key] = struct{}{}
	}
	return true
}

// scatterReader takes pages in the order in which somebody sees them, and searches where two neighbours of that order are
// none in physical memory.
type scatterReader struct {
	s    *regexSearch
	next uint64   // address that follows the last page
	run  []uint64 // the last pages
	need int      // index in run behind the last page that must be searched; 0 if none
	from int      // index in run of the first page to be searched
	blk  block
}

func newScatterReader(s *regexSearch) *scatterReader { return &scatterReader{s: s} }

func (r *scatterReader) add(va uint64, u userPage) error {
	if u.pages == 0 || va != r.next {
		if err := r.flush(); err != nil {
			return err
		}
	}
	for pfn := u.pfn; pfn < u.pfn+u.pages; pfn++ {
		if err := r.page(pfn); err != nil {
			return err
		}
	}
	r.next = va + max(u.pages, 1)*r.s.v.PageSize()
	return nil
}

func (r *scatterReader) page(pfn uint64) error {
	reach := int(r.s.max)
	if n := len(r.run); n > 0 && r.run[n-1]+1 != pfn && r.s.edges.fresh(r.run[n-1], pfn) {
		if r.need == 0 {
			r.from = max(0, n-reach)
		}
		r.need = n + reach
	}
	r.run = append(r.run, pfn)
	if n := len(r.run); r.need > 0 && (n >= r.need || n-r.from >= chunkPages+2*reach) {
		return r.search(false)
	}
	if n := len(r.run); r.need == 0 && n > 4096+reach {
		r.run = append(r.run[:0], r.run[n-reach:]...)
	}
	return nil
}

// flush searches what is left: the next page follows none.
func (r *scatterReader) flush() error {
	var err error
	if r.need > 0 {
		err = r.search(true)
	}
	r.run, r.need = r.run[:0], 0
	return err
}

// search reads and searches the pages from r.from on, and keeps as many as a match that goes on can have begun in.
func (r *scatterReader) search(last bool) error {
	size, reach := r.s.v.PageSize(), int(r.s.max)
	flush := func(last bool) error {
		if len(r.blk.pfns) == 0 {
			return nil
		}
		r.blk.main, r.blk.last = len(r.blk.data), last
		err := r.s.searchAll(&r.blk)
		r.blk.data, r.blk.pfns = r.blk.data[:0], r.blk.pfns[:0]
		return err
	}
	for _, pfn := range r.run[r.from:] {
		page, err := r.s.v.Image().Page(pfn)
		if err != nil { // absent, excluded or damaged: physical() has counted those that matter
			if err := flush(true); err != nil {
				return err
			}
			continue
		}
		r.blk.data = append(r.blk.data, page[:size]...)
		r.blk.pfns = append(r.blk.pfns, pfn)
	}
	if err := flush(last); err != nil {
		return err
	}
	n := len(r.run)
	keep := min(n, 2*reach)
	need := r.need - (n - keep)
	r.run = append(r.run[:0], r.run[n-keep:]...)
	r.from, r.need = 0, 0
	if need > keep { // cut short: what follows the last edges is yet to come
		r.need = need
	}
	return nil
}
