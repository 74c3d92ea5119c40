package lime

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

func openBytes(t testing.TB, b []byte) (*dumpfmt.Image, error) {
	f := &dumpfmt.File{Name: "image", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
	src, err := Open(t.Context(), f, Config{})
	if err != nil {
		return nil, err
	}
	return dumpfmt.NewImage(src, dumpfmt.Options{}), nil
}

func mustOpen(t testing.TB, b []byte) *dumpfmt.Image {
	t.Helper()
	im, err := openBytes(t, b)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func small() *dumptest.Image {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62).Plain()
	for pfn, p := range im.Pages {
		p.State = dumpfmt.Present
		im.Pages[pfn] = p
	}
	return im
}

func TestRead(t *testing.T) {
	for _, l := range []dumptest.LiME{{}, {Pages: 7}, {AVML: true}, {AVML: true, Pages: 3}, {AVML: true, Pages: 50}} {
		t.Run(fmt.Sprintf("%+v", l), func(t *testing.T) {
			im := small()
			got := mustOpen(t, l.Build(im))
			dumptest.Check(t, im, got)
			info := got.Info()
			if want := map[bool]string{false: "lime", true: "avml"}[l.AVML]; info.Format != want || info.Incomplete || len(info.Warnings) > 0 || info.Machine != dumpfmt.MachineX86_64 {
				t.Errorf("Info = %+v", info)
			}
		})
	}
}

// TestPartOfPage reads memory that ends inside a page, as firmware reports it.
func TestPartOfPage(t *testing.T) {
	for _, avml := range []bool{false, true} {
		im := small()
		last := im.Pages[im.MaxPFN-1].Data
		clear(last[len(last)-100:])
		got := mustOpen(t, dumptest.LiME{AVML: avml, Tail: 100}.Build(im))
		dumptest.Check(t, im, got)
		if c, err := got.Count(t.Context()); err != nil || c.Present != uint64(len(im.Pages)) {
			t.Errorf("Count() = %+v, %v", c, err)
		}
	}
}

func TestTruncated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	im := small()
	for _, l := range []dumptest.LiME{{Pages: 20}, {AVML: true, Pages: 20}} {
		b := l.Build(im)
		for range 60 {
			n := headerSize + rnd.IntN(len(b)-headerSize-9)
			got := mustOpen(t, b[:n])
			present := 0
			for pfn, p := range im.Pages {
				page, err := got.Page(pfn)
				if (err == nil) != got.State(pfn).Readable() || err == nil && !bytes.Equal(page, p.Data) {
					t.Fatalf("%+v cut at %d: page %#x is %v, %v", l, n, pfn, got.State(pfn), err)
				}
				if err == nil {
					present++
				}
			}
			if c, err := got.Count(t.Context()); err != nil || c.Present != uint64(present) {
				t.Errorf("Count() = %+v, %v; want %d", c, err, present)
			}
			if present < len(im.Pages) && !got.Info().Incomplete && got.State(im.MaxPFN-1) != dumpfmt.Absent {
				t.Errorf("cut at %d: not incomplete", n)
			}
			if !l.AVML && n < len(b)/2 && present*4096 < n-200000 {
				t.Errorf("cut at %d: only %d pages", n, present)
			}
		}
	}
}

// TestDamaged flips bits of packed memory: no page is delivered with other bytes than it had.
func TestDamaged(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	im := small()
	b := dumptest.LiME{AVML: true, Pages: 20}.Build(im)
	for range 80 {
		bad := bytes.Clone(b)
		at := rnd.IntN(len(b))
		if i := bytes.LastIndex(b[:min(len(b), at+4)], []byte("AVML")); at < i+headerSize {
			continue // a range that is elsewhere then can't be told from a good one
		}
		bad[at] ^= 1 << rnd.IntN(8)
		got := mustOpen(t, bad)
		for pfn, p := range im.Pages {
			if page, err := got.Page(pfn); err == nil && !bytes.Equal(page, p.Data) {
				t.Fatalf("flip at %d: page %#x has wrong bytes", at, pfn)
			}
		}
	}
}

func TestWrite(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	var out dumptest.Buffer
	w, err := NewPageWriter(&out, WriterConfig{Info: im.Info(), Pages: im.Kept()})
	if err != nil {
		t.Fatal(err)
	}
	im.Put(t, w, true)
	for pfn, p := range im.Pages {
		if p.State == dumpfmt.Excluded {
			delete(im.Pages, pfn)
		}
	}
	want := im.Plain()
	for pfn, p := range want.Pages {
		p.State = dumpfmt.Present
		want.Pages[pfn] = p
	}
	got := mustOpen(t, out.B)
	dumptest.Check(t, want, got)
	if got.Info().Incomplete {
		t.Error("Incomplete is set")
	}
}

// TestLongRange writes a range whose header lies behind what was written already.
func TestLongRange(t *testing.T) {
	info := small().Info()
	var set dumpfmt.PageSet
	set.AddRange(3, 1003)
	var out dumptest.Buffer
	w, err := NewPageWriter(&out, WriterConfig{Info: info, Pages: &set})
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4096)
	for pfn := range set.All() {
		page[0] = byte(pfn)
		if err := w.Put(dumpfmt.Stored{PFN: pfn, Data: page, Missing: pfn == 700}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := mustOpen(t, out.B)
	for pfn := range uint64(1010) {
		want := dumpfmt.Absent
		if pfn >= 3 && pfn < 1003 && pfn != 700 {
			want = dumpfmt.Present
		}
		p, _ := got.Page(pfn)
		if st := got.State(pfn); st != want || st == dumpfmt.Present && p[0] != byte(pfn) {
			t.Fatalf("page %d is %v; want %v", pfn, st, want)
		}
	}
}

func FuzzLiME(f *testing.F) {
	im := small()
	for _, l := range []dumptest.LiME{{Pages: 1}, {AVML: true, Pages: 2}, {AVML: true, Pages: 30}} {
		b := l.Build(im)
		f.Add(b[:min(len(b), 9000)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := openBytes(t, b)
		if err != nil {
			return
		}
		if _, err := got.Count(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range got.Info().Ranges[:min(100, len(got.Info().Ranges))] {
			for _, pfn := range []uint64{uint64(r.Start) >> 12, uint64(r.End-1) >> 12, uint64(r.End) >> 12} {
				if _, err := got.Page(pfn); err == nil && !got.State(pfn).Readable() {
					t.Fatalf("page %#x is %v and can be read", pfn, got.State(pfn))
				}
			}
		}
		n := 0
		got.Scan(t.Context(), func(uint64, dumpfmt.PageState, []byte, error) error {
			if n++; n > 1000 {
				return fmt.Errorf("enough")
			}
			return nil
		})
	})
}
