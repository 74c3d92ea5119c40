package slab

import (
	"fmt"
	"iter"

	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Slab is one slab of a cache.
type Slab struct {
	Addr    vmem.Addr // struct slab, or struct page before 5.17
	Memory  vmem.Addr // its first byte
	Total   uint64    // objects
	Objects []ObjectState
}

// ObjectState is an object and whether it is free.
type ObjectState struct {
	Addr  vmem.Addr
	Free  bool
	Owner *Owner // where a free one waits, if not on the slab's own list
}

// Allocated counts the objects that someone holds.
func (s *Slab) Allocated() uint64 {
	n := uint64(0)
	for _, o := range s.Objects {
		if !o.Free {
			n++
		}
	}
	return n
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
	Addr    vmem.Addr
	Slabs   uint64
	Partial []vmem.Addr
}

// CPULists are the slabs of each CPU; none on kernels whose CPUs have sheaves only (7.0).
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
	for i, n := range c.nodes {
		b, err := s.node.Read(s.v, n.addr)
		if err != nil {
			return out, fmt.Errorf("slab cache %s: node %d: %w", c.Name, i, err)
		}
		l := NodeSlabs{Addr: n.addr, Slabs: b.Slabs}
		for a, err := range walk.List(s.v, b.Partial, s.link) {
			if err != nil {
				s.v.Gap(fmt.Sprintf("slab cache %s: partial slabs of node %d", c.Name, i), err)
				continue
			}
			l.Partial = append(l.Partial, a)
		}
		out = append(out, l)
	}
	return out, nil
}

// Detail reads a slab and the state of each of its objects.
func (s *Slabs) Detail(c *Cache, addr vmem.Addr) (Slab, error) {
	sl, err := s.slab.Read(s.v, addr)
	if err != nil {
		return Slab{}, err
	}
	base, ok := s.base(addr)
	if !ok {
		return Slab{}, fmt.Errorf("slab %#x is not in the map of pages", uint64(addr))
	}
	d := Slab{Addr: addr, Memory: base, Total: uint64(sl.Objects)}
	free := make(map[vmem.Addr]bool)
	if err := s.freelist(c, addr, sl, sl.Freelist, func(a vmem.Addr) { free[a] = true }); err != nil {
		s.v.Gap("slab cache "+c.Name, err)
	}
	sets, err := s.freeSets(c)
	if err != nil {
		return d, err
	}
	for i := range d.Total {
		a := base + vmem.Addr(i*c.Size+c.RedLeft)
		o := ObjectState{Addr: a, Free: free[a]}
		if w, ok := sets.owner[a]; ok && !o.Free {
			o.Free, o.Owner = true, &w
		}
		d.Objects = append(d.Objects, o)
	}
	return d, nil
}

// All finds every slab of a cache, full ones too, which are on no list: it looks at all pages of the machine.
func (s *Slabs) All(c *Cache) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		tag, size := s.slab.Type(), s.pages.Size()
		off, ok := tag.OffsetOf("slab_cache")
		if !ok || off+s.v.WordSize() > size {
			yield(0, fmt.Errorf("%s has no member slab_cache", tag))
			return
		}
		const batch = 1024
		buf := make([]byte, batch*size)
		for _, r := range s.v.Image().Info().Ranges {
			page := s.v.PageSize()
			first, end := uint64(r.Start)/page, (uint64(r.End)+page-1)/page
			for pfn := first; pfn < end; {
				n, err := s.v.ReadMemory(buf[:min(batch, end-pfn)*size], uint64(s.pages.Of(pfn)))
				if err != nil && s.v.Context().Err() != nil {
					yield(0, err)
					return
				}
				whole := uint64(n) / size
				for i := range whole {
					p := buf[i*size+off:]
					if vmem.Addr(s.word(p)) != c.Addr {
						continue
					}
					g, err := s.pages.Read(s.v, pfn+i)
					if err != nil || s.pageType != nil && !s.pageType(&g) || g.Head != 0 {
						continue
					}
					if !yield(g.Addr, nil) {
						return
					}
				}
				pfn += whole
				if err != nil {
					// Holes of the machine's memory have no struct pages: on to the next page of them.
					pfn += max(1, (page-uint64(s.pages.Of(pfn))%page)/size)
				}
			}
		}
	}
}

func (s *Slabs) word(p []byte) uint64 {
	if s.v.WordSize() == 4 {
		return uint64(s.v.ByteOrder().Uint32(p))
	}
	return s.v.ByteOrder().Uint64(p)
}
