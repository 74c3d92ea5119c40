package slab_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/slab"
	"kdx/analyze/vmem"
)

// SLAB's layouts: its slabs described by struct page, and since 5.17 by struct slab.
var slabsLayouts = map[string]string{
	"4.19": common + `enum pageflags { PG_locked, PG_slab = 9, __NR_PAGEFLAGS = 23 };
		struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
			struct { struct list_head slab_list; void *slab_cache; void *freelist; void *s_mem; }; struct { unsigned long compound_head; }; };
			union { unsigned int page_type; unsigned int active; }; int _refcount; unsigned long memcg_data; };` + slabsCommon,
	"6.1": common + `enum pageflags { PG_locked, PG_slab = 9, __NR_PAGEFLAGS = 23 };
		struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
			struct { unsigned long compound_head; }; }; unsigned int page_type; int _refcount; unsigned long memcg_data; };
		struct slab { unsigned long __page_flags; struct kmem_cache *slab_cache; struct list_head slab_list; void *freelist; void *s_mem; unsigned int active; int __page_refcount; };` + slabsCommon,
}

const slabsCommon = `
	struct array_cache { unsigned int avail, limit, batchcount, touched; void *entry[]; };
	struct alien_cache { unsigned int lock; struct array_cache ac; };
	struct kmem_cache_node { unsigned int list_lock; struct list_head slabs_partial, slabs_full, slabs_free; unsigned long total_slabs, free_slabs, free_objects;
		unsigned int free_limit; struct array_cache *shared; struct alien_cache **alien; };
	struct memcg_cache_params { struct kmem_cache *root_cache; };
	struct kmem_cache { struct array_cache *cpu_cache; unsigned int size; unsigned long flags; unsigned int num, gfporder; const char *name; struct list_head list;
		int object_size; struct memcg_cache_params memcg_params; struct kmem_cache_node *node[4]; };`

// newSlabs is a SLAB kernel with one cache of 16 objects a slab: a partial slab with three free ones, whose object 4 waits for CPU 0
// and object 6 in the array that CPUs share, and a full one.
func newSlabs(t *testing.T, release string) *world {
	m := kerneltest.New(t, slabsLayouts[release])
	w := &world{m: m, tag: "slab"}
	if release == "4.19" {
		w.tag = "page"
	}
	base, head := m.Alloc(8), m.Alloc(16)
	m.Word(base, uint64(vmemmap))
	m.Var("vmemmap_base", base, "unsigned long")
	m.Var("slab_caches", head, "struct list_head")
	w.cache, w.node = m.Alloc(512), m.Alloc(256)
	name := m.Alloc(16)
	m.Write(name, []byte("kmalloc-256\x00"))
	c := "kmem_cache"
	m.Set(w.cache, c, "size", objSize)
	m.Set(w.cache, c, "object_size", objSize)
	m.Set(w.cache, c, "num", perSlab)
	m.Set(w.cache, c, "name", uint64(name))
	m.Ring(head, w.cache+vmem.Addr(m.Offset(c, "list")))
	m.Word(w.cache+vmem.Addr(m.Offset(c, "node")), uint64(w.node))
	w.memA, w.memB = m.AllocPage(), m.AllocPage()
	w.slabA, w.slabB = w.page(w.memA), w.page(w.memB)
	if w.tag == "slab" {
		m.Set(w.slabA, "slab", "__page_flags", 1<<9)
		m.Set(w.slabB, "slab", "__page_flags", 1<<9)
	}
	off := func(path string) vmem.Addr { return vmem.Addr(m.Offset("kmem_cache_node", path)) }
	listed := vmem.Addr(m.Offset(w.tag, "slab_list"))
	m.Ring(w.node+off("slabs_partial"), w.slabA+listed)
	m.Ring(w.node+off("slabs_full"), w.slabB+listed)
	m.Ring(w.node + off("slabs_free"))
	m.Set(w.node, "kmem_cache_node", "total_slabs", 2)
	m.Set(w.node, "kmem_cache_node", "free_objects", 3)
	index := m.Alloc(64)
	m.Write(index+perSlab-3, []byte{2, 5, 9})
	for _, s := range []struct {
		slab, mem, index vmem.Addr
		active           uint64
	}{{w.slabA, w.memA, index, perSlab - 3}, {w.slabB, w.memB, index + 32, perSlab}} {
		m.Set(s.slab, w.tag, "active", s.active)
		m.Set(s.slab, w.tag, "s_mem", uint64(s.mem))
		m.Set(s.slab, w.tag, "freelist", uint64(s.index))
	}
	array := func(objects ...int) vmem.Addr {
		a := m.Alloc(64)
		m.Set(a, "array_cache", "avail", uint64(len(objects)))
		for i, o := range objects {
			m.Word(a+vmem.Addr(m.Offset("array_cache", "entry"))+vmem.Addr(8*i), uint64(w.obj(w.memA, o)))
		}
		return a
	}
	m.Set(w.cache, c, "cpu_cache", uint64(array(4)))
	m.Set(w.node, "kmem_cache_node", "shared", uint64(array(6)))
	return w
}

func TestSLAB(t *testing.T) {
	for release := range slabsLayouts {
		t.Run(release, func(t *testing.T) {
			w := newSlabs(t, release)
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
			if err != nil || u.Slabs != 2 || u.Total != 32 || u.Active() != 29 || u.Allocated() != 27 {
				t.Errorf("Usage = %+v, %v; want 2 slabs, 32 objects, 29 active, 27 allocated", u, err)
			}
			lists, err := s.NodeLists(c)
			if err != nil || len(lists) != 1 || len(lists[0].Partial) != 1 || len(lists[0].Full) != 1 || len(lists[0].Empty) != 0 {
				t.Errorf("NodeLists = %+v, %v", lists, err)
			}
			free := map[int]string{2: "", 5: "", 9: "", 4: "cpu", 6: "shared"}
			for i := range perSlab {
				o, ok, err := s.At(w.obj(w.memA, i) + 7)
				if err != nil || !ok || o.Index != uint64(i) || !o.Inside || o.Total != perSlab {
					t.Fatalf("At(object %d) = %+v, %v, %v", i, o, ok, err)
				}
				s.State(&o)
				where, want := free[i]
				if o.Free != want || (o.Owner != nil) != (where != "") || o.Owner != nil && o.Owner.Array != (where == "shared") {
					t.Errorf("object %d: free %v, %+v; want %v %s", i, o.Free, o.Owner, want, where)
				}
			}
			n := 0
			for a, err := range s.All(c) {
				if err != nil {
					t.Fatal(err)
				}
				if d, err := s.Detail(c, a); err != nil || len(d.Objects) != perSlab {
					t.Errorf("Detail(%#x): %d objects, %v", uint64(a), len(d.Objects), err)
				}
				n++
			}
			if n != 2 {
				t.Errorf("All: %d slabs; want 2", n)
			}
			if gaps, _ := v.Gaps(); len(gaps) > 0 {
				t.Errorf("gaps: %v", gaps)
			}
		})
	}
}

// Lists and arrays of SLAB that are damaged are said to be, and end.
func TestSLABDamaged(t *testing.T) {
	for _, tt := range []struct {
		what   string
		damage func(w *world)
	}{
		{"object 200 is free", func(w *world) {
			w.m.Set(w.slabA, w.tag, "freelist", uint64(w.memB))
			w.m.Write(w.memB+perSlab-3, []byte{200, 201, 202})
		}},
		{"wild free list", func(w *world) { w.m.Set(w.slabA, w.tag, "freelist", 0xffffc90041414141) }},
		{"full array", func(w *world) {
			a := w.m.Alloc(64)
			w.m.Set(a, "array_cache", "avail", 1<<31)
			w.m.Set(w.cache, "kmem_cache", "cpu_cache", uint64(a))
		}},
		{"wild array", func(w *world) { w.m.Set(w.node, "kmem_cache_node", "shared", 0xffffc90041414141) }},
		{"looping list", func(w *world) {
			at := w.slabB + vmem.Addr(w.m.Offset(w.tag, "slab_list"))
			w.m.Word(at, uint64(at))
		}},
	} {
		for release := range slabsLayouts {
			w := newSlabs(t, release)
			tt.damage(w)
			v := w.m.View()
			s, err := slab.New(v)
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Lookup("kmalloc-256", 0)
			if err != nil {
				t.Fatal(err)
			}
			s.Usage(c)
			s.NodeLists(c)
			s.Detail(c, w.slabA)
			if gaps, _ := v.Gaps(); len(gaps) == 0 {
				t.Errorf("%s, %s: no gap", release, tt.what)
			}
		}
	}
}

// Lists of partial slabs, of nodes and of CPUs, that loop or lead nowhere end, and say so.
func TestDamagedPartial(t *testing.T) {
	for _, release := range []string{"5.10", "6.12"} {
		for what, next := range map[string]uint64{"loop": 1, "wild": 0xffffc90041414141} {
			w := newWorld(t, release)
			w.withCPU(release)
			cpu := w.m.Alloc(32)
			w.m.Set(w.cache, "kmem_cache", "cpu_slab", uint64(cpu))
			w.m.Set(cpu, "kmem_cache_cpu", "partial", uint64(w.slabB))
			node := next
			if what == "loop" {
				next = uint64(w.slabB)
				node = uint64(w.slabA) + w.m.Offset(w.tag, "slab_list")
			}
			w.m.Set(w.slabB, w.tag, "next", next)
			w.m.Word(w.slabA+vmem.Addr(w.m.Offset(w.tag, "slab_list")), node)
			v := w.m.View()
			s, err := slab.New(v)
			if err != nil {
				t.Fatal(err)
			}
			c, _ := s.Lookup("kmalloc-256", 0)
			u, err := s.Usage(c)
			if err != nil || !u.FreeUnknown || !u.CPUUnknown {
				t.Errorf("%s, %s: Usage = %+v, %v; want that neither is known", release, what, u, err)
			}
			cpus, err := s.CPULists(c)
			if err != nil || len(cpus) != 1 || len(cpus[0].Partial) != 1 {
				t.Errorf("%s, %s: CPULists = %+v, %v", release, what, cpus, err)
			}
			if _, err := s.NodeLists(c); err != nil {
				t.Errorf("%s, %s: NodeLists: %v", release, what, err)
			}
			gaps, _ := v.Gaps()
			text := ""
			for _, g := range gaps {
				text += g.String() + "\n"
			}
			if !strings.Contains(text, "node 0") || !strings.Contains(text, "CPU 0") {
				t.Errorf("%s, %s: gaps %q; want the node's list and the CPU's", release, what, text)
			}
		}
	}
}
