package kdump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/internal/codec"
)

func memFile(b []byte) *dumpfmt.File {
	return &dumpfmt.File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
}

func openBytes(t testing.TB, b []byte) (*dumpfmt.Image, error) {
	src, err := Open(t.Context(), []*dumpfmt.File{memFile(b)})
	if err != nil {
		return nil, err
	}
	return dumpfmt.NewImage(src, dumpfmt.Options{}), nil
}

func small() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62) }

var allCodecs = []uint32{0, 1, 2, 4, 0x20}

// TestBitmap holds rank and test against a plain loop, for bitmaps that end inside a word, a block and a chunk.
func TestBitmap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, pfns := range []uint64{1, 63, 64, 65, 32768, 32769, 100001} {
		raw := make([]byte, (pfns+7)/8)
		for i := range raw {
			raw[i] = byte(rnd.Uint32() >> (rnd.Uint32() % 8))
		}
		raw[len(raw)-1] |= 0x80 // behind the end unless pfns is a multiple of 8
		b := newBitmap(memFile(append([]byte{1, 2, 3}, raw...)), 3, pfns)
		var c rangeCollector
		if err := b.index(t.Context(), c.add); err != nil {
			t.Fatal(err)
		}
		rank := uint64(0)
		var runs []run
		for pfn := range pfns {
			want := raw[pfn/8]>>(pfn%8)&1 != 0
			got, err := b.test(pfn)
			r, err2 := b.rank(pfn)
			if err != nil || err2 != nil || got != want || r != rank {
				t.Fatalf("pfn %d of %d: test = %v, rank = %d, %v, %v; want %v, %d", pfn, pfns, got, r, err, err2, want, rank)
			}
			if !want {
				continue
			}
			rank++
			if n := len(runs); n > 0 && runs[n-1].end == pfn {
				runs[n-1].end++
			} else {
				runs = append(runs, run{pfn, pfn + 1})
			}
		}
		if b.count() != rank {
			t.Errorf("count = %d; want %d", b.count(), rank)
		}
		if len(runs) <= maxRanges && len(c.runs) != len(runs) {
			t.Errorf("%d runs; want %d", len(c.runs), len(runs))
		}
	}
}

func TestRangesAreBounded(t *testing.T) {
	var c rangeCollector
	words := []uint64{0x5555555555555555}
	for i := range uint64(1 << 14) {
		c.add(i*64, words)
	}
	if len(c.runs) > maxRanges || !c.joined {
		t.Errorf("%d runs, joined = %v; want at most %d, true", len(c.runs), c.joined, maxRanges)
	}
	if first, last := c.runs[0].start, c.runs[len(c.runs)-1].end; first != 0 || last != 1<<20-1 {
		t.Errorf("runs go from %#x to %#x", first, last)
	}
}

// output is a file in memory.
type output struct{ b []byte }

func (o *output) WriteAt(p []byte, off int64) (int, error) {
	if n := off + int64(len(p)); n > int64(len(o.b)) {
		o.b = append(o.b, make([]byte, n-int64(len(o.b)))...)
	}
	return copy(o.b[off:], p), nil
}

func TestWriter(t *testing.T) {
	text := "bt; ps -a"
	for _, x := range []struct {
		machine string
		order   binary.ByteOrder
		word    int
	}{{"x86_64", binary.LittleEndian, 8}, {"i686", binary.LittleEndian, 4}, {"armv7l", binary.LittleEndian, 4}, {"s390x", binary.BigEndian, 8}} {
		for _, kind := range []codec.Codec{codec.Raw, codec.Zlib, codec.Snappy, codec.Zstd} {
			im := dumptest.Small(x.order, x.word, x.machine, 0)
			in, err := openBytes(t, dumptest.Kdump{Version: 6, Packed: x.machine == "i686", Codecs: allCodecs, Erase: "erase y 2\n"}.Build(im))
			if err != nil {
				t.Fatal(err)
			}
			var pages dumpfmt.PageSet
			for pfn, p := range im.Pages {
				if p.State != dumpfmt.Excluded {
					pages.Add(pfn)
				}
			}
			var out output
			w, err := NewPageWriter(&out, Config{Info: in.Info(), Pages: &pages, Codec: kind, DumpLevel: 31, Distilled: &text})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := convert.Run(t.Context(), convert.Job{Source: in.Source(), Pages: &pages, Writer: w, ZeroPages: true}); err != nil {
				t.Fatal(err)
			}
			if w.Size() != int64(len(out.b)) {
				t.Errorf("Size() = %d; want %d", w.Size(), len(out.b))
			}
			got, err := openBytes(t, out.b)
			if err != nil {
				t.Fatal(err)
			}
			dumptest.Check(t, im, got)
			info := got.Info()
			if info.Distilled == nil || *info.Distilled != text || info.EraseInfo != "erase y 2\n" || info.DumpLevel != 31 {
				t.Errorf("Distilled = %v, EraseInfo = %q, DumpLevel = %d", info.Distilled, info.EraseInfo, info.DumpLevel)
			}
			if info.UTS != in.Info().UTS || !info.Timestamp.Equal(in.Info().Timestamp) || len(info.CPUs) != 2 || len(info.Warnings) != 0 {
				t.Errorf("the copy's headers differ: %+v", info)
			}
			if v, _ := info.VMCoreInfo.Get("BUILD-ID"); v != "00112233" {
				t.Errorf("BUILD-ID = %q", v)
			}
			if _, err := got.Page(3); err == nil || !strings.Contains(err.Error(), "distilled") {
				t.Errorf("Page(3) that was not distilled: error = %v; want one that says so", err)
			}
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	in, err := openBytes(t, dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(small()))
	if err != nil {
		t.Fatal(err)
	}
	var pages dumpfmt.PageSet
	pages.Add(1)
	pages.Add(7)
	for _, cfg := range []Config{{Codec: 9}, {DumpLevel: 32}, {Codec: codec.Zlib, Level: 99}} {
		cfg.Info, cfg.Pages = in.Info(), &pages
		if _, err := NewPageWriter(&output{}, cfg); err == nil {
			t.Errorf("NewPageWriter(%+v) gave no error", cfg)
		}
	}
	write := func(put ...dumpfmt.Stored) error {
		w, err := NewPageWriter(&output{}, Config{Info: in.Info(), Pages: &pages})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range put {
			if err := w.Put(s); err != nil {
				return err
			}
		}
		return w.Close()
	}
	page := make([]byte, 4096)
	for name, put := range map[string][]dumpfmt.Stored{
		"no pages":       nil,
		"too few":        {{PFN: 1, Data: page}},
		"out of order":   {{PFN: 7, Data: page}, {PFN: 1, Data: page}},
		"others":         {{PFN: 1, Data: page}, {PFN: 6, Data: page}},
		"no bytes":       {{PFN: 1}, {PFN: 7, Data: page}},
		"too many bytes": {{PFN: 1, Data: page}, {PFN: 7, Data: make([]byte, 4097)}},
	} {
		if err := write(put...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := write(dumpfmt.Stored{PFN: 1, Data: page}, dumpfmt.Stored{PFN: 7, Data: page}); err != nil {
		t.Error(err)
	}
}

// TestTruncatedAnywhere opens a dump cut at each byte of its headers and at many places behind.
func TestTruncatedAnywhere(t *testing.T) {
	im := small()
	b := dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(im)
	pfns := im.PFNs()
	for n := 0; n < len(b); n += 1 + n/5000*61 {
		got, err := openBytes(t, b[:n])
		if err != nil {
			continue
		}
		if !got.Info().Truncated {
			t.Errorf("cut at %d of %d: not seen", n, len(b))
		}
		for _, pfn := range pfns {
			page, err := got.Page(pfn)
			if err == nil && im.Pages[pfn].Data != nil && !bytes.Equal(page, im.Pages[pfn].Data) {
				t.Fatalf("cut at %d: page %#x has wrong bytes", n, pfn)
			}
		}
		if _, err := got.Count(t.Context()); err != nil {
			t.Fatalf("cut at %d: Count() error = %v", n, err)
		}
	}
}

func TestDamagedDescriptors(t *testing.T) {
	im := small()
	good := dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im)
	le := binary.LittleEndian
	in, err := openBytes(t, good)
	if err != nil {
		t.Fatal(err)
	}
	at := in.Source().(*Source).parts[0].descAt // the descriptor of page 1
	for _, test := range []struct {
		name                string
		offset, size, flags int64
		want                string
	}{
		{"offset behind the end", 1 << 40, 100, 1, "truncated"},
		{"offset with the sign bit", -8, 100, 1, "truncated"},
		{"larger than a page", 0x5000, 4097, 1, "more than a page"},
		{"no bytes", 0x5000, 0, 1, "0 bytes"},
		{"not written", 0, 0, 0, "never written"},
		{"offset zero", 0, 10, 1, "incomplete"},
		{"unknown compression", 0x5000, 100, 0x40, "no compression"},
		{"raw but short", 0x5000, 100, 0, "want 4096"},
		{"not zlib", 0x3000, 100, 1, "damaged"},
		{"not lzo", 0x3000, 100, 2, "damaged"},
		{"not snappy", 0x3000, 100, 4, "damaged"},
		{"not zstd", 0x3000, 100, 0x20, "damaged"},
	} {
		b := bytes.Clone(good)
		le.PutUint64(b[at:], uint64(test.offset))
		le.PutUint32(b[at+8:], uint32(test.size))
		le.PutUint32(b[at+12:], uint32(test.flags))
		got, err := openBytes(t, b)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var pe *dumpfmt.PageError
		if _, err := got.Page(1); !errors.As(err, &pe) || pe.State != dumpfmt.Unreadable || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error = %v; want unreadable and %q", test.name, err, test.want)
		}
		if _, err := got.Page(6); err != nil {
			t.Errorf("%s: another page: %v", test.name, err)
		}
	}
}

func TestLyingHeaders(t *testing.T) {
	good := dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(small())
	for off := 424; off < 464; off += 4 {
		for _, v := range []uint32{0, 1, 0x7fffffff, 0x80000000, 0xffffffff} {
			b := bytes.Clone(good)
			binary.LittleEndian.PutUint32(b[off:], v)
			exercise(t, b)
		}
	}
	for off := 4096; off < 4096+104; off += 8 {
		for _, v := range []uint64{0, 1, 1 << 33, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			b := bytes.Clone(good)
			binary.LittleEndian.PutUint64(b[off:], v)
			exercise(t, b)
		}
	}
}

// exercise opens bytes and does with them all that a reader can.
func exercise(t testing.TB, b []byte) {
	im, err := openBytes(t, b)
	if err != nil {
		return
	}
	info := im.Info()
	if _, err := im.Count(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := im.Source().(*Source).Check(t.Context(), func(dumpfmt.Fault) {}); err != nil {
		t.Fatal(err)
	}
	probe := func(pfn uint64) {
		_, err := im.Page(pfn)
		if st := im.State(pfn); err == nil && !st.Readable() {
			t.Fatalf("page %#x is %v, but was read", pfn, st)
		}
	}
	for pfn := range min(info.MaxPFN, 128) {
		probe(pfn)
	}
	src := im.Source().(*Source)
	err = src.ReadEncodedRange(t.Context(), 0, min(info.MaxPFN, 128), func(pfn uint64, st dumpfmt.PageState, data []byte, c codec.Codec, err error) error {
		if st != src.State(pfn) && st != dumpfmt.Unreadable || (err != nil) != (st == dumpfmt.Unreadable) {
			t.Fatalf("page %#x is %v, not %v, %v", pfn, st, src.State(pfn), err)
		}
		one, kind, ok, _ := src.EncodedPage(nil, pfn)
		if ok && (kind != c || !bytes.Equal(one, data)) {
			t.Fatalf("page %#x is %d bytes of %v, or %d of %v", pfn, len(one), kind, len(data), c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range info.Ranges[:min(len(info.Ranges), 16)] {
		probe(uint64(r.Start) / info.PageSize)
		probe(uint64(r.End) / info.PageSize)
	}
	probe(info.MaxPFN)
	probe(^uint64(0))
}

func FuzzKdump(f *testing.F) {
	tiny := func(order binary.ByteOrder, word int, machine string, k dumptest.Kdump) {
		im := dumptest.Small(order, word, machine, 0)
		im.MaxPFN = 0x18
		for pfn := range im.Pages {
			if pfn >= im.MaxPFN {
				delete(im.Pages, pfn)
			}
		}
		f.Add(k.Build(im))
	}
	tiny(binary.LittleEndian, 8, "x86_64", dumptest.Kdump{Version: 6, Codecs: []uint32{1, 2, 4, 0x20}})
	tiny(binary.BigEndian, 8, "s390x", dumptest.Kdump{Version: 5, Codecs: []uint32{2}})
	tiny(binary.LittleEndian, 4, "i686", dumptest.Kdump{Version: 6, Packed: true, Codecs: []uint32{4}, Start: 2, End: 0x12})
	tiny(binary.BigEndian, 4, "mips", dumptest.Kdump{Version: 3, Codecs: []uint32{0x20}})
	tiny(binary.LittleEndian, 4, "i686", dumptest.Kdump{Version: 1, Diskdump: true, OneBitmap: true, Codecs: []uint32{0}})
	f.Fuzz(func(t *testing.T, b []byte) { exercise(t, b) })
}
