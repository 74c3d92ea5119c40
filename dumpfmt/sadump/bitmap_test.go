package sadump

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kdx/dumpfmt"
)

func TestBitmap(t *testing.T) {
	const pages = 3*chunkPages + 21
	raw := make([]byte, (pages+7)/8)
	want := map[uint64]bool{}
	set := func(pfn uint64) {
		raw[pfn/8] |= 0x80 >> (pfn % 8)
		want[pfn] = true
	}
	for pfn := uint64(5); pfn < 100; pfn++ {
		set(pfn)
	}
	set(chunkPages - 1)
	for pfn := uint64(2 * chunkPages); pfn < pages; pfn++ {
		set(pfn)
	}
	raw[len(raw)-1] |= 7 // bits of no page
	b, err := readBitmap(&dumpfmt.File{Size: int64(len(raw)), ReaderAt: bytes.NewReader(raw)}, 0, pages)
	if err != nil {
		t.Fatal(err)
	}
	b.count()
	rank := uint64(0)
	for pfn := range uint64(4 * chunkPages) {
		if b.has(pfn) != want[pfn] {
			t.Fatalf("has(%#x) = %v", pfn, b.has(pfn))
		}
		if !want[pfn] {
			continue
		}
		if got := b.rank(pfn); got != rank {
			t.Fatalf("rank(%#x) = %d; want %d", pfn, got, rank)
		}
		rank++
	}
	got := ""
	b.runs(pages, func(from, to uint64) { got += fmt.Sprintf(" %#x-%#x", from, to) })
	if wantRuns := fmt.Sprintf(" 0x5-0x64 %#x-%#x %#x-%#x", chunkPages-1, chunkPages, 2*chunkPages, pages); got != wantRuns {
		t.Errorf("runs:%s; want%s", got, wantRuns)
	}
	if last, ok := b.last(&b); !ok || last != pages-1 || !b.within(&b) {
		t.Errorf("last = %#x, %v", last, ok)
	}
}

// TestHole: bitmaps of 16 TiB in a hole of the file cost nothing.
func TestHole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hole")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxBitmap); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	f, err := dumpfmt.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begin := time.Now()
	b, err := readBitmap(f, 0, maxBitmap*8)
	if err != nil {
		t.Fatal(err)
	}
	b.count()
	b.runs(maxBitmap*8, func(uint64, uint64) { t.Error("a page") })
	t.Logf("%v", time.Since(begin))
}
