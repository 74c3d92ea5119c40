package qemusave

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
)

func small() *dumptest.Image {
	return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62).Contiguous()
}

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

func file(name string, b []byte) *dumpfmt.File {
	return &dumpfmt.File{Name: name, Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
}

func openBytes(t testing.TB, b []byte) (*dumpfmt.Image, error) {
	t.Helper()
	var src dumpfmt.Source
	var err error
	if ProbeLibvirt(b) {
		src, err = OpenLibvirt(t.Context(), file("vm.save", b), nil)
	} else {
		src, err = Open(t.Context(), file("vm.save", b), nil)
	}
	if err != nil {
		return nil, err
	}
	im := dumpfmt.NewImage(src, dumpfmt.Options{})
	t.Cleanup(func() { im.Close() })
	return im, nil
}

func TestStream(t *testing.T) {
	for name, q := range map[string]dumptest.QEMUSave{
		"pc":                 {Machine: "pc-i440fx-7.2"},
		"without a name":     {},
		"pages sent twice":   {Machine: "pc-q35-9.0", Twice: true},
		"compressed":         {Machine: "pc-q35-9.0", Compressed: true, Twice: true},
		"two nodes":          {Machine: "pc-q35-9.0", Nodes: true, Twice: true},
		"mapped-ram":         {Machine: "pc-q35-9.0", Mapped: true},
		"mapped-ram, nodes":  {Machine: "pc-q35-9.0", Mapped: true, Nodes: true},
		"an early section":   {Machine: "pc-q35-9.0", Early: true},
		"libvirt's own name": {Machine: "pc-q35-9.0", Block: "/objects/pc.ram"},
	} {
		t.Run(name, func(t *testing.T) {
			im := small()
			q.CPUs = cpus()
			got, err := openBytes(t, q.Build(im, 0))
			if err != nil {
				t.Fatal(err)
			}
			dumptest.Check(t, im, got)
			info := got.Info()
			if info.Format != "qemu" || info.Machine != dumpfmt.MachineX86_64 || info.MaxPFN != im.MaxPFN || len(info.Warnings) > 0 || info.Filtered || info.Incomplete {
				t.Errorf("Info = %+v", info)
			}
			if len(info.CPUs) != 2 {
				t.Fatalf("%d CPUs", len(info.CPUs))
			}
			for name, want := range map[string]uint64{"rax": 0x100, "rcx": 0x101, "rdx": 0x102, "rbx": 0x103, "rbp": 0x104, "rsp": 0x105, "rsi": 0x106, "rdi": 0x107,
				"r15": 0x10f, "rip": 0xffffffff81000010, "eflags": 0x246, "cs": 0x10, "ss": 0x18, "gs_base": 0xffff88801f200000} {
				if v, _ := info.CPUs[0].Reg(name); v != want {
					t.Errorf("%s = %#x; want %#x", name, v, want)
				}
			}
			if q := info.CPUs[1].QEMU; q.CR3 != 0x2710000 || q.CR4 != 0x3506f0 || q.IDTBase != 0xfffffe0000000000 {
				t.Errorf("CPU 1: %+v", q)
			}
		})
	}
}

// TestIdleCPU: a CPU that was never started is one all the same, so that those behind it are found.
func TestIdleCPU(t *testing.T) {
	c := cpus()
	got, err := openBytes(t, dumptest.QEMUSave{CPUs: []dumptest.X86{c[0], {CR0: 0x60000010, Flags: 2, RIP: 0xfff0}, c[1]}}.Build(small(), 0))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Info().CPUs); n != 3 || got.Info().CPUs[2].QEMU.CR3 != 0x2710000 {
		t.Errorf("%d CPUs; want 3", n)
	}
}

// TestRealCPU: a CPU's section as QEMU 7.2 wrote it, held against what its monitor ("info registers") said.
func TestRealCPU(t *testing.T) {
	real, err := os.ReadFile("testdata/cpu-qemu7.2")
	if err != nil {
		t.Fatal(err)
	}
	b := dumptest.QEMUSave{Machine: "pc-i440fx-7.2"}.Build(small(), 0)
	b = append(append(b[:len(b)-1], real...), 0)
	got, err := openBytes(t, b)
	if err != nil {
		t.Fatal(err)
	}
	info := got.Info()
	if len(info.CPUs) != 1 {
		t.Fatalf("%d CPUs, %q", len(info.CPUs), info.Warnings)
	}
	for name, want := range map[string]uint64{"rax": 0x1ad40, "rbx": 0, "rcx": 0x20, "rdx": 0x4000000000000000, "rsi": 0x83, "rdi": 0x224, "rbp": 0xffffffff8541aa40,
		"rsp": 0xffffffff85403e98, "r8": 0xff1bc36c8f622e80, "r9": 0x37a71e19, "r10": 0xfffffffb, "r14": 0xffffffff8541a118, "r15": 0x14790, "rip": 0xffffffff84417a0b,
		"eflags": 0x246, "cs": 0x10, "ss": 0x18, "gs_base": 0xff1bc36c8f600000} {
		if v, _ := info.CPUs[0].Reg(name); v != want {
			t.Errorf("%s = %#x; want %#x", name, v, want)
		}
	}
	q := info.CPUs[0].QEMU
	if q.CR0 != 0x80050033 || q.CR2 != 0x5794a9 || q.CR3 != 0x296c000 || q.CR4 != 0x751eb0 || q.IDTBase != 0xfffffe0000000000 || q.GDTBase != 0xfffffe0000001000 || q.TRBase != 0xfffffe0000003000 {
		t.Errorf("control registers: %+v", q)
	}
}

func TestLibvirt(t *testing.T) {
	im := small()
	const xml = "<domain type='kvm'><os><type arch='x86_64' machine='pc-q35-9.0'>hvm</type></os></domain>"
	for form, name := range map[uint32]string{0: "", 1: "gzip", 5: "zstd", 6: ""} {
		b := dumptest.Libvirt(form, xml, func(base int) []byte {
			return dumptest.QEMUSave{Machine: "pc-q35-9.0", CPUs: cpus(), Mapped: form == 6}.Build(im, base)
		})
		got, err := openBytes(t, b)
		if err != nil {
			t.Errorf("form %d: %v", form, err)
			continue
		}
		dumptest.Check(t, im, got)
		if info := got.Info(); info.Format != "libvirt" || strings.Join(info.Codecs, " ") != name || len(info.CPUs) != 2 || info.HeaderVersion != 2 {
			t.Errorf("form %d: %+v", form, info)
		}
	}
	plain := dumptest.QEMUSave{}.Build(im, 0)
	b := dumptest.Libvirt(0, xml, func(int) []byte { return plain })
	copy(b[12:], "Part")
	if got, err := openBytes(t, b); err != nil || !got.Info().Incomplete {
		t.Errorf("an unfinished file: %v", err)
	}
	b[28] = 9
	if _, err := openBytes(t, b); err == nil || !strings.Contains(err.Error(), "9") {
		t.Errorf("an unknown form: %v", err)
	}
	packed := dumptest.Libvirt(1, xml, func(int) []byte { return plain })
	got, err := openBytes(t, packed[:len(packed)/2])
	if err != nil || !got.Info().Truncated || got.State(1) != dumpfmt.Present {
		t.Errorf("a packed file that was cut short: %v", err)
	}
	if m := machineOf([]byte(xml)); m != "pc-q35-9.0" {
		t.Errorf("machine of the XML: %q", m)
	}
}

func TestLayout(t *testing.T) {
	const giB, miB = 1 << 30, 1 << 20
	for _, x := range []struct {
		machine string
		size    uint64
		want    string
		warn    bool
	}{
		{"pc-i440fx-7.2", 3 * giB, "0+c0000000", false},
		{"pc-i440fx-7.2", 3583 * miB, "0+dff00000", false},
		{"pc-i440fx-7.2", 4 * giB, "0+c0000000 100000000+40000000", true},
		{"pc-q35-7.2", 2815 * miB, "0+aff00000", false},
		{"pc-q35-7.2", 2816 * miB, "0+80000000 100000000+30000000", true},
		{"microvm", 4 * giB, "0+e0000000 100000000+20000000", true},
		{"", 2 * giB, "0+80000000", false},
		{"", 8 * giB, "0+c0000000 100000000+140000000", true},
	} {
		s := &stream{info: &dumpfmt.Info{}, machine: x.machine, pageSize: 4096}
		got := ""
		next := uint64(0)
		for _, p := range s.layout(machineKinds[0], x.size) {
			got += fmt.Sprintf(" %x+%x", p.phys, p.size)
			if p.page != next {
				t.Errorf("%s: piece at %#x is page %#x; want %#x", x.machine, p.phys, p.page, next)
			}
			next += p.size / 4096
		}
		if strings.TrimSpace(got) != x.want || len(s.info.Warnings) > 0 != x.warn {
			t.Errorf("%s, %d MiB: %s; want %s, warning %v", x.machine, x.size/miB, got, x.want, x.warn)
		}
	}
	for block, want := range map[string]dumpfmt.Machine{"pc.ram": dumpfmt.MachineX86_64, "mach-virt.ram": dumpfmt.MachineAArch64, "s390.ram": dumpfmt.MachineS390X} {
		got, err := openBytes(t, dumptest.QEMUSave{Block: block}.Build(small(), 0))
		if err != nil || got.Info().Machine != want {
			t.Errorf("%s: %v", block, err)
		}
	}
}

// TestHighMemory: behind the hole pages are found where the machine has them; those that were not sent are no zeros.
func TestHighMemory(t *testing.T) {
	im := &dumptest.Image{PageSize: 4096, Order: binary.LittleEndian, Word: 8, Pages: map[uint64]dumptest.Page{}}
	for _, page := range []uint64{5, 0x7ffff, 0x80000, 0x80001} {
		im.Pages[page] = dumptest.Page{State: dumpfmt.Present, Data: bytes.Repeat([]byte{byte(page>>12) | byte(page) | 1}, 4096)}
	}
	got, err := openBytes(t, dumptest.QEMUSave{Machine: "pc-q35-9.0", Size: 4 << 30}.Build(im, 0))
	if err != nil {
		t.Fatal(err)
	}
	for pfn, page := range map[uint64]uint64{5: 5, 0x7ffff: 0x7ffff, 0x100000: 0x80000, 0x100001: 0x80001} {
		if b, err := got.Page(pfn); err != nil || !bytes.Equal(b, im.Pages[page].Data) {
			t.Errorf("page %#x: %v", pfn, err)
		}
	}
	for pfn, want := range map[uint64]dumpfmt.PageState{4: dumpfmt.Excluded, 0x80000: dumpfmt.Absent, 0xfffff: dumpfmt.Absent, 0x17ffff: dumpfmt.Excluded, 0x180000: dumpfmt.Absent} {
		if st := got.State(pfn); st != want {
			t.Errorf("page %#x is %v; want %v", pfn, st, want)
		}
	}
	if info := got.Info(); !info.Filtered || info.MaxPFN != 0x180000 {
		t.Errorf("Info = %+v", info)
	}
}

func TestRefused(t *testing.T) {
	good := dumptest.QEMUSave{Machine: "pc-i440fx-7.2"}.Build(small(), 0)
	at := bytes.Index(good, []byte("\x08\x06pc.ram")) // the flags of the first page with bytes: page and name
	if at < 0 {
		at = bytes.LastIndex(good, []byte("\x06pc.ram")) - 1
	}
	change := func(at int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return b
	}
	for want, b := range map[string][]byte{
		"version 2":         change(7, 2),
		"XBZRLE":            change(at, 0x40),
		"flags are":         change(at, 0),
		"not announced":     change(at+2, 'x'),
		"no part begins":    change(8, 0x77),
		"has version 3":     bytes.Replace(good, []byte("\x03ram\x00\x00\x00\x00\x00\x00\x00\x04"), []byte("\x03ram\x00\x00\x00\x00\x00\x00\x00\x03"), 1),
		"no RAM block":      bytes.Replace(good, []byte("\x06pc.ram"), []byte("\x06xx.ram"), 1),
		"holds no memory":   {'Q', 'E', 'V', 'M', 0, 0, 0, 3, 0},
		"the stream ends":   good[:60],
		"should begin here": append([]byte("QEVX"), good[4:]...),
	} {
		_, err := openBytes(t, b)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, file("x", good), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCut: of a stream that ends early no page is wrong, and those behind are not zeros.
func TestCut(t *testing.T) {
	im := small()
	for _, q := range []dumptest.QEMUSave{{Machine: "pc-i440fx-7.2"}, {Compressed: true}} {
		b := q.Build(im, 0)
		for n := 10; n < len(b)-100; n += 1 + n/5 {
			got, err := openBytes(t, b[:n])
			if err != nil {
				continue
			}
			if !got.Info().Truncated {
				t.Errorf("%d of %d bytes: not truncated", n, len(b))
			}
			missing := 0
			for pfn := range im.MaxPFN {
				page, err := got.Page(pfn)
				var pe *dumpfmt.PageError
				switch {
				case errors.As(err, &pe) && pe.State == dumpfmt.Unreadable:
					missing++
				case err != nil:
					t.Fatal(err)
				case im.Pages[pfn].Data == nil && len(bytes.Trim(page, "\x00")) != 0, im.Pages[pfn].Data != nil && !bytes.Equal(page, im.Pages[pfn].Data):
					t.Fatalf("%d of %d bytes: page %#x is wrong", n, len(b), pfn)
				}
			}
			if missing == 0 {
				t.Errorf("%d of %d bytes: no page is missing", n, len(b))
			}
		}
	}
}

// TestIndex holds the index against a plain map, for streams that jump about.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		x := &pageIndex{pageSize: 4096}
		want := map[uint64]run{}
		off := int64(0)
		for range rnd.IntN(60) {
			page, n := rnd.Uint64N(200), 1+rnd.Uint64N(20)
			for i := range n {
				r := run{page: page + i, n: 1, form: form(rnd.IntN(2)) * streamed}
				if r.form == streamed {
					r.off = off + 8
					off += 4096 + 8
				}
				x.add(r)
				want[r.page] = r
			}
		}
		runs := x.finish()
		for i := 1; i < len(runs); i++ {
			if runs[i-1].end() > runs[i].page {
				t.Fatalf("runs overlap: %+v, %+v", runs[i-1], runs[i])
			}
		}
		for page := range uint64(230) {
			r, ok := find(runs, page)
			w, wok := want[page]
			if ok != wok {
				t.Fatalf("page %d: found %v; want %v", page, ok, wok)
			}
			if ok {
				if r = r.from(page, 4096); r.form != w.form || r.form == streamed && r.off != w.off {
					t.Fatalf("page %d: %+v; want %+v", page, r, w)
				}
			}
		}
	}
}

func FuzzStream(f *testing.F) {
	im := &dumptest.Image{PageSize: 4096, Order: binary.LittleEndian, Word: 8, MaxPFN: 4, Pages: map[uint64]dumptest.Page{
		0: {State: dumpfmt.Zero}, 1: {State: dumpfmt.Present, Data: bytes.Repeat([]byte("ab"), 2048)}, 3: {State: dumpfmt.Zero}}}
	for _, q := range []dumptest.QEMUSave{{Machine: "pc-q35-9.0", CPUs: cpus()}, {Compressed: true, Twice: true}, {Nodes: true, Early: true, Machine: "x"}} {
		f.Add(q.Build(im, 0))
	}
	f.Add(dumptest.Libvirt(0, "<x/>", func(int) []byte { return dumptest.QEMUSave{Machine: "pc"}.Build(im, 0) }))
	f.Add(dumptest.Libvirt(1, "<x/>", func(int) []byte { return dumptest.QEMUSave{Machine: "pc"}.Build(im, 0) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, open := range []func(context.Context, *dumpfmt.File, func(string, int64, int64)) (dumpfmt.Source, error){Open, OpenLibvirt} {
			src, err := open(t.Context(), file("x", b), nil)
			if err != nil {
				continue
			}
			page := make([]byte, src.Info().PageSize)
			for pfn := range min(src.Info().MaxPFN+1, 64) {
				if st := src.State(pfn); !st.Readable() && src.ReadPage(page, pfn) == nil {
					t.Errorf("page %#x is %v, but was read", pfn, st)
				}
				src.ReadPage(page, pfn)
			}
			src.Close()
		}
	})
}
