package scrub

import (
	"bytes"
	"testing"
)

func TestMarks(t *testing.T) {
	m := newMarks(4096)
	m.add(1, 10, 20, Fill)
	m.add(1, 15, 30, Fill)
	m.add(1, 28, 40, 0)
	m.add(1, 50, 58, 0)
	m.add(1, 60, 60, Fill)
	m.phys(3*4096-2, 4, Fill)
	m.add(5, 0, 4096, Fill)
	m.add(5, 1, 2, 0)
	if m.addNew(1, 16, 25) || m.addNew(5, 1, 2) || !m.addNew(1, 100, 101) || m.page(5) || !m.page(6) {
		t.Error("what is new and what is not are mixed up")
	}
	if err := m.freeze(); err != nil {
		t.Fatal(err)
	}
	page := func(pfn uint64) []byte {
		p := bytes.Repeat([]byte{'.'}, 4096)
		if m.apply(pfn, p) != m.touched.Has(pfn) {
			t.Errorf("page %d: what apply says is not what it does", pfn)
		}
		return p
	}
	p := page(1)
	want := bytes.Repeat([]byte{'.'}, 4096)
	fill(want[10:30], 'X')
	fill(want[30:40], 0)
	fill(want[50:58], 0)
	want[100] = 'X'
	if !bytes.Equal(p, want) {
		t.Errorf("page 1 is %q; want %q", p[:110], want[:110])
	}
	if p := page(2); string(p[4094:]) != "XX" || p[4093] != '.' {
		t.Errorf("page 2 ends %q", p[4090:])
	}
	if p := page(3); string(p[:3]) != "XX." {
		t.Errorf("page 3 begins %q", p[:4])
	}
	if page(4)[0] != '.' || page(5)[1] != 'X' || page(6)[4095] != 'X' {
		t.Error("whole pages")
	}
}

// TestManyMarks: parts that touch are one, however many they were.
func TestManyMarks(t *testing.T) {
	m := newMarks(4096)
	for i := range uint64(2048) {
		m.add(1, i*2, i*2+1, Fill)
		m.add(2, i, i+1, Fill)
	}
	if err := m.freeze(); err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4096)
	m.apply(1, page)
	if n := bytes.Count(page, []byte{Fill}); n != 2048 || m.whole.Has(1) || len(m.parts[2]) != 1 {
		t.Errorf("page 1 has %d bytes erased; page 2 is in %d parts", n, len(m.parts[2]))
	}
}

func TestTooManyMarks(t *testing.T) {
	m := newMarks(4096)
	m.count = maxParts
	if !m.addNew(7, 1, 2) || !m.whole.Has(7) || m.freeze() != nil {
		t.Error("a match beyond the bound does not take its page with it")
	}
	m.add(8, 1, 2, Fill)
	if m.whole.Has(8) || m.freeze() == nil {
		t.Error("what is beyond the bound is no error")
	}
}
