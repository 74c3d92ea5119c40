package mm_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"

	"github.com/google/go-cmp/cmp"
)

const vmemmap = kerneltest.Base + 0x2000000

const pageDecls = `
enum pageflags { PG_locked, PG_referenced, PG_head = 6, __NR_PAGEFLAGS = 8, PG_alias = 6 };
struct list_head { struct list_head *next, *prev; };
`

// Layouts of struct page: as 5.10 has it, and as 7.2 has it.
var pageLayouts = map[string]string{
	"5.10": `struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
		struct { unsigned long compound_head; }; }; union { int _mapcount; unsigned int page_type; }; int _refcount; unsigned long memcg_data; };`,
	"7.2": `struct memdesc_flags { unsigned long f; };
		struct page { struct memdesc_flags flags; union { struct { struct list_head lru; void *mapping; unsigned long __folio_index; unsigned long private; };
		struct { unsigned long compound_info; }; }; union { int _mapcount; unsigned int page_type; }; int _refcount; unsigned long memcg_data; };`,
}

func TestPages(t *testing.T) {
	for name, layout := range pageLayouts {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t, pageDecls+layout)
			at := m.Alloc(8)
			m.Word(at, uint64(vmemmap))
			m.Var("vmemmap_base", at, "unsigned long")
			head, tail, masked := vmemmap+64*8, vmemmap+64*9, vmemmap+64*10
			m.Word(head, 1<<1|1<<6)
			m.Word(head+24, 0xdead)
			m.Word(head+32, 77)
			m.Put(head+52, 4, 3)
			m.Word(tail+8, uint64(head)|1)
			m.Word(masked+8, ^uint64(64*8-1)|1) // order 3: the head lies at a multiple of 8 struct pages
			v := m.View()
			p, err := mm.NewPages(v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Read(v, 8)
			if err != nil {
				t.Fatal(err)
			}
			want := mm.Page{Addr: head, PFN: 8, Phys: 0x8000, Flags: 0x42, Mapping: 0xdead, Index: 77, RefCount: 3}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("Read(8): (-want +got)\n%s", d)
			}
			if s := p.FlagText(got.Flags); s != "referenced,head" {
				t.Errorf("FlagText(%#x) = %q; want referenced,head", got.Flags, s)
			}
			for pfn := uint64(9); pfn <= 10; pfn++ {
				if got, err := p.Read(v, pfn); err != nil || got.Head != head {
					t.Errorf("Read(%d).Head = %#x, %v; want %#x", pfn, got.Head, err, head)
				}
			}
			if pfn, ok := p.PFN(tail + 5); !ok || pfn != 9 {
				t.Errorf("PFN(%#x) = %d, %v; want 9", tail+5, pfn, ok)
			}
			if _, err := p.Read(v, 1<<40); err == nil {
				t.Error("Read beyond memory: no error")
			}
		})
	}
}

func TestInfo(t *testing.T) {
	m := kerneltest.New(t, `
		enum zone_stat_item { NR_FREE_PAGES, NR_ZONE_X };
		enum node_stat_item { NR_SLAB_RECLAIMABLE_B, NR_SLAB_UNRECLAIMABLE_B, NR_ANON_MAPPED, NR_FILE_MAPPED, NR_FILE_PAGES, NR_SHMEM, NR_KERNEL_STACK_KB, NR_PAGETABLE, NR_SWAPCACHE };
		struct list_head { struct list_head *next, *prev; };
		struct super_block { int s_dev; struct list_head s_inodes; };
		struct address_space { void *host; unsigned long nrpages; };
		struct inode { struct address_space *i_mapping; struct list_head i_sb_list; };
		struct percpu_counter { unsigned int lock; s64 count; s32 *counters; };
		struct hstate { unsigned int order; unsigned long nr_huge_pages, free_huge_pages; char name[32]; };`)
	word := func(name string, x uint64) {
		a := m.Alloc(8)
		m.Word(a, x)
		m.Var(name, a, "")
	}
	words := func(name string, xs ...uint64) {
		a := m.Alloc(uint64(8 * len(xs)))
		for i, x := range xs {
			m.Word(a+vmem.Addr(8*i), x)
		}
		m.Var(name, a, "")
	}
	word("_totalram_pages", 100000)
	words("vm_zone_stat", 40000, 0)
	words("vm_node_stat", 300, 700, 11, 12, 5000, 50, 64, 13, 100)
	word("total_swap_pages", 2000)
	word("nr_swap_pages", 1500)
	word("sysctl_overcommit_kbytes", 0)
	word("sysctl_overcommit_ratio", 50)
	sb := m.Alloc(32)
	word("blockdev_superblock", uint64(sb))
	inode, space := m.Alloc(24), m.Alloc(16)
	m.Word(sb+8, uint64(inode+8))
	m.Word(sb+16, uint64(inode+8))
	m.Word(inode, uint64(space))
	m.Word(inode+8, uint64(sb+8))
	m.Word(inode+16, uint64(sb+8))
	m.Word(space+8, 25)
	h := m.Alloc(64)
	m.Put(h, 4, 9)
	m.Word(h+8, 4)
	m.Word(h+16, 1)
	m.Write(h+24, []byte("hugepages-2048kB"))
	m.Var("hstates", h, "")
	word("hugetlb_max_hstate", 1)
	c, percpu := m.Alloc(32), m.Alloc(4)
	m.Word(c+8, 900)
	m.Word(c+16, uint64(percpu))
	m.Put(percpu, 4, 0xfffffffe) // -2 on the one CPU
	m.Var("vm_committed_as", c, "struct percpu_counter")

	v := m.View()
	got := mm.ReadInfo(v)
	if gaps, _ := v.Gaps(); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
	n := func(x uint64) *uint64 { return &x }
	want := &mm.Info{PageSize: 4096, Total: n(100000), Free: n(40000), Used: n(60000), Shared: n(50), Buffers: n(25), Cached: n(4875), SwapCached: n(100),
		SlabReclaimable: n(300), SlabUnreclaimable: n(700), Slab: n(1000), AnonPages: n(11), Mapped: n(12), PageTables: n(13), KernelStack: n(16),
		HugeTotal: n(2048), HugeFree: n(512), SwapTotal: n(2000), SwapUsed: n(500), SwapFree: n(1500), CommitLimit: n(48976 + 2000), Committed: n(898)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ReadInfo: (-want +got)\n%s", d)
	}
}

// What can't be read is nil, and named; the rest is there.
func TestInfoMissing(t *testing.T) {
	m := kerneltest.New(t, "enum zone_stat_item { NR_FREE_PAGES };")
	total, stat := m.AllocPage(), m.AllocPage()
	m.Word(total, 1000)
	m.Var("_totalram_pages", total, "")
	m.Var("vm_zone_stat", stat, "")
	m.Exclude(stat)
	v := m.View()
	got := mm.ReadInfo(v)
	if got.Total == nil || *got.Total != 1000 || got.Free != nil || got.Used != nil || got.Cached != nil {
		t.Errorf("ReadInfo = %+v; want the total and nothing else", got)
	}
	gaps, _ := v.Gaps()
	found := false
	for _, g := range gaps {
		found = found || strings.Contains(g.String(), "excluded")
	}
	if !found {
		t.Errorf("gaps %v; want one that names the excluded page", gaps)
	}
}

func TestVmapAreas(t *testing.T) {
	const decls = `struct list_head { struct list_head *next, *prev; };
		struct rb_root { void *rb_node; };
		struct vmap_area { unsigned long va_start, va_end; struct list_head list; void *vm; };
		struct rb_list { struct rb_root root; struct list_head head; unsigned int lock; };
		struct vmap_node { int pool; struct rb_list busy; struct rb_list lazy; };`
	area := func(m *kerneltest.Machine, head vmem.Addr, start uint64) vmem.Addr {
		a := m.Alloc(40)
		m.Word(a, start)
		m.Word(a+8, start+0x2000)
		m.Word(a+16, uint64(head))
		m.Word(a+24, uint64(head))
		m.Word(head, uint64(a+16))
		m.Word(head+8, uint64(a+16))
		return a
	}
	check := func(m *kerneltest.Machine, want []mm.VmapArea) {
		t.Helper()
		var got []mm.VmapArea
		for a, err := range mm.VmapAreas(m.View()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, a)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("VmapAreas: (-want +got)\n%s", d)
		}
	}
	m := kerneltest.New(t, decls)
	head := m.Alloc(16)
	m.Var("vmap_area_list", head, "struct list_head")
	a := area(m, head, 0xffffc90000000000)
	check(m, []mm.VmapArea{{Addr: a, Start: 0xffffc90000000000, End: 0xffffc90000002000}})

	m = kerneltest.New(t, decls) // 6.9
	nodes, ptr, n := m.Alloc(2*72), m.Alloc(8), m.Alloc(4)
	m.Word(ptr, uint64(nodes))
	m.Put(n, 4, 2)
	m.Var("vmap_nodes", ptr, "struct vmap_node *")
	m.Var("nr_vmap_nodes", n, "int")
	busy := m.Offset("vmap_node", "busy.head")
	var want []mm.VmapArea
	for i := range 2 {
		at := nodes + vmem.Addr(uint64(i)*72+busy)
		start := 0xffffc90000000000 + uint64(i)<<20
		a := area(m, at, start)
		want = append(want, mm.VmapArea{Addr: a, Start: vmem.Addr(start), End: vmem.Addr(start + 0x2000)})
	}
	check(m, want)
}

func TestStats(t *testing.T) {
	m := kerneltest.New(t, `
		enum zone_stat_item { NR_FREE_PAGES, NR_ZONE_LRU_BASE, NR_ZONE_INACTIVE_ANON = 1, NR_VM_ZONE_STAT_ITEMS };
		enum node_stat_item { NR_LRU_BASE, NR_INACTIVE_ANON = 0, NR_VM_NODE_STAT_ITEMS };
		enum vm_event_item { PGPGIN, NR_VM_EVENT_ITEMS };
		struct zone { unsigned long _watermark[3]; unsigned long watermark_boost; unsigned long zone_start_pfn, managed_pages, spanned_pages, present_pages;
			const char *name; long vm_stat[2]; };
		struct pglist_data { struct zone node_zones[2]; unsigned long node_start_pfn, node_spanned_pages; };`)
	zone, node, event, data := m.Alloc(16), m.Alloc(8), m.Alloc(8), m.Alloc(400)
	m.Word(zone, 7)
	m.Word(zone+8, ^uint64(1)) // -2
	m.Word(node, 5)
	m.Word(event, 9)
	m.Var("vm_zone_stat", zone, "")
	m.Var("vm_node_stat", node, "")
	m.Var("vm_event_states", event, "")
	m.Var("contig_page_data", data, "struct pglist_data")
	name := m.Alloc(8)
	m.Write(name, []byte("DMA32"))
	for i, x := range []uint64{10, 20, 30, 5, 1, 80, 100, 90, uint64(name), 3, 4} {
		m.Word(data+vmem.Addr(8*i), x)
	}
	m.Word(data+88+64, uint64(name))
	v := m.View()
	want := []mm.Stats{{Name: "VM_ZONE_STAT", Counters: []mm.Counter{{Name: "NR_FREE_PAGES", Value: 7}, {Name: "NR_ZONE_INACTIVE_ANON", Value: 0}}},
		{Name: "VM_NODE_STAT", Counters: []mm.Counter{{Name: "NR_INACTIVE_ANON", Value: 5}}}, {Name: "VM_EVENT_STATES", Counters: []mm.Counter{{Name: "PGPGIN", Value: 9}}}}
	if d := cmp.Diff(want, mm.VMStats(v)); d != "" {
		t.Errorf("VMStats: (-want +got)\n%s", d)
	}
	zones, err := mm.Zones(v)
	if err != nil || len(zones) != 2 {
		t.Fatalf("Zones = %v, %v; want two", zones, err)
	}
	z := mm.Zone{Addr: data, Name: "DMA32", Start: 1, Spanned: 100, Present: 90, Managed: 80, Min: 15, Low: 25, High: 35,
		Stats: []mm.Counter{{Name: "NR_FREE_PAGES", Value: 3}, {Name: "NR_ZONE_INACTIVE_ANON", Value: 4}}}
	if d := cmp.Diff(z, zones[0]); d != "" {
		t.Errorf("Zones()[0]: (-want +got)\n%s", d)
	}
	if gaps, _ := v.Gaps(); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
}
