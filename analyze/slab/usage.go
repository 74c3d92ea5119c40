package slab

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Usage of a cache, in objects unless it says otherwise.
type Usage struct {
	Slabs uint64
	Total uint64
	// Free of the slabs on the nodes' partial lists: /proc/slabinfo's active objects are Total less these.
	Free    uint64
	CPUFree uint64 // free in slabs that CPUs have taken for themselves, which /proc/slabinfo counts as active
	Sheaves uint64 // free in sheaves, which /proc/slabinfo counts as active
	// FreeUnknown: part of the nodes' partial lists could not be read. CPUUnknown: so with what CPUs and sheaves keep.
	FreeUnknown, CPUUnknown bool
}

// Allocated are the objects that someone holds.
func (u Usage) Allocated() uint64 {
	free := u.Free + u.CPUFree + u.Sheaves
	if free > u.Total {
		return 0
	}
	return u.Total - free
}

// Active is what /proc/slabinfo calls active_objs.
func (u Usage) Active() uint64 { return u.Total - min(u.Free, u.Total) }

var errNoCounters = errors.New("the kernel was built without CONFIG_SLUB_DEBUG and does not count its slabs")

// Usage counts a cache's slabs and objects.
func (s *Slabs) Usage(c *Cache) (Usage, error) {
	var u Usage
	if s.slabs != nil {
		return s.slabs.usage(s, c)
	}
	if !s.node.Has("Slabs") || !s.node.Has("Objects") {
		return u, fmt.Errorf("slab cache %s: %w", c.Name, errNoCounters)
	}
	for _, n := range c.nodes {
		b, err := s.node.Read(s.v, n.addr)
		if err != nil {
			return u, fmt.Errorf("slab cache %s: node %d: %w", c.Name, n.id, err)
		}
		u.Slabs += b.Slabs
		u.Total += b.Objects
		for addr, err := range walk.List(s.v, b.Partial, s.link) {
			if err != nil {
				u.FreeUnknown = true
				s.v.Gap(fmt.Sprintf("slab cache %s: partial slabs of node %d", c.Name, n.id), err)
				continue
			}
			sl, err := s.slab.Read(s.v, addr)
			if err != nil {
				u.FreeUnknown = true
				s.v.Gap(fmt.Sprintf("slab cache %s: partial slab of node %d", c.Name, n.id), err)
				continue
			}
			u.Free += free(sl)
		}
	}
	sets, err := s.freeSets(c)
	if err != nil {
		return u, err
	}
	u.CPUFree, u.Sheaves, u.CPUUnknown = sets.cpuFree, sets.inSheaves, sets.unknown
	return u, nil
}

func free(sl slabStruct) uint64 { return uint64(sl.Objects - min(sl.Inuse, sl.Objects)) }

// freeSets are the free objects that slabs count as in use, and who has them.
type freeSets struct {
	owner     map[vmem.Addr]Owner
	cpuFree   uint64
	inSheaves uint64
	unknown   bool               // some could not be read
	lost      bool               // of those any object may be one
	unread    map[vmem.Addr]bool // slabs of CPUs, of whose objects any may be one
}

// Owner says where a free object that its slab counts as in use waits.
type Owner struct {
	CPU   int  // whose list or sheaf it is on; -1 for a node's
	Sheaf bool // in a sheaf, not on a CPU's list
	Array bool // in an array that CPUs share (SLAB)
}

func (s *Slabs) freeSets(c *Cache) (freeSets, error) {
	if f, ok := s.free[c.Addr]; ok {
		return f, nil
	}
	f := freeSets{owner: make(map[vmem.Addr]Owner), unread: make(map[vmem.Addr]bool)}
	if s.slabs != nil {
		err := s.slabs.arrays(s, c, &f)
		s.free[c.Addr] = f
		return f, err
	}
	cpus, err := s.v.PossibleCPUs()
	if err != nil {
		return f, err
	}
	for _, cpu := range cpus {
		off, err := s.v.PerCPUOffset(cpu)
		if err != nil {
			return f, err
		}
		if s.hasCPU && c.cpu != 0 {
			if err := s.cpuLists(c, cpu, c.cpu+vmem.Addr(off), &f); err != nil {
				f.unknown = true
				s.v.Gap(fmt.Sprintf("slab cache %s: free objects of CPU %d", c.Name, cpu), err)
			}
		}
		if s.sheaf != nil && c.sheaves != 0 {
			if err := s.cpuSheaves(cpu, c.sheaves+vmem.Addr(off), &f); err != nil {
				f.unknown, f.lost = true, true
				s.v.Gap(fmt.Sprintf("slab cache %s: sheaves of CPU %d", c.Name, cpu), err)
			}
		}
	}
	for _, n := range c.nodes {
		if err := s.barn(n, &f); err != nil {
			f.unknown, f.lost = true, true
			s.v.Gap(fmt.Sprintf("slab cache %s: sheaves of node %d", c.Name, n.id), err)
		}
	}
	s.free[c.Addr] = f
	return f, nil
}

// cpuLists: the slab that a CPU allocates from, whose list of free objects the CPU has taken, and its further slabs.
func (s *Slabs) cpuLists(c *Cache, cpu int, at vmem.Addr, f *freeSets) error {
	b, err := s.cpu.Read(s.v, at)
	if err != nil {
		f.lost = true
		return err
	}
	if b.Slab != 0 {
		sl, err := s.slab.Read(s.v, b.Slab)
		if err != nil {
			return err
		}
		f.cpuFree += free(sl) // returned by other CPUs meanwhile
		err = s.freelist(c, b.Slab, sl, b.Freelist, func(obj vmem.Addr) {
			f.owner[obj] = Owner{CPU: cpu}
			f.cpuFree++
		})
		if err != nil {
			f.unread[b.Slab] = true
			return err
		}
	}
	if !s.cpu.Has("Partial") || !s.slab.Has("Next") {
		return nil
	}
	seen := make(map[vmem.Addr]bool)
	for p := b.Partial; p != 0; {
		if seen[p] {
			return fmt.Errorf("partial slab %#x: %w", uint64(p), walk.ErrLoop)
		}
		seen[p] = true
		sl, err := s.slab.Read(s.v, p)
		if err != nil {
			return err
		}
		f.cpuFree += free(sl)
		p = sl.Next
	}
	return nil
}

// freelist walks a chain of free objects within a slab.
func (s *Slabs) freelist(c *Cache, slab vmem.Addr, sl slabStruct, head vmem.Addr, f func(vmem.Addr)) error {
	base, ok := s.base(slab)
	if !ok {
		return fmt.Errorf("slab %#x is not in the map of pages", uint64(slab))
	}
	end := base + vmem.Addr(uint64(sl.Objects)*c.Size)
	obj := head
	for n := uint32(0); obj != 0; n++ {
		if obj < base || obj >= end || n > sl.Objects {
			return fmt.Errorf("the list of free objects of the slab at %#x leads to %#x, which is no object of it: damaged", uint64(base), uint64(obj))
		}
		f(obj)
		at := obj + vmem.Addr(c.Offset)
		raw, err := s.v.Word(at)
		if err != nil {
			return fmt.Errorf("free object %#x: %w", uint64(obj), err)
		}
		obj = s.decode(c, raw, at, base, end)
	}
	return nil
}

// decode undoes the disguise of free pointers: XOR with a secret of the cache and the pointer's own place, whose bytes are
// swapped since 5.7. Which of the two it is shows in what comes out.
func (s *Slabs) decode(c *Cache, raw uint64, at, base, end vmem.Addr) vmem.Addr {
	if !s.hardened {
		return vmem.Addr(raw)
	}
	swapped := vmem.Addr(raw ^ c.random ^ swapBytes(uint64(at), s.v.WordSize()))
	if swapped == 0 || swapped >= base && swapped < end {
		return swapped
	}
	if plain := vmem.Addr(raw ^ c.random ^ uint64(at)); plain == 0 || plain >= base && plain < end {
		return plain
	}
	return swapped
}

func swapBytes(u, size uint64) uint64 {
	var out uint64
	for range size {
		out = out<<8 | u&0xff
		u >>= 8
	}
	return out
}

// base is the address of a slab's first byte; slab is the address of its struct slab, or of its head page before 5.17.
func (s *Slabs) base(slab vmem.Addr) (vmem.Addr, bool) {
	pfn, ok := s.pages.PFN(slab)
	return s.pages.Virt(pfn), ok
}

// sheafLayout is how this kernel keeps sheaves.
type sheafLayout struct {
	cpu   kernel.Binding[cpuSheaves]
	sheaf kernel.Binding[sheaf]
	barn  kernel.Binding[barn]
	link  uint64
}

type cpuSheaves struct {
	Main  vmem.Addr `k:"main"`
	Spare vmem.Addr `k:"spare"`
	RCU   vmem.Addr `k:"rcu_free"`
}

type sheaf struct {
	Size    uint32    `k:"size"`
	Objects vmem.Addr `k:"&objects"`
}

type barn struct {
	Full vmem.Addr `k:"&sheaves_full"`
}

func newSheafLayout(v *kernel.View) (*sheafLayout, error) {
	if _, err := v.Struct("slub_percpu_sheaves"); err != nil { // before 6.18
		return nil, nil
	}
	var l sheafLayout
	var err error
	if l.cpu, err = kernel.Bind[cpuSheaves](v.Kernel, "slub_percpu_sheaves"); err != nil {
		return nil, err
	}
	if l.sheaf, err = kernel.Bind[sheaf](v.Kernel, "slab_sheaf"); err != nil {
		return nil, err
	}
	if l.barn, err = kernel.Bind[barn](v.Kernel, "node_barn"); err != nil {
		return nil, err
	}
	var ok bool
	if l.link, ok = v.OffsetOf("slab_sheaf", "barn_list"); !ok {
		return nil, errors.New("struct slab_sheaf of this kernel has no member barn_list")
	}
	return &l, nil
}

func (s *Slabs) cpuSheaves(cpu int, at vmem.Addr, f *freeSets) error {
	b, err := s.sheaf.cpu.Read(s.v, at)
	if err != nil {
		return err
	}
	for _, p := range []vmem.Addr{b.Main, b.Spare, b.RCU} {
		if p == 0 {
			continue
		}
		if err := s.addSheaf(p, cpu, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Slabs) addSheaf(at vmem.Addr, cpu int, f *freeSets) error {
	b, err := s.sheaf.sheaf.Read(s.v, at)
	if err != nil {
		return err
	}
	const maxSheaf = 4096 // the kernel's largest hold some 120 objects
	if b.Size > maxSheaf {
		return fmt.Errorf("the sheaf at %#x says %d objects: damaged", uint64(at), b.Size)
	}
	for i := range uint64(b.Size) {
		p, err := s.v.Word(b.Objects + vmem.Addr(i*s.v.WordSize()))
		if err != nil {
			return err
		}
		f.owner[vmem.Addr(p)] = Owner{CPU: cpu, Sheaf: true}
		f.inSheaves++
	}
	return nil
}

// barn holds a node's spare sheaves.
func (s *Slabs) barn(n node, f *freeSets) error {
	if s.sheaf == nil {
		return nil
	}
	at := n.barn
	if at == 0 && s.node.Has("Barn") {
		b, err := s.node.Read(s.v, n.addr)
		if err != nil {
			return err
		}
		at = b.Barn
	}
	if at == 0 {
		return nil
	}
	b, err := s.sheaf.barn.Read(s.v, at)
	if err != nil {
		return err
	}
	for p, err := range walk.List(s.v, b.Full, s.sheaf.link) {
		if err != nil {
			return err
		}
		if err := s.addSheaf(p, -1, f); err != nil {
			return err
		}
	}
	return nil
}
