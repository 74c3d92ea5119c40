package xencore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/xencore"
)

func small() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62).Plain() }

func cpus() []dumptest.X86 {
	c := dumptest.X86{RIP: 0xffffffff81000010, Flags: 0x246, CR0: 0x80050033, CR3: 0x2610000, CR4: 0x3506f0, GS: 0xffff88801f200000, CS: 0x10, SS: 0x18}
	for i := range c.GPR {
		c.GPR[i] = 0x100 + uint64(i)
	}
	d := c
	d.CR3, d.GPR[0] = 0x2710000, 7
	return []dumptest.X86{c, d}
}

func open(t *testing.T, b []byte) (*dumpfmt.Image, error) {
	t.Helper()
	im, err := formats.Open(t.Context(), []string{dumptest.File(t, "core", b)}, formats.Options{})
	if err == nil {
		t.Cleanup(func() { im.Close() })
	}
	return im, err
}

func TestKinds(t *testing.T) {
	for name, x := range map[string]dumptest.XenCore{
		"translated":      {Machine: 62},
		"in any order":    {Machine: 62, Backward: true},
		"paravirtualised": {Machine: 62, PV: true},
	} {
		t.Run(name, func(t *testing.T) {
			im := small()
			x.CPUs = cpus()
			got, err := open(t, x.Build(im))
			if err != nil {
				t.Fatal(err)
			}
			dumptest.Check(t, im, got)
			info := got.Info()
			if info.Format != "xen" || info.Machine != dumpfmt.MachineX86_64 || info.MaxPFN != im.MaxPFN || len(info.Ranges) != 2 || len(info.Warnings) > 0 != x.PV || len(info.CPUs) != 2 {
				t.Fatalf("Info = %+v", info)
			}
			for name, want := range map[string]uint64{"rax": 0x100, "rcx": 0x101, "rdx": 0x102, "rbx": 0x103, "rbp": 0x104, "rsp": 0x105, "rsi": 0x106, "rdi": 0x107,
				"r15": 0x10f, "rip": 0xffffffff81000010, "eflags": 0x246, "cs": 0x10, "ss": 0x18, "gs_base": 0xffff88801f200000} {
				if v, _ := info.CPUs[0].Reg(name); v != want {
					t.Errorf("%s = %#x; want %#x", name, v, want)
				}
			}
			want := uint64(0x2710000)
			if x.PV {
				want = 0
			}
			if q := info.CPUs[1].QEMU; q.CR3 != want {
				t.Errorf("CR3 = %#x; want %#x", q.CR3, want)
			}
		})
	}
	got, err := open(t, dumptest.XenCore{Machine: 183, CPUs: cpus()}.Build(small()))
	if err != nil || got.Info().Machine != dumpfmt.MachineAArch64 || len(got.Info().CPUs) != 0 {
		t.Errorf("another architecture: %v", err)
	}
}

func TestRefused(t *testing.T) {
	b := dumptest.XenCore{Machine: 62}.Build(small())
	for want, b := range map[string][]byte{
		"isn't the dump of a Xen domain": bytes.Replace(b, []byte(".xen_pfn"), []byte(".xen_pfx"), 1),
		"can't be":                       bytes.Replace(b, []byte("\x00\x10\x00\x00\x00\x00\x00\x00\x04"), []byte("\x01\x10\x00\x00\x00\x00\x00\x00\x04"), 1),
	} {
		if _, err := open(t, b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
	for want, b := range map[string]string{"xl save": "LinuxGuestRecord....", "Xen 3.0": "\xed\xeb\x0f\xf0...."} {
		if _, err := open(t, []byte(b)); !errors.Is(err, formats.ErrNotDump) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
}

// TestCut: the table of page numbers comes last, so that most of what is cut short can't be read; nothing of it is wrong.
func TestCut(t *testing.T) {
	im := small()
	b := dumptest.XenCore{Machine: 62}.Build(im)
	for n := len(b) - 8*len(im.Pages) - 100; n < len(b); n += 50 {
		got, err := open(t, b[:n])
		if err != nil {
			continue
		}
		if !got.Info().Truncated {
			t.Errorf("%d of %d bytes: not truncated", n, len(b))
		}
		for pfn := range im.MaxPFN {
			if page, err := got.Page(pfn); err == nil && !bytes.Equal(page, im.Pages[pfn].Data) {
				t.Fatalf("%d of %d bytes: page %#x is wrong", n, len(b), pfn)
			}
		}
	}
}

func FuzzXenCore(f *testing.F) {
	im := &dumptest.Image{PageSize: 4096, Order: binary.LittleEndian, Word: 8, MaxPFN: 20, Pages: map[uint64]dumptest.Page{
		2: {State: dumpfmt.Zero}, 17: {State: dumpfmt.Present, Data: bytes.Repeat([]byte("ab"), 2048)}}}
	for _, x := range []dumptest.XenCore{{Machine: 62, CPUs: cpus()[:1]}, {Machine: 62, PV: true}, {Machine: 183, Backward: true}} {
		f.Add(x.Build(im))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		src, err := xencore.Open([]*dumpfmt.File{{Name: "x", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}})
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
