package dumptest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"kdx/dumpfmt"
)

// File writes a dump into the test's directory and returns its path.
func File(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Check compares every page of an open dump with the image. An ELF dump can't tell zero from excluded pages, so both
// are ZeroOrExcluded there.
func Check(t testing.TB, im *Image, got *dumpfmt.Image) {
	t.Helper()
	elf := got.Info().Format == "elf"
	for pfn := range im.MaxPFN + 2 {
		p, ok := im.Pages[pfn]
		want := p.State
		switch {
		case !ok:
			want = dumpfmt.Absent
		case elf && want != dumpfmt.Present:
			want = dumpfmt.ZeroOrExcluded
		}
		if st := got.State(pfn); st != want {
			t.Fatalf("State(%#x) = %v; want %v", pfn, st, want)
		}
		page, err := got.Page(pfn)
		if !want.Readable() {
			var pe *dumpfmt.PageError
			if !errors.As(err, &pe) || pe.State != want || pe.PFN != pfn {
				t.Fatalf("Page(%#x) error = %v; want a PageError that says %v", pfn, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("Page(%#x) error = %v", pfn, err)
		}
		data := p.Data
		if data == nil {
			data = make([]byte, im.PageSize)
		}
		if !bytes.Equal(page, data) {
			t.Fatalf("Page(%#x) has other bytes than the image", pfn)
		}
	}
	checkScan(t, im, got)
}

// checkScan holds Scan against the states that were checked before.
func checkScan(t testing.TB, im *Image, got *dumpfmt.Image) {
	t.Helper()
	var mu sync.Mutex
	seen := 0
	err := got.Scan(t.Context(), func(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
		mu.Lock()
		defer mu.Unlock()
		seen++
		if want := got.State(pfn); st != want || (err != nil) != (want == dumpfmt.Unreadable) || (page != nil) != want.Readable() {
			t.Errorf("Scan: page %#x is %v with %d bytes, %v; want %v", pfn, st, len(page), err, want)
		}
		data := im.Pages[pfn].Data
		if data == nil {
			data = make([]byte, im.PageSize)
		}
		if page != nil && !bytes.Equal(page, data) {
			t.Errorf("Scan: page %#x has other bytes than the image", pfn)
		}
		return nil
	})
	if err != nil || seen != len(im.Pages) {
		t.Errorf("Scan saw %d pages, error = %v; want %d", seen, err, len(im.Pages))
	}
}
