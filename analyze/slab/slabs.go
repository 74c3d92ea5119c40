package slab

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// slabsLayout is how SLAB, which left in 6.8, keeps its slabs: on lists of full, partial and empty ones of each node. Which objects
// of a slab are free an array of their numbers says, from the count of active ones on; further free ones wait in arrays of pointers of
// each CPU, of all CPUs of a node, and for other nodes.
type slabsLayout struct {
	cache  kernel.Binding[slabsCache]
	node   kernel.Binding[slabsNode]
	slab   kernel.Binding[slabsSlab]
	array  kernel.Binding[arrayCache]
	index  uint64 // bytes of a number in a slab's array
	alien  uint64 // offset of the array_cache in struct alien_cache (3.18), before the array itself
	nNodes uint64
}

type slabsCache struct {
	Name       vmem.Addr `k:"name"`
	Size       uint32    `k:"size"`
	ObjectSize uint32    `k:"object_size"`
	Num        uint32    `k:"num"`
	Order      uint32    `k:"gfporder"`
	Flags      uint64    `k:"flags"`
	CPU        vmem.Addr `k:"cpu_cache"`           // struct array_cache __percpu * (4.0)
	ObjOffset  int32     `k:"obj_offset,optional"` // CONFIG_DEBUG_SLAB
}

type slabsNode struct {
	Partial     vmem.Addr `k:"&slabs_partial"`
	Full        vmem.Addr `k:"&slabs_full"`
	Empty       vmem.Addr `k:"&slabs_free"`
	Slabs       uint64    `k:"total_slabs,optional"` // 4.10
	FreeObjects uint64    `k:"free_objects"`
	Shared      vmem.Addr `k:"shared"`
	Alien       vmem.Addr `k:"alien,optional"` // CONFIG_NUMA
}

type slabsSlab struct {
	Cache    vmem.Addr `k:"slab_cache"`
	Freelist vmem.Addr `k:"freelist"`
	Memory   vmem.Addr `k:"s_mem"`
	Active   uint32    `k:"active"`
}

type arrayCache struct {
	Avail   uint32    `k:"avail"`
	Entries vmem.Addr `k:"&entry"`
}

func newSlabsLayout(v *kernel.View, tag string) (*slabsLayout, error) {
	if !v.HasMember("kmem_cache", "gfporder") {
		return nil, ErrUnknown
	}
	l := &slabsLayout{index: 1, nNodes: 1}
	var err error
	if l.cache, err = kernel.Bind[slabsCache](v.Kernel, "kmem_cache"); err != nil {
		return nil, err
	}
	if l.node, err = kernel.Bind[slabsNode](v.Kernel, "kmem_cache_node"); err != nil {
		return nil, err
	}
	if l.slab, err = kernel.Bind[slabsSlab](v.Kernel, tag); err != nil {
		return nil, err
	}
	if l.array, err = kernel.Bind[arrayCache](v.Kernel, "array_cache"); err != nil {
		return nil, err
	}
	if off, ok := v.OffsetOf("alien_cache", "ac"); ok {
		l.alien = off
	}
	if t, err := v.Symbols().TypeNamed(symbols.Typedef, "freelist_idx_t"); err == nil {
		l.index = t.Strip().Size
	} else if v.PageSize() > 4096 { // a byte counts the objects of pages of 4 KiB
		l.index = 2
	}
	if l.index != 1 && l.index != 2 && l.index != 4 {
		return nil, fmt.Errorf("freelist_idx_t of this kernel has %d bytes: damaged", l.index)
	}
	if n, err := v.UintAt("nr_node_ids", 4); err == nil {
		l.nNodes = max(1, min(n, maxNodes))
	}
	return l, nil
}

func (l *slabsLayout) readCache(v *kernel.View, addr vmem.Addr) (c *Cache, name vmem.Addr, err error) {
	b, err := l.cache.Read(v, addr)
	if err != nil {
		return nil, 0, err
	}
	c = &Cache{Addr: addr, ObjectSize: uint64(b.ObjectSize), Size: uint64(b.Size), RedLeft: uint64(max(b.ObjOffset, 0)), Flags: b.Flags,
		PerSlab: uint64(b.Num), cpu: b.CPU}
	if c.Size == 0 || b.Order > maxOrder || b.Num > 1<<16 {
		return nil, 0, fmt.Errorf("the slab cache at %#x says %d objects of %d bytes in slabs of order %d: damaged", uint64(addr), b.Num, c.Size, b.Order)
	}
	c.SlabSize = v.PageSize() << b.Order
	return c, b.Name, nil
}

func (l *slabsLayout) lists(s *Slabs, c *Cache, i int, at vmem.Addr) (NodeSlabs, error) {
	b, err := l.node.Read(s.v, at)
	if err != nil {
		return NodeSlabs{}, fmt.Errorf("slab cache %s: node %d: %w", c.Name, i, err)
	}
	out := NodeSlabs{Node: i, Addr: at}
	for _, k := range []struct {
		head vmem.Addr
		what string
		list *[]vmem.Addr
	}{{b.Partial, "partial", &out.Partial}, {b.Full, "full", &out.Full}, {b.Empty, "empty", &out.Empty}} {
		*k.list = s.onList(k.head, fmt.Sprintf("slab cache %s: %s slabs of node %d", c.Name, k.what, i))
	}
	out.Slabs = uint64(len(out.Partial) + len(out.Full) + len(out.Empty))
	return out, nil
}

// detail reads a slab and calls free for each object that it counts as free. unread: there may be more.
func (l *slabsLayout) detail(s *Slabs, c *Cache, addr vmem.Addr, free func(vmem.Addr)) (d Slab, unread bool, err error) {
	b, err := l.slab.Read(s.v, addr)
	if err != nil {
		return Slab{}, true, err
	}
	d = Slab{Addr: addr, Memory: b.Memory, Total: c.PerSlab, first: b.Memory + vmem.Addr(c.RedLeft)}
	if uint64(b.Active) > c.PerSlab {
		return d, true, fmt.Errorf("slab %#x says %d active objects of %d: damaged", uint64(addr), b.Active, c.PerSlab)
	}
	rest := c.PerSlab - uint64(b.Active)
	if rest == 0 {
		return d, false, nil
	}
	p := make([]byte, rest*l.index)
	if err := s.v.Read(p, b.Freelist+vmem.Addr(uint64(b.Active)*l.index)); err != nil {
		s.v.Gap(fmt.Sprintf("slab cache %s: free objects of the slab at %#x", c.Name, uint64(addr)), err)
		return d, true, nil
	}
	for i := range rest {
		n := kernel.ExtractBits(p[i*l.index:], 0, uint32(8*l.index), s.v.ByteOrder().Uint16([]byte{1, 0}) != 1)
		if n >= c.PerSlab {
			s.v.Gap("slab cache "+c.Name, fmt.Errorf("the list of free objects of the slab at %#x leads to object %d of %d: damaged", uint64(b.Memory), n, c.PerSlab))
			return d, true, nil
		}
		free(d.first + vmem.Addr(n*c.Size))
	}
	return d, false, nil
}

func (l *slabsLayout) object(s *Slabs, slab vmem.Addr, o *Object) (cache vmem.Addr, err error) {
	b, err := l.slab.Read(s.v, slab)
	if err != nil {
		return 0, err
	}
	o.Memory, o.InUse = b.Memory, uint64(b.Active)
	if c := s.byAddr[b.Cache]; c != nil {
		o.Total = c.PerSlab
	}
	return b.Cache, nil
}

func (l *slabsLayout) usage(s *Slabs, c *Cache) (Usage, error) {
	var u Usage
	for _, n := range c.nodes {
		b, err := l.node.Read(s.v, n.addr)
		if err != nil {
			return u, fmt.Errorf("slab cache %s: node %d: %w", c.Name, n.id, err)
		}
		slabs := b.Slabs
		if !l.node.Has("Slabs") {
			lists, err := l.lists(s, c, n.id, n.addr)
			if err != nil {
				return u, err
			}
			slabs = lists.Slabs
		}
		u.Slabs += slabs
		u.Total += slabs * c.PerSlab
		u.Free += b.FreeObjects
	}
	sets, err := s.freeSets(c)
	if err != nil {
		return u, err
	}
	u.CPUFree, u.CPUUnknown = sets.cpuFree, sets.unknown
	return u, nil
}

// arrays are the free objects that wait in arrays: of each CPU, those that a node's CPUs share, and those of other nodes.
func (l *slabsLayout) arrays(s *Slabs, c *Cache, f *freeSets) error {
	cpus, err := s.v.PossibleCPUs()
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		off, err := s.v.PerCPUOffset(cpu)
		if err != nil {
			return err
		}
		if c.cpu != 0 {
			l.addArray(s, c, c.cpu+vmem.Addr(off), Owner{CPU: cpu}, f)
		}
	}
	for _, n := range c.nodes {
		b, err := l.node.Read(s.v, n.addr)
		if err != nil {
			f.unknown, f.lost = true, true
			s.v.Gap(fmt.Sprintf("slab cache %s: arrays of node %d", c.Name, n.id), err)
			continue
		}
		if b.Shared != 0 {
			l.addArray(s, c, b.Shared, Owner{CPU: -1, Array: true}, f)
		}
		if b.Alien == 0 {
			continue
		}
		for j := range l.nNodes {
			p, err := s.v.Word(b.Alien + vmem.Addr(j*s.v.WordSize()))
			if err != nil {
				f.unknown, f.lost = true, true
				s.v.Gap(fmt.Sprintf("slab cache %s: arrays of node %d", c.Name, n.id), err)
				break
			}
			if p != 0 {
				l.addArray(s, c, vmem.Addr(p+l.alien), Owner{CPU: -1, Array: true}, f)
			}
		}
	}
	return nil
}

var errArray = errors.New("an array of free objects claims more than any has: damaged")

func (l *slabsLayout) addArray(s *Slabs, c *Cache, at vmem.Addr, w Owner, f *freeSets) {
	err := func() error {
		b, err := l.array.Read(s.v, at)
		if err != nil {
			return err
		}
		const maxArray = 1 << 14 // the kernel's largest have some hundred
		if b.Avail > maxArray {
			return errArray
		}
		for i := range uint64(b.Avail) {
			p, err := s.v.Word(b.Entries + vmem.Addr(i*s.v.WordSize()))
			if err != nil {
				return err
			}
			f.owner[vmem.Addr(p)+vmem.Addr(c.RedLeft)] = w
			f.cpuFree++
		}
		return nil
	}()
	if err != nil {
		f.unknown, f.lost = true, true
		s.v.Gap(fmt.Sprintf("slab cache %s: free objects in the array at %#x", c.Name, uint64(at)), err)
	}
}
