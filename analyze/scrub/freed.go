package scrub

import (
	"errors"
	"fmt"

	"kdx/analyze/mm"
	"kdx/analyze/slab"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// freed applies the rule "freed": what is in free memory is left from whoever had it before.
func (b *builder) freed(d *Done) error {
	l, err := newPageLayout(b.v)
	if err != nil {
		return err
	}
	pages, err := mm.NewPages(b.v)
	if err != nil {
		return err
	}
	slabs, err := b.slabsByCache()
	if err != nil {
		return err
	}
	buddy, ok := b.v.VMCoreInfo().Number("PAGE_BUDDY_MAPCOUNT_VALUE")
	if !ok {
		return errors.New("which pages are free is not known: VMCOREINFO has no NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)")
	}
	tag := "slab" // 5.17
	if !b.v.HasMember(tag, "slab_cache") {
		tag = "page"
	}
	cacheOff, ok := b.v.OffsetOf(tag, "slab_cache")
	if !ok {
		return errors.New("which pages are slabs is not known: no struct has a member slab_cache")
	}
	missing, firstErr := 0, error(nil)
	err = l.scan(pages, func(pfn uint64, p []byte) error {
		switch {
		case l.word(p, l.compound)&1 != 0:
		case l.isSlab(p):
			c := slabs[vmem.Addr(l.word(p, cacheOff))]
			if c == nil {
				return nil // KFENCE's pages that nobody has had yet
			}
			return b.freeObjects(c, pages.Of(pfn), d)
		case l.pageType(p) == uint32(buddy):
			return b.freeBlock(pfn, l.word(p, l.private), d)
		}
		return nil
	}, func(pfn uint64, err error) {
		if missing++; firstErr == nil {
			firstErr = err
		}
	})
	if err != nil {
		return err
	}
	if missing > 0 {
		return fmt.Errorf("whether %d pages of the dump are free is not known, as the page array lacks them: %w", missing, firstErr)
	}
	return b.freeLists(pages, d)
}

func (b *builder) slabsByCache() (map[vmem.Addr]*slab.Cache, error) {
	s, err := b.slabs()
	if err != nil {
		return nil, err
	}
	all, err := s.Caches()
	if err != nil {
		return nil, err
	}
	out := make(map[vmem.Addr]*slab.Cache, len(all))
	for _, c := range all {
		out[c.Addr] = c
	}
	return out, nil
}

// freeObjects erases the free objects of a slab, but for the pointers by which they are listed.
func (b *builder) freeObjects(c *slab.Cache, at vmem.Addr, d *Done) error {
	sl, err := b.slab.Detail(c, at)
	if err != nil {
		return fmt.Errorf("slab cache %s: %w", c.Name, err)
	}
	if sl.Total == 1 && c.PerSlab > 1 { // KFENCE's: whether it is free only its own records tell
		return nil
	}
	for _, o := range sl.Objects {
		if !o.Free {
			continue
		}
		if err := b.object(c, o, 0, c.ObjectSize); err != nil {
			return fmt.Errorf("slab cache %s: object %#x: %w", c.Name, uint64(o.Addr), err)
		}
		d.Objects++
		d.Bytes += c.ObjectSize
	}
	return nil
}

// freeBlock erases 2^order free pages.
func (b *builder) freeBlock(pfn, order uint64, d *Done) error {
	const most = 20 // MAX_ORDER is 10 on most machines
	if order > most {
		return fmt.Errorf("the free block at page %#x should have 2^%d pages: damaged", pfn, order)
	}
	for i := range uint64(1) << order {
		if b.marks.page(pfn + i) {
			d.Objects++
			d.Pages++
			d.Bytes += b.v.PageSize()
		}
	}
	return nil
}

// freeLists erases the pages that CPUs keep free for themselves.
func (b *builder) freeLists(pages *mm.Pages, d *Done) error {
	v := b.v
	zones, err := mm.Zones(v)
	if err != nil {
		return err
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return err
	}
	kinds, _, err := v.Symbols().Enumerator("MIGRATE_PCPTYPES")
	if err != nil || kinds <= 0 {
		return fmt.Errorf("free pages of CPUs: MIGRATE_PCPTYPES: %w", err)
	}
	link, ok := v.OffsetOf("page", "lru")
	if !ok {
		return errors.New("free pages of CPUs: struct page of this kernel has no member lru")
	}
	for _, z := range zones {
		zone := v.ObjectOf("zone", z.Addr)
		member, lists := "per_cpu_pageset", "lists" // 5.14
		if !zone.Has(member) {
			member, lists = "pageset", "pcp.lists"
		}
		set, err := zone.Field(member).Pointer()
		if err != nil {
			return fmt.Errorf("free pages of CPUs: zone %s: %w", z.Name, err)
		}
		if set == 0 {
			continue
		}
		for _, cpu := range cpus {
			off, err := v.PerCPUOffset(cpu)
			if err != nil {
				return err
			}
			heads := v.Object(zone.Field(member).Type().Strip().Elem(), set+vmem.Addr(off)).Field(lists)
			if heads.Err() != nil {
				return fmt.Errorf("free pages of CPU %d: %w", cpu, heads.Err())
			}
			for i := range heads.Type().Strip().Len {
				head, _ := heads.Index(i).Addr()
				for at, err := range walk.List(v, head, link) {
					if err != nil {
						return fmt.Errorf("free pages of CPU %d: %w", cpu, err)
					}
					pfn, ok := pages.PFN(at)
					if !ok {
						return fmt.Errorf("free pages of CPU %d: %#x is no struct page", cpu, uint64(at))
					}
					const costly, huge = 3, 9
					order := uint64(i / kinds) // 5.13; before, there were lists of single pages only
					if order > costly {        // the last lists are of huge pages
						order = huge
					}
					if err := b.freeBlock(pfn, order, d); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
