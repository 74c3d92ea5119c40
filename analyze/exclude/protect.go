package exclude

import (
	"errors"
	"fmt"
	"sort"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// protect fills guard: pages that stay because of where they lie, whatever their flags say. All that the kernel maps beside its map of all
// memory is its own: vmalloc areas, stacks, modules, per-CPU areas, the map of pages. To these come the page tables themselves, the kernel's
// image, and what dump readers start from.
func (f *Filter) protect(know *facts) {
	v := know.v
	g := &guards{f: f}
	var parts []addrRange
	g.whole, parts = f.image(know)
	for _, r := range parts {
		g.image(r)
	}
	m, ok := v.Arch().Kernel().(vmem.Mapper)
	if !ok {
		know.gap("what the kernel maps", errors.New("the page tables of this architecture can't be gone through: pages are judged by their flags alone"))
		return
	}
	g.direct, g.hasDirect = f.directMap()
	if err := m.Mappings(v.Context(), g); err != nil {
		return // cancelled, which Open tells
	}
	if g.broken > 0 {
		know.gap("what the kernel maps", fmt.Errorf("%d of its page tables can't be read: %w; the pages that they map are judged by their flags alone", g.broken, g.brokenErr))
	}
}

// addrRange is [start, end).
type addrRange struct{ start, end uint64 }

// image is where the kernel's image is mapped, and the parts of it that are never given back. Between them lie the code and data of its start (__init_begin to
// __init_end), what only kernels of one CPU patch, what only encrypted guests share, and gaps that fill up huge pages; all that goes to the
// allocator, where flags speak for it. The end of the image (__brk_base) is reserved by flags as far as it is used. Without symbols there are none.
func (f *Filter) image(know *facts) (whole addrRange, parts []addrRange) {
	v := know.v
	sym := func(names ...string) uint64 {
		for _, n := range names {
			if s, err := v.Symbol(n); err == nil {
				return s.Addr
			}
		}
		return 0
	}
	start, end := sym("_text", "_stext"), sym("_end")
	if start == 0 || end <= start || end-start > 1<<30 {
		return addrRange{}, nil // page tables tell of it then, and what it gave back of itself stays
	}
	parts = []addrRange{{start, end}}
	up := func(a uint64) uint64 { p := v.PageSize(); return (a + p - 1) &^ (p - 1) }
	for _, hole := range []addrRange{
		{up(sym("_etext")), sym("__start_rodata")},
		{up(sym("__end_rodata")), sym("_sdata")},
		{sym("__init_begin"), sym("__init_end")},
		{up(sym("__smp_locks")), sym("__smp_locks_end") &^ (v.PageSize() - 1)},
		{up(sym("__start_bss_decrypted_unused")), sym("__end_bss_decrypted")},
		{sym("__brk_base", "__bss_stop"), up(end)},
	} {
		if hole.start > start && hole.end > hole.start && hole.end <= up(end) {
			parts = cut(parts, hole)
		}
	}
	const huge = 2 << 20 // pages that map it
	return addrRange{start &^ (huge - 1), (end + huge - 1) &^ (huge - 1)}, parts
}

// cut takes a hole out of sorted ranges.
func cut(parts []addrRange, hole addrRange) []addrRange {
	var out []addrRange
	for _, p := range parts {
		if hole.end <= p.start || hole.start >= p.end {
			out = append(out, p)
			continue
		}
		if p.start < hole.start {
			out = append(out, addrRange{p.start, hole.start})
		}
		if p.end > hole.end {
			out = append(out, addrRange{hole.end, p.end})
		}
	}
	return out
}

// directMap is where the kernel maps all memory one to one, if page tables agree.
func (f *Filter) directMap() (uint64, bool) {
	base, ok := f.maps.k.Arch().DirectMap()
	if !ok || len(f.info.Ranges) == 0 {
		return 0, false
	}
	phys := f.info.Ranges[len(f.info.Ranges)-1].Start
	w, err := f.maps.k.Arch().Kernel().Walk(uint64(base) + uint64(phys))
	return uint64(base), err == nil && w.Present && w.Frame.Phys == phys
}

// guards collects protected pages from page tables.
type guards struct {
	f         *Filter
	whole     addrRange       // that the image is mapped in
	tables    dumpfmt.PageSet // that were gone down into
	direct    uint64
	hasDirect bool
	broken    int
	brokenErr error
}

// image protects a part of the kernel's image.
func (g *guards) image(r addrRange) {
	for at := r.start; at < r.end; {
		frame, err := g.f.maps.k.Arch().Kernel().Translate(at)
		if err != nil {
			at = (at | (g.f.info.PageSize - 1)) + 1
			continue
		}
		n := min(r.end-at, frame.Left)
		g.add(frame.Phys, n)
		at += max(n, 1)
	}
}

// add protects the RAM among n bytes at a physical address.
func (g *guards) add(at dumpfmt.Phys, n uint64) {
	end := at + dumpfmt.Phys(n)
	ranges := g.f.info.Ranges
	for i := sort.Search(len(ranges), func(i int) bool { return ranges[i].End > at }); i < len(ranges) && ranges[i].Start < end; i++ {
		from, to := max(at, ranges[i].Start), min(end, ranges[i].End)
		g.f.guard.AddRange(uint64(from)>>g.f.shift, uint64(to-1)>>g.f.shift+1)
	}
}

// isDirect reports whether all of [va, va+size) belongs to the map of all memory.
func (g *guards) isDirect(va, size uint64) bool {
	return g.hasDirect && va >= g.direct && va-g.direct+size <= g.f.info.MaxPFN<<g.f.shift+1<<30
}

// Table protects a page table and goes down into each once; in the map of all memory, as far as there are tables.
func (g *guards) Table(va, size uint64, at dumpfmt.Phys) bool {
	pfn := uint64(at) >> g.f.shift
	if g.tables.Has(pfn) {
		return false
	}
	g.tables.Add(pfn)
	g.add(at, g.f.info.PageSize)
	const lowest = 2 << 20 // what tables of the last stage map; they lead to pages alone
	return size == 0 || size > lowest || !g.isDirect(va, size)
}

// Leaf protects what is mapped beside the map of all memory, which is the first that page tables have, and beside the image.
func (g *guards) Leaf(va, size uint64, at dumpfmt.Phys) {
	if !g.hasDirect {
		g.direct, g.hasDirect = va-uint64(at), true
	}
	if va-uint64(at) == g.direct {
		return
	}
	if va >= g.whole.start && va < g.whole.end {
		return
	}
	g.add(at, size)
}

// Broken counts a table that can't be read.
func (g *guards) Broken(va uint64, err error) {
	if g.isDirect(va, 1) {
		return
	}
	g.broken++
	g.brokenErr = err
}
