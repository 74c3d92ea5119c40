package exclude

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/symbols"
)

// zoned adds a node with one zone to a kernel, whose lists of free pages hold some blocks. It returns how many.
func (m *machine) zoned(silent bool) int {
	note := m.r.note
	if silent {
		note = strings.Replace(note, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456\n", "", 1)
	}
	m.VMCoreInfo(note + "SIZE(zone)=1024\nSIZE(free_area)=88\nSIZE(list_head)=16\nOFFSET(pglist_data.node_zones)=0\nOFFSET(pglist_data.nr_zones)=1024\nOFFSET(zone.free_area)=8\n" +
		"OFFSET(free_area.free_list)=0\nLENGTH(free_area.free_list)=5\n")
	node := m.AllocPage()
	m.Var("contig_page_data", node, "")
	m.Put(node+1024, 4, 1)
	n := 0
	for order := range uint64(11) {
		for t := range uint64(5) {
			head := node + 8 + vmem.Addr(order*88+t*16)
			m.Word(head, uint64(head))
			m.Word(head+8, uint64(head))
			if t != 1 {
				continue
			}
			pfn := 1024 * (order + 1)
			m.buddy(pfn, order)
			entry := uint64(m.at(pfn)) + 8 // lru
			m.Word(head, entry)
			m.Word(head+8, entry)
			m.Word(vmem.Addr(entry), uint64(head))
			m.Word(vmem.Addr(entry)+8, uint64(head))
			n += 1 << order
		}
	}
	return n
}

func TestFreeLists(t *testing.T) {
	for name, tc := range map[string]struct {
		buddy  uint32 // what pages hold
		silent bool   // the note has no type of free pages
		free   bool
		gap    string
	}{
		"as the note says":  {0xf0000000, false, true, ""},
		"nobody says":       {0xf0000000, true, true, ""},
		"nobody says, 6.1":  {0xffffff7f, true, true, ""},
		"the note is wrong": {0xf2000000, false, false, "do not look free"},
		"no type at all":    {none, true, false, "by which type"},
	} {
		m := newMachine(t, "6.12")
		m.r.buddy = tc.buddy
		m.fill(0, machinePages, m.r.page(0, 0, none, 1, 0))
		n := m.zoned(tc.silent)
		f := m.open(t)
		if f.Understands(Free) != tc.free {
			t.Errorf("%s: free pages are told: %v; want %v; gaps %v", name, f.Understands(Free), tc.free, f.Gaps())
		}
		if gaps := fmt.Sprint(f.Gaps()); tc.gap != "" && !strings.Contains(gaps, tc.gap) {
			t.Errorf("%s: gaps %s; want %q", name, gaps, tc.gap)
		}
		_, stats, _ := f.SelectAll(context.Background(), 16)
		if tc.free && stats.Left[Free] != uint64(n) || !tc.free && stats.Left[Free] != 0 {
			t.Errorf("%s: %d free pages go; there are %d", name, stats.Left[Free], n)
		}
	}
}

const cpuListTypes = pageTypesNoZone + `
enum migratetype { MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_PCPTYPES };
struct per_cpu_pages { int count; struct list_head lists[14]; };
struct zone { struct per_cpu_pages *per_cpu_pageset; struct free_area free_area[11]; };
struct pglist_data { struct zone node_zones[1]; int nr_zones; };
`

// Free pages in the CPUs' lists look like the kernel's. They are believed if there are as many as the CPU counts.
func TestCPULists(t *testing.T) {
	const first = 4096
	for name, tc := range map[string]struct {
		count uint64
		spoil func(m *machine, pcp vmem.Addr)
		free  uint64
	}{
		"whole":             {3 + 4 + 512, nil, 3 + 4 + 512},
		"one too many":      {3 + 4 + 511, nil, 0},
		"one too few":       {3 + 4 + 513, nil, 0},
		"one page is held":  {3 + 4 + 512, func(m *machine, _ vmem.Addr) { m.set(first+1024+100, m.r.page(0, 0, none, 1, 0)) }, 3 + 4 + 511},
		"a list that loops": {3 + 4 + 512, func(m *machine, _ vmem.Addr) { m.Word(m.at(first+8)+8, uint64(m.at(first+8))+8) }, 0},
		"no such page":      {3 + 4 + 512, func(m *machine, pcp vmem.Addr) { m.Word(pcp+8, uint64(pcp)) }, 0},
		"list not there":    {3 + 4 + 512, func(m *machine, pcp vmem.Addr) { m.Word(pcp+8, 0xffff999900000000) }, 0},
	} {
		m := &machine{Machine: kerneltest.New(t, cpuListTypes), r: releases["6.12"]}
		m.base = m.AllocPage()
		m.Alloc(machinePages*64 - 4096)
		p := m.AllocPage()
		m.Var("mem_map", p, "")
		m.Word(p, uint64(m.base))
		m.fill(0, machinePages, m.r.page(0, 0, none, 1, 0))
		node, pcp := m.AllocPage(), m.AllocPage()
		m.Var("contig_page_data", node, "")
		m.Set(node, "pglist_data", "nr_zones", 1)
		m.Word(node, uint64(pcp))
		m.Put(pcp, 4, tc.count)
		for i := range uint64(14) {
			m.ring(pcp + 8 + vmem.Addr(i*16))
		}
		m.ring(pcp+8, m.at(first)+8, m.at(first+8)+8, m.at(first+2)+8) // pages of the first type
		m.ring(pcp+8+7*16, m.at(first+16)+8)                           // a block of order 2
		m.ring(pcp+8+13*16, m.at(first+1024)+8)                        // a huge block
		idle := m.r.page(0, 0, none, 0, 0)
		for _, b := range [][2]uint64{{0, 1}, {8, 1}, {2, 1}, {16, 4}, {1024, 512}} {
			for i := range b[1] {
				at := m.at(first + b[0] + i)
				m.Write(at, idle[:8])
				m.Write(at+24, idle[24:])
			}
		}
		m.set(first+5, idle) // in no list
		if tc.spoil != nil {
			tc.spoil(m, pcp)
		}
		f := m.open(t)
		_, stats, _ := f.SelectAll(context.Background(), 16)
		if !f.Understands(Free) || stats.Left[Free] != tc.free {
			t.Errorf("%s: %d free pages; want %d; gaps %v", name, stats.Left[Free], tc.free, f.Gaps())
		}
	}
}

// ring links list_heads to a list.
func (m *machine) ring(heads ...vmem.Addr) {
	for i, h := range heads {
		next := heads[(i+1)%len(heads)]
		m.Word(h, uint64(next))
		m.Word(next+8, uint64(h))
	}
}

// The kernel's own objects must not look like a user's pages: else those are not understood, and stay.
func TestObjects(t *testing.T) {
	m := newMachine(t, "5.10")
	r := m.r
	m.fill(0, machinePages, r.page(0, 0, none, 1, 0))
	m.VMCoreInfo(strings.Replace(r.note, "NUMBER(PG_slab)=9", "NUMBER(PG_slab)=22", 1))
	head, cache := m.AllocPage(), m.AllocPage()
	m.Var("slab_caches", head, "")
	for _, a := range []vmem.Addr{head, cache + 64} {
		m.Word(a, uint64(head+cache+64-a))
		m.Word(a+8, uint64(head+cache+64-a))
	}
	pfn := uint64(cache-kerneltest.Base) / 4096
	m.set(pfn, r.page(1<<9, anonOf, none, 1, 0)) // a slab, but for a reader who knows another flag
	m.set(5000, r.page(r.lru, anonOf, 0, 1, 0))
	f := m.open(t)
	if f.Understands(User) || !f.Understands(Cache) {
		t.Errorf("user data is told: %v, cache: %v; want only the latter", f.Understands(User), f.Understands(Cache))
	}
	if gaps := fmt.Sprint(f.Gaps()); !strings.Contains(gaps, "slab_caches") {
		t.Errorf("gaps %s; want where it was seen", gaps)
	}
	keep, _, _ := f.SelectAll(context.Background(), 31)
	if !keep.Has(pfn) || !keep.Has(5000) {
		t.Error("a slab or user data went that can't be told apart")
	}
}

// sparse makes a kernel with a table of sections of 8 MiB each.
func sparse(t *testing.T, extreme, pointer, vmemmap bool, hole uint64) *machine {
	m := &machine{Machine: kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };"), r: releases["6.12"]}
	const bits, sections = 23, machinePages >> 11
	m.base = m.AllocPage()
	m.Alloc(machinePages*64 - 4096)
	note := m.r.note + fmt.Sprintf("SIZE(mem_section)=16\nOFFSET(mem_section.section_mem_map)=0\nNUMBER(SECTION_SIZE_BITS)=%d\n", bits)
	table := m.AllocPage()
	at := table
	if extreme {
		at = m.AllocPage()
		m.Word(table, uint64(at))
		note += "LENGTH(mem_section)=2048\n"
	}
	for i := range uint64(sections) {
		word := uint64(m.base) | 0b1011
		if !vmemmap {
			// Each section has its own array: here the same, which the kernel can't know.
			word = uint64(m.at(i<<11)) - i<<11*64 | 0b11
		}
		if i == hole {
			word = 0
		}
		m.Word(at+vmem.Addr(i*16), word)
	}
	if pointer {
		p := m.AllocPage()
		m.Var("mem_section", p, "")
		m.Word(p, uint64(table))
	} else {
		note += fmt.Sprintf("SYMBOL(mem_section)=%x\n", uint64(table))
	}
	m.VMCoreInfo(note)
	m.fill(0, 2048, m.r.page(0, 0, none, 1, 0)) // where the tables are
	m.fill(2048, machinePages, m.r.page(m.r.lru, spaceOf, none, 2, 0))
	return m
}

func TestMemoryModels(t *testing.T) {
	for name, m := range map[string]*machine{
		"EXTREME, by VMCOREINFO":   sparse(t, true, false, false, 5),
		"EXTREME, by the symbol":   sparse(t, true, true, false, 5),
		"one table, by VMCOREINFO": sparse(t, false, false, false, 5),
		"one table, by the symbol": sparse(t, false, true, false, 5),
		"VMEMMAP":                  sparse(t, true, false, true, 5),
	} {
		f := m.open(t)
		_, stats, err := f.SelectAll(context.Background(), 31)
		if err != nil || stats.Pages[Cache] != machinePages-4096 || stats.Pages[Unknown] != 2048 {
			t.Errorf("%s: %d pages of cache, %d without struct page, %v; want %d, 2048", name, stats.Pages[Cache], stats.Pages[Unknown], err, machinePages-4096)
		}
		if gaps := fmt.Sprint(f.Gaps()); strings.Contains(gaps, "can't be read") {
			t.Errorf("%s: a hole of the kernel's is no gap: %s", name, gaps)
		}
	}
}

func TestVmemmapAlone(t *testing.T) {
	m := newMachine(t, "6.12")
	m.fill(0, machinePages, m.r.page(m.r.lru, spaceOf, none, 2, 0))
	m.VMCoreInfo(m.r.note + fmt.Sprintf("SYMBOL(vmemmap)=%x\n", uint64(m.base)))
	_, stats, _ := m.open(t).SelectAll(context.Background(), 31)
	if stats.Pages[Cache] != machinePages {
		t.Errorf("%d pages of cache; want all", stats.Pages[Cache])
	}
}

func TestNoMap(t *testing.T) {
	for name, tc := range map[string]struct {
		decls, note, want string
	}{
		"nothing":    {"struct list_head { struct list_head *next, *prev; };", "", "SIZE(page)"},
		"no table":   {"struct list_head { struct list_head *next, *prev; };", releases["6.12"].note, "mem_section"},
		"DISCONTIG":  {"struct pglist_data { void *node_mem_map; };", releases["5.10"].note, "DISCONTIG"},
		"a lie":      {"struct list_head { struct list_head *next, *prev; };", releases["6.12"].note + "SYMBOL(vmemmap)=fffffbadc0000000\n", "vmemmap"},
		"wild sizes": {"struct list_head { struct list_head *next, *prev; };", "SIZE(page)=64\nOFFSET(page.flags)=9999\n", "a member at 9999"},
	} {
		m := kerneltest.New(t, tc.decls)
		m.VMCoreInfo(tc.note)
		f, err := Open(m.View())
		if err != nil {
			t.Fatal(err)
		}
		gaps := fmt.Sprint(f.Gaps())
		if name == "nothing" {
			tc.want = "struct page"
		}
		if f.layout != nil || !strings.Contains(gaps, tc.want) {
			t.Errorf("%s: gaps %s; want %q", name, gaps, tc.want)
		}
		if keep, _, _ := f.SelectAll(context.Background(), 31); keep.Len() != machinePages {
			t.Errorf("%s: %d pages stay; want all", name, keep.Len())
		}
	}
}

// The image is protected, but for what the kernel gave back of it.
func TestImage(t *testing.T) {
	m := newMachine(t, "6.12")
	r := m.r
	m.fill(0, machinePages, r.page(r.lru, spaceOf, none, 2, 0)) // all looks like cache
	page := func(n uint64) uint64 { return uint64(kerneltest.Base) + (8192+n)<<12 }
	for name, at := range map[string]uint64{"_text": page(0), "_etext": page(10) - 200, "__start_rodata": page(12), "__end_rodata": page(20), "_sdata": page(22), "__init_begin": page(30),
		"__init_end": page(40), "__smp_locks": page(40), "__smp_locks_end": page(41) + 8, "__bss_stop": page(50), "__brk_base": page(50), "_end": page(60)} {
		m.Symbol(symbols.Symbol{Name: name, Addr: at, Letter: 'D'})
	}
	f := m.open(t)
	for _, x := range []struct {
		from, to uint64
		want     Class
	}{{0, 10, Protected}, {10, 12, Cache}, {12, 20, Protected}, {20, 22, Cache}, {22, 30, Protected}, {30, 41, Cache}, {41, 50, Protected}, {50, 60, Cache}} {
		for n := x.from; n < x.to; n++ {
			if c, _ := f.ClassOf(context.Background(), 8192+n); c != x.want {
				t.Errorf("page %d of the image is %s; want %s", n, c, x.want)
			}
		}
	}
	_, stats, _ := f.SelectAll(context.Background(), 31)
	if stats.Pages[Protected] != 35 || stats.Left[Protected] != 0 {
		t.Errorf("%d pages are protected; want 35", stats.Pages[Protected])
	}
}

// What page tables map beside the map of all memory is protected, and so are they.
func TestGuards(t *testing.T) {
	m := newMachine(t, "6.12")
	f := m.open(t)
	const direct = 0xffff888000000000
	for _, known := range []bool{true, false} {
		f.guard = dumpfmt.PageSet{}
		g := &guards{f: f, direct: direct, hasDirect: known, whole: addrRange{0xffffffff81000000, 0xffffffff82000000}}
		if !g.Table(0, 0, 0x1000) || g.Table(0, 0, 0x1000) {
			t.Error("a table must be gone down into once")
		}
		g.Leaf(direct, 1<<21, 0)
		g.Leaf(direct+1<<21, 1<<21, 1<<21)
		if lowest := g.Table(direct+2<<21, 1<<21, 0x5000); lowest {
			t.Error("a table of the map of all memory leads to nothing new")
		}
		g.Leaf(0xffffc90000000000, 4096, 0x200000)
		g.Leaf(0xffffea0000000000, 1<<21, 0x400000)
		g.Leaf(0xffffffff81000000, 1<<21, 0x800000) // the image: its own matter
		g.Leaf(0xffffffffc0000000, 4096, 0x900000)
		g.Leaf(0xffffc90000001000, 1<<30, 1<<50) // no RAM
		var got []uint64
		for pfn := range f.guard.All() {
			got = append(got, pfn)
		}
		if len(got) != 2+1+512+1 || got[0] != 1 || got[1] != 5 || got[2] != 0x200 || got[3] != 0x400 || got[len(got)-1] != 0x900 {
			t.Errorf("known %v: %d pages are protected: %#x…", known, len(got), got[:4])
		}
	}
}

// Pages that commands read of real kernels (they are what a distilled dump holds) are the kernel's: none is taken for a page that may go.
func TestDumps(t *testing.T) {
	for _, release := range []string{"5.10", "6.1", "6.12", "7.2"} {
		img, err := formats.Open(t.Context(), []string{"../../testdata/dumps/" + release + "/vmcore"}, formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		k, err := analyze.Open(t.Context(), img, analyze.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		f, err := Open(k.View(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []Class{Free, Cache, PrivateCache, User, Offline} {
			if !f.Understands(c) {
				t.Errorf("%s: pages of %s are not told: %v", release, c, f.Gaps())
			}
		}
		keep, stats, err := f.SelectAll(t.Context(), 31)
		if err != nil {
			t.Fatal(err)
		}
		held := uint64(0)
		for pfn := range img.Info().MaxPFN {
			if img.State(pfn).Readable() {
				held++
			}
		}
		if keep.Len() != held || stats.Pages[Kernel] < 1000 {
			t.Errorf("%s: %d of %d pages stay, %d are known to be the kernel's", release, keep.Len(), held, stats.Pages[Kernel])
		}
	}
}

func TestBigEndian(t *testing.T) {
	l := layout{ws: 8, big: true}
	b := make([]byte, 8)
	binary.BigEndian.PutUint64(b, 0x0102030405060708)
	if l.word(b, 0) != 0x0102030405060708 || l.u32(b, 4) != 0x05060708 {
		t.Error("big-endian words are read wrongly")
	}
	l = layout{ws: 4}
	if l.word([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 4) != 0x08070605 {
		t.Error("words of 32 bits are read wrongly")
	}
}

// FuzzNote takes any note for VMCOREINFO, beside what is needed to find struct pages at all.
func FuzzNote(f *testing.F) {
	for _, name := range []string{"4.14", "5.10", "6.4", "6.6", "6.12", "7.2"} {
		f.Add(releases[name].note)
	}
	f.Add("OFFSET(page.flags)=-8\nSIZE(page)=64\n")
	f.Add("SIZE(mem_section)=16\nOFFSET(mem_section.section_mem_map)=-8\nNUMBER(SECTION_SIZE_BITS)=27\nSYMBOL(mem_section)=ffff888000001000\n")
	f.Fuzz(func(t *testing.T, note string) {
		m := newMachine(t, "6.12")
		m.zoned(false)
		m.buddy(256, 5)
		m.compound(512, 5, m.r.page(m.r.lru|m.r.head, anonOf, none, 1, 0), false)
		m.VMCoreInfo(m.r.note + note)
		f, err := Open(m.View())
		if err != nil {
			t.Fatal(err)
		}
		var stats Stats
		var keep dumpfmt.PageSet
		if err := f.Select(context.Background(), 31, 0, 1024, &keep, &stats); err != nil || stats.RAM() != 1024 || stats.Kept() != keep.Len() {
			t.Errorf("%v, %v", stats, err)
		}
	})
}
