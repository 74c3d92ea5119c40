package slab

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Slab is one slab of a cache.
type Slab struct {
	Addr    vmem.Addr // struct slab, or struct page before 5.17
	Memory  vmem.Addr // its first byte
	Total   uint64    // objects
	Objects []ObjectState

	first vmem.Addr // object
}

// ObjectState is an object and whether it is free.
type ObjectState struct {
	Addr    vmem.Addr
	Free    bool
	Unknown bool   // it is not known to be free, but lists of free objects could not be read
	Owner   *Owner // where a free one waits, if not on the slab's own list
}

// Allocated counts the objects that someone holds; ok is false if that can't be told of some.
func (s *Slab) Allocated() (n uint64, ok bool) {
	for _, o := range s.Objects {
		if o.Unknown {
			return 0, false
		}
		if !o.Free {
			n++
		}
	}
	return n, true
}

// CPUSlabs are the slabs that a CPU has for itself.
type CPUSlabs struct {
	CPU     int
	Addr    vmem.Addr   // struct kmem_cache_cpu
	Active  vmem.Addr   // 0 for none
	Partial []vmem.Addr // its further slabs
}

// NodeSlabs are a node's counters and lists.
type NodeSlabs struct {
	Node    int
	Addr    vmem.Addr
	Slabs   uint64
	Partial []vmem.Addr
	// Full and Empty slabs are on lists with SLAB; with SLUB full ones are on none, and empty ones among the partial.
	Full, Empty []vmem.Addr
}

// CPULists are the slabs of each CPU; none on kernels whose CPUs have sheaves only (7.0), and with SLAB.
func (s *Slabs) CPULists(c *Cache) ([]CPUSlabs, error) {
	if !s.hasCPU || c.cpu == 0 {
		return nil, nil
	}
	cpus, err := s.v.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	var out []CPUSlabs
	for _, cpu := range cpus {
		off, err := s.v.PerCPUOffset(cpu)
		if err != nil {
			return out, err
		}
		at := c.cpu + vmem.Addr(off)
		b, err := s.cpu.Read(s.v, at)
		if err != nil {
			s.v.Gap(fmt.Sprintf("slab cache %s: CPU %d", c.Name, cpu), err)
			continue
		}
		l := CPUSlabs{CPU: cpu, Addr: at, Active: b.Slab}
		seen := make(map[vmem.Addr]bool)
		for p := b.Partial; p != 0 && s.slab.Has("Next"); {
			if seen[p] {
				s.v.Gap(fmt.Sprintf("slab cache %s: partial slabs of CPU %d", c.Name, cpu), walk.ErrLoop)
				break
			}
			seen[p] = true
			sl, err := s.slab.Read(s.v, p)
			if err != nil {
				s.v.Gap(fmt.Sprintf("slab cache %s: partial slabs of CPU %d", c.Name, cpu), err)
				break
			}
			l.Partial = append(l.Partial, p)
			p = sl.Next
		}
		out = append(out, l)
	}
	return out, nil
}

// NodeLists are the slabs of each node that are neither full nor a CPU's.
func (s *Slabs) NodeLists(c *Cache) ([]NodeSlabs, error) {
	var out []NodeSlabs
	for _, n := range c.nodes {
		if s.slabs != nil {
			l, err := s.slabs.lists(s, c, n.id, n.addr)
			if err != nil {
				return out, err
			}
			out = append(out, l)
			continue
		}
		b, err := s.node.Read(s.v, n.addr)
		if err != nil {
			return out, fmt.Errorf("slab cache %s: node %d: %w", c.Name, n.id, err)
		}
		l := NodeSlabs{Node: n.id, Addr: n.addr, Slabs: b.Slabs}
		l.Partial = s.onList(b.Partial, fmt.Sprintf("slab cache %s: partial slabs of node %d", c.Name, n.id))
		out = append(out, l)
	}
	return out, nil
}

// onList are the slabs of a list. What can't be read is a gap.
func (s *Slabs) onList(head vmem.Addr, what string) []vmem.Addr {
	var out []vmem.Addr
	for a, err := range walk.List(s.v, head, s.link) {
		if err != nil {
			s.v.Gap(what, err)
			continue
		}
		out = append(out, a)
	}
	return out
}

// Detail reads a slab and the state of each of its objects.
func (s *Slabs) Detail(c *Cache, addr vmem.Addr) (Slab, error) {
	var d Slab
	free := make(map[vmem.Addr]bool)
	unread := false // whether all of the slab's own free objects are in it
	var err error
	if s.slabs != nil {
		d, unread, err = s.slabs.detail(s, c, addr, func(a vmem.Addr) { free[a] = true })
	} else {
		d, unread, err = s.detail(c, addr, func(a vmem.Addr) { free[a] = true })
	}
	if err != nil {
		return Slab{}, err
	}
	sets, err := s.freeSets(c)
	if err != nil {
		return d, err
	}
	for i := range d.Total {
		a := d.first + vmem.Addr(i*c.Size)
		o := ObjectState{Addr: a, Free: free[a]}
		if w, ok := sets.owner[a]; ok && !o.Free {
			o.Free, o.Owner = true, &w
		}
		o.Unknown = !o.Free && (unread || sets.lost || sets.unread[addr])
		d.Objects = append(d.Objects, o)
	}
	return d, nil
}

// detail reads a slab. unread: of its free objects there may be more.
func (s *Slabs) detail(c *Cache, addr vmem.Addr, free func(vmem.Addr)) (d Slab, unread bool, err error) {
	sl, err := s.slab.Read(s.v, addr)
	if err != nil {
		return Slab{}, true, err
	}
	base, ok := s.base(addr)
	if !ok {
		return Slab{}, true, fmt.Errorf("slab %#x is not in the map of pages", uint64(addr))
	}
	if err := s.freelist(c, addr, sl, sl.Freelist, free); err != nil {
		s.v.Gap("slab cache "+c.Name, err)
		unread = true
	}
	return Slab{Addr: addr, Memory: base, Total: uint64(sl.Objects), first: base + vmem.Addr(c.RedLeft)}, unread, nil
}

// Found is a slab that was found among all pages, and the cache that it says it belongs to.
type Found struct{ Cache, Slab vmem.Addr }

// Everywhere finds every slab there is, full ones too, which SLUB has on no list: it looks at all pages of the machine. They
// come in the order of memory.
func (s *Slabs) Everywhere() iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		off, ok := s.tag.OffsetOf("slab_cache")
		if !ok || off+s.v.WordSize() > s.pages.Size() {
			yield(Found{}, fmt.Errorf("%s has no member slab_cache", s.tag))
			return
		}
		for batch := range mm.Scan(s.v, s.pages, func(v *kernel.View, k mm.Chunk) []Found {
			var out []Found
			for i := range k.Len() {
				cache := v.ByteOrder().Uint64(k.Raw(i)[off:])
				if !v.Arch().IsKernel(cache) {
					continue
				}
				p := k.Page(i)
				if p.Head != 0 || s.pageType != nil && !s.pageType(&p) {
					continue
				}
				out = append(out, Found{vmem.Addr(cache), p.Addr})
			}
			return out
		}) {
			for _, f := range batch {
				if !yield(f, nil) {
					return
				}
			}
		}
		if err := s.v.Context().Err(); err != nil {
			yield(Found{}, err)
		}
	}
}

// All finds every slab of a cache, see Everywhere.
func (s *Slabs) All(c *Cache) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		for f, err := range s.Everywhere() {
			if err != nil {
				yield(0, err)
				return
			}
			if f.Cache == c.Addr && !yield(f.Slab, nil) {
				return
			}
		}
	}
}
