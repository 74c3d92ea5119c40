package elfcore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

func openBytes(b []byte) (*dumpfmt.Image, error) {
	f := &dumpfmt.File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
	src, err := Open(f)
	if err != nil {
		return nil, err
	}
	return dumpfmt.NewImage(src, dumpfmt.Options{}), nil
}

// raw builds a 64-bit little-endian core from program headers; data follows at byte 0x1000.
func raw(data []byte, heads ...programHeader) []byte {
	s := dumptest.Struct{Order: binary.LittleEndian, Word: 8, I64: 8}
	s.B = append(s.B, "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	s.U16(4)
	s.U16(62)
	s.U32(1)
	for _, v := range []uint64{0, 64, 0} {
		s.U64(v)
	}
	s.U32(0)
	for _, v := range []uint16{64, 56, uint16(len(heads)), 0, 0, 0} {
		s.U16(v)
	}
	for _, h := range heads {
		s.U32(h.typ)
		s.U32(7)
		for _, v := range []uint64{h.offset, h.vaddr, h.paddr, h.filesz, h.memsz, 0} {
			s.U64(v)
		}
	}
	s.Align(0x1000)
	return append(s.B, data...)
}

func load(off, paddr, filesz, memsz uint64) programHeader {
	return programHeader{typ: ptLoad, offset: off, paddr: paddr, filesz: filesz, memsz: memsz}
}

// counted returns n bytes that never repeat within a few pages.
func counted(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7 ^ 0x5a
	}
	return b
}

func TestFractionalSegments(t *testing.T) {
	data := counted(0x3000)
	// Memory from the middle of page 1 to the middle of page 2, then a bit more of page 2 from elsewhere in the file.
	im, err := openBytes(raw(data, load(0x1000, 0x1800, 0xc00, 0xc00), load(0x3000, 0x2800, 0x100, 0x100)))
	if err != nil {
		t.Fatal(err)
	}
	page1 := append(make([]byte, 0x800), data[:0x800]...)
	page2 := append(append(bytes.Clone(data[0x800:0xc00]), make([]byte, 0x400)...), data[0x2000:0x2100]...)
	page2 = append(page2, make([]byte, 0x700)...)
	for pfn, want := range map[uint64][]byte{1: page1, 2: page2} {
		if got, err := im.Page(pfn); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Page(%d) differs, error = %v", pfn, err)
		}
	}
	src := im.Source().(*Source)
	for pfn, want := range map[uint64][2]uint64{0: {0, 0}, 1: {0x800, 0x1000}, 2: {0, 0x900}, 3: {0, 0}} {
		if lo, hi := src.ValidBytes(pfn); lo != want[0] || hi != want[1] {
			t.Errorf("ValidBytes(%d) = %#x, %#x; want %#x", pfn, lo, hi, want)
		}
	}
	if im.Info().MaxPFN != 3 {
		t.Errorf("MaxPFN = %d; want 3", im.Info().MaxPFN)
	}
}

func TestOverlapPrefersBytes(t *testing.T) {
	data := counted(0x4000)
	// The first segment says that pages 2 and 3 are holes; the second has them.
	im, err := openBytes(raw(data, load(0x1000, 0x1000, 0x1000, 0x4000), load(0x2000, 0x2000, 0x2000, 0x2000)))
	if err != nil {
		t.Fatal(err)
	}
	want := []dumpfmt.PageState{dumpfmt.Absent, dumpfmt.Present, dumpfmt.Present, dumpfmt.Present, dumpfmt.ZeroOrExcluded, dumpfmt.Absent}
	for pfn, st := range want {
		if got := im.State(uint64(pfn)); got != st {
			t.Errorf("State(%d) = %v; want %v", pfn, got, st)
		}
	}
	if page, err := im.Page(3); err != nil || !bytes.Equal(page, data[0x2000:0x3000]) {
		t.Errorf("Page(3) differs, error = %v", err)
	}
	if r := im.Info().Ranges; !slices.Equal(r, []dumpfmt.PhysRange{{Start: 0x1000, End: 0x5000}}) {
		t.Errorf("Ranges = %v", r)
	}
}

func TestPhysicalAddressConventions(t *testing.T) {
	data := counted(0x2000)
	none := ^uint64(0)
	for _, test := range []struct {
		name  string
		loads []programHeader
		has   []bool
		max   uint64
	}{
		{"all ones is none", []programHeader{load(0x1000, none, 0x1000, 0x1000), load(0x2000, 0x5000, 0x1000, 0x1000)}, []bool{false, true}, 6},
		{"all zero is unknown", []programHeader{load(0x1000, 0, 0x1000, 0x1000), load(0x2000, 0, 0x1000, 0x1000)}, []bool{false, false}, 0},
		{"one at zero is at zero", []programHeader{load(0x1000, 0, 0x2000, 0x2000)}, []bool{true}, 2},
	} {
		im, err := openBytes(raw(data, test.loads...))
		if err != nil {
			t.Fatal(err)
		}
		var has []bool
		for _, s := range im.Info().Segments {
			has = append(has, s.HasPhys)
		}
		if !slices.Equal(has, test.has) || im.Info().MaxPFN != test.max {
			t.Errorf("%s: HasPhys = %v, MaxPFN = %d; want %v, %d", test.name, has, im.Info().MaxPFN, test.has, test.max)
		}
	}
}

func TestTruncated(t *testing.T) {
	b := raw(counted(0x3000), load(0x1000, 0x1000, 0x3000, 0x3000))
	im, err := openBytes(b[:0x2800])
	if err != nil {
		t.Fatal(err)
	}
	if !im.Info().Truncated || !im.Info().Incomplete {
		t.Error("Truncated, Incomplete are not both set")
	}
	for pfn, st := range []dumpfmt.PageState{dumpfmt.Absent, dumpfmt.Present, dumpfmt.Unreadable, dumpfmt.Unreadable} {
		if got := im.State(uint64(pfn)); got != st {
			t.Errorf("State(%d) = %v; want %v", pfn, got, st)
		}
	}
	buf := make([]byte, 0x1800)
	n, err := im.ReadPhys(buf, 0x1800)
	var pe *dumpfmt.PageError
	if n != 0x800 || !errors.As(err, &pe) || pe.Addr != 0x2000 {
		t.Errorf("ReadPhys over the end = %#x, %v; want 0x800 bytes and the error of address 0x2000", n, err)
	}
}

// TestTruncatedAnywhere opens a dump cut at each byte of its headers and at many of its pages.
func TestTruncatedAnywhere(t *testing.T) {
	im := dumptest.Small(binary.BigEndian, 8, "s390x", 22)
	for _, e := range []dumptest.ELF{{}, {XNum: true}} {
		b, pfns := e.Build(im), im.PFNs()
		for n := 0; n < len(b); n += 1 + n/3000*97 {
			got, err := openBytes(b[:n])
			if err != nil {
				continue
			}
			for _, pfn := range pfns {
				page, err := got.Page(pfn)
				if err == nil && im.Pages[pfn].Data != nil && !bytes.Equal(page, im.Pages[pfn].Data) {
					t.Fatalf("cut at %d: page %#x has wrong bytes", n, pfn)
				}
			}
			if _, err := got.Count(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLyingHeaders(t *testing.T) {
	good := raw(counted(0x1000), load(0x1000, 0x1000, 0x1000, 0x1000))
	patch := func(off int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[off:], v)
		return b
	}
	ff := bytes.Repeat([]byte{0xff}, 8)
	for name, b := range map[string][]byte{
		"phoff":               patch(32, ff...),
		"phentsize too small": patch(54, 8, 0),
		"phnum too high":      patch(56, 0xfe, 0xff),
		"phnum PN_XNUM, section header nowhere": func() []byte {
			b := patch(56, 0xff, 0xff)
			copy(b[40:], ff)
			return b
		}(),
		"phnum zero":   patch(56, 0, 0),
		"offset":       patch(64+8, ff...),
		"paddr, memsz": patch(64+24, append(bytes.Repeat([]byte{0xf0}, 8), bytes.Repeat([]byte{0xff}, 16)...)...),
		"filesz":       patch(64+32, ff...),
		"memsz":        patch(64+40, ff...),
	} {
		im, err := openBytes(b)
		if err != nil {
			continue
		}
		for _, pfn := range []uint64{0, 1, 2, im.Info().MaxPFN - 1, im.Info().MaxPFN, ^uint64(0)} {
			im.State(pfn)
			im.Page(pfn)
		}
		if _, err := im.Count(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManySegments(t *testing.T) {
	b := raw(nil, load(0x1000, 0x1000, 0, 0x1000))
	copy(b[56:], []byte{0xff, 0xff})
	binary.LittleEndian.PutUint64(b[40:], 0x800) // section header 0
	binary.LittleEndian.PutUint32(b[0x800+44:], 0xffffffff)
	if _, err := openBytes(b); err == nil {
		t.Error("4,294,967,295 program headers were believed")
	}
}

func FuzzELF(f *testing.F) {
	for _, e := range []dumptest.ELF{{}, {XNum: true}, {Overlap: true, Backward: true}} {
		im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
		f.Add(e.Build(im)[:0x3000])
		im = dumptest.Small(binary.BigEndian, 4, "ppc", 20)
		f.Add(e.Build(im)[:0x3000])
	}
	f.Add(raw(counted(0x1000), load(0x1000, 0x1234, 0x800, 0x2000), load(0x1800, 0x1000, 0x1000, 0x1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		im, err := openBytes(b)
		if err != nil {
			return
		}
		if _, err := im.Count(t.Context()); err != nil {
			t.Fatal(err)
		}
		src := im.Source().(*Source)
		if err := src.Check(t.Context(), func(dumpfmt.Fault) {}); err != nil {
			t.Fatal(err)
		}
		for _, e := range src.extents[:min(len(src.extents), 100)] {
			for _, a := range []uint64{e.start, e.end - 1, e.end} {
				pfn := a >> src.shift
				_, err := im.Page(pfn)
				if (err == nil) != im.State(pfn).Readable() {
					t.Fatalf("page %#x is %v, but reading it says %v", pfn, im.State(pfn), err)
				}
				src.ValidBytes(pfn)
			}
		}
	})
}
