package exclude

import (
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// CPUs keep free pages in lists of their own (struct per_cpu_pages). Their struct pages say nothing of it: they look like pages of the kernel that
// nobody counts, of which there are others. So a page counts as free if it is in such a list.

const (
	maxListed = 1 << 19 // pages and blocks that are looked up in lists; those behind stay in the dump
	maxNodes  = 1024

	costlyOrder = 3 // PAGE_ALLOC_COSTLY_ORDER: lists are there for blocks up to it, and for one size of huge ones
	x86PMDOrder = 9
)

// cpuLists is where CPUs have their lists of free pages.
type cpuLists struct {
	f         *Filter
	know      *facts
	pageset   uint64 // offset in struct zone of the per-CPU pointer
	pcp       uint64 // offset of struct per_cpu_pages behind that
	count     uint64
	lists, n  uint64 // offset of the array of lists, and how many
	types     uint64 // lists of each size
	listed    int
	nodeZones freeLists
}

// findCPULists needs types: VMCOREINFO does not tell of these lists.
func (f *Filter) findCPULists(know *facts) (*cpuLists, bool) {
	v := know.v
	c := &cpuLists{f: f, know: know}
	zones, ok := findFreeLists(know)
	if !ok || !f.layout.can[Free] || f.layout.lruOff == 0 || f.layout.mapping == 0 {
		return nil, false
	}
	c.nodeZones = zones
	if c.pageset, ok = v.OffsetOf("zone", "per_cpu_pageset"); !ok { // since 5.14
		if c.pageset, ok = v.OffsetOf("zone", "pageset"); !ok {
			return nil, false
		}
		if c.pcp, ok = v.OffsetOf("per_cpu_pageset", "pcp"); !ok {
			return nil, false
		}
	}
	t, err := v.Struct("per_cpu_pages")
	if err != nil {
		return nil, false
	}
	count, ok1 := t.Path("count")
	lists, ok2 := t.Path("lists")
	if !ok1 || !ok2 || lists.Type.Strip().Kind != symbols.Array || lists.Type.Strip().Len <= 0 || lists.Type.Strip().Len > 256 {
		return nil, false
	}
	c.count, c.lists, c.n = count.Offset(), lists.Offset(), uint64(lists.Type.Strip().Len)
	types, ok := know.enumerator("migratetype", "MIGRATE_PCPTYPES")
	if !ok || types <= 0 || types > 16 || c.n < uint64(types) {
		return nil, false
	}
	c.types = uint64(types)
	return c, true
}

// heedCPULists finds the free pages that CPUs have.
func (f *Filter) heedCPULists(know *facts) {
	c, ok := f.findCPULists(know)
	if !ok {
		return
	}
	v := know.v
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return
	}
	for _, node := range nodes(v, maxNodes) {
		n, err := uintAt(v, node+c.nodeZones.nrZones, 4)
		if err != nil {
			continue
		}
		for i := range min(n, maxZones) {
			base, err := v.Word(vmem.Addr(node + c.nodeZones.nodeZones + i*c.nodeZones.zone + c.pageset))
			if err != nil || base == 0 {
				continue
			}
			for _, cpu := range cpus {
				off, err := v.PerCPUOffset(cpu)
				if err != nil || v.Context().Err() != nil {
					return
				}
				c.cpu(base + off + c.pcp)
			}
		}
	}
}

// cpu takes the pages of a CPU's lists for one zone, if there are as many as the CPU counts. Else the crash came while they were being changed,
// or they are not what kdx takes them for.
func (c *cpuLists) cpu(pcp uint64) {
	count, err := uintAt(c.know.v, pcp+c.count, 4)
	if err != nil || count == 0 || count > maxListed {
		return
	}
	type block struct{ pfn, pages uint64 }
	var blocks []block
	pages := uint64(0)
	for i := range c.n {
		head := pcp + c.lists + i*c.nodeZones.listHead
		size := uint64(1) << c.order(i)
		for at := head; ; {
			next, err := c.know.v.Word(vmem.Addr(at))
			if err != nil {
				return
			}
			if next == head {
				break
			}
			pfn, ok := c.f.maps.pfnOf(next-c.f.layout.lruOff, c.near())
			if pages += size; !ok || pfn&(size-1) != 0 || pages > count || c.listed >= maxListed {
				return
			}
			c.listed++
			blocks = append(blocks, block{pfn, size})
			at = next
		}
	}
	if pages != count {
		return
	}
	for _, b := range blocks {
		if b.pfn < c.f.info.MaxPFN {
			c.f.listed.AddRange(b.pfn, b.pfn+b.pages)
		}
	}
}

// order of the blocks in a CPU's list: since 5.13 there are lists for each type of page and small order, and behind them those of huge blocks.
func (c *cpuLists) order(list uint64) uint64 {
	if o := list / c.types; o <= costlyOrder {
		return o
	}
	return x86PMDOrder
}

// near is a pfn that has a struct page.
func (c *cpuLists) near() uint64 {
	if r := c.f.info.Ranges; len(r) > 0 {
		return uint64(r[0].Start) >> c.f.shift
	}
	return 0
}
