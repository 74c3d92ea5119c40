package proof

import (
	"context"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"
)

// layout is what givenAway reads of a struct page.
type layout struct {
	pages         *mm.Pages
	lru           uint64 // the flag
	private, list uint64 // offsets
}

// newLayout is nil if this kernel's map of pages is not understood: then nothing is doubtful.
func newLayout(k *kernel.Kernel) *layout {
	pages, err := mm.NewPages(k.View(context.Background()))
	if err != nil {
		return nil
	}
	l := &layout{pages: pages}
	for bit, name := range pages.FlagNames() {
		if name == "lru" {
			l.lru = 1 << bit
		}
	}
	var ok1, ok2 bool
	l.private, ok1 = k.OffsetOf("page", "private")
	l.list, ok2 = k.OffsetOf("page", "lru")
	if !ok1 || !ok2 {
		return nil
	}
	return l
}

// maxOrder of a block of free pages; MAX_ORDER is 10 on x86-64.
const maxOrder = 10

// givenAway reports whether the kernel says that the page is free, or belongs to programs' memory or files. What it asks for is what filters
// do not: that a block hangs in a list of free ones. Types of pages, whose numbers change from release to release, it does not ask for.
func (c *checker) givenAway(pfn uint64) bool {
	l := c.layout()
	if l == nil {
		return false
	}
	v := c.full.View(context.Background())
	g, err := l.pages.Read(v, pfn)
	if err != nil {
		return false
	}
	if g.Head != 0 {
		if head, ok := l.pages.PFN(g.Head); ok {
			if g, err = l.pages.Read(v, head); err != nil {
				return false
			}
		}
	}
	const anon = 1 // PAGE_MAPPING_ANON
	if g.RefCount > 0 && (g.Flags&l.lru != 0 || g.Mapping&anon != 0 && v.Arch().IsKernel(uint64(g.Mapping))) {
		return true
	}
	for order := range uint64(maxOrder + 1) {
		if l.freeBlock(v, pfn&^(1<<order-1), order) {
			return true
		}
	}
	return false
}

// freeBlock reports whether a free block of that order begins at pfn: nobody refers to it, it says its order, and its neighbour in the list
// leads back to it.
func (l *layout) freeBlock(v *kernel.View, pfn, order uint64) bool {
	g, err := l.pages.Read(v, pfn)
	if err != nil || g.RefCount != 0 || g.Head != 0 {
		return false
	}
	says, err := v.Word(g.Addr + vmem.Addr(l.private))
	if err != nil || says != order {
		return false
	}
	link := g.Addr + vmem.Addr(l.list)
	next, err := v.Word(link)
	if err != nil || !v.Arch().IsKernel(next) {
		return false
	}
	back, err := v.Word(vmem.Addr(next + v.WordSize()))
	return err == nil && vmem.Addr(back) == link
}
