package exclude

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
)

// The notes are what kernels export, cut to what filtering asks. 5.10, 6.1, 6.12 and 7.2 are from real dumps; the others follow the kernel's
// source, kernel/vmcore_info.c (kernel/crash_core.c before), include/linux/mm_types.h and page-flags.h of that release.
const (
	noteCommon = "SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page.mapping)=24\nOFFSET(page.lru)=8\nOFFSET(page._mapcount)=48\nOFFSET(page._refcount)=52\n" +
		"OFFSET(page.private)=40\nLENGTH(zone.free_area)=11\nNUMBER(PG_lru)=4\nNUMBER(PG_swapcache)=10\nNUMBER(PG_swapbacked)=19\n"
	noteHead    = noteCommon + "OFFSET(page.compound_head)=8\n"
	noteSlabBit = "NUMBER(PG_private)=13\nNUMBER(PG_slab)=9\nNUMBER(PG_head_mask)=65536\n"
	noteNewer   = "SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page.mapping)=24\nOFFSET(page.lru)=8\nOFFSET(page._mapcount)=48\nOFFSET(page._refcount)=52\n" +
		"OFFSET(page.private)=40\nLENGTH(zone.free_area)=11\nNUMBER(PG_lru)=5\nNUMBER(PG_private)=14\nNUMBER(PG_swapcache)=10\nNUMBER(PG_swapbacked)=17\nNUMBER(PG_hwpoison)=20\n" +
		"NUMBER(PG_head_mask)=64\n"
	noteTypes612 = "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592\n" +
		"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240\n"
)

// release is a layout and how it marks pages.
type release struct {
	note string

	// places
	mapping, mapcount, refcount, private, compound int
	// flags
	lru, private1, swap, slabFlag, head uint64
	// types as they stand in memory
	buddy, offline, hugetlb, slab, unaccepted uint32
	// hugetlb's mark in the struct page behind
	dtorAt, dtorSize int
	dtor             uint64
	hugeFlag         uint64
}

var releases = map[string]release{
	"4.14": {
		note: "SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page.mapping)=8\nOFFSET(page.lru)=32\nOFFSET(page._mapcount)=24\nOFFSET(page._refcount)=28\nOFFSET(page.private)=48\n" +
			"OFFSET(page.compound_head)=32\nOFFSET(page.compound_dtor)=40\nOFFSET(page.compound_order)=44\nLENGTH(zone.free_area)=11\nNUMBER(PG_lru)=5\nNUMBER(PG_private)=12\n" +
			"NUMBER(PG_swapcache)=9\nNUMBER(PG_swapbacked)=18\nNUMBER(PG_slab)=8\nNUMBER(PG_head_mask)=32768\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-128\nNUMBER(HUGETLB_PAGE_DTOR)=2\n",
		mapping: 8, mapcount: 24, refcount: 28, private: 48, compound: 32, lru: 1 << 5, private1: 1 << 12, swap: 1<<9 | 1<<18, slabFlag: 1 << 8, head: 1 << 15,
		buddy: ^uint32(127), dtorAt: 40, dtorSize: 4, dtor: 2,
	},
	"5.10": {
		note: noteHead + noteSlabBit + "OFFSET(page.compound_dtor)=16\nOFFSET(page.compound_order)=17\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(HUGETLB_PAGE_DTOR)=2\n" +
			"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 4, private1: 1 << 13, swap: 1<<10 | 1<<19, slabFlag: 1 << 9, head: 1 << 16,
		buddy: 0xffffff7f, offline: 0xfffffeff, dtorAt: 16, dtorSize: 1, dtor: 2,
	},
	"6.4": { // the folio's second page has the destructor
		note: noteHead + noteSlabBit + "OFFSET(folio._folio_dtor)=80\nOFFSET(folio._folio_order)=81\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(HUGETLB_PAGE_DTOR)=2\n" +
			"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 4, private1: 1 << 13, swap: 1<<10 | 1<<19, slabFlag: 1 << 9, head: 1 << 16,
		buddy: 0xffffff7f, offline: 0xfffffeff, dtorAt: 16, dtorSize: 1, dtor: 2,
	},
	"6.6": { // a flag of the second page
		note:    noteHead + noteSlabBit + "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(PG_hugetlb)=8\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 4, private1: 1 << 13, swap: 1<<10 | 1<<19, slabFlag: 1 << 9, head: 1 << 16,
		buddy: 0xffffff7f, offline: 0xfffffeff, hugeFlag: 1 << 8,
	},
	"6.9": { // a type
		note:    noteHead + noteSlabBit + "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-2049\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 4, private1: 1 << 13, swap: 1<<10 | 1<<19, slabFlag: 1 << 9, head: 1 << 16,
		buddy: 0xffffff7f, offline: 0xfffffeff, hugetlb: ^uint32(0x800),
	},
	"6.10": { // slabs have a type, too
		note: noteHead + "NUMBER(PG_private)=13\nNUMBER(PG_head_mask)=65536\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-2049\n" +
			"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nNUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-4097\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 4, private1: 1 << 13, swap: 1<<10 | 1<<19, head: 1 << 16,
		buddy: 0xffffff7f, offline: 0xfffffeff, hugetlb: ^uint32(0x800), slab: ^uint32(0x1000),
	},
	"6.11": { // types moved to the top bits
		note: noteNewer + "OFFSET(page.compound_head)=8\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-1073741825\nNUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-536870913\n" +
			"NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-67108865\nNUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-33554433\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 5, private1: 1 << 14, swap: 1<<10 | 1<<17, head: 1 << 6,
		buddy: ^uint32(0x40000000), offline: ^uint32(0x20000000), hugetlb: ^uint32(0x04000000), slab: ^uint32(0x02000000),
	},
	"6.12": { // a byte on top; data below
		note:    noteNewer + noteTypes612 + "OFFSET(page.compound_head)=8\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 5, private1: 1 << 14, swap: 1<<10 | 1<<17, head: 1 << 6,
		buddy: 0xf0000000, offline: 0xf1000000, hugetlb: 0xf4000123, slab: 0xf5000042,
	},
	"7.2": { // compound_info; unaccepted
		note:    noteNewer + noteTypes612 + "OFFSET(page.compound_info)=8\nNUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)=-150994944\n",
		mapping: 24, mapcount: 48, refcount: 52, private: 40, compound: 8, lru: 1 << 5, private1: 1 << 14, swap: 1<<10 | 1<<17, head: 1 << 6,
		buddy: 0xf0000000, offline: 0xf1000000, hugetlb: 0xf4000000, slab: 0xf5000000, unaccepted: 0xf7000000,
	},
}

// zoneBits stand for the node, zone and section that a page's flags also hold.
const zoneBits = 0x00fffffc00000000

// page makes a struct page; mapping, private and count are put where the release has them.
func (r *release) page(flags, mapping uint64, mapcount uint32, refcount uint32, private uint64) []byte {
	p := make([]byte, 64)
	le := binary.LittleEndian
	le.PutUint64(p, flags|zoneBits)
	le.PutUint64(p[r.mapping:], mapping)
	le.PutUint64(p[r.private:], private)
	le.PutUint32(p[r.mapcount:], mapcount)
	le.PutUint32(p[r.refcount:], refcount)
	return p
}

// behind is the struct page behind a head: the first tail.
func (r *release) behind(huge bool) []byte {
	p := r.page(0, 0xdead000000000400, ^uint32(0), 0, 0)
	binary.LittleEndian.PutUint64(p[r.compound:], 0xffffea0000000001)
	if huge && r.hugeFlag != 0 {
		p[1] |= byte(r.hugeFlag >> 8)
	}
	if huge && r.dtorSize > 0 {
		p[r.dtorAt] = byte(r.dtor)
	}
	return p
}

const (
	none     = ^uint32(0) // no type, no mapping
	spaceOf  = 0xffff888004c0ffe0
	anonOf   = spaceOf + 1
	ksmOf    = spaceOf + 3
	movable  = spaceOf + 2
	oneOwner = 1
)

func TestLayouts(t *testing.T) {
	for name, r := range releases {
		m := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
		m.VMCoreInfo(r.note)
		l, err := newLayout(&facts{v: m.View()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, tc := range r.cases() {
			d := l.decide(tc.page, tc.next)
			if d.class != tc.class || tc.class == Free && d.order != 3 || d.compound != (tc.next != nil) {
				t.Errorf("%s: %s: class %s, order %d, compound %v; want %s", name, tc.what, d.class, d.order, d.compound, tc.class)
			}
		}
	}
}

type pageCase struct {
	what       string
	page, next []byte
	class      Class
}

func (r *release) cases() []pageCase {
	hugeType := none
	if r.hugetlb != 0 {
		hugeType = r.hugetlb
	}
	slabType, slabFlag := uint32(0x00200010), r.slabFlag // a slab's counts of objects
	if r.slab != 0 {
		slabType = r.slab
	}
	out := []pageCase{
		{"free", r.page(0, 0, r.buddy, 0, 3), nil, Free},
		{"free, but held", r.page(0, 0, r.buddy, 1, 3), nil, Unknown},
		{"free, of a size that there is not", r.page(0, 0, r.buddy, 0, 11), nil, Unknown},
		{"free, but in a list of users", r.page(r.lru, 0, r.buddy, 0, 3), nil, Unknown},
		{"in a list of the CPU's free pages", r.page(0, 0, none, 0, 0), nil, Kernel},
		{"kernel's", r.page(0, 0, none, oneOwner, 0), nil, Kernel},
		{"file", r.page(r.lru, spaceOf, none, 2, 0), nil, Cache},
		{"file, mapped twice", r.page(r.lru, spaceOf, 1, 4, 0), nil, Cache},
		{"file with buffers", r.page(r.lru|r.private1, spaceOf, none, 3, 0xffff888001000000), nil, PrivateCache},
		{"truncated file", r.page(r.lru, 0, none, 2, 0), nil, Cache},
		{"swap cache", r.page(r.swap, 0, none, 2, 7), nil, Cache},
		{"swap cache's flag alone means something else", r.page(1<<10&^r.lru, 0, none, 2, 7), nil, Kernel},
		{"file outside the lists", r.page(0, spaceOf, none, 2, 0), nil, Kernel},
		{"anonymous", r.page(r.lru|r.swap&^(1<<10|1<<9), anonOf, 0, 1, 0), nil, User},
		{"anonymous outside the lists", r.page(0, anonOf, 0, 1, 0), nil, User},
		{"KSM", r.page(r.lru, ksmOf, 2, 3, 0), nil, User},
		{"movable", r.page(0, movable, none, 1, 0), nil, Kernel},
		{"mapping that is no address", r.page(0, 0x1001, none, 1, 0), nil, Kernel},
		{"slab", r.page(slabFlag, spaceOf, slabType, 1, 0), nil, Kernel},
		{"slab whose words look anonymous", r.page(slabFlag, anonOf, slabType, 1, 0), nil, Kernel},
		{"slab of several pages", r.page(slabFlag|r.head, anonOf, slabType, 1, 0), r.behind(false), Kernel},
		{"anonymous huge page", r.page(r.lru|r.head, anonOf, none, 1, 0), r.behind(false), User},
		{"large folio of a file", r.page(r.lru|r.head, spaceOf, none, 512, 0), r.behind(false), Cache},
		{"hugetlb", r.page(r.head, spaceOf, hugeType, 1, 0), r.behind(true), User},
		{"several pages of the kernel", r.page(r.head, 0, none, 1, 0), r.behind(false), Kernel},
		{"a type that nobody knows", r.page(r.lru, anonOf, 0xfa000000, 1, 0), nil, Kernel},
		{"an old type that nobody knows", r.page(r.lru, anonOf, 0xffffefff&^0x4000, 1, 0), nil, Kernel},
		{"never set up", bytesOf(0xff), nil, Unknown},
		{"zeros", bytesOf(0), nil, Kernel},
	}
	if r.offline != 0 {
		out = append(out, pageCase{"offline", r.page(0, 0, r.offline, 1, 0), nil, Offline})
	}
	if r.unaccepted != 0 {
		out = append(out, pageCase{"unaccepted", r.page(0, 0, r.unaccepted, 0, 0), nil, Unaccepted})
	}
	if r.slab == 0xf5000000 || r.slab == 0xf5000042 {
		out = append(out,
			pageCase{"page table", r.page(0, 0, 0xf2000000, 1, 0), nil, Kernel},
			pageCase{"zsmalloc", r.page(0, movable, 0xf6000010, 1, 0), nil, Kernel},
			pageCase{"failed", r.page(1<<20|r.lru, anonOf, 0, 1, 0), nil, HWPoison},
			pageCase{"failed, of the kernel", r.page(1<<20, 0, none, 1, 0), nil, HWPoison},
			pageCase{"type with data", r.page(0, 0, 0xf1000007, 1, 0), nil, Offline})
	}
	return out
}

// Where the page behind is no tail, the flag of heads means something else.
func TestNoHead(t *testing.T) {
	r := releases["6.12"]
	m := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
	m.VMCoreInfo(r.note)
	l, err := newLayout(&facts{v: m.View()})
	if err != nil {
		t.Fatal(err)
	}
	single := r.page(0, 0, none, oneOwner, 0)
	if d := l.decide(r.page(r.head|r.lru, spaceOf, none, 2, 0), single); d.compound || d.class != Cache {
		t.Errorf("a page with PG_head before a page that is no tail: %+v", d)
	}
	if d := l.decide(r.page(r.head, spaceOf, r.hugetlb, 2, 0), single); d.class != Kernel {
		t.Errorf("hugetlb's type on a page that has no tails: %+v", d)
	}
}

func bytesOf(b byte) []byte {
	p := make([]byte, 64)
	for i := range p {
		p[i] = b
	}
	return p
}

// What can't be told keeps pages, and is said.
func TestUnderstanding(t *testing.T) {
	base := releases["6.12"].note
	without := func(key string) string {
		var out strings.Builder
		for line := range strings.Lines(base) {
			if !strings.HasPrefix(line, key) {
				out.WriteString(line)
			}
		}
		return out.String()
	}
	for _, tc := range []struct {
		without string
		lost    []Class
	}{
		{"NUMBER(PG_lru)", []Class{Cache, PrivateCache}},
		{"NUMBER(PG_head_mask)", []Class{Cache, PrivateCache, User}},
		{"OFFSET(page.compound_head)", []Class{Cache, PrivateCache, User, Free}},
		{"OFFSET(page._mapcount)", []Class{Cache, PrivateCache, User, Free, Offline}},
		{"OFFSET(page.mapping)", []Class{Cache, PrivateCache, User}},
		{"NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", []Class{User}},
		{"NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", []Class{Free}},
		{"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)", []Class{Offline}},
		{"OFFSET(page.private)", []Class{Free}},
		{"LENGTH(zone.free_area)", []Class{Free}},
		{"NUMBER(PG_hwpoison)", []Class{HWPoison}},
	} {
		m := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
		m.VMCoreInfo(without(tc.without))
		l, err := newLayout(&facts{v: m.View()})
		if err != nil {
			t.Errorf("without %s: %v", tc.without, err)
			continue
		}
		for _, c := range []Class{Free, Cache, PrivateCache, User, HWPoison, Offline} {
			want := true
			for _, x := range tc.lost {
				want = want && x != c
			}
			if l.can[c] != want {
				t.Errorf("without %s: pages of %s are told: %v; want %v", tc.without, c, l.can[c], want)
			}
		}
	}
	for _, key := range []string{"SIZE(page)", "OFFSET(page.flags)"} {
		m := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
		m.VMCoreInfo(without(key))
		if _, err := newLayout(&facts{v: m.View()}); err == nil {
			t.Errorf("without %s: no error", key)
		}
	}
}

const pageTypesNoZone = `
struct list_head { struct list_head *next, *prev; };
enum pageflags { PG_locked, PG_writeback, PG_referenced, PG_uptodate, PG_dirty, PG_lru, PG_head, PG_waiters, PG_active, PG_workingset, PG_owner_priv_1, PG_owner_2, PG_arch_1,
	PG_reserved, PG_private, PG_private_2, PG_reclaim, PG_swapbacked, PG_unevictable, PG_mlocked, PG_hwpoison, __NR_PAGEFLAGS, PG_swapcache = 10 };
enum pagetype { PGTY_buddy = 240, PGTY_offline, PGTY_table, PGTY_guard, PGTY_hugetlb, PGTY_slab, PGTY_zsmalloc, PGTY_unaccepted, PGTY_mapcount_underflow = 255 };
struct page { unsigned long flags; union { struct { struct list_head lru; void *mapping; unsigned long index; unsigned long private; };
	struct { unsigned long compound_head; }; }; union { unsigned int page_type; int _mapcount; }; int _refcount; unsigned long memcg_data; };
struct free_area { struct list_head free_list[5]; unsigned long nr_free; };
`

const pageTypes612 = pageTypesNoZone + `
struct zone { unsigned long pad; struct free_area free_area[11]; };
struct pglist_data { struct zone node_zones[1]; int nr_zones; };
`

// Types alone tell as much as the note does.
func TestTypesAlone(t *testing.T) {
	m := kerneltest.New(t, pageTypes612)
	f := &facts{v: m.View()}
	l, err := newLayout(f)
	if err != nil || len(f.gaps) != 0 {
		t.Fatalf("newLayout = %v, gaps %v", err, f.gaps)
	}
	note := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
	note.VMCoreInfo(releases["6.12"].note)
	want, err := newLayout(&facts{v: note.View()})
	if err != nil {
		t.Fatal(err)
	}
	want.reserved = 1 << 13                                                              // not exported
	want.unaccepted, want.can[Unaccepted] = pageType{true, 0xf7000000, 0xff000000}, true // exported since 6.16
	if got, want := fmt.Sprintf("%+v", *l), fmt.Sprintf("%+v", *want); got != want {
		t.Errorf("by types\n%s; by the note\n%s", got, want)
	}
}

// Two sources that differ are both not believed.
func TestDisagreement(t *testing.T) {
	for line, lost := range map[string]Class{
		"NUMBER(PG_lru)=6\n":                               Cache,
		"NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-251658240\n":   Free,
		"NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-251658240\n":    User,
		"OFFSET(page.mapping)=32\n":                        User,
		"OFFSET(page.compound_head)=16\n":                  Free,
		"NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-234881024\n": Offline,
	} {
		m := kerneltest.New(t, pageTypes612)
		m.VMCoreInfo(line)
		f := &facts{v: m.View()}
		l, err := newLayout(f)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if l.can[lost] || len(f.gaps) == 0 {
			t.Errorf("%s: pages of %s are told, gaps %v", line, lost, f.gaps)
		}
	}
}

// Until 4.3 tails had a flag, and hugetlb's pages the address of the function that frees them.
func TestOldTails(t *testing.T) {
	m := &machine{Machine: kerneltest.New(t, `
struct list_head { struct list_head *next, *prev; };
enum pageflags { PG_locked, PG_error, PG_referenced, PG_uptodate, PG_dirty, PG_lru, PG_active, PG_slab, PG_owner_priv_1, PG_arch_1, PG_reserved, PG_private, PG_private_2,
	PG_writeback, PG_head, PG_tail, PG_swapcache, PG_mappedtodisk, PG_reclaim, PG_swapbacked };
struct page { unsigned long flags; void *mapping; unsigned long index; int _mapcount; int _count; struct list_head lru; union { unsigned long private; void *first_page; }; unsigned long pad; };
struct zone { struct list_head pad[5]; };`), r: release{mapping: 8, mapcount: 24, refcount: 28, private: 48, compound: 48}}
	m.base = m.AllocPage()
	m.Alloc(machinePages*64 - 4096)
	p := m.AllocPage()
	m.Var("mem_map", p, "")
	m.Word(p, uint64(m.base))
	const freeHuge = 0xffffffff81180000
	m.VMCoreInfo(fmt.Sprintf("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-128\nLENGTH(zone.free_area)=11\nSYMBOL(free_huge_page)=%x\n", uint64(freeHuge)))
	const lru, slab, head, tail = 1 << 5, 1 << 7, 1 << 14, 1 << 15
	m.fill(0, machinePages, m.r.page(0, 0, none, 1, 0))
	for pfn, h := range map[uint64][]byte{1024: m.r.page(lru|head, anonOf, none, 1, 0), 1536: m.r.page(slab|head, anonOf, 0x10, 1, 0), 2048: m.r.page(head, spaceOf, none, 1, 0)} {
		m.set(pfn, h)
		m.fill(pfn+1, pfn+512, m.r.page(tail, 0, none, 0, uint64(m.at(pfn))))
	}
	m.Word(m.at(2049)+32, freeHuge)
	m.r.buddy = ^uint32(127)
	m.buddy(4096, 10)
	f := m.open(t)
	span(t, f, 1000, 1024, Kernel)
	span(t, f, 1024, 1536, User)
	span(t, f, 1200, 1536, User)
	span(t, f, 1536, 2048, Kernel)
	span(t, f, 2048, 2560, User)
	span(t, f, 4096, 5120, Free)
}
