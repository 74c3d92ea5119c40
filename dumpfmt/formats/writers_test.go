package formats_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
	"kdx/dumpfmt/lime"
	"kdx/dumpfmt/lkcd"
	"kdx/dumpfmt/rawmem"
	"kdx/internal/codec"
)

// writer is an output format with what is lost in it.
type writer struct {
	name string
	new  func(t *testing.T, out dumpfmt.Output, path string, info *dumpfmt.Info, pages dumpfmt.Pages) (dumpfmt.PageWriter, error)
	// bare: what was left out of the dump looks as if there had been no memory, and the notes are lost.
	bare bool
	flat bool
}

func lkcdWriter(version int, compression string) writer {
	return writer{name: fmt.Sprintf("lkcd%d %s", version, compression), bare: true,
		new: func(_ *testing.T, out dumpfmt.Output, _ string, info *dumpfmt.Info, pages dumpfmt.Pages) (dumpfmt.PageWriter, error) {
			return lkcd.NewPageWriter(out, lkcd.WriterConfig{Info: info, Pages: pages, Version: version, Compression: compression})
		}}
}

func elfWriter(flat bool) writer {
	return writer{name: fmt.Sprintf("elf flat=%v", flat), flat: flat,
		new: func(_ *testing.T, out dumpfmt.Output, _ string, info *dumpfmt.Info, pages dumpfmt.Pages) (dumpfmt.PageWriter, error) {
			return elfcore.NewPageWriter(out, elfcore.WriterConfig{Info: info, Pages: pages, ZeroPages: true})
		}}
}

func kdumpWriter(compression codec.Codec, flat bool) writer {
	return writer{name: fmt.Sprintf("kdump %s flat=%v", compression, flat), flat: flat,
		new: func(_ *testing.T, out dumpfmt.Output, _ string, info *dumpfmt.Info, pages dumpfmt.Pages) (dumpfmt.PageWriter, error) {
			return kdump.NewPageWriter(out, kdump.Config{Info: info, Pages: pages, Codec: compression, DumpLevel: 31})
		}}
}

var writers = []writer{
	elfWriter(false), elfWriter(true),
	kdumpWriter(codec.Zlib, false), kdumpWriter(codec.LZO, true),
	lkcdWriter(8, "raw"), lkcdWriter(8, "zlib"), lkcdWriter(9, "rle"), lkcdWriter(9, "zlib"),
	{name: "lime", bare: true,
		new: func(_ *testing.T, out dumpfmt.Output, _ string, info *dumpfmt.Info, pages dumpfmt.Pages) (dumpfmt.PageWriter, error) {
			return lime.NewPageWriter(out, lime.WriterConfig{Info: info, Pages: pages})
		}},
	{name: "raw",
		new: func(t *testing.T, out dumpfmt.Output, path string, info *dumpfmt.Info, pages dumpfmt.Pages) (dumpfmt.PageWriter, error) {
			text, err := os.Create(path + ".map")
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { text.Close() })
			return rawmem.NewPageWriter(out, rawmem.WriterConfig{Info: info, Pages: pages, Map: text})
		}},
}

// write converts a dump and opens what came out.
func (w writer) write(t *testing.T, from *dumpfmt.Image, pages dumpfmt.Pages) *dumpfmt.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out dumpfmt.Output = f
	var stream *flattened.Writer
	if w.flat {
		if stream, err = flattened.NewWriter(f); err != nil {
			t.Fatal(err)
		}
		out = stream
	}
	pw, err := w.new(t, out, path, from.Info(), pages)
	if err != nil {
		t.Fatal(err)
	}
	report, err := convert.Run(t.Context(), convert.Job{Source: from.Source(), Pages: pages, Writer: pw, ZeroPages: true})
	if err != nil || report.Missing > 0 || report.Pages != pages.Len() {
		t.Fatalf("convert: %+v, %v", report, err)
	}
	if stream != nil {
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, path)
}

// check compares with the image: pages of zeros may be there as data; with bare, what is excluded is absent.
func (w writer) check(t *testing.T, im *dumptest.Image, got *dumpfmt.Image, bare bool) {
	t.Helper()
	zero := make([]byte, im.PageSize)
	for pfn := range im.MaxPFN + 2 {
		p, ok := im.Pages[pfn]
		st := got.State(pfn)
		switch {
		case !ok || bare && p.State == dumpfmt.Excluded:
			if st != dumpfmt.Absent {
				t.Fatalf("page %#x is %v; want absent", pfn, st)
			}
			continue
		case p.State == dumpfmt.Excluded:
			// An ELF file made of one that had lost the excluded pages can't know of them.
			if st != dumpfmt.Excluded {
				t.Fatalf("page %#x is %v; want excluded", pfn, st)
			}
			continue
		}
		want := p.Data
		if want == nil {
			want = zero
		}
		if page, err := got.Page(pfn); err != nil || !bytes.Equal(page, want) || st == dumpfmt.ZeroOrExcluded {
			t.Fatalf("page %#x is %v, %v, or has other bytes", pfn, st, err)
		}
	}
	if got.UnsureReads() != 0 {
		t.Error("some reads were unsure")
	}
	if info := got.Info(); info.Incomplete || info.PageSize != 4096 || info.WordSize != im.Word {
		t.Errorf("Info = %+v", info)
	}
}

// TestWriters sends one image through each format into each format.
func TestWriters(t *testing.T) {
	for _, x := range []target{targets[0], targets[1], targets[3]} {
		im := x.image().Long()
		from := open(t, dumptest.File(t, "vmcore", dumptest.Kdump{Version: 6, Packed: x.packed, Codecs: allCodecs}.Build(im)))
		for _, first := range writers {
			if first.name == "lime" && x.machine != "x86_64" {
				continue // it does not say the machine
			}
			t.Run(x.machine+"/"+first.name, func(t *testing.T) {
				once := first.write(t, from, im.Kept())
				first.check(t, im, once, first.bare)
				if info := once.Info(); !first.bare && info.Format != "raw" {
					checkInfo(t, im, info)
				}
				if x.machine != "x86_64" {
					return
				}
				for _, second := range writers {
					twice := second.write(t, once, im.Kept())
					second.check(t, im, twice, first.bare || second.bare)
				}
			})
		}
	}
}

func TestRawNames(t *testing.T) {
	im := targets[0].image().Plain()
	whole := make([]byte, im.MaxPFN<<12)
	for pfn, p := range im.Pages {
		copy(whole[pfn<<12:], p.Data)
	}
	file := dumptest.File(t, "ram", whole)
	low, high := dumptest.File(t, "ram0", whole[:0x40<<12]), dumptest.File(t, "ram1", whole[0x1000<<12:])
	for _, paths := range [][]string{{file + "@0"}, {low + "@0", high + "@0x1000000"}} {
		got := open(t, paths...)
		for pfn, p := range im.Pages {
			if pfn >= 0x40 && pfn < 0x1000 && len(paths) > 1 {
				continue
			}
			if page, err := got.Page(pfn); err != nil || !bytes.Equal(page, p.Data) {
				t.Fatalf("page %#x: %v", pfn, err)
			}
		}
	}
	got, err := formats.Open(t.Context(), []string{file}, formats.Options{Raw: true, Machine: dumpfmt.MachineAArch64, PageSize: 65536})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if info := got.Info(); info.PageSize != 65536 || info.Machine != dumpfmt.MachineAArch64 {
		t.Errorf("Info = %+v", info)
	}
	for _, paths := range [][]string{{file}, {low + "@0", high}, {file + "@x"}, {file + "@-1"}, {file + "nowhere@0"}} {
		if got, err := formats.Open(t.Context(), paths, formats.Options{}); err == nil {
			got.Close()
			t.Errorf("%q was opened", paths)
		}
	}
	if err := os.WriteFile(file+".map", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := formats.Open(t.Context(), []string{file}, formats.Options{}); err == nil {
		got.Close()
		t.Error("a map that makes no sense was taken")
	}
}
