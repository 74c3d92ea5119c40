package linear

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"kdx/dumpfmt"
)

const page = 4096

// file has n pages; each byte of page i is tag+i.
func file(tag byte, n, more int) *dumpfmt.File {
	var b []byte
	for i := range n {
		b = append(b, bytes.Repeat([]byte{tag + byte(i)}, page)...)
	}
	b = append(b, make([]byte, more)...)
	return &dumpfmt.File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
}

func TestMemory(t *testing.T) {
	info := &dumpfmt.Info{PageSize: page}
	m, err := New(info, []*dumpfmt.File{file('a', 6, 0), file('A', 2, 100)}, []Run{
		{Start: 0x100000, Size: 4 * page, Offset: 0, File: 1}, // two of them and a part are in the file
		{Start: 0, Size: 2 * page, Offset: 2 * page},
		{Start: 2 * page, Size: page, Offset: 4 * page}, // joins
		{Start: 2 * page, Size: 2 * page, Offset: 0},    // one page of it is known already
		{Start: 8 * page, Size: 2 * page, Zero: true},
		{Start: 0x200000},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]string{0: "c", 1: "d", 2: "e", 3: "b", 8: "zero", 9: "zero", 0x100: "A", 0x101: "B", 0x102: "unreadable", 0x103: "unreadable"}
	got := map[uint64]string{}
	each := func(pfn uint64, st dumpfmt.PageState, b []byte, err error) error {
		switch {
		case st == dumpfmt.Present:
			got[pfn] = string(b[:1])
			if n := bytes.Count(b, b[:1]); n != page {
				t.Errorf("page %#x has other bytes, too", pfn)
			}
		default:
			got[pfn] = st.String()
			var pe *dumpfmt.PageError
			if (st == dumpfmt.Unreadable) != errors.As(err, &pe) {
				t.Errorf("page %#x is %v, error %v", pfn, st, err)
			}
		}
		return nil
	}
	check := func(how string) {
		t.Helper()
		for pfn := range uint64(0x200) {
			if got[pfn] != want[pfn] {
				t.Errorf("%s: page %#x is %q; want %q", how, pfn, got[pfn], want[pfn])
			}
		}
		clear(got)
	}
	if err := m.ReadRange(t.Context(), 0, 1<<40, each); err != nil {
		t.Fatal(err)
	}
	check("ReadRange")
	buf := make([]byte, page)
	var count dumpfmt.Counts
	for pfn := range uint64(0x200) {
		if st := m.State(pfn); st != dumpfmt.Absent {
			count.Add(st, 1)
			if err := dumpfmt.ReadOne(m, buf, pfn, st, each); err != nil {
				t.Fatal(err)
			}
		}
	}
	check("ReadPage")
	if c, _ := m.Count(t.Context()); c.Present != count.Present || c.Zero != count.Zero || c.Unreadable != count.Unreadable {
		t.Errorf("Count = %+v; want %+v", c, count)
	}
	ranges := []dumpfmt.PhysRange{{Start: 0, End: 4 * page}, {Start: 8 * page, End: 10 * page}, {Start: 0x100000, End: 0x104000}}
	if !slices.Equal(info.Ranges, ranges) || info.MaxPFN != 0x104 || !info.Truncated {
		t.Errorf("Info = %+v", info)
	}
	if text := strings.Join(info.Warnings, "\n"); !strings.Contains(text, "twice") || !strings.Contains(text, "truncated") {
		t.Errorf("warnings: %s", text)
	}
}

func TestBad(t *testing.T) {
	for _, r := range []Run{{Start: 1, Size: page}, {Size: 17}, {Size: page, Offset: -1}, {Start: 1<<64 - page, Size: 2 * page}, {Size: page, File: 1}} {
		if _, err := New(&dumpfmt.Info{PageSize: page}, []*dumpfmt.File{file('a', 1, 0)}, []Run{r}); err == nil {
			t.Errorf("New(%+v) = nil; want an error", r)
		}
	}
}

type broken struct{ io.ReaderAt }

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("disk on fire") }

func TestReadError(t *testing.T) {
	f := file('a', 4, 0)
	f.ReaderAt = broken{}
	m, err := New(&dumpfmt.Info{PageSize: page}, []*dumpfmt.File{f}, []Run{{Size: 4 * page}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = m.ReadRange(context.Background(), 0, 4, func(_ uint64, st dumpfmt.PageState, _ []byte, err error) error {
		if st == dumpfmt.Unreadable && strings.Contains(err.Error(), "disk on fire") {
			n++
		}
		return nil
	})
	if err != nil || n != 4 {
		t.Errorf("%d pages with the disk's error, %v; want 4", n, err)
	}
}
