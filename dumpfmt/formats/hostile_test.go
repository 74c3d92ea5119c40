package formats_test

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
)

// TestLargestBitmaps opens a file that claims 2^40 pages and is large enough for their bitmaps, all in a hole: what isn't
// there must cost nothing. The test's own timeout is its measure.
func TestLargestBitmaps(t *testing.T) {
	b := dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(targets[0].image())
	binary.LittleEndian.PutUint32(b[436:], 2<<25) // blocks of both bitmaps
	binary.LittleEndian.PutUint64(b[4096+96:], 1<<40)
	path := dumptest.File(t, "vmcore", b)
	if err := os.Truncate(path, 1<<38+1<<30); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	start := time.Now()
	im, err := formats.Open(t.Context(), []string{path}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Count(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("opened and counted in %v", time.Since(start))
	if im.Info().MaxPFN != 1<<40 {
		t.Errorf("MaxPFN = %#x; want 2^40", im.Info().MaxPFN)
	}
}
