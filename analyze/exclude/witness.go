package exclude

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Witnesses are pages of which the kernel's own lists tell what they are. What the layout says of them must be the same.

const (
	maxWitnessNodes = 8 // of NUMA
	witnessesOfList = 2 // looked at from each end of a list of free pages
	maxRing         = 512
	maxZones        = 8
)

// freeLists is where the buddy allocator keeps its lists.
type freeLists struct {
	nodeZones, nrZones        uint64
	zone, freeArea, area      uint64
	freeList, types, listHead uint64
}

func findFreeLists(know *facts) (freeLists, bool) {
	var z freeLists
	ok := true
	get := func(n uint64, known bool) uint64 { ok = ok && known; return n }
	z.nodeZones = get(know.offset("pglist_data", "node_zones"))
	z.nrZones = get(know.offset("pglist_data", "nr_zones"))
	z.zone = get(know.size("zone"))
	z.freeArea = get(know.offset("zone", "free_area"))
	z.area = get(know.size("free_area"))
	z.freeList = get(know.offset("free_area", "free_list"))
	z.types = get(know.length("free_area", "free_list"))
	z.listHead = get(know.size("list_head"))
	return z, ok && z.types <= 64
}

// heedFreeLists looks at pages that are in the allocator's lists of free pages. If they don't look free, no page is taken for free; if nobody
// tells by which type free pages are known, these do.
func (f *Filter) heedFreeLists(know *facts) {
	l := f.layout
	z, ok := findFreeLists(know)
	if !ok || l.lruOff == 0 || l.orders == 0 {
		if l.can[Free] {
			know.gap("lists of free pages", errors.New("where the allocator has them is not known: free pages are told by their type alone"))
		} else {
			know.gap("free pages stay: by which type they are known", errUnknown)
		}
		return
	}
	w := witnesses{f: f, know: know, types: make(map[uint32]int)}
	for _, node := range nodes(know.v, maxWitnessNodes) {
		n, err := uintAt(know.v, node+z.nrZones, 4)
		if err != nil {
			continue
		}
		for i := range min(n, maxZones) {
			zone := node + z.nodeZones + i*z.zone
			for order := range l.orders {
				for t := range z.types {
					w.list(zone+z.freeArea+order*z.area+z.freeList+t*z.listHead, order)
				}
			}
		}
	}
	w.judge()
}

type witnesses struct {
	f     *Filter
	know  *facts
	types map[uint32]int // of pages whose order is the list's
	seen  int
	right int
	wrong string // what one is that is not taken for free
}

// list looks at some pages of a list of free blocks, from both ends.
func (w *witnesses) list(head, order uint64) {
	v, ws := w.know.v, w.f.layout.ws
	for _, link := range []uint64{0, ws} { // next, prev
		at := head
		for range witnessesOfList {
			next, err := v.Word(vmem.Addr(at + link))
			if err != nil || next == head || !v.Arch().IsKernel(next) {
				break
			}
			w.page(next-w.f.layout.lruOff, order)
			at = next
		}
	}
}

// page looks at the struct page of a free block.
func (w *witnesses) page(addr, order uint64) {
	l := w.f.layout
	p := make([]byte, l.size)
	if err := w.know.v.Read(p, vmem.Addr(addr)); err != nil {
		return
	}
	w.seen++
	if l.word(p, l.private) == order {
		w.types[l.u32(p, l.mapcount)]++
	}
	if d := l.decide(p, nil); d.class == Free && d.order == order {
		w.right++
		return
	}
	w.wrong = fmt.Sprintf("the struct page at %#x, which is in the list of blocks of order %d, has type %#x", addr, order, l.u32(p, l.mapcount))
}

// judge says whether free pages are understood. A crash may come while a list is being changed, so that a few may be wrong.
func (w *witnesses) judge() {
	l := w.f.layout
	enough := w.seen >= 8
	switch {
	case l.can[Free] && w.seen > 0 && w.right*2 < w.seen:
		l.can[Free] = false
		w.know.gap("free pages stay", fmt.Errorf("%d of %d pages in the allocator's lists do not look free: %s", w.seen-w.right, w.seen, w.wrong))
	case l.can[Free] || !l.tailBit && l.tailFlag == 0:
	default:
		for t, n := range w.types {
			if enough && n*10 >= w.seen*9 && strangeType(t) {
				l.buddy, l.can[Free] = typeOf(t), true
				l.buddy.mask = ^uint32(0)
				return
			}
		}
		w.know.gap("free pages stay: by which type they are known", errUnknown)
	}
}

// nodes are the addresses of NUMA nodes' pglist_data, up to a limit and to the first number without a node.
func nodes(v *kernel.View, limit uint64) []uint64 {
	table, ok := v.VMCoreInfo().Symbol("node_data")
	if !ok {
		if a, ok := v.VMCoreInfo().Symbol("contig_page_data"); ok { // without CONFIG_NUMA
			return []uint64{a}
		}
		if table, ok = symbolOf(v, "node_data"); !ok {
			if a, ok := symbolOf(v, "contig_page_data"); ok {
				return []uint64{a}
			}
			return nil
		}
	}
	var out []uint64
	for i := range limit {
		a, err := v.Word(vmem.Addr(table + i*v.WordSize()))
		if err != nil || !v.Arch().IsKernel(a) {
			break
		}
		out = append(out, a)
	}
	return out
}

func uintAt(v *kernel.View, addr, size uint64) (uint64, error) {
	b := make([]byte, size)
	if err := v.Read(b, vmem.Addr(addr)); err != nil {
		return 0, err
	}
	if size == 4 {
		return uint64(v.ByteOrder().Uint32(b)), nil
	}
	return v.Word(vmem.Addr(addr))
}

// heedObjects looks at pages that hold what the kernel certainly needs, objects in slabs above all. If they would go at some level, the class
// that they are taken for is not understood.
func (f *Filter) heedObjects(know *facts) {
	v := know.v
	s := f.newScan(MaxLevel, nil)
	heed := func(what string, addr uint64) {
		frame, err := v.Arch().Kernel().Translate(addr)
		if err != nil {
			return
		}
		pfn := uint64(frame.Phys) >> f.shift
		s.fresh, s.head, s.block = true, 0, 0
		c := s.page(pfn, pfn+1)
		if c >= Free && c <= User && !f.guard.Has(pfn) && f.layout.can[c] {
			f.layout.can[c] = false
			know.gap(c.String()+" pages stay", fmt.Errorf("the page at %#x holds %s, but looks like one of them", pfn<<f.shift, what))
		}
		f.guard.Add(pfn)
	}
	for _, name := range []string{"mem_section", "swapper_pg_dir", "prb"} {
		if a, ok := symbolOf(v, name); ok {
			heed(name, a)
			if p, err := v.Word(vmem.Addr(a)); err == nil && v.Arch().IsKernel(p) {
				heed("what "+name+" points to", p)
			}
		}
	}
	for _, n := range nodes(v, maxWitnessNodes) {
		heed("a node's pglist_data", n)
	}
	rings := map[string]uint64{}
	for _, name := range []string{"slab_caches", "modules"} {
		if a, ok := symbolOf(v, name); ok {
			rings[name] = a
		}
	}
	if a, ok := symbolOf(v, "init_task"); ok {
		if off, ok := v.OffsetOf("task_struct", "tasks"); ok {
			rings["tasks"] = a + off
		}
	}
	for name, head := range rings {
		at := head
		for range maxRing {
			next, err := v.Word(vmem.Addr(at))
			if err != nil || next == head || !v.Arch().IsKernel(next) {
				break
			}
			heed("an entry of the list "+name, next)
			at = next
		}
	}
}
