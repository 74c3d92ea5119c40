package bootstrap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kdx/analyze/arch"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/elfnote"
)

var (
	four = fakeKernel{virt: 0xffffffff9a000000, phys: 0x1200000, levels: 4, release: "6.1.0-test"}
	five = fakeKernel{virt: 0xffffffff81000000, phys: 0x2000000, levels: 5, release: "7.2.0-test"}
)

const (
	la57 = 1 << 12
	page = 1 << 12
)

func find(t *testing.T, m *machine, opt Options) (Result, error) {
	t.Helper()
	return Find(context.Background(), m.image(), opt)
}

func TestDerived(t *testing.T) {
	const process, noFlush, pcid = 0x800000, 1 << 63, 0x9
	for _, tc := range []struct {
		name string
		k    fakeKernel
		prep func(m *machine, k fakeKernel)
		how  string
	}{
		{"the kernel's own table", four, func(m *machine, k fakeKernel) { m.cpu(k.phys+rootAt, 0) }, "CR3 of CPU 0"},
		{"five levels", five, func(m *machine, k fakeKernel) { m.cpu(k.phys+rootAt, la57) }, "CR3 of CPU 0"},
		{"a process", four, func(m *machine, k fakeKernel) { k.top(m, process); m.cpu(process|pcid|noFlush, 0) }, "CR3 of CPU 0"},
		{"user mode with isolation", four, func(m *machine, k fakeKernel) {
			k.top(m, process)
			k.userHalf(m, process+page)
			m.cpu(process+page|pcid, 0)
		}, "CR3 of CPU 0"},
		{"an odd page without isolation", four, func(m *machine, k fakeKernel) {
			m.write(process, []byte("not a page table at all"))
			k.top(m, process+page)
			m.cpu(process+page, 0)
		}, "CR3 of CPU 0"},
		{"the second CPU", four, func(m *machine, k fakeKernel) { m.cpu(0x7000, 0); m.cpu(k.phys+rootAt, 0) }, "CR3 of CPU 1"},
		{"no CPU states", four, func(*machine, fakeKernel) {}, "page tables found at"},
		{"no CPU states, five levels", five, func(*machine, fakeKernel) {}, "page tables found at"},
		{"a spare table of a kernel that knows five levels", four, func(m *machine, k fakeKernel) {
			m.word(k.phys+level4At+lastEntry, k.phys+level3At|table)
		}, "page tables found at"},
		{"the program header of the image", four, func(m *machine, k fakeKernel) {
			m.info.Segments = []dumpfmt.Segment{{Virt: k.virt, Phys: dumpfmt.Phys(k.phys), HasPhys: true, MemSize: imageSize}}
		}, "page tables found at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			tc.k.put(m)
			tc.prep(m, tc.k)
			res, err := find(t, m, Options{})
			if err != nil {
				t.Fatal(err)
			}
			vci := res.VMCoreInfo
			want := vmcoreinfo.Parse([]byte(tc.k.vmcoreinfo()))
			for _, key := range []string{"OSRELEASE", "PAGESIZE", "SYMBOL(_stext)", "NUMBER(phys_base)", "NUMBER(pgtable_l5_enabled)", "KERNELOFFSET"} {
				w, _ := want.Get(key)
				if got, _ := vci.Get(key); got != w {
					t.Errorf("%s = %q; want %q", key, got, w)
				}
			}
			if !strings.Contains(vci.Origin(), tc.how) {
				t.Errorf("Origin = %q; want %q in it", vci.Origin(), tc.how)
			}
			a, err := arch.New(env{m.image(), vci})
			if err != nil {
				t.Fatal(err)
			}
			if f, err := a.Kernel().Translate(tc.k.virt + utsAt); err != nil || uint64(f.Phys) != tc.k.phys+utsAt {
				t.Errorf("init_uts_ns is at %#x, %v; want %#x", uint64(f.Phys), err, tc.k.phys+utsAt)
			}
		})
	}
}

// TestText: of all that looks like a VMCOREINFO the one is taken whose kernel stands where it says.
func TestText(t *testing.T) {
	stale := four
	stale.phys += 8 << 20
	moved := four
	moved.virt -= 4 << 20
	for _, tc := range []struct {
		name string
		prep func(m *machine)
		want uint64 // where it was found
	}{
		{"alone", func(m *machine) { m.write(0x700000, []byte(four.vmcoreinfo())) }, 0x700000},
		{"in the note", func(m *machine) {
			m.write(0x701000, elfnote.Append(nil, binary.LittleEndian, "VMCOREINFO", 0, []byte(four.vmcoreinfo())))
		}, 0x701000},
		{"behind an earlier boot's and a file's", func(m *machine) {
			m.write(0x700000, []byte(stale.vmcoreinfo()))
			m.write(0x701000, []byte(moved.vmcoreinfo()))
			m.write(0x702000, []byte("OSRELEASE=%s\nPAGESIZE=%d\n"))
			m.write(0x703000, []byte(four.vmcoreinfo()))
		}, 0x703000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			four.put(m)
			tc.prep(m)
			res, err := find(t, m, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("found in memory at physical address %#x", tc.want); !strings.Contains(res.VMCoreInfo.Origin(), want) {
				t.Errorf("Origin = %q; want %q in it", res.VMCoreInfo.Origin(), want)
			}
			if got := res.VMCoreInfo.Text(); got != four.vmcoreinfo() {
				t.Errorf("text = %q; want %q", got, four.vmcoreinfo())
			}
		})
	}
}

// TestChoice: two kernels whose texts both fit are told apart by where the CPUs were.
func TestChoice(t *testing.T) {
	other := four
	other.phys, other.virt, other.release = 0x2800000, 0xffffffffa2000000, "5.10.0-other"
	m := newMachine()
	four.put(m)
	other.put(m)
	m.write(0x700000, []byte(four.vmcoreinfo()))
	m.write(0x701000, []byte(other.vmcoreinfo()))
	res, err := find(t, m, Options{})
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "several kernels") {
		t.Errorf("%v, warnings %q; want one that several kernels are there", err, res.Warnings)
	}
	m.info.CPUs = []dumpfmt.CPU{{Regs: []dumpfmt.Register{{Name: "rip", Value: other.virt + 0x1000}}}}
	if res, err = find(t, m, Options{}); err != nil || len(res.Warnings) != 0 || res.VMCoreInfo.Text() != other.vmcoreinfo() {
		t.Errorf("%v, warnings %q, text %q; want the kernel in which the CPU was", err, res.Warnings, res.VMCoreInfo.Text())
	}
	base := four.physBase()
	if res, err = find(t, m, Options{PhysBase: &base}); err != nil || res.VMCoreInfo.Text() != four.vmcoreinfo() {
		t.Errorf("%v, text %q; want the kernel with the phys_base that was given", err, res.VMCoreInfo.Text())
	}
}

// TestDistilled: a distilled dump lacks what tells other kernels, so what was said of them when it was made is said again.
func TestDistilled(t *testing.T) {
	for name, record := range map[string]string{
		"two kernels": `{"kdx": 1, "warnings": ["a CPU ran another kernel"]}`,
		"one kernel":  `{"kdx": 1}`,
		"no record":   "",
	} {
		m := newMachine()
		five.put(m)
		m.cpu(five.phys+rootAt, la57)
		m.info.VMCoreInfo = vmcoreinfo.Parse([]byte(four.vmcoreinfo()))
		if record != "" {
			m.info.Distilled = &record
		}
		res, err := find(t, m, Options{})
		if record == "" {
			if err == nil && len(res.Warnings) == 0 {
				t.Errorf("%s: nothing is said of the other kernel, so that this shows nothing", name)
			}
			continue
		}
		var want []string
		if name == "two kernels" {
			want = []string{"a CPU ran another kernel"}
		}
		if err != nil || res.VMCoreInfo.Text() != four.vmcoreinfo() || !slices.Equal(res.Warnings, want) {
			t.Errorf("%s: %v, warnings %q; want %q", name, err, res.Warnings, want)
		}
	}
}

func TestTold(t *testing.T) {
	kaslr, base := four.virt-arch.X86LinkedText, four.physBase()
	other := kaslr + 2<<20
	m := newMachine()
	four.put(m)
	m.cpu(four.phys+rootAt, 0)
	if _, err := find(t, m, Options{KASLR: &kaslr, PhysBase: &base}); err != nil {
		t.Errorf("Find with what is true = %v", err)
	}
	if _, err := find(t, m, Options{KASLR: &other}); err == nil || !strings.Contains(err.Error(), "was moved by") {
		t.Errorf("Find with another KASLR offset = %v; want an error that names both", err)
	}
	fits := vmcoreinfo.Parse([]byte(four.vmcoreinfo()))
	if res, err := find(t, m, Options{Supplied: fits, SuppliedBy: "a file"}); err != nil || res.VMCoreInfo.Origin() != "supplied by a file" {
		t.Errorf("Find with what fits = %q, %v", res.VMCoreInfo.Origin(), err)
	}
	wrong := vmcoreinfo.Parse([]byte(five.vmcoreinfo()))
	if _, err := find(t, m, Options{Supplied: wrong, SuppliedBy: "a file"}); err == nil || !strings.Contains(err.Error(), "a file does not fit") {
		t.Errorf("Find with another kernel's = %v; want that it does not fit", err)
	}
	if res, err := find(t, m, Options{Supplied: wrong, SuppliedBy: "a file", Force: true}); err != nil || len(res.Warnings) != 1 {
		t.Errorf("Find with another kernel's, forced = %v, %q; want a warning", err, res.Warnings)
	}
}

// TestInterrupts: page tables that lead to another kernel than the CPU's interrupts do are not believed.
func TestInterrupts(t *testing.T) {
	m := newMachine()
	four.put(m)
	m.cpu(four.phys+rootAt, 0)
	idt := four.virt + 0x600000
	m.info.CPUs[0].QEMU.IDTBase = idt
	gate := func(to uint64) {
		b := make([]byte, 16)
		binary.LittleEndian.PutUint16(b, uint16(to))
		binary.LittleEndian.PutUint16(b[6:], uint16(to>>16))
		binary.LittleEndian.PutUint32(b[8:], uint32(to>>32))
		m.write(four.phys+0x600000, b)
	}
	gate(four.virt + 0x200000)
	if res, err := find(t, m, Options{}); err != nil || !strings.Contains(res.VMCoreInfo.Origin(), "CR3") {
		t.Errorf("Find = %q, %v; want what CR3 leads to", res.VMCoreInfo.Origin(), err)
	}
	gate(0xffffffffc0000000)
	if res, err := find(t, m, Options{}); err != nil || strings.Contains(res.VMCoreInfo.Origin(), "CR3") {
		t.Errorf("Find = %q, %v; want that CR3 is not believed", res.VMCoreInfo.Origin(), err)
	}
}

func TestElfcorehdr(t *testing.T) {
	for line, want := range map[string]dumpfmt.Phys{
		"root=/dev/sda elfcorehdr=0x9000000 quiet": 0x9000000,
		"elfcorehdr=1M@867000K":                    867000 << 10,
		"elfcorehdr=4k@0x1F000000":                 0x1f000000,
		"root=/dev/sda":                            0,
		"elfcorehdr=":                              0,
		"elfcorehdr=zzz":                           0,
	} {
		if got, ok := elfcorehdrOf(line); got != want || ok != (want != 0) {
			t.Errorf("elfcorehdrOf(%q) = %#x, %v; want %#x", line, uint64(got), ok, uint64(want))
		}
	}
}

// TestFirstKernel: the header that kexec leaves for a capture kernel leads to the crashed kernel's VMCOREINFO.
func TestFirstKernel(t *testing.T) {
	m := newMachine()
	note := elfnote.Append(nil, binary.LittleEndian, "VMCOREINFO", 0, []byte(four.vmcoreinfo()))
	m.write(0x900100, note)
	head := make([]byte, 64+2*56)
	le := binary.LittleEndian
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint64(head[32:], 64)
	le.PutUint16(head[54:], 56)
	le.PutUint16(head[56:], 2)
	le.PutUint32(head[64:], 1)
	p := head[64+56:]
	le.PutUint32(p, 4)
	le.PutUint64(p[8:], 0x900100)
	le.PutUint64(p[32:], uint64(len(note)))
	m.write(0x800000, head)
	f := &finder{img: m.image()}
	if info, err := f.firstKernel(0x800000); err != nil || info.Text() != four.vmcoreinfo() {
		t.Errorf("firstKernel = %v; want the crashed kernel's text", err)
	}
	for _, at := range []dumpfmt.Phys{0x801000, 0xfffffffffffff000, ramPages << 12} {
		if _, err := f.firstKernel(at); err == nil {
			t.Errorf("firstKernel(%#x) = nil; want an error", uint64(at))
		}
	}
}

// TestHostile: loops of page tables and memory full of what looks right end soon, and in an error that says so.
func TestHostile(t *testing.T) {
	for name, prep := range map[string]func(m *machine){
		"nothing": func(*machine) {},
		"a table that leads to itself": func(m *machine) {
			for i := uint64(0); i < 512; i++ {
				m.word(0x5000+i*8, 0x5000|table)
			}
			m.cpu(0x5000, 0)
			m.cpu(0x5000, la57)
		},
		"tables beyond memory": func(m *machine) {
			m.word(0x5000+lastEntry, 0xffffffffff000|table)
			m.cpu(0x5000, 0)
			m.cpu(0xfffffffffffff000, 0)
		},
		"every page a text": func(m *machine) {
			for pfn := uint64(0); pfn < ramPages; pfn++ {
				k := four
				k.virt += pfn << 21
				m.write(pfn<<12, []byte(k.vmcoreinfo()))
			}
		},
		"every page a kernel's table": func(m *machine) {
			for pfn := uint64(0); pfn < ramPages; pfn++ {
				m.word(pfn<<12+beforeLast, pfn<<12|table)
				m.word(pfn<<12+lastEntry, pfn<<12|table)
			}
		},
		"an image without a banner": func(m *machine) {
			k := four
			k.put(m)
			m.write(k.phys+bannerAt, make([]byte, 64))
			m.cpu(k.phys+rootAt, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			prep(m)
			begin := time.Now()
			_, err := find(t, m, Options{})
			if !errors.Is(err, ErrNone) {
				t.Errorf("Find = %v; want ErrNone", err)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Find(ctx, newMachine().image(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Find = %v; want that it was cancelled", err)
	}
}

// FuzzFind damages a machine with a kernel at will. Whatever is found must translate the address of its own text.
func FuzzFind(f *testing.F) {
	const pages = 12 << 20 >> 12
	low := four
	low.phys = 2 << 20
	f.Add(uint64(low.phys+level3At+beforeLast), []byte{0}, uint64(low.phys+rootAt), uint64(0))
	f.Add(uint64(low.phys+level2At), []byte("\xe3\x00\x20\x01"), uint64(low.phys+rootAt), uint64(la57))
	f.Add(uint64(0x700000), []byte(low.vmcoreinfo()), uint64(0), uint64(0))
	f.Add(uint64(0x700000), []byte("OSRELEASE=6\nPAGESIZE=4096\nNUMBER(phys_base)=-1\nSYMBOL(_stext)=ffffffffffffffff\nSYMBOL(init_uts_ns)=ffffffffffffffff\n"), uint64(0), uint64(0))
	f.Add(uint64(low.phys+bannerAt), []byte("Linux version "), uint64(low.phys+rootAt), uint64(0))
	f.Fuzz(func(t *testing.T, at uint64, damage []byte, cr3, cr4 uint64) {
		m := newMachine()
		m.info.MaxPFN = pages
		m.info.Ranges[0].End = pages << 12
		low.put(m)
		low.put(m)
		m.write(at%(pages<<12-uint64(len(damage)%4096)-1), damage[:len(damage)%4096])
		m.cpu(cr3, cr4)
		res, err := Find(context.Background(), m.image(), Options{NoKallsyms: true})
		if err != nil {
			return
		}
		a, err := arch.New(env{m.image(), res.VMCoreInfo})
		if err != nil {
			t.Fatalf("a VMCOREINFO that can't be used: %v", err)
		}
		stext, _ := res.VMCoreInfo.Symbol("_stext")
		a.Kernel().Translate(stext)
	})
}
