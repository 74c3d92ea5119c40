package convert_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
	"kdx/internal/codec"
)

var allCodecs = []codec.Codec{codec.Raw, codec.Zlib, codec.LZO, codec.Snappy, codec.Zstd}

// disk is a file in memory that can hold room bytes; 0 is no bound.
type disk struct {
	b    []byte
	room int64
}

var errFull = errors.New("no space left on device")

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	end, err := off+int64(len(p)), error(nil)
	if d.room > 0 && end > d.room {
		end, err = d.room, errFull
	}
	if off >= end {
		return 0, err
	}
	if end > int64(len(d.b)) {
		d.b = append(d.b, make([]byte, end-int64(len(d.b)))...)
	}
	return copy(d.b[off:end], p), err
}

func file(b []byte) *dumpfmt.File {
	return &dumpfmt.File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
}

func openKdump(t testing.TB, parts ...[]byte) *kdump.Source {
	t.Helper()
	var files []*dumpfmt.File
	for _, b := range parts {
		files = append(files, file(b))
	}
	src, err := kdump.Open(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func image() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62) }

// kept are the pages of an image that a dump holds.
func kept(im *dumptest.Image) *dumpfmt.PageSet {
	var set dumpfmt.PageSet
	for pfn, p := range im.Pages {
		if p.State != dumpfmt.Excluded {
			set.Add(pfn)
		}
	}
	return &set
}

// plainSource hides all that a source can do beyond what every format can.
type plainSource struct{ dumpfmt.Source }

// rangeSource leaves it ReadRange.
type rangeSource struct{ *kdump.Source }

func (rangeSource) ReadEncodedRange() {}
func (rangeSource) EncodedPage()      {}

// pageSource leaves it EncodedPage.
type pageSource struct{ *kdump.Source }

func (pageSource) ReadEncodedRange() {}

// sources are the same memory in all the ways in which a source can give it.
func sources(t testing.TB, im *dumptest.Image) map[string]dumpfmt.Source {
	out := make(map[string]dumpfmt.Source)
	elf, err := elfcore.Open(file(dumptest.ELF{}.Build(im)))
	if err != nil {
		t.Fatal(err)
	}
	out["elf"] = elf
	for i, kind := range allCodecs {
		k := dumptest.Kdump{Version: 6, Codecs: []uint32{[]uint32{0, 1, 2, 4, 0x20}[i]}}
		out["kdump of "+kind.String()] = openKdump(t, k.Build(im))
	}
	all := dumptest.Kdump{Version: 6, Codecs: []uint32{0, 1, 2, 4, 0x20}}.Build(im)
	out["kdump"] = openKdump(t, all)
	flat, err := flattened.Open(t.Context(), file(dumptest.Flatten(all, 1000)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if out["flattened"], err = kdump.Open(t.Context(), []*dumpfmt.File{flat}); err != nil {
		t.Fatal(err)
	}
	out["by pages"] = plainSource{openKdump(t, all)}
	out["by ranges"] = rangeSource{openKdump(t, all)}
	out["by encoded pages"] = pageSource{openKdump(t, all)}
	return out
}

// checkPages compares a dump with the image; a page of zeros may be stored in any way.
func checkPages(t *testing.T, im *dumptest.Image, got dumpfmt.Source) {
	t.Helper()
	page := make([]byte, im.PageSize)
	for pfn := range im.MaxPFN + 2 {
		p, ok := im.Pages[pfn]
		st, err := got.State(pfn), got.ReadPage(page, pfn)
		switch {
		case !ok && st != dumpfmt.Absent, ok && p.State == dumpfmt.Excluded && st != dumpfmt.Excluded:
			t.Fatalf("page %#x is %v; in the image it is %v, %v", pfn, st, p.State, ok)
		case !ok || p.State == dumpfmt.Excluded:
		case err != nil:
			t.Fatal(err)
		case p.Data == nil && !bytes.Equal(page, make([]byte, len(page))), p.Data != nil && !bytes.Equal(page, p.Data):
			t.Fatalf("page %#x (%v) has other bytes", pfn, st)
		}
	}
}

// TestRoundTrip writes the same memory from every kind of source, with every codec.
func TestRoundTrip(t *testing.T) {
	im := image()
	pages := kept(im)
	for from, src := range sources(t, im) {
		for i, kind := range allCodecs {
			for _, level := range []int{0, 1} {
				name := fmt.Sprintf("%s to %v, level %d", from, kind, level)
				var out disk
				w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, Codec: kind, DumpLevel: level, AsIs: i%2 == 1})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				var last convert.Progress
				job := convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: level == 1, Workers: 1 + i%3, Progress: func(p convert.Progress) { last = p }}
				if i%2 == 0 {
					job.Memory = 1
				}
				rep, err := convert.Run(t.Context(), job)
				if err != nil || rep.Missing > 0 || rep.Pages != pages.Len() || rep.In != int64(rep.Pages)*4096 || (rep.Zero > 0) != (level == 1) || (rep.Shared > 0) != (level == 0) {
					t.Fatalf("%s: %+v, %v", name, rep, err)
				}
				if last.Pages != pages.Len() || last.Total != pages.Len() || last.In != rep.In || last.Out != rep.Out {
					t.Errorf("%s: the last progress is %+v, the report %+v", name, last, rep)
				}
				got := openKdump(t, out.b)
				if w := got.Info().Warnings; len(w) > 0 {
					t.Errorf("%s: %q", name, w)
				}
				checkPages(t, im, got)
				if n, err := got.Count(t.Context()); err != nil || n.Zero != rep.Zero+rep.Shared || n.Zero+n.Present != rep.Pages {
					t.Errorf("%s: the output has %+v, %v; the report says %+v", name, n, err, rep)
				}
			}
		}
	}
}

// TestPassed looks at which pages are handed on without being decoded.
func TestPassed(t *testing.T) {
	im := image()
	pages := kept(im)
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im))
	present, noise := uint64(0), uint64(0)
	for pfn, p := range im.Pages {
		if p.State == dumpfmt.Present {
			present++
			if pfn%7 == 5 {
				noise++ // zlib does not make it smaller, so it is raw
			}
		}
	}
	for _, test := range []struct {
		name string
		cfg  kdump.Config
		job  convert.Job
		want uint64
	}{
		{"same codec", kdump.Config{Codec: codec.Zlib}, convert.Job{}, present - noise},
		{"other codec", kdump.Config{Codec: codec.Zstd}, convert.Job{}, 0},
		{"a level", kdump.Config{Codec: codec.Zlib, Level: 9}, convert.Job{}, 0},
		{"as they are", kdump.Config{Codec: codec.Zstd, AsIs: true}, convert.Job{}, present},
		{"changed", kdump.Config{AsIs: true}, convert.Job{Change: func(uint64, []byte) (bool, error) { return false, nil }}, 0},
		{"untouched", kdump.Config{AsIs: true}, convert.Job{Change: func(uint64, []byte) (bool, error) { return false, nil },
			Untouched: func(pfn uint64) bool { return pfn%7 != 5 }}, present - noise},
	} {
		var out disk
		test.cfg.Info, test.cfg.Pages, test.cfg.DumpLevel = src.Info(), pages, 31
		w, err := kdump.NewPageWriter(&out, test.cfg)
		if err != nil {
			t.Fatal(err)
		}
		test.job.Source, test.job.Pages, test.job.Writer, test.job.ZeroPages = src, pages, w, true
		rep, err := convert.Run(t.Context(), test.job)
		if err != nil || rep.Passed != test.want {
			t.Errorf("%s: %d pages passed, %v; want %d", test.name, rep.Passed, err, test.want)
		}
		checkPages(t, im, openKdump(t, out.b))
	}
}

func TestChange(t *testing.T) {
	im := image()
	pages := kept(im)
	want := image()
	want.Pages = maps.Clone(im.Pages)
	for pfn, p := range im.Pages {
		if pfn%2 == 0 || p.State == dumpfmt.Excluded {
			continue
		}
		data := make([]byte, im.PageSize)
		copy(data, p.Data)
		copy(data[100:], "erased")
		want.Pages[pfn] = dumptest.Page{State: dumpfmt.Present, Data: data}
	}
	for name, src := range sources(t, im) {
		for _, untouched := range []func(uint64) bool{nil, func(pfn uint64) bool { return pfn%2 == 0 }} {
			var out disk
			w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, Codec: codec.Zlib, AsIs: true, DumpLevel: 1})
			if err != nil {
				t.Fatal(err)
			}
			var calls atomic.Uint64
			rep, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true, Untouched: untouched,
				Change: func(pfn uint64, page []byte) (bool, error) {
					calls.Add(1)
					if pfn%2 == 0 {
						return false, nil
					}
					copy(page[100:], "erased")
					return true, nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			if all := calls.Load() == pages.Len(); all != (untouched == nil) || rep.Changed == 0 || rep.Changed >= pages.Len() {
				t.Errorf("%s: Change was called %d times for %d pages and changed %d", name, calls.Load(), pages.Len(), rep.Changed)
			}
			checkPages(t, want, openKdump(t, out.b))
		}
	}
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im))
	w, err := kdump.NewPageWriter(&disk{}, kdump.Config{Info: src.Info(), Pages: pages})
	if err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("no rule")
	if _, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, Change: func(uint64, []byte) (bool, error) { return false, wrong }}); !errors.Is(err, wrong) {
		t.Errorf("Run = %v; want what Change said", err)
	}
}

func TestSplit(t *testing.T) {
	im := image()
	pages := kept(im)
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}, Erase: "erase x\n"}.Build(im))
	for _, parts := range []int{1, 2, 3, 7} {
		for _, plain := range []bool{false, true} {
			disks := make([]disk, parts)
			var outs []dumpfmt.Output
			for i := range disks {
				outs = append(outs, &disks[i])
			}
			w, err := kdump.NewSplitWriter(outs, kdump.Config{Info: src.Info(), Pages: pages, Codec: codec.LZO, DumpLevel: 1})
			if err != nil {
				t.Fatal(err)
			}
			job := convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true}
			if plain {
				job.Writer = struct{ dumpfmt.PageWriter }{w} // page by page
			}
			if _, err := convert.Run(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			var files [][]byte
			for _, d := range disks {
				files = append(files, d.b)
			}
			slices.Reverse(files)
			got := openKdump(t, files...)
			info := got.Info()
			if len(info.Warnings) > 0 || (info.Split == nil) != (parts == 1) || info.EraseInfo != "erase x\n" {
				t.Errorf("%d parts: %q, %+v, EraseInfo %q", parts, info.Warnings, info.Split, info.EraseInfo)
			}
			checkPages(t, im, got)
			for i, d := range disks {
				one, err := openKdump(t, d.b).Count(t.Context())
				if here := one.Present + one.Zero; err != nil || here < pages.Len()/uint64(parts)-1 || here > pages.Len()/uint64(parts)+1 {
					t.Errorf("part %d of %d holds %d of %d pages, %v", i, parts, here, pages.Len(), err)
				}
			}
			// Put together again, nothing is decoded.
			var whole disk
			w, err = kdump.NewPageWriter(&whole, kdump.Config{Info: info, Pages: pages, Codec: codec.LZO, AsIs: true, DumpLevel: 1})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := convert.Run(t.Context(), convert.Job{Source: got, Pages: pages, Writer: w, ZeroPages: true}); err != nil {
				t.Fatal(err)
			}
			checkPages(t, im, openKdump(t, whole.b))
		}
	}
}

// TestFull writes to disks that get full at many places: an error that says so, and all that is readable is right.
func TestFull(t *testing.T) {
	im := image()
	pages := kept(im)
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im))
	whole := int64(0)
	for room := int64(0); room <= whole; room += 1 + whole/60 {
		for _, kind := range []codec.Codec{codec.Raw, codec.Zlib} {
			out := disk{room: room}
			w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, Codec: kind, DumpLevel: 1})
			if err == nil {
				_, err = convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true, Memory: 1})
			}
			if room == 0 {
				whole = max(whole, int64(len(out.b)))
				continue
			}
			if room < int64(len(out.b)) || err != nil && !errors.Is(err, errFull) {
				t.Fatalf("room for %d: %d bytes, %v; want that the disk is full", room, len(out.b), err)
			}
			checkIncomplete(t, im, out.b, err)
		}
	}
}

// killed is a disk of somebody who is killed after some writes.
type killed struct {
	disk
	writes int
}

func (k *killed) WriteAt(p []byte, off int64) (int, error) {
	if k.writes--; k.writes < 0 {
		return len(p), nil
	}
	return k.disk.WriteAt(p, off)
}

// TestKilled ends after each of the writes, without any word of farewell.
func TestKilled(t *testing.T) {
	im := image()
	pages := kept(im)
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}, Erase: "erase x\n"}.Build(im))
	good := 0
	for writes := 1; ; writes++ {
		out := killed{writes: writes}
		w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, Codec: codec.Raw, DumpLevel: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true}); err != nil {
			t.Fatal(err)
		}
		if out.writes >= 0 {
			break // it was done before
		}
		good = max(good, checkIncomplete(t, im, out.b, errFull))
	}
	if good == 0 {
		t.Error("no page could be read of what was written before the end")
	}
}

// checkIncomplete opens what a failed Run left behind: it says that it is incomplete, and every page that it gives is right.
func checkIncomplete(t *testing.T, im *dumptest.Image, b []byte, failed error) int {
	t.Helper()
	got, err := kdump.Open(t.Context(), []*dumpfmt.File{file(b)})
	if err != nil {
		return 0 // it ended inside the headers
	}
	if failed != nil && !got.Info().Incomplete {
		t.Fatalf("%d bytes, %v: the dump does not say that it is incomplete", len(b), failed)
	}
	page := make([]byte, im.PageSize)
	good := 0
	for pfn, p := range im.Pages {
		if err := got.ReadPage(page, pfn); err != nil {
			continue
		}
		good++
		if p.State == dumpfmt.Excluded || p.Data != nil && !bytes.Equal(page, p.Data) || p.Data == nil && !bytes.Equal(page, make([]byte, len(page))) {
			t.Fatalf("%d bytes: page %#x (%v) has wrong bytes", len(b), pfn, p.State)
		}
	}
	return good
}

// brokenSource can't read some pages, and cancels or vanishes at others.
type brokenSource struct {
	dumpfmt.Source
	bad func(pfn uint64) error
}

func (s brokenSource) ReadPage(dst []byte, pfn uint64) error {
	if err := s.bad(pfn); err != nil {
		clear(dst) // what a careless writer would take for the page
		return &dumpfmt.PageError{PFN: pfn, State: dumpfmt.Unreadable, Level: -1, Err: err}
	}
	return s.Source.ReadPage(dst, pfn)
}

func TestUnreadable(t *testing.T) {
	im := image()
	pages := kept(im)
	pages.Add(0x100) // no RAM
	pages.Add(4)     // excluded
	broken := errors.New("input/output error")
	src := brokenSource{openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im)), func(pfn uint64) error {
		if pfn%5 == 0 {
			return broken
		}
		return nil
	}}
	var out disk
	w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, DumpLevel: 1})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true})
	if err != nil {
		t.Fatal(err)
	}
	got := openKdump(t, out.b)
	if !got.Info().Incomplete {
		t.Error("a dump with missing pages does not say that it is incomplete")
	}
	page, missing := make([]byte, 4096), uint64(0)
	for pfn := range pages.All() {
		p := im.Pages[pfn]
		lost := pfn%5 == 0 || pfn == 0x100 || pfn == 4
		if lost {
			missing++
		}
		err := got.ReadPage(page, pfn)
		if lost != (err != nil) || lost && got.State(pfn) != dumpfmt.Unreadable {
			t.Errorf("page %#x is %v, %v; want that it is unreadable: %v", pfn, got.State(pfn), err, lost)
		}
		if err == nil && p.Data != nil && !bytes.Equal(page, p.Data) {
			t.Errorf("page %#x has wrong bytes", pfn)
		}
	}
	var pe *dumpfmt.PageError
	if rep.Missing != missing || rep.Pages != pages.Len() || len(rep.Errors) != 8 || !errors.As(rep.Errors[0], &pe) || pe.PFN != 4 || !errors.Is(rep.Errors[1], broken) {
		t.Errorf("%+v; want %d missing, the first of them pages 4 and 5", rep, missing)
	}
}

// TestCancelled ends the context at several pages.
func TestCancelled(t *testing.T) {
	im := image()
	pages := kept(im)
	for _, at := range []uint64{1, 0x22, 0x1ff8} {
		for _, memory := range []int64{0, 1} {
			ctx, cancel := context.WithCancel(t.Context())
			src := brokenSource{openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im)), func(pfn uint64) error {
				if pfn == at {
					cancel()
				}
				return nil
			}}
			var out disk
			w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, DumpLevel: 1})
			if err != nil {
				t.Fatal(err)
			}
			_, err = convert.Run(ctx, convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true, Memory: memory})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled at %#x: %v", at, err)
			}
			checkIncomplete(t, im, out.b, err)
		}
	}
}

// TestStreamCut writes to a stream that ends at many places: what came says that it is incomplete.
func TestStreamCut(t *testing.T) {
	im := image()
	pages := kept(im)
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im))
	var stream bytes.Buffer
	flat, err := flattened.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kdump.NewPageWriter(flat, kdump.Config{Info: src.Info(), Pages: pages, DumpLevel: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true}); err != nil {
		t.Fatal(err)
	}
	if err := flat.Close(); err != nil {
		t.Fatal(err)
	}
	unfold := func(b []byte) (*kdump.Source, error) {
		f, err := flattened.Open(t.Context(), file(b), nil)
		if err != nil {
			return nil, err
		}
		return kdump.Open(t.Context(), []*dumpfmt.File{f})
	}
	whole := stream.Bytes()
	got, err := unfold(whole)
	if err != nil {
		t.Fatal(err)
	}
	if w := got.Info().Warnings; len(w) > 0 {
		t.Errorf("%q", w)
	}
	checkPages(t, im, got)
	page := make([]byte, im.PageSize)
	for cut := 0; cut < len(whole); cut += 1 + cut/100 {
		got, err := unfold(whole[:cut])
		if err != nil {
			continue
		}
		if !got.Info().Incomplete {
			t.Fatalf("cut at %d: the dump does not say that it is incomplete", cut)
		}
		for pfn, p := range im.Pages {
			if p.Data != nil && got.ReadPage(page, pfn) == nil && !bytes.Equal(page, p.Data) {
				t.Fatalf("cut at %d: page %#x has wrong bytes", cut, pfn)
			}
		}
	}
}
