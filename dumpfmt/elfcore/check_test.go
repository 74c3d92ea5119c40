package elfcore

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

// faults of a dump, one a line.
func faults(t *testing.T, b []byte) string {
	t.Helper()
	src, err := Open(&dumpfmt.File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)})
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
	for _, e := range []dumptest.ELF{{}, {XNum: true}, {Backward: true}, {Overlap: true}, {Class: 32}} {
		if got := faults(t, e.Build(im)); got != "" {
			t.Errorf("%+v: %s", e, got)
		}
	}
	const first = 64 + 56 // the first PT_LOAD's header
	put := func(off int, v uint64) func(b []byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[first+off:], v) }
	}
	old := func(b []byte, off int) uint64 { return binary.LittleEndian.Uint64(b[first+off:]) }
	for _, test := range []struct {
		name   string
		elf    dumptest.ELF
		change func(b []byte)
		want   string
	}{
		{"offset in the headers", dumptest.ELF{}, put(8, 100), "the program headers and the segment at physical address 0x1000 share"},
		{"offset in the notes", dumptest.ELF{}, func(b []byte) { put(8, old(b, 8)-8)(b) }, "the notes and the segment"},
		{"offset in another segment", dumptest.ELF{}, func(b []byte) { put(8, old(b, 8)+4096)(b) }, "share these bytes"},
		{"more in the file than in memory", dumptest.ELF{}, func(b []byte) { put(40, 100)(b) }, "only 100 in memory"},
		{"other memory", dumptest.ELF{}, func(b []byte) { put(24, old(b, 24)+0x4000)(b) }, "describe physical address"},
		{"same memory, a byte differs", dumptest.ELF{Overlap: true}, func(b []byte) { b[old(b, 8)+77] ^= 4 }, "describe physical address 0x104d"},
	} {
		b := test.elf.Build(im)
		test.change(b)
		if got := faults(t, b); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q; want %q", test.name, got, test.want)
		}
	}
}
