package vmware_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/vmware"
)

func small() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62).Plain() }

func cpus() []dumptest.X86 {
	c := dumptest.X86{RIP: 0xffffffff81000010, Flags: 0x246, CR0: 0x80050033, CR3: 0x2610000, CR4: 0x3506f0, IDT: 0xfffffe0000000000,
		GS: 0xffff88801f200000, CS: 0x10, SS: 0x18}
	for i := range c.GPR {
		c.GPR[i] = 0x100 + uint64(i)
	}
	d := c
	d.CR3, d.GPR[0] = 0x2710000, 7
	return []dumptest.X86{c, d}
}

func openAll(t *testing.T, paths ...string) (*dumpfmt.Image, error) {
	t.Helper()
	im, err := formats.Open(t.Context(), paths, formats.Options{})
	if err == nil {
		t.Cleanup(func() { im.Close() })
	}
	return im, err
}

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkCPUs(t *testing.T, info *dumpfmt.Info) {
	t.Helper()
	if len(info.CPUs) != 2 {
		t.Fatalf("%d CPUs; want 2 (warnings %q)", len(info.CPUs), info.Warnings)
	}
	for name, want := range map[string]uint64{"rax": 0x100, "rcx": 0x101, "rdx": 0x102, "rbx": 0x103, "rbp": 0x104, "rsp": 0x105, "rsi": 0x106, "rdi": 0x107,
		"r15": 0x10f, "rip": 0xffffffff81000010, "eflags": 0x246, "cs": 0x10, "ss": 0x18, "gs_base": 0xffff88801f200000} {
		if v, _ := info.CPUs[0].Reg(name); v != want {
			t.Errorf("%s = %#x; want %#x", name, v, want)
		}
	}
	if q := info.CPUs[0].QEMU; q == nil || q.CR3 != 0x2610000 || q.CR4 != 0x3506f0 || q.CR0 != 0x80050033 || q.IDTBase != 0xfffffe0000000000 {
		t.Errorf("control registers %+v", q)
	}
	if v, _ := info.CPUs[1].Reg("rax"); v != 7 || info.CPUs[1].QEMU.CR3 != 0x2710000 {
		t.Errorf("CPU 1: rax %#x, %+v", v, info.CPUs[1].QEMU)
	}
}

func TestStateFile(t *testing.T) {
	for name, w := range map[string]dumptest.VMware{
		"memory inside":            {},
		"beside":                   {Beside: true},
		"registers one by one":     {Beside: true, Singly: true},
		"restored":                 {Magic: 0xbad1bad1},
		"of a partial lazy resume": {Magic: 0xbed3bed3, Beside: true},
	} {
		t.Run(name, func(t *testing.T) {
			im := small()
			w.CPUs = cpus()
			state, memory := w.Build(im)
			dir := t.TempDir()
			paths := []string{write(t, dir, "vm-snap.vmsn", state)}
			if memory != nil {
				write(t, dir, "vm-snap.vmem", memory)
			}
			got, err := openAll(t, paths...)
			if err != nil {
				t.Fatal(err)
			}
			dumptest.Check(t, im, got)
			checkCPUs(t, got.Info())
			info := got.Info()
			if info.Format != "vmware" || info.MaxPFN != im.MaxPFN || info.Machine != dumpfmt.MachineX86_64 || len(info.Ranges) != 2 || len(info.Warnings) > 0 {
				t.Errorf("Info = %+v", info)
			}
		})
	}
}

func TestNamedMemory(t *testing.T) {
	im := small()
	state, memory := dumptest.VMware{Beside: true, CPUs: cpus()}.Build(im)
	dir := t.TempDir()
	path := write(t, dir, "a.vmss", state)
	if _, err := openAll(t, path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "a.vmem") {
		t.Errorf("without memory: %v", err)
	}
	mem := write(t, dir, "other.vmem", memory)
	got, err := openAll(t, path, mem)
	if err != nil {
		t.Fatal(err)
	}
	dumptest.Check(t, im, got)
	if _, err := openAll(t, path, mem, mem); err == nil {
		t.Error("three files were taken")
	}
	if _, err := openAll(t, mem); !errors.Is(err, formats.ErrNotDump) || !strings.Contains(err.Error(), ".vmss") {
		t.Errorf("the memory alone: %v", err)
	}
}

func TestRefused(t *testing.T) {
	compressed, _ := dumptest.VMware{Compressed: true}.Build(small())
	old, _ := dumptest.VMware{Magic: 0xbed0bed0}.Build(small())
	for want, b := range map[string][]byte{"compressed": compressed, "32-bit layout": old, "ends there": {0xd2, 0xbe, 0xd2, 0xbe, 1, 0, 0, 0, 0, 0, 0}} {
		_, err := vmware.Open([]*dumpfmt.File{{Name: "x.vmss", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one about %q", err, want)
		}
	}
}

func TestGuest(t *testing.T) {
	for _, version := range []int{1, 3, 4, 5, 6, 7} {
		im := small()
		state, memory := dumptest.VMwareGuest(im, version, cpus())
		dir := t.TempDir()
		path := write(t, dir, "debug.guest", state)
		write(t, dir, "debug.vmem", memory)
		got, err := openAll(t, path)
		if err != nil {
			t.Errorf("version %d: %v", version, err)
			continue
		}
		dumptest.Check(t, im, got)
		checkCPUs(t, got.Info())
		if got.Info().HeaderVersion != version || len(got.Info().Warnings) > 0 {
			t.Errorf("version %d: %+v", version, got.Info())
		}
		write(t, dir, "debug.guest", state[:len(state)-4096-17-100])
		if got, err = openAll(t, path); err != nil || !got.Info().Truncated || len(got.Info().CPUs) != 1 {
			t.Errorf("version %d, cut short: %v", version, err)
		}
	}
	state, _ := dumptest.VMwareGuest(small(), 7, cpus())
	binary.LittleEndian.PutUint32(state[8+8+56:], 0)
	if _, err := vmware.OpenGuest([]*dumpfmt.File{{Name: "x.guest", Size: int64(len(state)), ReaderAt: bytes.NewReader(state)}}); err == nil || !strings.Contains(err.Error(), "x86") {
		t.Errorf("a machine of ARM: %v", err)
	}
}

// TestCut: whatever is missing at the end is an error or is said, and no byte is wrong.
func TestCut(t *testing.T) {
	im := small()
	state, _ := dumptest.VMware{CPUs: cpus()}.Build(im)
	for n := 12; n < len(state); n += 1 + n/7 {
		src, err := vmware.Open([]*dumpfmt.File{{Name: filepath.Join(t.TempDir(), "x.vmss"), Size: int64(n), ReaderAt: bytes.NewReader(state[:n])}})
		if err != nil {
			continue
		}
		info := src.Info()
		if !info.Truncated || len(info.Warnings) == 0 {
			t.Errorf("%d of %d bytes: not truncated", n, len(state))
		}
		page := make([]byte, 4096)
		for pfn := range im.MaxPFN {
			if src.ReadPage(page, pfn) == nil && !bytes.Equal(page, im.Pages[pfn].Data) {
				t.Fatalf("%d of %d bytes: page %#x is wrong", n, len(state), pfn)
			}
		}
	}
}

func FuzzVMware(f *testing.F) {
	im := small()
	clear(im.Pages)
	im.Pages[1] = dumptest.Page{State: dumpfmt.Present, Data: make([]byte, 4096)}
	im.Pages[9] = im.Pages[1]
	for _, w := range []dumptest.VMware{{CPUs: cpus()}, {CPUs: cpus(), Singly: true, Beside: true}, {Compressed: true}} {
		state, _ := w.Build(im)
		f.Add(state)
	}
	for _, v := range []int{1, 4, 7} {
		state, _ := dumptest.VMwareGuest(im, v, cpus()[:1])
		f.Add(state)
	}
	memory := make([]byte, 8192)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, open := range []func([]*dumpfmt.File) (dumpfmt.Source, error){vmware.Open, vmware.OpenGuest} {
			files := []*dumpfmt.File{{Name: "none/x.vmss", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)},
				{Name: "x.vmem", Size: int64(len(memory)), ReaderAt: bytes.NewReader(memory)}}
			for n := 1; n <= 2; n++ {
				src, err := open(files[:n])
				if err != nil {
					continue
				}
				page := make([]byte, src.Info().PageSize)
				for _, r := range src.Info().Ranges {
					for _, pfn := range []uint64{uint64(r.Start) >> 12, uint64(r.End)>>12 - 1, uint64(r.End) >> 12} {
						if err := src.ReadPage(page, pfn); (err == nil) != src.State(pfn).Readable() {
							t.Errorf("page %#x is %v, but reading it: %v", pfn, src.State(pfn), err)
						}
					}
				}
			}
		}
	})
}
