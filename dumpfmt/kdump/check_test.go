package kdump

import (
	"encoding/binary"
	"fmt"

	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

// faults of a dump, one a line.
func faults(t *testing.T, parts ...[]byte) string {
	t.Helper()
	var files []*dumpfmt.File
	for i, b := range parts {
		files = append(files, memFile(b))
		files[i].Name = fmt.Sprintf("vmcore%d", i)
	}
	src, err := Open(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := src.Check(t.Context(), func(f dumpfmt.Fault) { out.WriteString(f.Msg + "\n") }); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCheck(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	all := []uint32{1, 2, 4, 0x20, 0}
	k := dumptest.Kdump{Version: 6, Codecs: all, Erase: "erased\n"}
	for _, sound := range []dumptest.Kdump{k, {Version: 3, Codecs: all}, {Version: 0, Diskdump: true, OneBitmap: true, Codecs: all}} {
		if got := faults(t, sound.Build(im)); got != "" {
			t.Errorf("%+v: %s", sound, got)
		}
	}
	one, two := k, k
	one.End, two.Start, two.End = 0x40, 0x40, im.MaxPFN
	b1, b2 := one.Build(im), two.Build(im)
	if got := faults(t, b1, b2); got != "" {
		t.Errorf("split set: %s", got)
	}
	const bitmap2, descs = 0x3000, 0x4000 // of that image
	b2[bitmap2+1] ^= 0x10
	if got := faults(t, b1, b2); !strings.Contains(got, "the bitmaps from here on are not those of vmcore0") {
		t.Errorf("other bitmaps in a part: %q", got)
	}

	for _, test := range []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"VMCOREINFO elsewhere", func(b []byte) { b[4096+32] ^= 4 }, "the VMCOREINFO stands here"},
		{"a page that is no RAM", func(b []byte) { b[bitmap2+0x60/8] |= 1 }, "1 pages that are no RAM by the first bitmap; the first is page 0x60"},
		{"one page more", func(b []byte) { b[bitmap2] |= 1 << 3 }, "the descriptors and"},
		{"one page less", func(b []byte) { b[bitmap2] &^= 1 << 1 }, "the descriptors go on"},
		{"a page behind the last", func(b []byte) { b[bitmap2+0x2003/8] |= 1 << 5 }, "bitmap 2 has pages behind the last one, 0x2002"},
		{"shared bytes", func(b []byte) { copy(b[descs:descs+24], b[descs+3*24:]) }, "page 0x6 and page 0x1 share these bytes"},
		{"bytes of the headers", func(b []byte) { binary.LittleEndian.PutUint64(b[descs:], 0x200) }, "the headers and notes and page 0x1 share"},
		{"bytes of the erased", func(b []byte) {
			binary.LittleEndian.PutUint64(b[descs:], uint64(len(b)-1))
			b[descs+8] = 1
			b[descs+9] = 0
		}, "the record of erased data"},
	} {
		b := k.Build(im)
		test.change(b)
		if got := faults(t, b); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q; want %q", test.name, got, test.want)
		}
	}
}

// TestScattered: pages in no order at all are said to be that, and cost a bounded amount of work.
func TestScattered(t *testing.T) {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	b := dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(im)
	for at := 0x4000; at+48 < 0x4000+60*24; at += 24 {
		binary.LittleEndian.PutUint64(b[at:], uint64(0x6000+at%7)) // all in the same place, or nearly
	}
	got := faults(t, b)
	if n := strings.Count(got, "\n"); n == 0 || n > maxShared+3 || !strings.Contains(got, "more places of the file") {
		t.Errorf("%d faults: %s", n, got)
	}
}
