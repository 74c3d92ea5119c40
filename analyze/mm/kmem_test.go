package mm_test

import (
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"
)

const zoneDecls = pageDecls + `
enum migratetype { MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES = 3, MIGRATE_HIGHATOMIC = 3, MIGRATE_TYPES = 4 };
enum zone_stat_item { NR_FREE_PAGES, NR_ZONE_WRITE_PENDING, NR_VM_ZONE_STAT_ITEMS };
struct free_area { struct list_head free_list[4]; unsigned long nr_free; };
`

// zoneLayouts: pages of CPUs behind a struct of a zone's counters, as until 5.13; then apart from it, with lists for orders.
var zoneLayouts = map[string]string{
	"5.10": zoneDecls + `
		struct per_cpu_pages { int count; int high; int batch; struct list_head lists[3]; };
		struct per_cpu_pageset { struct per_cpu_pages pcp; char expire; char stat_threshold; char vm_stat_diff[2]; };
		struct zone { unsigned long _watermark[3]; struct per_cpu_pageset *pageset; unsigned long zone_start_pfn; unsigned long managed_pages;
			unsigned long spanned_pages; unsigned long present_pages; const char *name; struct free_area free_area[11]; unsigned long vm_stat[2]; };
		struct pglist_data { struct zone node_zones[1]; unsigned long node_start_pfn; unsigned long node_spanned_pages; };` + pageLayouts["5.10"],
	"7.2": zoneDecls + `enum pagetype { PGTY_buddy = 0xf0 };
		struct per_cpu_pages { int count; int high; int batch; struct list_head lists[14]; };
		struct per_cpu_zonestat { char vm_stat_diff[2]; };
		struct zone { unsigned long _watermark[3]; struct per_cpu_pages *per_cpu_pageset; struct per_cpu_zonestat *per_cpu_zonestats; unsigned long zone_start_pfn;
			unsigned long managed_pages; unsigned long spanned_pages; unsigned long present_pages; const char *name; struct free_area free_area[11]; unsigned long vm_stat[2]; };
		struct pglist_data { struct zone node_zones[1]; unsigned long node_start_pfn; unsigned long node_spanned_pages; };` + pageLayouts["7.2"],
}

// zoned is a kernel with one zone: two free blocks of order 1 on the list of movable pages, and two pages that CPU 0 keeps.
type zoned struct {
	m    *kerneltest.Machine
	node vmem.Addr
	list vmem.Addr // head of the movable list of order 1
	cpu  vmem.Addr // head of the CPU's movable list
}

func pageAt(pfn uint64) vmem.Addr { return vmemmap + vmem.Addr(pfn*64) }

func newZoned(t *testing.T, release string) *zoned {
	m := kerneltest.New(t, zoneLayouts[release])
	z := &zoned{m: m}
	at := m.Alloc(8)
	m.Word(at, uint64(vmemmap))
	m.Var("vmemmap_base", at, "unsigned long")
	z.node = m.Alloc(4096)
	m.Var("contig_page_data", z.node, "struct pglist_data")
	m.Set(z.node, "pglist_data", "node_spanned_pages", 4096)
	zone := z.node
	name := m.Alloc(8)
	m.Write(name, []byte("DMA32\x00"))
	m.Set(zone, "zone", "name", uint64(name))
	m.Set(zone, "zone", "spanned_pages", 4096)
	m.Set(zone, "zone", "present_pages", 4096)
	area := zone + vmem.Addr(m.Offset("zone", "free_area"))
	for order := range 11 {
		for kind := range 4 {
			head := area + vmem.Addr(order*72+kind*16)
			m.Ring(head)
		}
	}
	z.list = area + 72 + 16
	m.Word(area+72+64, 2) // nr_free
	lru := vmem.Addr(m.Offset("page", "lru"))
	for _, pfn := range []uint64{64, 66} {
		z.buddy(release, pfn, 1)
	}
	m.Ring(z.list, pageAt(64)+lru, pageAt(66)+lru)
	m.Word(zone+vmem.Addr(m.Offset("zone", "vm_stat")), 5) // one more than there are: a CPU has not said so yet
	cpus := m.Alloc(256)
	ptr, lists, diff := "per_cpu_pageset", uint64(0), m.Alloc(8)
	if release == "5.10" {
		ptr = "pageset"
		diff = cpus + vmem.Addr(m.Offset("per_cpu_pageset", "vm_stat_diff"))
	} else {
		m.Set(zone, "zone", "per_cpu_zonestats", uint64(diff))
	}
	m.Put(diff, 1, 0xff)
	m.Set(zone, "zone", ptr, uint64(cpus))
	m.Set(cpus, "per_cpu_pages", "count", 2)
	lists = m.Offset("per_cpu_pages", "lists")
	n := 3
	if release != "5.10" {
		n = 14
	}
	for i := range n {
		m.Ring(cpus + vmem.Addr(lists+uint64(i)*16))
	}
	z.cpu = cpus + vmem.Addr(lists) + 16
	if release == "5.10" {
		m.Ring(z.cpu, pageAt(80)+lru, pageAt(81)+lru)
	} else {
		m.Ring(z.cpu+3*16, pageAt(80)+lru) // of order 1
	}
	return z
}

func (z *zoned) buddy(release string, pfn, order uint64) {
	z.m.Set(pageAt(pfn), "page", "private", order)
	typ := uint64(0xffffff7f)
	if release != "5.10" {
		typ = 0xf0 << 24
	}
	z.m.Set(pageAt(pfn), "page", "page_type", typ)
}

func newBuddy(t *testing.T, v *kernel.View) (*mm.Buddy, mm.Zone) {
	t.Helper()
	p, err := mm.NewPages(v)
	if err != nil {
		t.Fatal(err)
	}
	b, err := mm.NewBuddy(v, p)
	if err != nil {
		t.Fatal(err)
	}
	zones, err := mm.Zones(v)
	if err != nil || len(zones) != 1 {
		t.Fatalf("Zones: %d, %v; want one", len(zones), err)
	}
	return b, zones[0]
}

func TestFree(t *testing.T) {
	for release := range zoneLayouts {
		t.Run(release, func(t *testing.T) {
			v := newZoned(t, release).m.View()
			b, z := newBuddy(t, v)
			if b.Types[1] != "MIGRATE_MOVABLE" || b.Types[3] != "MIGRATE_HIGHATOMIC" {
				t.Errorf("types %q", b.Types)
			}
			areas, err := b.Areas(&z)
			if err != nil || len(areas) != 11 {
				t.Fatalf("Areas: %d, %v; want 11", len(areas), err)
			}
			found := map[uint64]int{}
			for _, a := range areas {
				for _, l := range a.Lists {
					for p, err := range b.Blocks(l) {
						if err != nil || l.Order != 1 || l.Type != 1 {
							t.Fatalf("a block %+v on the list of order %d, type %d: %v", p, l.Order, l.Type, err)
						}
						found[p.PFN]++
					}
				}
			}
			if len(found) != 2 || found[64] != 1 || found[66] != 1 {
				t.Errorf("free blocks at %v; want 64 and 66", found)
			}
			if n, err := mm.Pending(v, &z); err != nil || n != -1 {
				t.Errorf("Pending = %d, %v; want -1", n, err)
			}
			cpus, err := b.CPUs(&z)
			if err != nil || len(cpus) != 1 || cpus[0].Count != 2 || cpus[0].Listed == nil || *cpus[0].Listed != 2 {
				t.Errorf("CPUs = %+v, %v; want 2 pages of CPU 0", cpus, err)
			}
			f, ok, err := b.Find(67)
			if err != nil || !ok || f.Block.PFN != 66 || f.Index != 1 || !f.Listed || f.List.Type != 1 {
				t.Errorf("Find(67) = %+v, %v, %v; want the second page of the block at 66", f, ok, err)
			}
			if _, ok, err := b.Find(70); ok || err != nil {
				t.Errorf("Find(70) = %v, %v; that page is in use", ok, err)
			}
			if cpu, _, ok := b.Keeper(81); !ok || cpu != 0 {
				t.Errorf("Keeper(81) = %d, %v; want CPU 0", cpu, ok)
			}
			if _, _, ok := b.Keeper(82); ok {
				t.Error("Keeper(82): nobody has it")
			}
			if gaps, _ := v.Gaps(); len(gaps) > 0 {
				t.Errorf("gaps: %v", gaps)
			}
		})
	}
}

// Free lists that lead astray end, and say so.
func TestFreeDamaged(t *testing.T) {
	for _, tt := range []struct {
		what, want string
		damage     func(z *zoned, lru vmem.Addr)
	}{
		{"loop", "already seen", func(z *zoned, lru vmem.Addr) { z.m.Word(pageAt(66)+lru, uint64(pageAt(64)+lru)) }},
		{"wild", "", func(z *zoned, lru vmem.Addr) { z.m.Word(pageAt(66)+lru, 0xffffc90041414141) }},
		{"null", "NULL", func(z *zoned, lru vmem.Addr) { z.m.Word(pageAt(66)+lru, 0) }},
		{"between pages", "no struct page", func(z *zoned, lru vmem.Addr) { z.m.Ring(z.list, pageAt(64)+lru+16) }},
		{"in use", "not free", func(z *zoned, _ vmem.Addr) { z.m.Set(pageAt(66), "page", "page_type", 0xffffffff) }},
		{"other order", "order 9", func(z *zoned, _ vmem.Addr) { z.m.Set(pageAt(66), "page", "private", 9) }},
	} {
		for release := range zoneLayouts {
			z := newZoned(t, release)
			tt.damage(z, vmem.Addr(z.m.Offset("page", "lru")))
			v := z.m.View()
			b, zone := newBuddy(t, v)
			areas, err := b.Areas(&zone)
			if err != nil {
				t.Fatal(err)
			}
			n, failed := 0, error(nil)
			for _, err := range b.Blocks(areas[1].Lists[1]) {
				if err != nil {
					failed = err
				}
				if n++; n > 10 {
					t.Fatalf("%s, %s: no end", release, tt.what)
				}
			}
			if failed == nil || !strings.Contains(failed.Error(), tt.want) {
				t.Errorf("%s, %s: %v; want an error with %q", release, tt.what, failed, tt.want)
			}
			b.Find(67)
		}
	}
}

func TestKeptDamaged(t *testing.T) {
	for release := range zoneLayouts {
		for what, next := range map[string]uint64{"loop": uint64(pageAt(80)), "wild": 0xffffc90041414141} {
			z := newZoned(t, release)
			lru := vmem.Addr(z.m.Offset("page", "lru"))
			if what == "loop" {
				next += uint64(lru)
			}
			z.m.Word(pageAt(80)+lru, next)
			v := z.m.View()
			b, zone := newBuddy(t, v)
			cpus, err := b.CPUs(&zone)
			if err != nil || len(cpus) != 1 || cpus[0].Listed != nil || cpus[0].Count != 2 {
				t.Errorf("%s, %s: %+v, %v; want that the lists are not known", release, what, cpus, err)
			}
			if gaps, _ := v.Gaps(); len(gaps) == 0 {
				t.Errorf("%s, %s: no gap", release, what)
			}
			b.Keeper(81)
		}
	}
}

const sectionDecls = pageDecls + `
struct mem_section { unsigned long section_mem_map; unsigned long usage; };
struct klist_node { void *n_klist; struct list_head n_node; };
struct klist { unsigned int k_lock; struct list_head k_list; };
struct subsys_private { struct klist klist_devices; };
struct bus_type { const char *name; struct subsys_private *p; };
struct kobject { const char *name; };
struct device_private { struct klist_node knode_bus; struct device *device; };
struct device { struct kobject kobj; };
`

var blockLayouts = map[string]string{
	"5.4":  `struct memory_block { unsigned long start_section_nr; unsigned long state; int nid; struct device dev; };`,
	"6.12": `enum memory_block_state { MEM_ONLINE, MEM_GOING_OFFLINE, MEM_OFFLINE }; struct memory_block { unsigned long start_section_nr; enum memory_block_state state; int nid; struct device dev; };`,
}

// TestSections: sections in pages that a table points to, and memory blocks on the list of a bus (until 5.7).
func TestSections(t *testing.T) {
	for release, layout := range blockLayouts {
		m := kerneltest.New(t, sectionDecls+layout+pageLayouts["5.10"])
		root, table, page := m.Alloc(8), m.Alloc(4096), m.AllocPage()
		m.Word(root, uint64(table))
		m.Word(table, uint64(page))
		m.Var("mem_section", root, "struct mem_section **")
		m.Word(page, uint64(vmemmap)|0xf)
		m.Word(page+2*16, uint64(vmemmap)|0x3) // a hole between them
		m.VMCoreInfo("NUMBER(SECTION_SIZE_BITS)=24\n")
		at := m.Alloc(8)
		m.Word(at, uint64(vmemmap))
		m.Var("vmemmap_base", at, "unsigned long")
		var heads []vmem.Addr
		bus, private := m.Alloc(16), m.Alloc(64)
		m.Var("memory_subsys", bus, "struct bus_type")
		m.Set(bus, "bus_type", "p", uint64(private))
		heads = append(heads, private+vmem.Addr(m.Offset("subsys_private", "klist_devices.k_list")))
		for i, state := range []uint64{map[string]uint64{"5.4": 1, "6.12": 0}[release], map[string]uint64{"5.4": 4, "6.12": 2}[release], 99} {
			block, dev, name := m.Alloc(64), m.Alloc(64), m.Alloc(16)
			m.Write(name, []byte("memory"+string(rune('0'+i))+"\x00"))
			m.Set(block, "memory_block", "start_section_nr", uint64(i))
			m.Set(block, "memory_block", "state", state)
			m.Set(block, "memory_block", "dev.kobj.name", uint64(name))
			m.Set(dev, "device_private", "device", uint64(block)+m.Offset("memory_block", "dev"))
			heads = append(heads, dev+vmem.Addr(m.Offset("device_private", "knode_bus.n_node")))
		}
		m.Ring(heads...)
		v := m.View()
		ss, err := mm.Sections(v)
		if err != nil || len(ss) != 2 || ss[0].Number != 0 || ss[1].Number != 2 || ss[1].First != 8192 || !ss[0].Early || ss[1].Online || ss[1].Coded != vmemmap {
			t.Errorf("Sections = %+v, %v", ss, err)
		}
		var got []string
		for b, err := range mm.MemoryBlocks(v) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b.Name+" "+b.State)
		}
		if want := "memory0 ONLINE,memory1 OFFLINE,memory2 "; strings.Join(got, ",") != want {
			t.Errorf("%s: blocks %q; want %q", release, got, want)
		}
		// The list loops.
		m.Word(heads[2], uint64(heads[1]))
		n := 0
		for range mm.MemoryBlocks(m.View()) {
			if n++; n > 10 {
				t.Fatal("no end")
			}
		}
	}
}

// TestScan reads all struct pages, those of a page that is missing excepted.
func TestScan(t *testing.T) {
	m := kerneltest.New(t, `enum pageflags { PG_locked, PG_reserved = 3, __NR_PAGEFLAGS = 8 }; struct list_head { struct list_head *next, *prev; };`+pageLayouts["7.2"])
	at := m.Alloc(8)
	m.Word(at, uint64(vmemmap))
	m.Var("vmemmap_base", at, "unsigned long")
	for _, p := range []struct{ pfn, flags, count uint64 }{{5, 0, 1}, {6, 0, 2}, {7, 8, 9}, {9000, 1, 3}, {64 * 3, 0, 7}} {
		m.Word(pageAt(p.pfn), p.flags)
		m.Set(pageAt(p.pfn), "page", "_refcount", p.count)
	}
	m.Exclude(pageAt(64 * 3))
	v := m.View()
	p, err := mm.NewPages(v)
	if err != nil {
		t.Fatal(err)
	}
	next, lost := uint64(0), uint64(0)
	for r := range mm.Scan(v, p, func(_ *kernel.View, c mm.Chunk) [2]uint64 { return [2]uint64{c.First, c.Len()} }) {
		lost += r[0] - next
		next = r[0] + r[1]
	}
	if next != p.Max() || lost != 64 {
		t.Errorf("%d pages of %d, %d of them missing; want all but 64", next, p.Max(), lost)
	}
	if gaps, _ := v.Gaps(); len(gaps) != 1 || !strings.Contains(gaps[0].String(), "64 of the pages") {
		t.Errorf("gaps: %v; want one of 64 pages", gaps)
	}
	if n, err := mm.Shared(m.View(), p); err != nil || n != 2 {
		t.Errorf("Shared = %d, %v; want 2: reserved pages don't count", n, err)
	}
	for range mm.Scan(m.View(), p, func(_ *kernel.View, c mm.Chunk) uint64 { return c.First }) {
		break // whoever has seen enough stops the others too
	}
}
