package exclude

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

const machinePages = 16384 // of kerneltest's machines

// machine is a kernel whose struct pages a test writes.
type machine struct {
	*kerneltest.Machine
	r    release
	base vmem.Addr // of the struct page of pfn 0
}

// newMachine makes a kernel of a release with FLATMEM.
func newMachine(tb testing.TB, name string) *machine {
	m := &machine{Machine: kerneltest.New(tb, "struct list_head { struct list_head *next, *prev; };"), r: releases[name]}
	m.base = m.AllocPage()
	m.Alloc(machinePages*64 - 4096)
	p := m.AllocPage()
	m.Var("mem_map", p, "")
	m.Word(p, uint64(m.base))
	m.VMCoreInfo(m.r.note)
	return m
}

func (m *machine) at(pfn uint64) vmem.Addr { return m.base + vmem.Addr(pfn*64) }

func (m *machine) set(pfn uint64, page []byte) { m.Write(m.at(pfn), page) }

// fill sets pages [from, to).
func (m *machine) fill(from, to uint64, page []byte) {
	for pfn := from; pfn < to; pfn++ {
		m.set(pfn, page)
	}
}

// buddy makes a block of free pages.
func (m *machine) buddy(pfn, order uint64) {
	m.set(pfn, m.r.page(0, 0, m.r.buddy, 0, order))
	m.fill(pfn+1, pfn+1<<order, m.r.page(0, 0, none, 0, 0))
}

// compound makes a compound page. Since 7.1 tails hold a mask.
func (m *machine) compound(pfn, order uint64, head []byte, masks bool) {
	m.set(pfn, head)
	info := uint64(m.at(pfn)) | 1
	if masks {
		info = ^(uint64(64)<<order - 1) | 1
	}
	for i := pfn + 1; i < pfn+1<<order; i++ {
		tail := m.r.page(0, 0xdead000000000400, none, 0, 0)
		binary.LittleEndian.PutUint64(tail[m.r.compound:], info)
		m.set(i, tail)
	}
}

func (m *machine) open(tb testing.TB) *Filter {
	tb.Helper()
	f, err := Open(m.View())
	if err != nil {
		tb.Fatal(err)
	}
	if f.layout == nil {
		tb.Fatalf("the kernel is not understood: %v", f.Gaps())
	}
	return f
}

// classes of pages [from, to), by a scan of these alone.
func (f *Filter) classes(from, to uint64) []Class {
	s := f.newScan(MaxLevel, nil)
	out := make([]Class, 0, to-from)
	for pfn := from; pfn < to; pfn++ {
		out = append(out, s.page(pfn, to))
	}
	return out
}

func span(t *testing.T, f *Filter, from, to uint64, want Class) {
	t.Helper()
	for i, c := range f.classes(from, to) {
		if c != want {
			t.Errorf("page %#x is %s; want %s", from+uint64(i), c, want)
			return
		}
	}
}

func TestScan(t *testing.T) {
	m := newMachine(t, "5.10")
	r := m.r
	kernel := r.page(0, 0, none, 1, 0)
	m.fill(0, machinePages, kernel)
	m.buddy(1024, 10)
	m.buddy(2048, 0)
	m.compound(4096, 9, r.page(r.lru|r.head, anonOf, none, 512, 0), false)
	m.compound(4608, 9, r.page(r.lru|r.head, spaceOf, none, 512, 0), false)
	m.compound(5120, 3, r.page(r.slabFlag|r.head, anonOf, 0x100010, 1, 0), false)
	m.compound(8192, 12, r.page(r.head, spaceOf, none, 1, 0), false)
	huge := r.behind(true)
	binary.LittleEndian.PutUint64(huge[r.compound:], uint64(m.at(8192))|1)
	m.set(8193, huge)
	f := m.open(t)
	span(t, f, 0, 1024, Kernel)
	span(t, f, 1024, 2049, Free)
	span(t, f, 1500, 2000, Free) // begins in a block
	span(t, f, 2049, 4096, Kernel)
	span(t, f, 4096, 4608, User)
	span(t, f, 4300, 4608, User) // begins among tails
	span(t, f, 4608, 5120, Cache)
	span(t, f, 5120, 8192, Kernel)
	span(t, f, 8192, 8192+4096, User) // gigantic: longer than a window
	span(t, f, 8192+4000, 8192+4096, User)

	for level, want := range map[int]uint64{0: 0, 1: 0, 2: 512, 4: 512, 8: 512 + 4096, 16: 1025, 31: 512 + 512 + 4096 + 1025} {
		keep, stats, err := f.SelectAll(context.Background(), level)
		if err != nil || machinePages-keep.Len() != want || stats.Kept() != keep.Len() || stats.RAM() != machinePages {
			t.Errorf("level %d leaves out %d pages, %v; want %d", level, machinePages-keep.Len(), err, want)
		}
	}
	if err := f.Select(context.Background(), 32, 0, 1, nil, nil); err == nil {
		t.Error("level 32 is no error")
	}
	if c, err := f.ClassOf(context.Background(), 4097); c != User || err != nil {
		t.Errorf("ClassOf a tail = %s, %v; want user data", c, err)
	}
	if c, _ := f.ClassOf(context.Background(), machinePages+5); c != Hole {
		t.Errorf("ClassOf a page beyond memory = %s", c)
	}
}

// Tails since 7.1 hold a mask.
func TestMasks(t *testing.T) {
	m := newMachine(t, "7.2")
	r := m.r
	m.fill(0, machinePages, r.page(0, 0, none, 1, 0))
	const size = 512 * 64 // masks need struct pages that are aligned to their number
	pfn := 1024 + (size-uint64(m.base)%size)/64
	m.compound(pfn, 9, r.page(r.lru|r.head, anonOf, none, 512, 0), true)
	m.compound(pfn+512, 2, r.page(r.head, anonOf, r.slab, 1, 0), true)
	m.compound(pfn+516, 2, r.page(r.head, spaceOf, r.hugetlb, 1, 0), true)
	f := m.open(t)
	span(t, f, pfn, pfn+512, User)
	span(t, f, pfn+100, pfn+512, User)
	span(t, f, pfn+512, pfn+516, Kernel)
	span(t, f, pfn+516, pfn+520, User)
}

// HUGETLB_PAGE_OPTIMIZE_VMEMMAP until 7.0: where a page of struct pages begins, the head is seen again.
func TestFakeHeads(t *testing.T) {
	m := newMachine(t, "6.12")
	r := m.r
	m.fill(0, machinePages, r.page(0, 0, none, 1, 0))
	head := r.page(r.head, spaceOf, r.hugetlb, 1, 0)
	m.compound(1024, 9, head, false)
	first := make([]byte, 64*64)
	copy(first, head)
	for i := 1; i < 64; i++ {
		tail := r.page(0, 0, none, 0, 0)
		binary.LittleEndian.PutUint64(tail[r.compound:], uint64(m.at(1024))|1)
		copy(first[i*64:], tail)
	}
	for i := uint64(0); i < 512; i += 64 {
		m.Write(m.at(1024+i), first)
	}
	f := m.open(t)
	span(t, f, 1024, 1536, User)
	span(t, f, 1088, 1536, User) // begins with a fake head
	if c := f.classes(1536, 1537)[0]; c != Kernel {
		t.Errorf("the page behind is %s", c)
	}
}

func TestLies(t *testing.T) {
	m := newMachine(t, "6.12")
	r := m.r
	m.fill(0, machinePages, r.page(0, 0, none, 1, 0))
	m.set(1, r.page(0, 0, r.buddy, 0, 3))      // not aligned to its size
	m.set(64, r.page(0, 0, r.buddy, 0, 1<<40)) // a size that there is not
	m.buddy(128, 3)                            // a block with pages that are not free
	m.set(130, r.page(r.lru, anonOf, 0, 1, 0)) // somebody's
	m.set(131, r.page(0, 0, none, 7, 0))       // the kernel's
	orphan := r.page(r.lru, anonOf, 0, 1, 0)   // tails without a head
	for i, info := range []uint64{1, 3, uint64(m.at(200)) | 1, uint64(m.at(400)) | 1, ^uint64(0), 0xffff7fffffffff01} {
		binary.LittleEndian.PutUint64(orphan[r.compound:], info)
		m.set(256+uint64(i), orphan)
	}
	m.fill(1000, 1100, bytesOf(0xff))
	f := m.open(t)
	for pfn, want := range map[uint64]Class{1: Unknown, 2: Kernel, 64: Unknown, 65: Kernel, 128: Free, 129: Free, 130: User, 131: Kernel, 132: Free, 135: Free, 136: Kernel,
		256: Unknown, 257: Unknown, 258: Unknown, 259: Unknown, 260: Unknown, 261: Unknown, 1000: Unknown, 1099: Unknown} {
		if c, _ := f.ClassOf(context.Background(), pfn); c != want {
			t.Errorf("page %d is %s; want %s", pfn, c, want)
		}
	}
	keep, stats, _ := f.SelectAll(context.Background(), 31)
	if stats.Pages[Unknown] != 2+6+100 || !keep.Has(1) || !keep.Has(1050) {
		t.Errorf("%d pages are not understood; want %d, all kept", stats.Pages[Unknown], 2+6+100)
	}
	if len(f.Gaps()) == 0 {
		t.Error("nothing is said of pages that are not understood")
	}
}

// Where struct pages are not in the dump, the pages stay, and so do those whose head can't be read.
func TestMissingMap(t *testing.T) {
	m := newMachine(t, "6.12")
	r := m.r
	m.fill(0, machinePages, r.page(0, 0, none, 1, 0))
	m.buddy(1024, 10)
	m.compound(4096, 9, r.page(r.lru|r.head, anonOf, none, 512, 0), false)
	m.Exclude(m.at(1088)) // in the middle of the block
	m.Exclude(m.at(4096)) // the head
	f := m.open(t)
	keep, stats, err := f.SelectAll(context.Background(), 31)
	if err != nil {
		t.Fatal(err)
	}
	// 64 struct pages are in a page; pages of the dump that are missing are two.
	if stats.Pages[Unknown] != 64+512 || stats.Pages[Missing] != 2 || stats.Pages[Free] != 1024-64 {
		t.Errorf("%v", stats)
	}
	if !keep.Has(1088) || !keep.Has(4500) || keep.Has(1200) || keep.Has(1024) {
		t.Error("pages whose struct page is missing must stay, the others of the block must go")
	}
	if g := fmt.Sprint(f.Gaps()); len(f.Gaps()) == 0 {
		t.Errorf("gaps %s", g)
	}
}

// A scan may begin anywhere: the answers are the same.
func cutAnywhere(t *testing.T, f *Filter, rnd *rand.Rand, pages uint64) {
	t.Helper()
	ctx := context.Background()
	var whole dumpfmt.PageSet
	var stats Stats
	if err := f.Select(ctx, MaxLevel, 0, pages, &whole, &stats); err != nil {
		t.Fatal(err)
	}
	var cut dumpfmt.PageSet
	var sum Stats
	for from := uint64(0); from < pages; {
		to := min(from+1+rnd.Uint64N(pages/4), pages)
		if err := f.Select(ctx, MaxLevel, from, to, &cut, &sum); err != nil {
			t.Fatal(err)
		}
		from = to
	}
	if stats != sum {
		t.Fatalf("in one scan %v, cut %v", stats, sum)
	}
	if !slices.Equal(slices.Collect(whole.All()), slices.Collect(cut.All())) {
		t.Fatal("other pages stay if the scan is cut")
	}
	if stats.Kept() != whole.Len() || stats.RAM() != pages {
		t.Fatalf("counts %v do not fit %d pages that stay", stats, whole.Len())
	}
}

func TestCuts(t *testing.T) {
	m := newMachine(t, "6.12")
	r := m.r
	rnd := rand.New(rand.NewPCG(3, 4))
	for pfn := uint64(0); pfn < machinePages; {
		order := rnd.Uint64N(11)
		for pfn&(1<<order-1) != 0 || pfn+1<<order > machinePages {
			order--
		}
		switch rnd.IntN(5) {
		case 0:
			m.buddy(pfn, order)
		case 1:
			if order > 0 {
				m.compound(pfn, order, r.page(r.lru|r.head, anonOf, none, 9, 0), false)
			} else {
				m.set(pfn, r.page(r.lru, anonOf, 0, 1, 0))
			}
		case 2:
			if order > 0 {
				m.compound(pfn, order, r.page(r.head, anonOf, r.slab, 1, 0), false)
			} else {
				m.set(pfn, r.page(0, anonOf, r.slab, 1, 0))
			}
		case 3:
			m.fill(pfn, pfn+1<<order, r.page(r.lru, spaceOf, none, 2, 0))
		default:
			m.fill(pfn, pfn+1<<order, r.page(0, 0, none, 1, 0))
		}
		pfn += 1 << order
	}
	f := m.open(t)
	for range 20 {
		cutAnywhere(t, f, rnd, machinePages)
	}
}

// FuzzScan puts any bytes in place of struct pages.
func FuzzScan(f *testing.F) {
	r := releases["6.12"]
	seed := slices.Concat(r.page(0, 0, r.buddy, 0, 2), r.page(0, 0, none, 0, 0), r.page(r.head|r.lru, anonOf, none, 2, 0), r.behind(false))
	f.Add(seed, uint64(1))
	f.Add(bytesOf(0xff), uint64(2))
	f.Add(slices.Concat(r.page(0, 0, r.buddy, 0, 10), bytesOf(1), r.page(0, 0, none, 0, 0)), uint64(3))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		m := newMachine(t, "6.12")
		rnd := rand.New(rand.NewPCG(seed, 1))
		if len(b) > 4096 {
			b = b[:4096]
		}
		for len(b) > 0 {
			n := min(len(b), 64)
			m.Write(m.at(rnd.Uint64N(512)), b[:n]) // close together, so that they meet
			b = b[n:]
		}
		cutAnywhere(t, m.open(t), rnd, 1024)
	})
}

// A kernel that is not understood keeps all.
func TestKeepAll(t *testing.T) {
	m := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
	f, err := Open(m.View())
	if err != nil {
		t.Fatal(err)
	}
	keep, stats, err := f.SelectAll(context.Background(), 31)
	if err != nil || keep.Len() != machinePages || stats.Pages[Unknown] != machinePages {
		t.Errorf("%d pages stay, %v; want all", keep.Len(), err)
	}
	if g := f.Gaps(); len(g) != 1 || !errors.Is(g[0].Err, errUnknown) {
		t.Errorf("gaps %v; want why", g)
	}
	if err := f.DropVmemmap(context.Background(), keep, nil); !errors.Is(err, ErrNoVmemmap) {
		t.Errorf("DropVmemmap = %v", err)
	}
}

func TestCancel(t *testing.T) {
	m := newMachine(t, "6.12")
	m.fill(0, 64, m.r.page(0, 0, none, 1, 0))
	f := m.open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := f.SelectAll(ctx, 31); !errors.Is(err, context.Canceled) {
		t.Errorf("SelectAll = %v; want that it was cancelled", err)
	}
	if _, err := Open(m.ViewContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v; want that it was cancelled", err)
	}
}

// Pages of struct pages go if nothing that they describe stays.
func TestDropVmemmap(t *testing.T) {
	m := newMachine(t, "6.12")
	r := m.r
	m.fill(0, machinePages, r.page(0, 0, none, 1, 0))
	m.buddy(1024, 10)
	m.buddy(4096, 8)
	m.buddy(8192+32, 5) // half of what a page describes
	f := m.open(t)
	keep, stats, err := f.SelectAll(context.Background(), 16)
	if err != nil {
		t.Fatal(err)
	}
	before := keep.Len()
	if err := f.DropVmemmap(context.Background(), keep, &stats); err != nil {
		t.Fatal(err)
	}
	if want := uint64(1024/64 + 256/64); stats.Vmemmap != want || before-keep.Len() != want || stats.Kept() != keep.Len() {
		t.Errorf("%d pages went; want %d", before-keep.Len(), want)
	}
	if keep.Has(uint64(m.at(1024)-kerneltest.Base)/4096) || !keep.Has(uint64(m.at(0)-kerneltest.Base)/4096) || !keep.Has(uint64(m.at(8192)-kerneltest.Base)/4096) {
		t.Error("the wrong ones")
	}
}

func BenchmarkSelect(b *testing.B) {
	m := newMachine(b, "6.12")
	r := m.r
	m.fill(0, machinePages, r.page(r.lru, spaceOf, none, 2, 0))
	m.fill(0, 4096, r.page(0, 0, none, 1, 0))
	m.buddy(8192, 10)
	f := m.open(b)
	b.SetBytes(machinePages * 64)
	for b.Loop() {
		if err := f.Select(context.Background(), 31, 0, machinePages, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// SelectAll is Select of the whole dump.
func (f *Filter) SelectAll(ctx context.Context, level int) (*dumpfmt.PageSet, Stats, error) {
	var keep dumpfmt.PageSet
	var stats Stats
	err := f.Select(ctx, level, 0, f.info.MaxPFN, &keep, &stats)
	return &keep, stats, err
}

// ClassOf is the class of one page.
func (f *Filter) ClassOf(ctx context.Context, pfn uint64) (Class, error) {
	s := f.newScan(MaxLevel, nil)
	if err := s.pages(ctx, pfn, pfn+1); err != nil {
		return Unknown, err
	}
	for c, n := range s.stats.Pages {
		if n != 0 {
			return Class(c), nil
		}
	}
	return Unknown, nil
}

// Understands reports whether pages of the class can be told from others on this kernel.
func (f *Filter) Understands(c Class) bool { return f.layout != nil && f.layout.can[c] }
