package convert_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
	"kdx/internal/codec"
)

// TestStreamLost cuts flattened dumps whose records do not come in order: what did not come must not read as zeros.
func TestStreamLost(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 0)
	formats := []struct {
		name  string
		whole []byte
		open  func(*dumpfmt.File) (dumpfmt.Source, error)
	}{
		{"ELF", dumptest.ELF{}.Build(im), func(f *dumpfmt.File) (dumpfmt.Source, error) { return elfcore.Open(f) }},
		{"kdump", dumptest.Kdump{Version: 6, Codecs: []uint32{0, 1}}.Build(im), func(f *dumpfmt.File) (dumpfmt.Source, error) {
			return kdump.Open(t.Context(), []*dumpfmt.File{f})
		}},
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, form := range formats {
		const head, size = 64 << 10, 1500 // headers and tables, and what comes in any order
		var at []int
		for i := head; i < len(form.whole); i += size {
			at = append(at, i)
		}
		if len(at) < 20 {
			t.Fatalf("%s: the dump has only %d bytes", form.name, len(form.whole))
		}
		rnd.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
		var stream bytes.Buffer
		w, err := flattened.NewWriter(&stream)
		if err != nil {
			t.Fatal(err)
		}
		put := func(from, to int) {
			if _, err := w.WriteAt(form.whole[from:min(to, len(form.whole))], int64(from)); err != nil {
				t.Fatal(err)
			}
		}
		put(0, head)
		for i, from := range at {
			put(from, from+size)
			f, err := flattened.Open(t.Context(), file(stream.Bytes()), nil)
			if err != nil {
				t.Fatal(err)
			}
			src, err := form.open(f)
			if err != nil {
				t.Fatalf("%s, %d records: %v", form.name, i, err)
			}
			lost := checkLost(t, form.name, im, src)
			if last := i == len(at)-1; last != (lost == 0) || !src.Info().Incomplete {
				t.Errorf("%s: %d pages are lost after %d of %d records; incomplete: %v", form.name, lost, i+1, len(at), src.Info().Incomplete)
			}
		}
	}
}

// checkLost counts pages that can't be read; all others must have their bytes.
func checkLost(t *testing.T, name string, im *dumptest.Image, src dumpfmt.Source) int {
	t.Helper()
	lost := 0
	page := make([]byte, im.PageSize)
	for pfn, p := range im.Pages {
		if p.State == dumpfmt.Excluded {
			continue
		}
		st, err := src.State(pfn), src.ReadPage(page, pfn)
		if (st == dumpfmt.Unreadable) != (err != nil) {
			t.Fatalf("%s: page %#x is %v, but reading it says %v", name, pfn, st, err)
		}
		if err != nil {
			lost++
			continue
		}
		want := p.Data
		if want == nil {
			want = make([]byte, im.PageSize)
		}
		if !bytes.Equal(page, want) {
			t.Fatalf("%s: page %#x (%v) has other bytes", name, pfn, st)
		}
	}
	return lost
}

// TestPassedDamaged: pages that pass as they are encoded are looked at so far that what was overwritten with zeros, or is of another size,
// is missing in the output and counted.
func TestPassedDamaged(t *testing.T) {
	im := image()
	pages := kept(im)
	for _, flag := range []uint32{1, 2, 4, 0x20} {
		whole := dumptest.Kdump{Version: 6, Codecs: []uint32{flag}}.Build(im)
		src := openKdump(t, whole)
		damaged := uint64(0)
		for pfn := range pages.All() {
			if pfn%3 != 0 {
				continue
			}
			data, c, ok, err := src.EncodedPage(nil, pfn)
			if err != nil || !ok || c == codec.Raw || len(data) < 16 || bytes.Count(whole, data) != 1 {
				continue
			}
			clear(whole[bytes.Index(whole, data):][:len(data)])
			damaged++
		}
		src = openKdump(t, whole)
		var out disk
		w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, Codec: codec.Zstd, AsIs: true})
		if err != nil {
			t.Fatal(err)
		}
		rep, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w})
		if err != nil || damaged == 0 || rep.Missing != damaged || rep.Passed == 0 {
			t.Errorf("codec %#x: %d missing, %d passed, error = %v; want %d missing", flag, rep.Missing, rep.Passed, err, damaged)
		}
	}
}
