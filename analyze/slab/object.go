package slab

import (
	"errors"
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
	var cache vmem.Addr
	o := Object{Slab: page.Addr}
	if s.slabs != nil {
		cache, err = s.slabs.object(s, page.Addr, &o)
	} else {
		cache, err = s.object(page.Addr, &o)
	}
	if err != nil {
		return Object{}, false, err
	}
	c := s.byAddr[cache]
	if c == nil || addr < o.Memory {
		return Object{}, false, nil
	}
	o.Cache = c
	o.Index = uint64(addr-o.Memory) / c.Size
	o.Addr = o.Memory + vmem.Addr(o.Index*c.Size+c.RedLeft)
	o.Inside = o.Index < o.Total && addr >= o.Addr && uint64(addr-o.Addr) < c.ObjectSize
	return o, true, nil
}

// object reads what a slab says of itself, and the cache that it belongs to.
func (s *Slabs) object(slab vmem.Addr, o *Object) (cache vmem.Addr, err error) {
	sl, err := s.slab.Read(s.v, slab)
	if err != nil {
		return 0, err
	}
	base, ok := s.base(slab)
	if !ok {
		return 0, fmt.Errorf("slab %#x is not in the map of pages", uint64(slab))
	}
	o.Memory, o.Total, o.InUse = base, uint64(sl.Objects), uint64(sl.Inuse)
	return sl.Cache, nil
}

// State finds out whether o is free.
func (s *Slabs) State(o *Object) {
	err := s.eachFree(o, func(a vmem.Addr) {
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
		return
	}
	if o.Unsure == nil && (sets.lost || sets.unread[o.Slab]) {
		o.Unsure = fmt.Errorf("slab cache %s: %w", o.Cache.Name, errUnread)
	}
}

var errUnread = errors.New("lists of free objects can't be read")

// eachFree calls f for each object that is free by the slab itself.
func (s *Slabs) eachFree(o *Object, f func(vmem.Addr)) error {
	if s.slabs != nil {
		_, unread, err := s.slabs.detail(s, o.Cache, o.Slab, f)
		if unread && err == nil {
			err = errUnread
		}
		return err
	}
	sl, err := s.slab.Read(s.v, o.Slab)
	if err != nil {
		return err
	}
	return s.freelist(o.Cache, o.Slab, sl, sl.Freelist, f)
}
