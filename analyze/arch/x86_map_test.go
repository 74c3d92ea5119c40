package arch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// seen writes down what a Mapper tells, and goes down into each table once.
type seen struct {
	tables map[dumpfmt.Phys]bool
	got    []string
}

func (s *seen) Table(va, size uint64, at dumpfmt.Phys) bool {
	if s.tables[at] {
		return false
	}
	s.tables[at] = true
	s.got = append(s.got, fmt.Sprintf("table %#x of %#x+%#x", uint64(at), va, size))
	return true
}

func (s *seen) Leaf(va, size uint64, at dumpfmt.Phys) {
	s.got = append(s.got, fmt.Sprintf("%#x+%#x -> %#x", va, size, uint64(at)))
}

func (s *seen) Broken(va uint64, err error) {
	s.got = append(s.got, fmt.Sprintf("broken at %#x", va))
}

func mappings(t *testing.T, a Arch) []string {
	t.Helper()
	s := &seen{tables: map[dumpfmt.Phys]bool{}}
	if err := a.Kernel().(vmem.Mapper).Mappings(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	return s.got
}

func TestMappings(t *testing.T) {
	const pgd = 0x2001000
	r := newRAM()
	r.put(pgd, 0x9000|0x67) // of a task: not the kernel's
	r.put(pgd+index(va, 39), 0x3000|0x63)
	r.put(0x3000+index(va, 30), 0x4000|0x63)
	r.put(0x3000+index(va, 30)+8, 0x40000000|0xe3) // 1 GiB
	r.put(0x3000+index(va, 30)+16, 0x4000|0x63)    // the same table again
	r.put(0x3000+index(va, 30)+24, 0x8000|0x63)    // not in the dump
	r.put(0x4000+index(va, 21), 0x5000|0x63)
	r.put(0x4000+index(va, 21)+8, 0x200000|0x10e3) // 2 MiB, with the PAT bit
	r.put(0x5000+index(va, 12), 0x7000|1<<63|0x63)
	want := []string{
		"table 0x2001000 of 0x0+0x0",
		"table 0x3000 of 0xffffc90000000000+0x8000000000",
		"table 0x4000 of 0xffffc90000000000+0x40000000",
		"table 0x5000 of 0xffffc90000000000+0x200000",
		"0xffffc90000123000+0x1000 -> 0x7000",
		"0xffffc90000200000+0x200000 -> 0x200000",
		"0xffffc90040000000+0x40000000 -> 0x40000000",
		"table 0x8000 of 0xffffc900c0000000+0x40000000",
		"broken at 0xffffc900c0000000",
	}
	if got := mappings(t, open(t, r, base4)); !slices.Equal(got, want) {
		t.Errorf("Mappings gave\n%q; want\n%q", got, want)
	}
}

func TestMappings5(t *testing.T) {
	const pgd, high = 0x2001000, 0xffa0000000123000
	r := newRAM()
	r.put(pgd+index(high, 48), 0x3000|0x63)
	r.put(0x3000+index(high, 39), 0x4000|0x63)
	r.put(0x4000+index(high, 30), 0x5000|0x63)
	r.put(0x5000+index(high, 21), 0x6000|0x63)
	r.put(0x6000+index(high, 12), 0x7000|0x63)
	got := mappings(t, open(t, r, base4+"NUMBER(pgtable_l5_enabled)=1\n"))
	if len(got) != 6 || got[5] != "0xffa0000000123000+0x1000 -> 0x7000" {
		t.Errorf("Mappings gave %q", got)
	}
}

// Tables that point to themselves end, and so does who is no longer asked.
func TestMappingsLoop(t *testing.T) {
	const pgd = 0x2001000
	r := newRAM()
	for i := uint64(0); i < 512; i++ {
		r.put(pgd+i*8, pgd|0x63)
	}
	if got := mappings(t, open(t, r, base4)); len(got) != 1 {
		t.Errorf("Mappings gave %d answers; want the table alone", len(got))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := open(t, r, base4).Kernel().(vmem.Mapper).Mappings(ctx, &seen{tables: map[dumpfmt.Phys]bool{}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Mappings = %v; want that it was cancelled", err)
	}
}
