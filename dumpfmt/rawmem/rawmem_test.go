package rawmem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

func file(b []byte) *dumpfmt.File {
	return &dumpfmt.File{Name: "image", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
}

func openMap(t testing.TB, b []byte, text string) *dumpfmt.Image {
	t.Helper()
	m, err := ReadMap(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	src, err := OpenMap(file(b), m, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return dumpfmt.NewImage(src, dumpfmt.Options{})
}

func TestWrite(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		machine := map[bool]string{false: "x86_64", true: "s390x"}[order == binary.ByteOrder(binary.BigEndian)]
		im := dumptest.Small(order, 8, machine, 62).Long()
		var out dumptest.Buffer
		var text strings.Builder
		w, err := NewPageWriter(&out, WriterConfig{Info: im.Info(), Pages: im.Kept(), Map: &text})
		if err != nil {
			t.Fatal(err)
		}
		im.Put(t, w, true)
		got := openMap(t, out.B, text.String())
		dumptest.Check(t, im, got)
		info := got.Info()
		if info.Incomplete || !info.Filtered || string(info.Machine) != machine || info.ByteOrder != order || len(info.Warnings) > 0 {
			t.Errorf("Info = %+v", info)
		}
		if c, err := got.Count(t.Context()); err != nil || c.Present+c.Zero != im.Kept().Len() || c.Present+c.Zero+c.Excluded != uint64(len(im.Pages)) {
			t.Errorf("Count() = %+v, %v", c, err)
		}
		for pfn, p := range im.Pages {
			if p.Data != nil && !bytes.Equal(out.B[pfn*4096:][:4096], p.Data) {
				t.Fatalf("page %#x is not at its address", pfn)
			}
		}
	}
}

func TestAbort(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	out := dumptest.Buffer{Limit: 0x20000, Err: errors.New("disk full")}
	var text strings.Builder
	w, err := NewPageWriter(&out, WriterConfig{Info: im.Info(), Pages: im.Kept(), Map: &text})
	if err != nil {
		t.Fatal(err)
	}
	for pfn := range im.Kept().All() {
		data := im.Pages[pfn].Data
		if err := w.Put(dumpfmt.Stored{PFN: pfn, Data: data, Zero: data == nil, Missing: pfn == 5}); err != nil {
			break
		}
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	got := openMap(t, out.B, text.String())
	if !got.Info().Incomplete {
		t.Error("Incomplete is not set")
	}
	for pfn, p := range im.Pages {
		page, err := got.Page(pfn)
		if err == nil && p.Data != nil && !bytes.Equal(page, p.Data) {
			t.Fatalf("page %#x has wrong bytes", pfn)
		}
		if want := p.State == dumpfmt.Present && pfn < 0x20 && pfn != 5; want && err != nil || pfn > 0x40 && p.State != dumpfmt.Excluded && got.State(pfn) != dumpfmt.Unreadable {
			t.Errorf("page %#x is %v, %v", pfn, got.State(pfn), err)
		}
	}
}

func TestParts(t *testing.T) {
	a, b := bytes.Repeat([]byte{1}, 0x3000), bytes.Repeat([]byte{2}, 0x1800)
	src, err := Open([]Part{{file(a), 0x80000000}, {file(b), 0x80003000}}, Config{Machine: dumpfmt.MachineAArch64})
	if err != nil {
		t.Fatal(err)
	}
	im := dumpfmt.NewImage(src, dumpfmt.Options{})
	for pfn, want := range map[uint64]byte{0x80000: 1, 0x80002: 1, 0x80003: 2, 0x80004: 0, 0x7ffff: 0} {
		if p, err := im.Page(pfn); (err == nil) != (want != 0) || err == nil && p[0] != want {
			t.Errorf("page %#x: %v", pfn, err)
		}
	}
	info := im.Info()
	if info.Machine != dumpfmt.MachineAArch64 || info.PageSize != 4096 || len(info.Warnings) != 1 || info.Filtered {
		t.Errorf("Info = %+v", info)
	}
	if _, err := Open([]Part{{file(b[:100]), 0}}, Config{}); err == nil {
		t.Error("part of a page was opened")
	}
	if _, err := Open([]Part{{file(b), 1<<63 - 1}}, Config{}); err == nil {
		t.Error("memory behind the end of all addresses was opened")
	}
}

func TestMap(t *testing.T) {
	m, err := ReadMap(strings.NewReader("# comment\n\n 0x1000-0x3000 0 # more\n3000-4000 zero\nmachine aarch64\npagesize 65536\nbyteorder big\nincomplete\n"))
	if err != nil || len(m.Ranges) != 2 || m.Ranges[0] != (Range{0x1000, 0x3000, 0, dumpfmt.Present}) || m.Ranges[1].State != dumpfmt.Zero ||
		m.Machine != "aarch64" || m.PageSize != 65536 || !m.BigEndian || !m.Incomplete {
		t.Errorf("ReadMap() = %+v, %v", m, err)
	}
	for _, text := range []string{"", "1000-1000 0", "2000-1000 0", "1000 0", "x-y 0", "1000-2000 z", "1000-2000", "1000-2000 0 0",
		"pagesize 5", "byteorder middle", "1000-2000 ffffffffffffffff", "ffffffffffffffff-1 0", strings.Repeat("x", 1<<20)} {
		if m, err := ReadMap(strings.NewReader(text)); err == nil {
			t.Errorf("ReadMap(%.30q) = %+v", text, m)
		}
	}
}

func FuzzMap(f *testing.F) {
	f.Add([]byte("1000-3000 0\n3000-5000 zero\n5000-6000 excluded\n6000-7000 missing\n2000-9123 1\nincomplete"), 0x5000)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		m, err := ReadMap(bytes.NewReader(text))
		if err != nil {
			return
		}
		src, err := OpenMap(file(make([]byte, size&0xfffff)), m, Config{})
		if err != nil {
			return
		}
		im := dumpfmt.NewImage(src, dumpfmt.Options{})
		for _, r := range im.Info().Ranges {
			for _, pfn := range []uint64{uint64(r.Start) / im.Info().PageSize, uint64(r.End-1) / im.Info().PageSize} {
				if _, err := im.Page(pfn); (err == nil) != im.State(pfn).Readable() {
					t.Fatalf("page %#x is %v, but reading it says %v", pfn, im.State(pfn), err)
				}
			}
		}
		if _, err := im.Count(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
