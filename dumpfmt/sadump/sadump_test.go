package sadump_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/sadump"
)

// small has no zero pages: the format doesn't know them.
func small() *dumptest.Image {
	im := dumptest.Small(binary.LittleEndian, 8, "x86_64", 62)
	for pfn, p := range im.Pages {
		if p.State == dumpfmt.Zero {
			im.Pages[pfn] = dumptest.Page{State: dumpfmt.Present, Data: make([]byte, im.PageSize)}
		}
	}
	return im
}

func cpus() []dumptest.X86 {
	c := dumptest.X86{RIP: 0xffffffff81000010, Flags: 0x246, CR0: 0x80050033, CR3: 0x2610000, CR4: 0x3506f0, IDT: 0xfffffe0000000000, CS: 0x10, SS: 0x18}
	for i := range c.GPR {
		c.GPR[i] = 0x100 + uint64(i)
	}
	d := c
	d.CR3, d.GPR[0] = 0x2710000, 7
	return []dumptest.X86{c, {}, d} // the second APIC has no CPU
}

func files(t testing.TB, parts [][]byte, order ...int) []string {
	var out []string
	for _, i := range order {
		out = append(out, dumptest.File(t, fmt.Sprintf("disk%d", i+1), parts[i]))
	}
	return out
}

func open(t *testing.T, paths ...string) (*dumpfmt.Image, error) {
	t.Helper()
	im, err := formats.Open(t.Context(), paths, formats.Options{})
	if err == nil {
		t.Cleanup(func() { im.Close() })
	}
	return im, err
}

func TestKinds(t *testing.T) {
	for name, d := range map[string]dumptest.SADUMP{
		"partition, version 0": {},
		"partition":            {Version: 1},
		"backup":               {Version: 1, Media: true},
		"set of one":           {Version: 1, Disks: 1},
		"set of three":         {Version: 1, Disks: 3},
	} {
		t.Run(name, func(t *testing.T) {
			im := small()
			d.CPUs = cpus()
			parts := d.Build(im)
			order := []int{0}
			if len(parts) == 3 {
				order = []int{2, 0, 1}
			}
			got, err := open(t, files(t, parts, order...)...)
			if err != nil {
				t.Fatal(err)
			}
			dumptest.Check(t, im, got)
			info := got.Info()
			if info.Format != "sadump" || info.MaxPFN != im.MaxPFN || len(info.Ranges) != 2 || !info.Filtered || info.Timestamp.Unix() != 1700000000 || len(info.Warnings) > 0 {
				t.Errorf("Info = %+v", info)
			}
			if len(info.CPUs) != 2 {
				t.Fatalf("%d CPUs", len(info.CPUs))
			}
			for name, want := range map[string]uint64{"rax": 0x100, "rcx": 0x101, "rdx": 0x102, "rbx": 0x103, "rbp": 0x104, "rsp": 0x105, "rsi": 0x106, "rdi": 0x107,
				"r15": 0x10f, "rip": 0xffffffff81000010, "eflags": 0x246, "cs": 0x10, "ss": 0x18} {
				if v, _ := info.CPUs[0].Reg(name); v != want {
					t.Errorf("%s = %#x; want %#x", name, v, want)
				}
			}
			if q := info.CPUs[1].QEMU; q.CR3 != 0x2710000 || q.CR4 != 0x3506f0 || q.CR0 != 0x80050033 || q.IDTBase != 0xfffffe0000000000 {
				t.Errorf("CPU 1: %+v", q)
			}
			c, err := got.Count(t.Context())
			if err != nil || c.Present+c.Excluded != uint64(len(im.Pages)) {
				t.Errorf("Count = %+v, %v", c, err)
			}
		})
	}
}

func TestSets(t *testing.T) {
	im := small()
	parts := dumptest.SADUMP{Version: 1, Disks: 3}.Build(im)
	other := dumptest.SADUMP{Version: 1, Disks: 3}.Build(im)
	for i := range other {
		other[i][88] ^= 1
	}
	strange := bytes.Clone(parts[1])
	strange[121] ^= 1
	for want, paths := range map[string][]string{
		"disk 1":        files(t, parts, 1, 2),
		"both disk 2":   files(t, parts, 0, 1, 1),
		"one set":       append(files(t, parts, 0), files(t, other, 1)...),
		"lists another": append(files(t, parts, 0), dumptest.File(t, "x", strange)),
		"in one file":   files(t, append(dumptest.SADUMP{}.Build(im), dumptest.SADUMP{}.Build(im)...), 0, 1),
	} {
		if _, err := open(t, paths...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
	for _, order := range [][]int{{0}, {0, 1}, {2, 0}} {
		got, err := open(t, files(t, parts, order...)...)
		if err != nil {
			t.Fatal(err)
		}
		checkPart(t, im, got)
		if info := got.Info(); !info.Incomplete || !strings.Contains(strings.Join(info.Warnings, ""), "not named") {
			t.Errorf("disks %v: %+v", order, info)
		}
	}
}

// checkPart: pages are right or unreadable, and some are unreadable.
func checkPart(t *testing.T, im *dumptest.Image, got *dumpfmt.Image) {
	t.Helper()
	missing := 0
	for pfn := range im.MaxPFN {
		b, err := got.Page(pfn)
		if got.State(pfn) == dumpfmt.Unreadable {
			missing++
		}
		if err == nil && !bytes.Equal(b, im.Pages[pfn].Data) {
			t.Fatalf("page %#x is wrong", pfn)
		}
	}
	if missing == 0 {
		t.Error("no page is missing")
	}
}

func TestCut(t *testing.T) {
	im := small()
	b := dumptest.SADUMP{Version: 1, CPUs: cpus()}.Build(im)[0]
	opened := 0
	for n := 1; n < len(b); n += 1 + n/5 {
		got, err := open(t, dumptest.File(t, "cut", b[:n]))
		if err != nil {
			continue
		}
		opened++
		checkPart(t, im, got)
		if !got.Info().Truncated {
			t.Errorf("%d of %d bytes: not truncated", n, len(b))
		}
	}
	if opened == 0 {
		t.Error("none could be opened")
	}
}

func FuzzSADUMP(f *testing.F) {
	im := &dumptest.Image{PageSize: 4096, Order: binary.LittleEndian, Word: 8, MaxPFN: 20, Pages: map[uint64]dumptest.Page{
		1: {State: dumpfmt.Excluded}, 2: {State: dumpfmt.Zero}, 17: {State: dumpfmt.Present, Data: bytes.Repeat([]byte("ab"), 2048)}}}
	for _, d := range []dumptest.SADUMP{{CPUs: cpus()}, {Version: 1, Media: true}, {Version: 1, Disks: 2}} {
		f.Add(d.Build(im)[0])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		src, err := sadump.Open([]*dumpfmt.File{{Name: "x", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}})
		if err != nil {
			return
		}
		page := make([]byte, src.Info().PageSize)
		for _, r := range src.Info().Ranges {
			for _, pfn := range []uint64{uint64(r.Start) / src.Info().PageSize, uint64(r.End)/src.Info().PageSize - 1, uint64(r.End) / src.Info().PageSize} {
				if err := src.ReadPage(page, pfn); (err == nil) != src.State(pfn).Readable() {
					t.Errorf("page %#x is %v, but reading it: %v", pfn, src.State(pfn), err)
				}
			}
		}
	})
}
