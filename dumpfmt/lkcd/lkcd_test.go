package lkcd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

func openBytes(t testing.TB, b []byte) (*dumpfmt.Image, error) {
	f := &dumpfmt.File{Name: "dump", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
	src, err := Open(t.Context(), f, nil)
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

// bare is the image as this format keeps it: without excluded pages, and zero pages like others.
func bare(im *dumptest.Image) *dumptest.Image {
	for pfn, p := range im.Pages {
		switch p.State {
		case dumpfmt.Excluded:
			delete(im.Pages, pfn)
		case dumpfmt.Zero:
			im.Pages[pfn] = dumptest.Page{State: dumpfmt.Present}
		}
	}
	return im
}

type target struct {
	machine string
	order   binary.ByteOrder
	word    int
	cpus    bool
}

var targets = []target{
	{"x86_64", binary.LittleEndian, 8, true}, {"i686", binary.LittleEndian, 4, true}, {"ppc64", binary.BigEndian, 8, true},
	{"s390x", binary.BigEndian, 8, false}, {"mips", binary.BigEndian, 4, false},
}

func TestVersions(t *testing.T) {
	for _, x := range targets {
		for _, version := range []int{1, 2, 3, 5, 6, 7, 8, 9, 10} {
			for compress := range uint32(3) {
				if version < 5 && compress != 1 {
					continue
				}
				l := dumptest.LKCD{Version: version, Compress: compress, Count: 1}
				t.Run(fmt.Sprintf("%s/%d/%d", x.machine, version, compress), func(t *testing.T) {
					im := bare(dumptest.Small(x.order, x.word, x.machine, 0))
					got := mustOpen(t, l.Build(im))
					dumptest.Check(t, im, got)
					info := got.Info()
					if info.HeaderVersion != version || info.PageSize != 4096 || info.ByteOrder != x.order || info.Incomplete || len(info.Warnings) != 0 {
						t.Errorf("Info = %+v", info)
					}
					if version < 8 && info.WordSize != x.word || info.Machine != im.Info().Machine || info.UTS.Release != "2.6.1-test" {
						t.Errorf("word size %d, machine %q, uname %+v", info.WordSize, info.Machine, info.UTS)
					}
					if info.Timestamp.Unix() != 1700000001 {
						t.Errorf("Timestamp = %v", info.Timestamp)
					}
					if want := x.cpus && version >= 7; want != (len(info.CPUs) == 2) {
						t.Fatalf("CPUs = %+v", info.CPUs)
					} else if want && info.CPUs[1].Regs[3].Value != 0x2003 {
						t.Errorf("CPUs = %+v", info.CPUs)
					}
				})
			}
		}
	}
}

// TestDialects reads what only some writers do.
func TestDialects(t *testing.T) {
	x86, i386 := targets[0], targets[1]
	for name, c := range map[string]struct {
		target
		dumptest.LKCD
		warnings, incomplete bool
	}{
		"live":                    {x86, dumptest.LKCD{Version: 8, Compress: 2, Live: true}, true, false},
		"run lengths by one less": {x86, dumptest.LKCD{Version: 9, Compress: 1, Count: 0}, true, false},
		"v10 at 64 KiB":           {x86, dumptest.LKCD{Version: 10, Compress: 2, Buffer: -1}, false, false},
		"v9 with a small buffer":  {x86, dumptest.LKCD{Version: 9, Compress: 2, Buffer: 4096}, false, false},
		"backward":                {x86, dumptest.LKCD{Version: 9, Compress: 2, Backward: true}, false, false},
		"twice":                   {x86, dumptest.LKCD{Version: 9, Compress: 2, Twice: true}, true, false},
		"page numbers":            {x86, dumptest.LKCD{Version: 7, Compress: 2, Numbers: true}, false, false},
		"no end":                  {x86, dumptest.LKCD{Version: 9, Compress: 2, NoEnd: true}, true, true},
		"virtual addresses":       {i386, dumptest.LKCD{Version: 1, Compress: 1, Count: 1, Base: 0xc0000000}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			im := bare(dumptest.Small(c.order, c.word, c.machine, 0))
			if c.Base != 0 {
				im.Pages[0] = im.Pages[1] // it is the first page that shows the base
			}
			got := mustOpen(t, c.Build(im))
			dumptest.Check(t, im, got)
			if info := got.Info(); len(info.Warnings) > 0 != c.warnings || info.Incomplete != c.incomplete {
				t.Errorf("Warnings = %q, Incomplete = %v", info.Warnings, info.Incomplete)
			}
		})
	}
}

func TestEmptyPages(t *testing.T) {
	im := bare(dumptest.Small(binary.LittleEndian, 8, "x86_64", 0))
	got := mustOpen(t, dumptest.LKCD{Version: 9, Compress: 2, Empty: 3}.Build(im))
	pfns := im.PFNs()
	for i, pfn := range pfns {
		want := dumpfmt.Present
		if i >= len(pfns)-3 {
			want = dumpfmt.Unreadable
		}
		_, err := got.Page(pfn)
		if st := got.State(pfn); st != want || (err == nil) != st.Readable() {
			t.Errorf("page %#x is %v, %v; want %v", pfn, st, err, want)
		}
	}
	if c, err := got.Count(t.Context()); err != nil || c.Unreadable != 3 || c.Present != uint64(len(pfns)-3) || !got.Info().Incomplete {
		t.Errorf("Count() = %+v, %v", c, err)
	}
}

// TestTruncated cuts dumps at random places: no page has wrong bytes, and all that is whole is there.
func TestTruncated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	im := bare(dumptest.Small(binary.LittleEndian, 8, "x86_64", 0))
	for compress := range uint32(3) {
		b := dumptest.LKCD{Version: 8, Compress: compress, Count: 1}.Build(im)
		for range 60 {
			n := rnd.IntN(len(b) - 16)
			got, err := openBytes(t, b[:n])
			if err != nil {
				if n > 1024 {
					t.Fatalf("cut at %d of %d: %v", n, len(b), err)
				}
				continue
			}
			if !got.Info().Incomplete {
				t.Errorf("cut at %d: not incomplete", n)
			}
			for pfn, p := range im.Pages {
				page, err := got.Page(pfn)
				if (err == nil) != got.State(pfn).Readable() || err == nil && p.Data != nil && !bytes.Equal(page, p.Data) {
					t.Fatalf("cut at %d: page %#x is %v, %v", n, pfn, got.State(pfn), err)
				}
			}
		}
	}
}

func TestDamagedChain(t *testing.T) {
	im := bare(dumptest.Small(binary.LittleEndian, 8, "x86_64", 0))
	b := dumptest.LKCD{Version: 8}.Build(im)
	binary.LittleEndian.PutUint32(b[dataStart+2*(pageHeader+4096)+8-4096:], 1<<30) // size of the third header
	got := mustOpen(t, b)
	if info := got.Info(); !info.Incomplete || len(info.Warnings) != 1 {
		t.Errorf("Incomplete = %v, Warnings = %q", info.Incomplete, info.Warnings)
	}
	if c, _ := got.Count(t.Context()); c.Present != 2 {
		t.Errorf("Count() = %+v", c)
	}
}

func TestWriter(t *testing.T) {
	for _, x := range targets {
		for _, version := range []int{8, 9} {
			for _, compression := range []string{"raw", "rle", "zlib"} {
				t.Run(fmt.Sprintf("%s/%d/%s", x.machine, version, compression), func(t *testing.T) {
					im := dumptest.Small(x.order, x.word, x.machine, 0)
					info := im.Info()
					var out dumptest.Buffer
					w, err := NewPageWriter(&out, WriterConfig{Info: info, Pages: im.Kept(), Version: version, Compression: compression})
					if err != nil {
						t.Fatal(err)
					}
					im.Put(t, w, compression != "raw")
					got := mustOpen(t, out.B)
					dumptest.Check(t, bare(im), got)
					g := got.Info()
					if g.Incomplete || g.HeaderVersion != version || g.Machine != info.Machine || g.UTS != info.UTS || len(g.Warnings) != 0 {
						t.Errorf("Info = %+v", g)
					}
					if x.cpus && (len(g.CPUs) != 2 || fmt.Sprint(g.CPUs[1].Regs[:8]) != fmt.Sprint(info.CPUs[1].Regs[:8])) {
						t.Errorf("CPUs = %+v; want %+v", g.CPUs, info.CPUs)
					}
				})
			}
		}
	}
}

func TestAbort(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 0)
	var out dumptest.Buffer
	w, err := NewPageWriter(&out, WriterConfig{Info: im.Info(), Pages: im.Kept()})
	if err != nil {
		t.Fatal(err)
	}
	data := im.Pages[1].Data
	if err := errors.Join(w.Put(dumpfmt.Stored{PFN: 1, Data: data}), w.Put(dumpfmt.Stored{PFN: 2, Missing: true}), w.Abort()); err != nil {
		t.Fatal(err)
	}
	got := mustOpen(t, out.B)
	if !got.Info().Incomplete || got.State(1) != dumpfmt.Present || got.State(2) != dumpfmt.Unreadable || got.State(5) != dumpfmt.Absent {
		t.Errorf("Incomplete = %v, states %v %v %v", got.Info().Incomplete, got.State(1), got.State(2), got.State(5))
	}
	if w.Put(dumpfmt.Stored{PFN: 1, Data: data}) == nil || w.Close() == nil {
		t.Error("a page came twice and others not at all, and nobody said so")
	}
	for _, cfg := range []WriterConfig{{Version: 7}, {Compression: "lzo"}} {
		cfg.Info, cfg.Pages = im.Info(), im.Kept()
		if _, err := NewPageWriter(&out, cfg); err == nil {
			t.Errorf("%+v was written", cfg)
		}
	}
}

// TestEncoded hands pages on without decoding them.
func TestEncoded(t *testing.T) {
	im := bare(dumptest.Small(binary.LittleEndian, 8, "x86_64", 0))
	for compress := range uint32(3) {
		got := mustOpen(t, dumptest.LKCD{Version: 9, Compress: compress, Count: 1}.Build(im))
		src := got.Source().(*Source)
		page := make([]byte, 4096)
		for pfn := range im.Pages {
			data, c, ok, err := src.EncodedPage([]byte("kept"), pfn)
			if err != nil || string(data[:4]) != "kept" {
				t.Fatal(err)
			}
			if !ok {
				continue
			}
			want, _ := got.Page(pfn)
			if err := src.decoder.Decode(c, page, data[4:]); err != nil || !bytes.Equal(page, want) {
				t.Fatalf("page %#x: %v", pfn, err)
			}
		}
	}
}

func TestRuns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		page := make([]byte, 4096)
		for i := 0; i < len(page); {
			v, n := byte(rnd.IntN(4)), 1+rnd.IntN(1+rnd.IntN(700))
			for ; n > 0 && i < len(page); n-- {
				page[i] = v
				i++
			}
		}
		got := make([]byte, 4096)
		enc := rle(nil, page)
		if err := unrle(got, enc, 1); err != nil || !bytes.Equal(got, page) {
			t.Fatal(err)
		}
		for _, cut := range []int{1, 2, 3} {
			if unrle(got, enc[:len(enc)-cut], 1) == nil {
				t.Fatalf("decodes without its last %d bytes", cut)
			}
		}
		if unrle(got[:4095], enc, 1) == nil {
			t.Fatal("decodes to fewer bytes")
		}
	}
}

func FuzzLKCD(f *testing.F) {
	im := bare(dumptest.Small(binary.LittleEndian, 8, "x86_64", 0))
	for _, l := range []dumptest.LKCD{{Version: 9, Compress: 2, Buffer: 2048}, {Version: 9, Compress: 1, Count: 1, Buffer: 2048}, {Version: 10, Buffer: 2048, Backward: true, Twice: true}} {
		f.Add(l.Build(im)[:7000])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := openBytes(t, b)
		if err != nil {
			return
		}
		if _, err := got.Count(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range got.Info().Ranges {
			pfn := uint64(r.Start) / got.Info().PageSize
			if !got.State(pfn).RAM() {
				t.Fatalf("page %#x is in a range but %v", pfn, got.State(pfn))
			}
			if _, err := got.Page(pfn); err == nil && !got.State(pfn).Readable() {
				t.Fatalf("page %#x is %v and can be read", pfn, got.State(pfn))
			}
			if n++; n == 100 {
				break
			}
		}
		got.Scan(t.Context(), func(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
			if st.Readable() != (page != nil) {
				t.Errorf("page %#x is %v", pfn, st)
			}
			return nil
		})
	})
}
