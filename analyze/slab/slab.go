// Package slab reads the caches of the kernel's allocator of small objects: what they hold, and which cache and state an
// address belongs to. That is SLUB or, on kernels before 6.8, may be SLAB.
//
// A cache's slabs are runs of pages that hold objects of one size. Of its free objects some are on lists inside slabs,
// some on a list that a CPU has taken for itself (until 7.0), some in arrays called sheaves (since 6.18): to the slab the
// latter two are in use, to the kernel they are not.
package slab

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// Cache is a kmem_cache.
type Cache struct {
	Addr       vmem.Addr
	Name       string
	ObjectSize uint64 // bytes that the owner asked for
	Size       uint64 // bytes from one object to the next
	Offset     uint64 // of the free pointer in a free object
	RedLeft    uint64 // bytes before an object that guard it
	PerSlab    uint64 // objects of a new slab
	SlabSize   uint64 // bytes of a new slab
	Flags      uint64

	// Root is the cache that this one was made from for a memory control group (until 5.8); 0 if it is none of those.
	Root vmem.Addr

	random  uint64
	cpu     vmem.Addr // struct kmem_cache_cpu __percpu *, of SLAB struct array_cache __percpu *
	sheaves vmem.Addr // struct slub_percpu_sheaves __percpu *
	nodes   []node
}

type node struct {
	id         int
	addr, barn vmem.Addr
}

// Slabs knows how this kernel lays out its slabs. It belongs to one View.
type Slabs struct {
	v      *kernel.View
	pages  *mm.Pages
	cache  kernel.Binding[cacheStruct]
	node   kernel.Binding[nodeStruct]
	slab   kernel.Binding[slabStruct]
	cpu    kernel.Binding[cpuStruct]
	hasCPU bool
	sheaf  *sheafLayout
	slabs  *slabsLayout  // of SLAB; nil on SLUB
	tag    *symbols.Type // struct slab, or struct page before 5.17
	root   int64         // offset of the pointer to the root cache; -1 without

	nodesOff, nodeStep, nodePtr uint64
	barnPtr                     int64 // offset in a per_node element; -1 without
	nNodes                      uint64
	link                        uint64 // slab_list in struct slab
	hardened                    bool
	pageType                    func(p *mm.Page) bool

	caches []*Cache
	byAddr map[vmem.Addr]*Cache
	free   map[vmem.Addr]freeSets
}

type cacheStruct struct {
	Name       vmem.Addr `k:"name"`
	Size       uint32    `k:"size"`
	ObjectSize uint32    `k:"object_size"`
	Offset     uint32    `k:"offset"`
	RedLeft    uint32    `k:"red_left_pad,optional"` // CONFIG_SLUB_DEBUG
	OO         uint32    `k:"oo"`
	Flags      uint64    `k:"flags"`
	Random     uint64    `k:"random,optional"` // CONFIG_SLAB_FREELIST_HARDENED
	CPU        vmem.Addr `k:"cpu_slab,optional"`
	Sheaves    vmem.Addr `k:"cpu_sheaves,optional"`
}

type nodeStruct struct {
	Partial  vmem.Addr `k:"&partial"`
	Slabs    uint64    `k:"nr_slabs,optional"` // CONFIG_SLUB_DEBUG
	Objects  uint64    `k:"total_objects,optional"`
	NPartial uint64    `k:"nr_partial"`
	Barn     vmem.Addr `k:"barn,optional"` // 6.18 to 7.0; later beside the node
}

// slabStruct is struct slab since 5.17, before it struct page.
type slabStruct struct {
	Cache    vmem.Addr `k:"slab_cache"`
	Freelist vmem.Addr `k:"freelist"`
	Inuse    uint32    `k:"inuse"`
	Objects  uint32    `k:"objects"`
	Next     vmem.Addr `k:"next,optional"` // of a CPU's partial list
}

type cpuStruct struct {
	Freelist vmem.Addr `k:"freelist"`
	Slab     vmem.Addr `k:"slab|page"`        // 5.17 | before
	Partial  vmem.Addr `k:"partial,optional"` // CONFIG_SLUB_CPU_PARTIAL
}

// ErrUnknown is the answer for kernels with an allocator that is neither SLUB nor SLAB.
var ErrUnknown = errors.New("the kernel uses neither SLUB nor SLAB: kdx knows no other slab allocator")

// New prepares for the kernel of v.
func New(v *kernel.View) (*Slabs, error) {
	s := &Slabs{v: v, barnPtr: -1, root: -1, free: make(map[vmem.Addr]freeSets)}
	var err error
	if s.pages, err = mm.NewPages(v); err != nil {
		return nil, err
	}
	if err := s.findTag(); err != nil {
		return nil, err
	}
	s.pageType = slabPage(v)
	if off, ok := v.OffsetOf("kmem_cache", "memcg_params.root_cache"); ok {
		s.root = int64(off)
	}
	if !v.HasMember("kmem_cache", "offset") {
		if _, err := v.Struct("kmem_cache"); err != nil {
			return nil, err
		}
		if s.slabs, err = newSlabsLayout(v, s.tag.Name); err != nil {
			return nil, err
		}
		return s, s.nodeLayout(s.slabs.cache.Type())
	}
	if s.cache, err = kernel.Bind[cacheStruct](v.Kernel, "kmem_cache"); err != nil {
		return nil, err
	}
	if s.node, err = kernel.Bind[nodeStruct](v.Kernel, "kmem_cache_node"); err != nil {
		return nil, err
	}
	if s.slab, err = kernel.Bind[slabStruct](v.Kernel, s.tag.Name); err != nil {
		return nil, err
	}
	if s.cache.Has("CPU") {
		if s.cpu, err = kernel.Bind[cpuStruct](v.Kernel, "kmem_cache_cpu"); err != nil {
			return nil, err
		}
		s.hasCPU = true
	}
	s.hardened = s.cache.Has("Random")
	if s.sheaf, err = newSheafLayout(v); err != nil {
		return nil, err
	}
	return s, s.nodeLayout(s.cache.Type())
}

// findTag finds the struct that describes a slab, and its link to others.
func (s *Slabs) findTag() error {
	tag := "slab"
	if !s.v.HasMember(tag, "freelist") {
		tag = "page"
	}
	var err error
	if s.tag, err = s.v.Struct(tag); err != nil {
		return err
	}
	var ok bool
	if s.link, ok = s.tag.OffsetOf("slab_list"); !ok {
		if s.link, ok = s.tag.OffsetOf("lru"); !ok { // before 5.0
			return fmt.Errorf("struct %s of this kernel has no member slab_list", tag)
		}
	}
	return nil
}

// nodeLayout finds the array of a cache's nodes: node[] of pointers, or since 7.1 per_node[] of a pointer and a barn.
func (s *Slabs) nodeLayout(t *symbols.Type) error {
	s.nNodes = 1
	if n, err := s.v.UintAt("nr_node_ids", 4); err == nil {
		s.nNodes = max(1, min(n, maxNodes))
	}
	if m, ok := t.Path("per_node"); ok {
		e := m.Type.Strip().Elem()
		nodeOff, ok1 := e.OffsetOf("node")
		barnOff, ok2 := e.OffsetOf("barn")
		if !ok1 {
			return fmt.Errorf("%s has no member node", e)
		}
		s.nodesOff, s.nodeStep, s.nodePtr = m.Offset(), e.Strip().Size, nodeOff
		if ok2 {
			s.barnPtr = int64(barnOff)
		}
		return nil
	}
	m, ok := t.Path("node")
	if !ok {
		return fmt.Errorf("%s has no member node", t)
	}
	s.nodesOff, s.nodeStep = m.Offset(), s.v.WordSize()
	return nil
}

// slabPage tells pages of slabs: a page type of its own since 6.10, a page flag before. Nil if this kernel doesn't say.
func slabPage(v *kernel.View) func(*mm.Page) bool {
	if typ, _, err := v.Symbols().Enumerator("PGTY_slab"); err == nil { // 6.12: the upper byte is the type
		return func(p *mm.Page) bool { return int64(p.Type>>24) == typ }
	}
	bit, t, err := v.Symbols().Enumerator("PG_slab")
	if err != nil {
		return nil
	}
	if t.Name == "pageflags" {
		return func(p *mm.Page) bool { return p.Flags>>bit&1 != 0 }
	}
	return func(p *mm.Page) bool { return int64(p.Type)&bit == 0 } // 6.11: a type is a bit that is cleared
}

// Pages of the kernel.
func (s *Slabs) Pages() *mm.Pages { return s.pages }

// Caches are all caches, in the order of the kernel's list. What can't be read is a gap.
func (s *Slabs) Caches() ([]*Cache, error) {
	if s.byAddr != nil {
		return s.caches, nil
	}
	head, err := s.v.Symbol("slab_caches")
	if err != nil {
		return nil, err
	}
	link, ok := s.v.OffsetOf("kmem_cache", "list")
	if !ok {
		return nil, errors.New("struct kmem_cache of this kernel has no member list")
	}
	s.byAddr = make(map[vmem.Addr]*Cache)
	for addr, err := range walk.List(s.v, vmem.Addr(head.Addr), link) {
		if err != nil {
			s.v.Gap("slab caches", err)
			continue
		}
		c, err := s.read(addr)
		if err != nil {
			s.v.Gap("slab caches", err)
			continue
		}
		s.caches = append(s.caches, c)
		s.byAddr[addr] = c
	}
	return s.caches, nil
}

func (s *Slabs) read(addr vmem.Addr) (*Cache, error) {
	read := s.readCache
	if s.slabs != nil {
		read = s.slabs.readCache
	}
	c, name, err := read(s.v, addr)
	if err != nil {
		return nil, err
	}
	if s.root >= 0 {
		root, err := s.v.Word(addr + vmem.Addr(s.root))
		if err != nil {
			return nil, err
		}
		c.Root = vmem.Addr(root)
	}
	const maxName = 256
	if c.Name, err = s.v.CString(name, maxName); err != nil {
		s.v.Gap(fmt.Sprintf("name of the slab cache at %#x", uint64(addr)), err)
		c.Name = Unnamed
	}
	return c, s.readNodes(c)
}

// Unnamed is the name of a cache whose name can't be read.
const Unnamed = "?"

// maxNodes bounds what a dump may claim; MAX_NUMNODES is at most 1024.
const maxNodes = 1024

// maxOrder bounds what a cache may say of its slabs: 2^20 pages.
const maxOrder = 20

func (s *Slabs) readCache(v *kernel.View, addr vmem.Addr) (c *Cache, name vmem.Addr, err error) {
	b, err := s.cache.Read(v, addr)
	if err != nil {
		return nil, 0, err
	}
	c = &Cache{Addr: addr, ObjectSize: uint64(b.ObjectSize), Size: uint64(b.Size), Offset: uint64(b.Offset),
		RedLeft: uint64(b.RedLeft), Flags: b.Flags, random: b.Random, cpu: b.CPU, sheaves: b.Sheaves}
	const ooShift = 16 // struct kmem_cache_order_objects: order above, objects below
	order := b.OO >> ooShift
	if c.Size == 0 || order > maxOrder {
		return nil, 0, fmt.Errorf("the slab cache at %#x says objects of %d bytes in slabs of order %d: damaged", uint64(addr), c.Size, order)
	}
	c.PerSlab = uint64(b.OO & (1<<ooShift - 1))
	c.SlabSize = v.PageSize() << order
	return c, b.Name, nil
}

func (s *Slabs) readNodes(c *Cache) error {
	for i := range s.nNodes {
		at := c.Addr + vmem.Addr(s.nodesOff+i*s.nodeStep)
		p, err := s.v.Word(at + vmem.Addr(s.nodePtr))
		if err != nil {
			return err
		}
		if p == 0 {
			continue
		}
		n := node{id: int(i), addr: vmem.Addr(p)}
		if s.barnPtr >= 0 {
			b, err := s.v.Word(at + vmem.Addr(s.barnPtr))
			if err != nil {
				return err
			}
			n.barn = vmem.Addr(b)
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// Lookup finds a cache by name or address.
func (s *Slabs) Lookup(name string, addr vmem.Addr) (*Cache, error) {
	cs, err := s.Caches()
	if err != nil {
		return nil, err
	}
	for _, c := range cs {
		if c.Name == name || c.Addr == addr {
			return c, nil
		}
	}
	return nil, fmt.Errorf("slab cache %s: %w", name, symbols.ErrNotFound)
}

func (c *Cache) String() string { return c.Name }
