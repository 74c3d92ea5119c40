package dumpfmt

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// mappedFile is a file of so many random bytes, and those.
func mappedFile(t *testing.T, size int) (*mapped, []byte) {
	t.Helper()
	want := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(want); i += 7 {
		want[i] = byte(r.Uint32())
	}
	path := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := newMapped(f, int64(size))
	t.Cleanup(func() { m.Close() })
	return m, want
}

func TestMapped(t *testing.T) {
	// More windows than stay mapped, and an end within a page, which can't be mapped.
	m, want := mappedFile(t, (mapWindows+4)*mapWindow+12345)
	var all sync.WaitGroup
	for seed := range uint64(4) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 9))
			buf := make([]byte, 3*mapWindow)
			for range 150 {
				off := r.IntN(len(want))
				p := buf[:1+r.IntN(1<<r.IntN(22))]
				p = p[:min(len(p), len(buf))]
				n, err := m.ReadAt(p, int64(off))
				wantN := min(len(p), len(want)-off)
				if n != wantN || (err == nil) != (n == len(p)) || err != nil && err != io.EOF || !bytes.Equal(p[:n], want[off:off+n]) {
					t.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
				}
			}
		})
	}
	all.Wait()
	if len(m.windows) > mapWindows || len(m.windows) == 0 {
		t.Errorf("%d windows stay mapped", len(m.windows))
	}
	if _, err := m.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a byte in front of the file can be read")
	}
}

// TestMappedFault reads memory that is not there behind its mapping: that is an error of this part, and no more.
func TestMappedFault(t *testing.T) {
	m, want := mappedFile(t, 2*mapWindow)
	p := make([]byte, 4096)
	if _, err := m.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Truncate(mapWindow / 2); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(p, mapWindow/2); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
	if n, err := m.ReadAt(p, mapWindow/2-4096); n != len(p) || err != nil || !bytes.Equal(p, want[mapWindow/2-4096:][:4096]) {
		t.Errorf("in front of it: %d, %v", n, err)
	}
}

// TestMappedRefused reads a file that can't be mapped, as /proc/kcore.
func TestMappedRefused(t *testing.T) {
	f, err := OpenFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, ok := f.ReaderAt.(*mapped)
	if !ok {
		t.Fatalf("a file of /proc is read by a %T", f.ReaderAt)
	}
	m.size = 1 << 20 // /proc/self/status does not say
	p := make([]byte, 5)
	for range 10 {
		if n, err := m.ReadAt(p, 0); n != 5 || err != nil || string(p) != "Name:" {
			t.Fatalf("%q, %v", p[:n], err)
		}
	}
	if m.refused != mapRefusals {
		t.Errorf("it was tried %d times; want %d", m.refused, mapRefusals)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := m.ReadAt(p, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
