package formats_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
)

// target is a machine that dumps come from.
type target struct {
	machine  string
	emachine uint16
	order    binary.ByteOrder
	word     int
	packed   bool
}

var targets = []target{
	{"x86_64", 62, binary.LittleEndian, 8, false},
	{"i686", 3, binary.LittleEndian, 4, true},
	{"armv7l", 40, binary.LittleEndian, 4, false},
	{"s390x", 22, binary.BigEndian, 8, false},
	{"mips", 8, binary.BigEndian, 4, false},
	{"ppc64le", 21, binary.LittleEndian, 8, false},
}

func (x target) image() *dumptest.Image {
	return dumptest.Small(x.order, x.word, x.machine, x.emachine)
}

func open(t *testing.T, paths ...string) *dumpfmt.Image {
	t.Helper()
	im, err := formats.Open(t.Context(), paths, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

var allCodecs = []uint32{0, 1, 2, 4, 0x20}

func checkInfo(t *testing.T, im *dumptest.Image, info *dumpfmt.Info) {
	t.Helper()
	if info.PageSize != 4096 || info.ByteOrder != im.Order || info.WordSize != im.Word || info.MaxPFN != im.MaxPFN {
		t.Errorf("Info = page size %d, %v, word size %d, max pfn %#x; want 4096, %v, %d, %#x",
			info.PageSize, info.ByteOrder, info.WordSize, info.MaxPFN, im.Order, im.Word, im.MaxPFN)
	}
	if r, _ := info.VMCoreInfo.Get("OSRELEASE"); r != "6.1.0-test" {
		t.Errorf("OSRELEASE = %q; want 6.1.0-test (warnings: %q)", r, info.Warnings)
	}
}

func TestKdumpVersions(t *testing.T) {
	for _, x := range targets {
		for version := range 8 {
			t.Run(fmt.Sprintf("%s/%d", x.machine, version), func(t *testing.T) {
				im := x.image()
				b := dumptest.Kdump{Version: version, Packed: x.packed, Codecs: allCodecs, Status: 1, Erase: "erase x 1\n"}.Build(im)
				got := open(t, dumptest.File(t, "vmcore", b))
				dumptest.Check(t, im, got)
				info := got.Info()
				if info.Format != "kdump" || info.HeaderVersion != version {
					t.Errorf("format %q version %d; want kdump version %d", info.Format, info.HeaderVersion, version)
				}
				if version >= 3 {
					checkInfo(t, im, info)
				}
				if want := [2]int{0, 2}[min(version/4, 1)]; len(info.CPUs) != want {
					t.Errorf("%d CPUs; want %d", len(info.CPUs), want)
				}
				if want := [2]int{-1, 1}[min(version, 1)]; info.DumpLevel != want {
					t.Errorf("DumpLevel = %d; want %d", info.DumpLevel, want)
				}
				if version >= 5 && info.EraseInfo != "erase x 1\n" {
					t.Errorf("EraseInfo = %q", info.EraseInfo)
				}
				if version >= 1 && x.machine == "x86_64" && (info.PhysBase == nil || *info.PhysBase != -4096) {
					t.Errorf("PhysBase = %v; want -4096", info.PhysBase)
				}
				if info.Timestamp.Unix() != 1700000001 {
					t.Errorf("Timestamp = %v", info.Timestamp)
				}
			})
		}
	}
}

func TestDiskdumpOneBitmap(t *testing.T) {
	im := targets[0].image()
	for pfn, p := range im.Pages {
		if p.State == dumpfmt.Excluded {
			delete(im.Pages, pfn)
		}
	}
	b := dumptest.Kdump{Version: 1, Diskdump: true, OneBitmap: true, Codecs: []uint32{0}}.Build(im)
	got := open(t, dumptest.File(t, "vmcore", b))
	if f := got.Info().Format; f != "diskdump" {
		t.Errorf("Format = %q; want diskdump", f)
	}
	dumptest.Check(t, im, got)
}

func TestELF(t *testing.T) {
	for _, x := range targets {
		for _, e := range []dumptest.ELF{{}, {XNum: true}, {Backward: true}, {Overlap: true}, {Class: 64}, {Flags: 1}} {
			t.Run(fmt.Sprintf("%s/%+v", x.machine, e), func(t *testing.T) {
				if x.machine == "mips" && e.Class != 0 {
					return // mips comes in both widths, and only the file's class says which
				}
				im := x.image()
				got := open(t, dumptest.File(t, "vmcore", e.Build(im)))
				dumptest.Check(t, im, got)
				checkInfo(t, im, got.Info())
				if n := len(got.Info().CPUs); n != 2 || got.Info().CPUs[1].PID != 78 {
					t.Errorf("CPUs = %+v", got.Info().CPUs)
				}
				if got.Info().Incomplete != (e.Flags == 1) {
					t.Errorf("Incomplete = %v", got.Info().Incomplete)
				}
				if got.UnsureReads() == 0 || !got.Info().Filtered {
					t.Errorf("holes were read as if they were sure")
				}
			})
		}
	}
}

func TestFlattened(t *testing.T) {
	im := targets[0].image()
	for name, plain := range map[string][]byte{
		"kdump": dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(im),
		"elf":   dumptest.ELF{}.Build(im),
	} {
		for _, size := range []int{100, 4096, 65536} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				got := open(t, dumptest.File(t, "vmcore", dumptest.Flatten(plain, size)))
				dumptest.Check(t, im, got)
				if info := got.Info(); !info.Flattened || info.Incomplete {
					t.Errorf("Flattened = %v, Incomplete = %v; want true, false", info.Flattened, info.Incomplete)
				}
			})
		}
	}
}

func TestFlattenedCutShort(t *testing.T) {
	im := targets[0].image()
	flat := dumptest.Flatten(dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im), 1<<20)
	// Without the end mark and the last bytes of the last page.
	got := open(t, dumptest.File(t, "vmcore", flat[:len(flat)-16-100]))
	if info := got.Info(); !info.Incomplete || !info.Truncated {
		t.Errorf("Incomplete = %v, Truncated = %v; want both", info.Incomplete, info.Truncated)
	}
	pfns := im.PFNs()
	if st := got.State(1); st != dumpfmt.Present {
		t.Errorf("State(1) = %v; want present", st)
	}
	last := pfns[len(pfns)-1]
	for im.Pages[last].State != dumpfmt.Present {
		last--
	}
	if st := got.State(last); st != dumpfmt.Unreadable {
		t.Errorf("State(%#x) = %v; want unreadable", last, st)
	}
}

func TestSplit(t *testing.T) {
	im := targets[1].image()
	var plain, flat []string
	for _, r := range [][2]uint64{{0x30, 0x1ff5}, {0, 0x30}, {0x1ff5, im.MaxPFN}} {
		b := dumptest.Kdump{Version: 6, Packed: true, Codecs: allCodecs, Start: r[0], End: r[1]}.Build(im)
		plain = append(plain, dumptest.File(t, "part", b))
		flat = append(flat, dumptest.File(t, "flat", dumptest.Flatten(b, 5000)))
	}
	dumptest.Check(t, im, open(t, plain...))
	dumptest.Check(t, im, open(t, flat...))
	dumptest.Check(t, im, open(t, plain[0], flat[1], plain[2]))

	got := open(t, plain[0], plain[2])
	want := []dumpfmt.PhysRange{{Start: 0, End: 0x30000}}
	if s := got.Info().Split; s == nil || s.Parts != 2 || !slices.Equal(s.Missing, want) {
		t.Errorf("Split = %+v; want 2 parts without %v", s, want)
	}
	_, err := got.Page(1)
	var pe *dumpfmt.PageError
	if !errors.As(err, &pe) || pe.State != dumpfmt.Unreadable {
		t.Errorf("Page(1) of a part that is missing: error = %v; want a PageError that says unreadable", err)
	}
	if _, err := formats.Open(t.Context(), []string{plain[0], plain[0]}, formats.Options{}); err == nil {
		t.Error("the same part twice was opened")
	}
}

func TestIncompleteKdump(t *testing.T) {
	im := targets[0].image()
	got := open(t, dumptest.File(t, "vmcore", dumptest.Kdump{Version: 6, Codecs: allCodecs, Status: 8, Lost: 3}.Build(im)))
	if !got.Info().Incomplete {
		t.Error("Incomplete = false")
	}
	lost := 0
	for pfn, p := range im.Pages {
		if p.State != dumpfmt.Excluded && got.State(pfn) == dumpfmt.Unreadable {
			lost++
		}
	}
	if lost != 3 {
		t.Errorf("%d pages are unreadable; want 3", lost)
	}
	c, err := got.Count(t.Context())
	if err != nil || c.Unreadable != 3 {
		t.Errorf("Count() = %+v, %v; want 3 missing", c, err)
	}
}

// TestCount holds each format's own counting against the states of all pages.
func TestCount(t *testing.T) {
	im := targets[0].image()
	for name, b := range map[string][]byte{
		"elf":   dumptest.ELF{Overlap: true}.Build(im),
		"kdump": dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(im),
		"split": dumptest.Kdump{Version: 6, Codecs: allCodecs, Start: 0x10, End: 0x30}.Build(im),
	} {
		t.Run(name, func(t *testing.T) {
			got := open(t, dumptest.File(t, "vmcore", b))
			c, err := got.Count(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var want dumpfmt.Counts
			for pfn := range got.Info().MaxPFN {
				want.Add(got.State(pfn), 1)
			}
			c.Codecs = nil
			if fmt.Sprint(c) != fmt.Sprint(want) {
				t.Errorf("Count() = %+v; want %+v", c, want)
			}
		})
	}
}

func TestNotADump(t *testing.T) {
	for name, b := range map[string]string{
		"empty": "", "zeros": string(make([]byte, 5000)), "text": "hello, world\n", "gzip": "\x1f\x8b\x08\x00rest",
		"executable": "\x7fELF\x02\x01\x01" + string(make([]byte, 9)) + "\x02\x00\x3e\x00" + string(make([]byte, 60)),
	} {
		_, err := formats.Open(t.Context(), []string{dumptest.File(t, name, []byte(b))}, formats.Options{})
		if !errors.Is(err, formats.ErrNotDump) {
			t.Errorf("Open(%s) error = %v; want ErrNotDump", name, err)
		}
	}
	if _, err := formats.Open(t.Context(), []string{t.TempDir()}, formats.Options{}); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := formats.Open(t.Context(), nil, formats.Options{}); err == nil {
		t.Error("nothing was opened")
	}
}
