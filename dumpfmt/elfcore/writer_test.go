package elfcore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

var errFull = errors.New("disk full")

func write(t testing.TB, im *dumptest.Image, cfg WriterConfig) []byte {
	t.Helper()
	var out dumptest.Buffer
	if cfg.Info == nil {
		cfg.Info = im.Info()
	}
	cfg.Pages = im.Kept()
	w, err := NewPageWriter(&out, cfg)
	if err != nil {
		t.Fatal(err)
	}
	im.Put(t, w, cfg.ZeroPages)
	return out.B
}

// states compares all pages; zero says what pages of zeros may be.
func states(t *testing.T, im *dumptest.Image, got *dumpfmt.Image) {
	t.Helper()
	for pfn := range im.MaxPFN + 2 {
		p, ok := im.Pages[pfn]
		st := got.State(pfn)
		page, err := got.Page(pfn)
		switch {
		case !ok && st != dumpfmt.Absent,
			ok && p.State == dumpfmt.Present && st != dumpfmt.Present,
			ok && p.State == dumpfmt.Zero && st != dumpfmt.Zero && st != dumpfmt.Present,
			ok && p.State == dumpfmt.Excluded && st != dumpfmt.Excluded:
			t.Fatalf("page %#x is %v in the file; it was %v", pfn, st, p.State)
		case st.Readable() != (err == nil):
			t.Fatalf("page %#x is %v, but reading it says %v", pfn, st, err)
		case p.State == dumpfmt.Present && string(page) != string(p.Data), p.State == dumpfmt.Zero && !allZero(page):
			t.Fatalf("page %#x has other bytes", pfn)
		}
	}
}

func TestPageWriter(t *testing.T) {
	for _, x := range []struct {
		machine  string
		emachine uint16
		order    binary.ByteOrder
		word     int
	}{{"x86_64", 62, binary.LittleEndian, 8}, {"i686", 3, binary.LittleEndian, 4}, {"s390x", 22, binary.BigEndian, 8}, {"mips", 8, binary.BigEndian, 4}} {
		for _, zeros := range []bool{false, true} {
			t.Run(fmt.Sprint(x.machine, zeros), func(t *testing.T) {
				im := dumptest.Small(x.order, x.word, x.machine, x.emachine).Long()
				b := write(t, im, WriterConfig{ZeroPages: zeros})
				got, err := openBytes(b)
				if err != nil {
					t.Fatal(err)
				}
				states(t, im, got)
				info := got.Info()
				for _, s := range info.Segments {
					if s.Virt != 0 {
						t.Errorf("segment %+v has a virtual address, which nobody knew", s)
					}
					if s.Offset < uint64(bytes.Index(b, []byte(im.Text))+len(im.Text)) {
						t.Errorf("segment %+v lies in front of the notes' end, where crash and gdb misread it", s)
					}
				}
				if info.WordSize != x.word || info.Machine != im.Info().Machine || len(info.CPUs) != 2 || info.VMCoreInfo == nil || info.Incomplete || !info.Filtered {
					t.Errorf("Info = %+v", info)
				}
				c, err := got.Count(t.Context())
				if err != nil || zeros != (c.Zero == 200+1+200+3+200+7) {
					t.Errorf("Count() = %+v, %v", c, err)
				}
			})
		}
	}
}

// TestTwice writes memory that two segments map, and parts of pages: the bytes stand in the file once.
func TestTwice(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	info := im.Info()
	seg := func(virt, phys, size uint64) dumpfmt.Segment {
		return dumpfmt.Segment{Virt: virt, Phys: dumpfmt.Phys(phys), HasPhys: true, MemSize: size}
	}
	info.Segments = []dumpfmt.Segment{seg(0xffffffff81000000, 0x8000, 0x20000), seg(0xffff888000001000, 0x1000, 0x4e123),
		seg(0xffff888000001000+0x4e123, 0x4f123, 0xedd), seg(0xffff888001ff0000, 0x1ff0000, 0x12800)}
	b := write(t, im, WriterConfig{Info: info})
	if want := int(im.Kept().Len()*4096 + 0x6000); len(b) > want {
		t.Errorf("%d bytes; want at most %d", len(b), want)
	}
	got, err := openBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	last := im.Pages[im.MaxPFN-1]
	clear(last.Data[min(len(last.Data), 0x800):])
	states(t, im, got)
	text, direct := 0, 0
	for _, s := range got.Info().Segments {
		if s.Virt>>32 == 0xffffffff {
			text++
			if uint64(s.Phys)-0x8000 != s.Virt-0xffffffff81000000 {
				t.Errorf("segment %+v", s)
			}
		} else {
			direct++
			if uint64(s.Phys) != s.Virt-0xffff888000000000 {
				t.Errorf("segment %+v", s)
			}
		}
	}
	if text == 0 || direct == 0 {
		t.Errorf("%d and %d segments", text, direct)
	}
}

func TestWriteNotes(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	info := im.Info()
	data := strings.NewReader("what a driver wrote")
	info.Devices = []dumpfmt.DeviceDump{{Name: "eth0", Size: data.Size(), Data: section(data)}}
	info.EraseInfo = "erase x 8\n"
	got, err := openBytes(write(t, im, WriterConfig{Info: info}))
	if err != nil {
		t.Fatal(err)
	}
	states(t, im, got)
	g := got.Info()
	if g.EraseInfo != info.EraseInfo || g.VMCoreInfo.Text() != im.Text || len(g.Devices) != 1 || g.Devices[0].Name != "eth0" {
		t.Errorf("EraseInfo %q, VMCOREINFO %q, devices %+v", g.EraseInfo, g.VMCoreInfo.Text(), g.Devices)
	}
	buf := make([]byte, g.Devices[0].Size)
	if g.Devices[0].Data.ReadAt(buf, 0); string(buf) != "what a driver wrote" {
		t.Errorf("device dump %q", buf)
	}
}

// TestWriteManySegments needs PN_XNUM: each second page is excluded.
func TestWriteManySegments(t *testing.T) {
	for _, word := range []int{4, 8} {
		info := dumptest.Small(binary.LittleEndian, word, map[int]string{4: "i686", 8: "x86_64"}[word], 62).Info()
		const pages = 140000
		info.MaxPFN, info.Ranges = pages, []dumpfmt.PhysRange{{Start: 0, End: pages << 12}}
		var set dumpfmt.PageSet
		for pfn := uint64(0); pfn < pages; pfn += 2 {
			set.Add(pfn)
		}
		var out dumptest.Buffer
		w, err := NewPageWriter(&out, WriterConfig{Info: info, Pages: &set})
		if err != nil {
			t.Fatal(err)
		}
		page := make([]byte, 4096)
		for pfn := range set.All() {
			binary.LittleEndian.PutUint64(page, pfn+1)
			if err := w.Put(dumpfmt.Stored{PFN: pfn, Data: page}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := openBytes(out.B)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got.Info().Segments); n != pages/2 {
			t.Errorf("%d segments; want %d", n, pages/2)
		}
		for _, pfn := range []uint64{0, 65534, 131070, pages - 2} {
			if p, err := got.Page(pfn); err != nil || binary.LittleEndian.Uint64(p) != pfn+1 || got.State(pfn+1) != dumpfmt.Excluded {
				t.Errorf("page %#x: %v", pfn, err)
			}
		}
	}
}

// TestMissing marks pages that nobody had, also all from one on.
func TestMissing(t *testing.T) {
	for _, word := range []int{4, 8} {
		im := dumptest.Small(binary.LittleEndian, word, map[int]string{4: "i686", 8: "x86_64"}[word], 62)
		for _, abort := range []bool{false, true} {
			var out dumptest.Buffer
			w, err := NewPageWriter(&out, WriterConfig{Info: im.Info(), Pages: im.Kept(), ZeroPages: true})
			if err != nil {
				t.Fatal(err)
			}
			bad := func(pfn uint64) bool { return pfn == 8 || pfn == 9 || abort && pfn >= 0x2000 }
			for pfn := range im.Kept().All() {
				p := im.Pages[pfn]
				s := dumpfmt.Stored{PFN: pfn, Data: p.Data, Zero: p.Data == nil, Missing: bad(pfn)}
				if pfn == 0x2000 && abort {
					break
				}
				if err := w.Put(s); err != nil {
					t.Fatal(err)
				}
			}
			if abort {
				err = w.Abort()
			} else {
				err = w.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := openBytes(out.B)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Info().Incomplete {
				t.Error("not marked as incomplete")
			}
			for pfn, p := range im.Pages {
				if p.State != dumpfmt.Excluded && (got.State(pfn) == dumpfmt.Unreadable) != bad(pfn) {
					t.Errorf("abort %v: page %#x is %v", abort, pfn, got.State(pfn))
				}
			}
		}
	}
}

func TestDiskFull(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	full := len(write(t, im, WriterConfig{}))
	for limit := int64(1); limit < int64(full); limit += 9777 {
		out := dumptest.Buffer{Limit: limit, Err: errFull}
		w, err := NewPageWriter(&out, WriterConfig{Info: im.Info(), Pages: im.Kept()})
		if errors.Is(err, errFull) {
			continue
		}
		for pfn := range im.Kept().All() {
			data := im.Pages[pfn].Data
			if err = w.Put(dumpfmt.Stored{PFN: pfn, Data: data, Zero: data == nil}); err != nil {
				break
			}
		}
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("limit %d: error = %v", limit, err)
		}
		w.Abort()
		got, err := openBytes(out.B)
		if err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
		if !got.Info().Incomplete {
			t.Errorf("limit %d: not marked as incomplete", limit)
		}
		for pfn, p := range im.Pages {
			if page, err := got.Page(pfn); err == nil && p.Data != nil && string(page) != string(p.Data) {
				t.Fatalf("limit %d: page %#x has wrong bytes", limit, pfn)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	w, err := NewPageWriter(&dumptest.Buffer{}, WriterConfig{Info: im.Info(), Pages: im.Kept()})
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4096)
	for _, s := range []dumpfmt.Stored{{PFN: 0x60, Data: page}, {PFN: 5, Data: page[1:]}, {PFN: 1, Data: page}, {PFN: 1, Data: page}} {
		err = w.Put(s)
	}
	if err == nil {
		t.Error("a page came twice")
	}
	if w.Close() == nil {
		t.Error("pages that did not come were not missed")
	}
	info := im.Info()
	info.Machine = "vax"
	if _, err := NewPageWriter(&dumptest.Buffer{}, WriterConfig{Info: info, Pages: im.Kept()}); err == nil {
		t.Error("an unknown machine was written")
	}
}

func section(r *strings.Reader) *io.SectionReader { return io.NewSectionReader(r, 0, r.Size()) }
