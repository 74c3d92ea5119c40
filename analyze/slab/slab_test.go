package slab_test

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/slab"
	"kdx/analyze/vmem"
)

const (
	vmemmap = kerneltest.Base + 0x2000000
	secret  = 0x1122334455667788
	objSize = 256
	perSlab = 16
)

const common = `struct list_head { struct list_head *next, *prev; };
struct kmem_cache_order_objects { unsigned int x; };
`

// What the layouts have in common is the test below; these are the kernels' own shapes, shortened.
var layouts = map[string]string{
	"5.10": common + `enum pageflags { PG_locked, PG_slab = 9, __NR_PAGEFLAGS = 23 };
		struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
			struct { union { struct list_head slab_list; struct { struct page *next; int pages, pobjects; }; }; void *slab_cache; void *freelist;
				union { unsigned long counters; struct { unsigned int inuse:16, objects:15, frozen:1; }; }; };
			struct { unsigned long compound_head; }; }; unsigned int page_type; int _refcount; unsigned long memcg_data; };
		struct kmem_cache_cpu { void **freelist; unsigned long tid; struct page *page; struct page *partial; };
		struct kmem_cache_node { unsigned int list_lock; unsigned long nr_partial; struct list_head partial; long nr_slabs; long total_objects; };
		struct kmem_cache { struct kmem_cache_cpu *cpu_slab; unsigned long flags; unsigned int size, object_size, offset; struct kmem_cache_order_objects oo;
			const char *name; struct list_head list; unsigned long random; unsigned int red_left_pad; struct kmem_cache_node *node[4]; };`,
	"6.12": common + `enum pageflags { PG_locked, __NR_PAGEFLAGS = 23 }; enum pagetype { PGTY_slab = 0xf5 };
		struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
			struct { unsigned long compound_head; }; }; unsigned int page_type; int _refcount; unsigned long memcg_data; };
		struct slab { unsigned long __page_flags; struct kmem_cache *slab_cache; union { struct list_head slab_list; struct { struct slab *next; int slabs; }; };
			void *freelist; union { unsigned long counters; struct { unsigned int inuse:16, objects:15, frozen:1; }; }; unsigned int __page_type; };
		struct kmem_cache_cpu { void **freelist; unsigned long tid; struct slab *slab; struct slab *partial; };
		struct kmem_cache_node { unsigned int list_lock; unsigned long nr_partial; struct list_head partial; long nr_slabs; long total_objects; };
		struct kmem_cache { struct kmem_cache_cpu *cpu_slab; unsigned long flags; unsigned int size, object_size, offset; struct kmem_cache_order_objects oo;
			const char *name; struct list_head list; unsigned long random; unsigned int red_left_pad; struct kmem_cache_node *node[4]; };`,
	"7.2": common + `enum pageflags { PG_locked, __NR_PAGEFLAGS = 23 }; enum pagetype { PGTY_slab = 0xf5 };
		struct memdesc_flags { unsigned long f; };
		struct page { struct memdesc_flags flags; union { struct { struct list_head lru; void *mapping; unsigned long __folio_index; unsigned long private; };
			struct { unsigned long compound_info; }; }; unsigned int page_type; int _refcount; unsigned long memcg_data; };
		struct slab { struct memdesc_flags flags; struct kmem_cache *slab_cache; struct list_head slab_list;
			void *freelist; union { unsigned long counters; struct { unsigned int inuse:16, objects:15, frozen:1; }; }; unsigned int __page_type; };
		struct slab_sheaf { union { struct list_head barn_list; struct { unsigned int capacity; bool pfmemalloc; }; }; struct kmem_cache *cache; unsigned int size; int node; void *objects[]; };
		struct slub_percpu_sheaves { unsigned int lock; struct slab_sheaf *main, *spare, *rcu_free; };
		struct node_barn { unsigned int lock; struct list_head sheaves_full, sheaves_empty; unsigned int nr_full, nr_empty; };
		struct kmem_cache_node { unsigned int list_lock; unsigned long nr_partial; struct list_head partial; long nr_slabs; long total_objects; };
		struct kmem_cache_per_node_ptrs { struct node_barn *barn; struct kmem_cache_node *node; };
		struct kmem_cache { struct slub_percpu_sheaves *cpu_sheaves; unsigned long flags; unsigned int size, object_size, offset; struct kmem_cache_order_objects oo;
			const char *name; struct list_head list; unsigned long random; unsigned int red_left_pad; struct kmem_cache_per_node_ptrs per_node[4]; };`,
}

// world is a kernel with one cache: slab A on the node's partial list, slab B full or with a CPU.
type world struct {
	m          *kerneltest.Machine
	tag        string
	cache      vmem.Addr
	node       vmem.Addr
	memA, memB vmem.Addr
	slabA      vmem.Addr
	slabB      vmem.Addr
}

func newWorld(t *testing.T, release string) *world {
	m := kerneltest.New(t, layouts[release])
	w := &world{m: m, tag: "slab"}
	if release == "5.10" {
		w.tag = "page"
	}
	base, head := m.Alloc(8), m.Alloc(16)
	m.Word(base, uint64(vmemmap))
	m.Var("vmemmap_base", base, "unsigned long")
	m.Var("slab_caches", head, "struct list_head")
	w.cache, w.node = m.Alloc(512), m.Alloc(64)
	name := m.Alloc(16)
	m.Write(name, []byte("kmalloc-256\x00"))
	c := "kmem_cache"
	m.Set(w.cache, c, "size", objSize)
	m.Set(w.cache, c, "object_size", objSize)
	m.Set(w.cache, c, "offset", objSize/2)
	m.Set(w.cache, c, "oo.x", perSlab)
	m.Set(w.cache, c, "name", uint64(name))
	m.Set(w.cache, c, "random", secret)
	m.Ring(head, w.cache+vmem.Addr(m.Offset(c, "list")))
	if release == "7.2" {
		m.Set(w.cache, c, "per_node[0].node", uint64(w.node))
	} else {
		m.Word(w.cache+vmem.Addr(m.Offset(c, "node")), uint64(w.node))
	}
	m.Set(w.node, "kmem_cache_node", "nr_slabs", 2)
	m.Set(w.node, "kmem_cache_node", "total_objects", 2*perSlab)
	w.memA, w.memB = m.AllocPage(), m.AllocPage()
	w.slabA, w.slabB = w.page(w.memA), w.page(w.memB)
	partial := w.node + vmem.Addr(m.Offset("kmem_cache_node", "partial"))
	listA := w.slabA + vmem.Addr(m.Offset(w.tag, "slab_list"))
	m.Ring(partial, listA)
	w.counters(w.slabA, perSlab-3, perSlab)
	w.counters(w.slabB, perSlab, perSlab)
	w.chain(w.slabA, w.memA, 2, 5, 9)
	m.Set(w.slabA, w.tag, "freelist", uint64(w.obj(w.memA, 2)))
	return w
}

// page makes the page of mem one of the cache's slabs.
func (w *world) page(mem vmem.Addr) vmem.Addr {
	at := vmemmap + vmem.Addr(uint64(mem-kerneltest.Base)>>12*64)
	w.m.Set(at, w.tag, "slab_cache", uint64(w.cache))
	if w.tag == "page" {
		w.m.Set(at, "page", "flags", 1<<9)
	} else {
		w.m.Set(at, "page", "page_type", 0xf5<<24)
	}
	return at
}

func (w *world) counters(slab vmem.Addr, inuse, objects uint64) {
	w.m.Put(slab+vmem.Addr(w.m.Offset(w.tag, "inuse")), 4, inuse|objects<<16)
}

func (w *world) obj(mem vmem.Addr, i int) vmem.Addr { return mem + vmem.Addr(i*objSize) }

// chain links free objects, disguised as SLAB_FREELIST_HARDENED does since 5.7.
func (w *world) chain(slab, mem vmem.Addr, objects ...int) {
	for i, o := range objects {
		next := uint64(0)
		if i+1 < len(objects) {
			next = uint64(w.obj(mem, objects[i+1]))
		}
		at := w.obj(mem, o) + objSize/2
		w.m.Word(at, next^secret^bits.ReverseBytes64(uint64(at)))
	}
}

// withCPU gives slab B to CPU 0, which has three free objects of it, and one more that another CPU freed.
func (w *world) withCPU(release string) {
	m := w.m
	cpu := m.Alloc(32)
	m.Set(w.cache, "kmem_cache", "cpu_slab", uint64(cpu))
	field := "slab"
	if release == "5.10" {
		field = "page"
	}
	m.Set(cpu, "kmem_cache_cpu", "freelist", uint64(w.obj(w.memB, 1)))
	m.Set(cpu, "kmem_cache_cpu", field, uint64(w.slabB))
	w.chain(w.slabB, w.memB, 1, 3, 4)
	w.chain(w.slabB, w.memB, 7)
	w.counters(w.slabB, perSlab-1, perSlab)
	m.Set(w.slabB, w.tag, "freelist", uint64(w.obj(w.memB, 7)))
}

// withSheaves puts two objects of slab B in CPU 0's sheaf and two in the node's barn.
func (w *world) withSheaves() {
	m := w.m
	sheaf := func(objs ...int) vmem.Addr {
		s := m.Alloc(32 + 8*8)
		m.Set(s, "slab_sheaf", "size", uint64(len(objs)))
		for i, o := range objs {
			m.Word(s+vmem.Addr(m.Offset("slab_sheaf", "objects"))+vmem.Addr(8*i), uint64(w.obj(w.memB, o)))
		}
		return s
	}
	cpu, barn := m.Alloc(32), m.Alloc(64)
	m.Set(w.cache, "kmem_cache", "cpu_sheaves", uint64(cpu))
	m.Set(cpu, "slub_percpu_sheaves", "main", uint64(sheaf(1, 3)))
	full := barn + vmem.Addr(m.Offset("node_barn", "sheaves_full"))
	s := sheaf(4, 7)
	m.Word(full, uint64(s))
	m.Word(full+8, uint64(s))
	m.Word(s, uint64(full))
	m.Word(s+8, uint64(full))
	m.Set(w.cache, "kmem_cache", "per_node[0].barn", uint64(barn))
}

func TestSlabs(t *testing.T) {
	for release := range layouts {
		t.Run(release, func(t *testing.T) {
			w := newWorld(t, release)
			if release == "7.2" {
				w.withSheaves()
			} else {
				w.withCPU(release)
			}
			v := w.m.View()
			s, err := slab.New(v)
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Lookup("kmalloc-256", 0)
			if err != nil {
				t.Fatal(err)
			}
			u, err := s.Usage(c)
			if err != nil {
				t.Fatal(err)
			}
			if u.Slabs != 2 || u.Total != 32 || u.Free != 3 || u.CPUFree+u.Sheaves != 4 || u.Allocated() != 25 || u.Active() != 29 {
				t.Errorf("Usage = %+v; want 2 slabs, 32 objects, 3 free, 4 more with CPUs", u)
			}
			free := map[vmem.Addr]bool{}
			for _, i := range []int{2, 5, 9} {
				free[w.obj(w.memA, i)] = true
			}
			for _, i := range []int{1, 3, 4, 7} {
				free[w.obj(w.memB, i)] = true
			}
			for _, mem := range []vmem.Addr{w.memA, w.memB} {
				for i := range perSlab {
					addr := w.obj(mem, i)
					o, ok, err := s.At(addr + 17)
					if err != nil || !ok || o.Addr != addr || o.Index != uint64(i) || !o.Inside || o.Cache != c {
						t.Fatalf("At(%#x) = %+v, %v, %v; want object %d", addr+17, o, ok, err, i)
					}
					if s.State(&o); o.Free != free[addr] || o.Unsure != nil {
						t.Errorf("State(%#x): free %v, unsure %v; want free %v", addr, o.Free, o.Unsure, free[addr])
					}
				}
			}
			var slabs, objects, held int
			for a, err := range s.All(c) {
				if err != nil {
					t.Fatal(err)
				}
				d, err := s.Detail(c, a)
				if err != nil {
					t.Fatal(err)
				}
				n, ok := d.Allocated()
				if !ok {
					t.Errorf("slab %#x: what is allocated is not known", uint64(a))
				}
				slabs, objects, held = slabs+1, objects+len(d.Objects), held+int(n)
			}
			if slabs != 2 || objects != 32 || held != 25 {
				t.Errorf("All: %d slabs, %d objects, %d of them allocated; want 2, 32, 25", slabs, objects, held)
			}
			if _, ok, _ := s.At(w.cache); ok {
				t.Errorf("At(%#x): an object; that page is no slab", w.cache)
			}
			if gaps, _ := v.Gaps(); len(gaps) > 0 {
				t.Errorf("gaps: %v", gaps)
			}
		})
	}
}

// A list of free objects that leads astray is said, and ends.
func TestDamagedFreelist(t *testing.T) {
	for what, next := range map[string]uint64{"loop": 0, "out of the slab": 0x41414141} {
		w := newWorld(t, "6.12")
		w.withCPU("6.12")
		if next == 0 {
			next = uint64(w.obj(w.memB, 1))
		}
		at := w.obj(w.memB, 4) + objSize/2
		w.m.Word(at, next^secret^bits.ReverseBytes64(uint64(at)))
		v := w.m.View()
		s, err := slab.New(v)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := s.Lookup("kmalloc-256", 0)
		if _, err := s.Usage(c); err != nil {
			t.Fatal(err)
		}
		gaps, _ := v.Gaps()
		if len(gaps) != 1 || !strings.Contains(gaps[0].String(), "damaged") {
			t.Errorf("%s: gaps %v; want one that says damaged", what, gaps)
		}
	}
}

func TestMissing(t *testing.T) {
	w := newWorld(t, "6.12")
	w.withCPU("6.12")
	w.m.Exclude(w.memB) // the objects' own page
	v := w.m.View()
	s, err := slab.New(v)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := s.Lookup("kmalloc-256", 0)
	u, err := s.Usage(c)
	if err != nil || u.Total != 32 || u.Active() != 29 || !u.CPUUnknown {
		t.Fatalf("Usage = %+v, %v; want 29 active, and that CPUs' lists are not known", u, err)
	}
	gaps, _ := v.Gaps()
	if len(gaps) != 1 || !strings.Contains(gaps[0].String(), "excluded") {
		t.Errorf("gaps %v; want one that says excluded", gaps)
	}
}

// FuzzCache lets a cache, its slab and its CPU lie in every way: nothing hangs or panics.
func FuzzCache(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, uint16(0), uint16(100))
	f.Add(binary.LittleEndian.AppendUint64(nil, uint64(kerneltest.Base)+0x1000), uint16(8), uint16(16))
	f.Fuzz(func(t *testing.T, junk []byte, inCache, inSlab uint16) {
		for _, release := range []string{"5.10", "7.2"} {
			w := newWorld(t, release)
			if release == "7.2" {
				w.withSheaves()
			} else {
				w.withCPU(release)
			}
			junk := junk[:min(len(junk), 64)]
			w.m.Write(w.cache+vmem.Addr(inCache%400), junk)
			w.m.Write(w.slabB+vmem.Addr(inSlab%64), junk)
			v := w.m.View()
			s, err := slab.New(v)
			if err != nil {
				return
			}
			cs, _ := s.Caches()
			for _, c := range cs {
				s.Usage(c)
			}
			if o, ok, _ := s.At(w.memB + 40); ok {
				s.State(&o)
			}
		}
	})
}
