package flattened

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
)

// memory is a file in memory that takes at most room bytes, if that is not 0.
type memory struct {
	b    []byte
	room int64
}

var errFull = errors.New("no space left on device")

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	end, err := off+int64(len(p)), error(nil)
	if m.room > 0 && end > m.room {
		end, err = m.room, errFull
	}
	if off >= end {
		return 0, err
	}
	if end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[off:end], p), err
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, off) }

func image() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62) }

func TestRearrange(t *testing.T) {
	for _, size := range []int{100, 4096, 100000, 300000} {
		want := dumptest.Kdump{Version: 6, Codecs: []uint32{0, 1}}.Build(image())
		flat := dumptest.Flatten(want, size)
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(flat), "halves": iotest.HalfReader(bytes.NewReader(flat)),
			"with EOF": iotest.DataErrReader(bytes.NewReader(flat))} {
			var out memory
			last := int64(0)
			n, err := Rearrange(t.Context(), r, &out, func(done int64) { last = done })
			if err != nil || !bytes.Equal(out.b, want) || n != int64(len(want)) {
				t.Errorf("records of %d, %s: %d bytes, %v; want the %d that were flattened", size, name, n, err, len(want))
			}
			if last > int64(len(flat)) {
				t.Errorf("progress says %d of %d", last, len(flat))
			}
		}
	}
}

// inOrderStream flattens a file as programs that write dumps do: from its start to its end, and the header once more.
func inOrderStream(file []byte, size int) []byte {
	var flat bytes.Buffer
	w, _ := NewWriter(&flat)
	for at := 0; at < len(file); at += size {
		w.WriteAt(file[at:min(at+size, len(file))], int64(at))
	}
	w.WriteAt(file[:100], 0)
	w.Close()
	return flat.Bytes()
}

// TestRearrangeOverlaps writes records that overlap in all ways: the later one wins.
func TestRearrangeOverlaps(t *testing.T) {
	records := []struct{ at, n int }{{0, 100}, {100, 100}, {50, 10}, {200, 50}, {190, 20}, {0, 5}, {600, 10}, {400, 10}, {800, 10}, {1000, 10}, {1200, 10},
		{0, 600 << 10}, {300 << 10, 20}, {600 << 10, 1000}, {598 << 10, 3000}, {1 << 10, 1 << 20}, {5, 3}}
	var flat bytes.Buffer
	w, err := NewWriter(&flat)
	if err != nil {
		t.Fatal(err)
	}
	var want, got memory
	for i, r := range records {
		b := bytes.Repeat([]byte{byte(i + 1)}, r.n)
		w.WriteAt(b, int64(r.at))
		want.WriteAt(b, int64(r.at))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rearrange(t.Context(), &flat, &got, nil); err != nil || !bytes.Equal(got.b, want.b) {
		t.Errorf("Rearrange: other bytes, or %v", err)
	}
}

// TestRearrangeTruncated cuts the stream at many places: an error, and what came is readable or says that it is incomplete.
func TestRearrangeTruncated(t *testing.T) {
	im := image()
	flat := inOrderStream(dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im), 5000)
	for cut := 0; cut < len(flat); cut += 1 + cut/100 {
		var out memory
		if _, err := Rearrange(t.Context(), bytes.NewReader(flat[:cut]), &out, nil); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut at %d: error = %v; want that it is truncated", cut, err)
		}
		checkIncomplete(t, im, out.b)
	}
	damaged := bytes.Clone(flat)
	binary.BigEndian.PutUint64(damaged[headerSize+8:], 1<<63)
	if _, err := Rearrange(t.Context(), bytes.NewReader(damaged), &memory{}, nil); err == nil || errors.Is(err, ErrTruncated) {
		t.Errorf("a record that can't be: error = %v", err)
	}
	for _, bad := range []string{"KDUMP   ", "makedumpfile\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"} {
		b := append([]byte(bad), make([]byte, 5000)...)
		if _, err := Rearrange(t.Context(), bytes.NewReader(b), &memory{}, nil); err == nil {
			t.Errorf("%q was taken for a flattened dump", bad)
		}
	}
}

// TestRearrangeFull writes to a disk that gets full at many places.
func TestRearrangeFull(t *testing.T) {
	im := image()
	file := dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im)
	flat := inOrderStream(file, 5000)
	for room := int64(1); room < int64(len(file)); room += 1 + room/50 {
		out := memory{room: room}
		if _, err := Rearrange(t.Context(), bytes.NewReader(flat), &out, nil); !errors.Is(err, errFull) {
			t.Fatalf("room for %d: error = %v; want that the disk is full", room, err)
		}
		checkIncomplete(t, im, out.b)
	}
}

// checkIncomplete opens a dump that was cut short: no page may have bytes that it never had.
func checkIncomplete(t *testing.T, im *dumptest.Image, b []byte) {
	t.Helper()
	src, err := kdump.Open(t.Context(), []*dumpfmt.File{{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}})
	if err != nil {
		return
	}
	if !src.Info().Incomplete {
		t.Fatalf("%d bytes: the dump does not say that it is incomplete", len(b))
	}
	page := make([]byte, im.PageSize)
	for pfn, p := range im.Pages {
		if p.State != dumpfmt.Present || src.ReadPage(page, pfn) != nil {
			continue
		}
		if !bytes.Equal(page, p.Data) {
			t.Fatalf("%d bytes: page %#x has wrong bytes", len(b), pfn)
		}
	}
}

func TestRearrangeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		w.Write(make([]byte, 10))
		cancel()
	}()
	if _, err := Rearrange(ctx, r, &memory{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v; want that it was cancelled", err)
	}
}

func FuzzRearrange(f *testing.F) {
	f.Add(dumptest.Flatten([]byte("some bytes that are flattened"), 7))
	f.Add(dumptest.Flatten(bytes.Repeat([]byte("more"), 100), 50))
	im := image()
	for _, dump := range [][]byte{dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im), dumptest.ELF{}.Build(im)} {
		f.Add(dumptest.Flatten(dump[:32<<10], 6000)[:28<<10])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out := memory{room: 1 << 20}
		n, err := Rearrange(t.Context(), bytes.NewReader(b), &out, nil)
		if err != nil {
			opened(&dumpfmt.File{Name: "vmcore", Size: int64(len(out.b)), ReaderAt: bytes.NewReader(out.b)})
			return
		}
		file, err := Open(t.Context(), &dumpfmt.File{Name: "flat", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}, nil)
		if err != nil || file.Size != n || file.Incomplete {
			t.Fatalf("Rearrange says %d bytes, Open %v, %v", n, file, err)
		}
		want := make([]byte, n)
		if _, err := file.ReadFull(want, 0); err != nil || !bytes.Equal(want, out.b) {
			t.Fatalf("the same dump unfolds in two ways, or %v", err)
		}
	})
}
