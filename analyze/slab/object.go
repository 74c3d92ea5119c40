package slab

import (
	"fmt"

	"kdx/analyze/vmem"
)

// Object is a slab's object.
type Object struct {
	Cache  *Cache
	Addr   vmem.Addr // of its first byte that the owner may use
	Slab   vmem.Addr // struct slab, or the head page before 5.17
	Memory vmem.Addr // the slab's first byte
	Index  uint64
	Total  uint64 // objects of the slab
	InUse  uint64 // those that the slab counts so
	// Free: nobody holds it. Owner then says where it waits, if not on its slab's own list.
	Free  bool
	Owner *Owner
	// Unsure is why Free may be wrong: the lists of free objects could not be read.
	Unsure error
	// Inside: the address lies within an object; false for the bytes around it.
	Inside bool
}

// At finds the object that covers an address of the direct map; ok is false if it lies in no slab.
func (s *Slabs) At(addr vmem.Addr) (obj Object, ok bool, err error) {
	pfn, ok := s.pages.Direct(addr)
	if !ok {
		return Object{}, false, nil
	}
	page, err := s.pages.Read(s.v, pfn)
	if err != nil {
		return Object{}, false, err
	}
	if page.Head != 0 {
		head, ok := s.pages.PFN(page.Head)
		if !ok {
			return Object{}, false, nil
		}
		if page, err = s.pages.Read(s.v, head); err != nil {
			return Object{}, false, err
		}
	}
	if s.pageType != nil && !s.pageType(&page) {
		return Object{}, false, nil
	}
	if _, err := s.Caches(); err != nil {
		return Object{}, false, err
	}
	sl, err := s.slab.Read(s.v, page.Addr)
	if err != nil {
		return Object{}, false, err
	}
	c := s.byAddr[sl.Cache]
	if c == nil {
		return Object{}, false, nil
	}
	base := s.pages.Virt(page.PFN)
	i := uint64(addr-base) / c.Size
	obj = Object{Cache: c, Slab: page.Addr, Memory: base, Index: i, Total: uint64(sl.Objects), InUse: uint64(sl.Inuse),
		Addr: base + vmem.Addr(i*c.Size+c.RedLeft)}
	obj.Inside = i < obj.Total && addr >= obj.Addr && uint64(addr-obj.Addr) < c.ObjectSize
	return obj, true, nil
}

// State finds out whether o is free.
func (s *Slabs) State(o *Object) {
	sl, err := s.slab.Read(s.v, o.Slab)
	if err != nil {
		o.Unsure = err
		return
	}
	err = s.freelist(o.Cache, o.Slab, sl, sl.Freelist, func(a vmem.Addr) {
		if a == o.Addr {
			o.Free = true
		}
	})
	if err != nil {
		o.Unsure = fmt.Errorf("slab cache %s: %w", o.Cache.Name, err)
	}
	if o.Free {
		return
	}
	sets, err := s.freeSets(o.Cache)
	if err != nil {
		o.Unsure = err
		return
	}
	if w, ok := sets.owner[o.Addr]; ok {
		o.Free, o.Owner = true, &w
	}
}
