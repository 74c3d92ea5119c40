package search_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/search"
	"kdx/analyze/vmem"

	"github.com/google/go-cmp/cmp"
)

const base = uint64(kerneltest.Base)

// find runs a query over pages 16 to 1040 of a machine, by their addresses in the direct map.
func find(t *testing.T, m *kerneltest.Machine, q search.Query) ([]search.Hit, search.Missed) {
	t.Helper()
	v := m.View()
	extents := search.Physical(v, 16*4096, 1040*4096-1)
	for i := range extents {
		extents[i].Addr += base
	}
	var missed search.Missed
	var out []search.Hit
	for h, err := range search.Run(v, q, extents, &missed) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h)
	}
	return out, missed
}

func TestValues(t *testing.T) {
	m := kerneltest.New(t, "")
	at := func(off uint64) vmem.Addr { return kerneltest.Base + vmem.Addr(off) }
	m.Word(at(0x10000), 0x1234)
	m.Word(at(0x10ff8), 0xdeadbeef00001234)
	m.Word(at(0x11004), 0x1234)  // not at a multiple of eight
	m.Word(at(0x200000), 0x1234) // in another job
	m.Word(at(0x200008), 0xabcd) //
	m.Word(at(0x500000), 0x1234) // behind the range
	m.Word(at(0xf000), 0x1234)   // before it
	m.Word(at(0x300000), 0x1200) // equal under a mask
	for _, c := range []struct {
		name string
		q    search.Query
		want []search.Hit
	}{
		{"words", search.Query{Unit: 8, Values: []uint64{0x1234}}, []search.Hit{{base + 0x10000, 0x1234, 0}, {base + 0x200000, 0x1234, 0}}},
		{"two", search.Query{Unit: 8, Values: []uint64{0xabcd, 0x1234}},
			[]search.Hit{{base + 0x10000, 0x1234, 1}, {base + 0x200000, 0x1234, 1}, {base + 0x200008, 0xabcd, 0}}},
		{"mask", search.Query{Unit: 8, Values: []uint64{0x12ff}, Mask: 0xff},
			[]search.Hit{{base + 0x10000, 0x1234, 0}, {base + 0x200000, 0x1234, 0}, {base + 0x300000, 0x1200, 0}}},
		{"32 bits", search.Query{Unit: 4, Values: []uint64{0x1234}},
			[]search.Hit{{base + 0x10000, 0x1234, 0}, {base + 0x10ff8, 0x1234, 0}, {base + 0x11004, 0x1234, 0}, {base + 0x200000, 0x1234, 0}}},
		{"16 bits", search.Query{Unit: 2, Values: []uint64{0xdead}}, []search.Hit{{base + 0x10ffe, 0xdead, 0}}},
		{"none", search.Query{Unit: 8, Values: []uint64{0x77}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, missed := find(t, m, c.q)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if missed != (search.Missed{}) {
				t.Errorf("missed %+v; want nothing", missed)
			}
		})
	}
}

// TestZero: pages of zeros are looked at only for what they can match.
func TestZero(t *testing.T) {
	got, _ := find(t, kerneltest.New(t, ""), search.Query{Unit: 8, Values: []uint64{0}})
	if len(got) != 1024*512 {
		t.Errorf("%d words of zero; want %d", len(got), 1024*512)
	}
}

// TestStrings finds them within pages, over the edges of pages, and over those of what one goroutine reads.
func TestStrings(t *testing.T) {
	m := kerneltest.New(t, "")
	for _, off := range []uint64{0x10010, 0x11ffd, 0x200000 - 3, 0x300ff0} {
		m.Write(kerneltest.Base+vmem.Addr(off), []byte("needle"))
	}
	m.Write(kerneltest.Base+0x40000, []byte("nanana"))
	got, _ := find(t, m, search.Query{Strings: []string{"needle", "nana", "eed"}})
	var at []search.Hit
	for _, off := range []uint64{0x10010, 0x11ffd} {
		at = append(at, search.Hit{Addr: base + off}, search.Hit{Addr: base + off + 1, Which: 2})
	}
	at = append(at, search.Hit{Addr: base + 0x40000, Which: 1}, search.Hit{Addr: base + 0x40002, Which: 1})
	for _, off := range []uint64{0x200000 - 3, 0x300ff0} {
		at = append(at, search.Hit{Addr: base + off}, search.Hit{Addr: base + off + 1, Which: 2})
	}
	if d := cmp.Diff(at, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestMissed(t *testing.T) {
	m := kerneltest.New(t, "")
	m.Word(kerneltest.Base+0x12000, 0x1234)
	m.Exclude(kerneltest.Base + 0x12000)
	m.Exclude(kerneltest.Base + 0x250000)
	got, missed := find(t, m, search.Query{Unit: 8, Values: []uint64{0x1234}})
	if len(got) > 0 {
		t.Errorf("hits %v on a page that is not there", got)
	}
	want := search.Missed{Excluded: 2, FirstLeft: base + 0x12000}
	if missed != want {
		t.Errorf("missed %+v; want %+v", missed, want)
	}
	v := m.View()
	missed.Report(v)
	gaps, _ := v.Gaps()
	if len(gaps) != 1 || !strings.Contains(gaps[0].String(), "2 pages are not in the dump") {
		t.Errorf("gaps %v; want one that counts 2 pages", gaps)
	}
}

// TestStop: who has seen enough leaves no goroutine behind.
func TestStop(t *testing.T) {
	m := kerneltest.New(t, "")
	v := m.View()
	var missed search.Missed
	n := 0
	for range search.Run(v, search.Query{Unit: 8, Values: []uint64{0}}, search.Physical(v, 0, ^uint64(0)), &missed) {
		if n++; n == 10 {
			break
		}
	}
	if n != 10 {
		t.Errorf("%d hits; want 10", n)
	}
}

// TestVirtual passes over what is not mapped, and joins what lies side by side.
func TestVirtual(t *testing.T) {
	v := kerneltest.New(t, "").View()
	var missed search.Missed
	got, err := search.Virtual(v, v.Arch().Kernel(), base+0x1800, base+0x5fff, &missed)
	if err != nil {
		t.Fatal(err)
	}
	want := []search.Extent{{Addr: base + 0x1800, Phys: 0x1800, Len: 0x4800}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got, err := search.Virtual(v, v.Arch().Kernel(), 0x1000, 0x2fff, &missed); err != nil || got != nil {
		t.Errorf("of addresses that are not mapped: %v, %v", got, err)
	}
}
