package arch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// ram is a machine's memory by page; a page that is not there is excluded.
type ram struct {
	info  *dumpfmt.Info
	pages map[uint64][]byte
}

func newRAM() *ram {
	return &ram{pages: map[uint64][]byte{}, info: &dumpfmt.Info{PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8,
		Machine: dumpfmt.MachineX86_64, MaxPFN: 1 << 20, DumpLevel: 31}}
}

func (r *ram) Info() *dumpfmt.Info { return r.info }
func (r *ram) Close() error        { return nil }
func (r *ram) State(pfn uint64) dumpfmt.PageState {
	if r.pages[pfn] == nil {
		return dumpfmt.Excluded
	}
	return dumpfmt.Present
}
func (r *ram) ReadPage(dst []byte, pfn uint64) error {
	if r.pages[pfn] == nil {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn << 12), PFN: pfn, State: dumpfmt.Excluded, Level: 31}
	}
	copy(dst, r.pages[pfn])
	return nil
}

func (r *ram) put(addr, word uint64) {
	p := r.pages[addr>>12]
	if p == nil {
		p = make([]byte, 4096)
		r.pages[addr>>12] = p
	}
	binary.LittleEndian.PutUint64(p[addr&0xfff:], word)
}

type testEnv struct {
	img *dumpfmt.Image
	vci *vmcoreinfo.Info
}

func (e testEnv) Image() *dumpfmt.Image        { return e.img }
func (e testEnv) VMCoreInfo() *vmcoreinfo.Info { return e.vci }

func open(t *testing.T, r *ram, vci string) Arch {
	t.Helper()
	a, err := New(testEnv{dumpfmt.NewImage(r, dumpfmt.Options{}), vmcoreinfo.Parse([]byte(vci))})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const (
	base4 = "SYMBOL(swapper_pg_dir)=ffffffff82001000\nNUMBER(phys_base)=0\n"
	va    = 0xffffc90000123456 // vmalloc
)

// index of va at a level's shift.
func index(va uint64, shift uint) uint64 { return va >> shift & 511 * 8 }

func TestTranslate(t *testing.T) {
	const pgd = 0x2001000
	walk4 := func(r *ram) {
		r.put(pgd+index(va, 39), 0x3000|0x63)
		r.put(0x3000+index(va, 30), 0x4000|0x63)
		r.put(0x4000+index(va, 21), 0x5000|0x63)
	}
	tests := []struct {
		name string
		vci  string
		prep func(r *ram)
		va   uint64
		want uint64
		left uint64
		err  string
	}{
		{"4 KiB page", base4, func(r *ram) { walk4(r); r.put(0x5000+index(va, 12), 0x77000|0x8000000000000063) }, va, 0x77456, 4096 - 0x456, ""},
		{"2 MiB page", base4, func(r *ram) {
			r.put(pgd+index(va, 39), 0x3063)
			r.put(0x3000+index(va, 30), 0x4063)
			r.put(0x4000+index(va, 21), 0x400000|0xe3)
		}, va, 0x400000 + va&0x1fffff, 0x200000 - va&0x1fffff, ""},
		{"1 GiB page", base4, func(r *ram) {
			r.put(pgd+index(va, 39), 0x3063)
			r.put(0x3000+index(va, 30), 0x40000000|0xe3)
		}, va, 0x40000000 + va&0x3fffffff, 0x40000000 - va&0x3fffffff, ""},
		{"5 levels", "SYMBOL(init_top_pgt)=ffffffff82001000\nNUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)=1\n", func(r *ram) {
			r.put(pgd+index(0xff11c90000123456, 48), 0x9063)
			r.put(0x9000+index(0xff11c90000123456, 39), 0x3063)
			r.put(0x3000+index(0xff11c90000123456, 30), 0x4063)
			r.put(0x4000+index(0xff11c90000123456, 21), 0x5063)
			r.put(0x5000+index(0xff11c90000123456, 12), 0x77063)
		}, 0xff11c90000123456, 0x77456, 4096 - 0x456, ""},
		{"encryption mask", base4 + "NUMBER(sme_mask)=140737488355328\n", func(r *ram) {
			const enc = 1 << 47
			r.put(pgd+index(va, 39), 0x3063|enc)
			r.put(0x3000+index(va, 30), 0x4063|enc)
			r.put(0x4000+index(va, 21), 0x5063|enc)
			r.put(0x5000+index(va, 12), 0x77063|enc)
		}, va, 0x77456, 4096 - 0x456, ""},
		{"negative phys_base", "SYMBOL(swapper_pg_dir)=ffffffff82001000\nNUMBER(phys_base)=-16777216\n", nil, 0xffffffff82001234, 0x1001234, 1<<30 - 0x2001234, ""},
		{"kernel image", base4, nil, 0xffffffff81000000, 0x1000000, 1<<30 - 0x1000000, ""},
		{"not present", base4, func(r *ram) { walk4(r); r.put(0x5000, 0) }, va, 0, 0, "is not mapped (PTE entry 0x0)"},
		{"a table that is excluded", base4, func(r *ram) { r.put(pgd+index(va, 39), 0x3063) }, va, 0, 0, "PUD table: page 0x3 excluded (dump level 31)"},
		{"no address of the kernel", base4, nil, 0x401000, 0, 0, "is no address of the kernel"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newRAM()
			if tc.prep != nil {
				tc.prep(r)
			}
			a := open(t, r, tc.vci)
			for range 2 { // the second answer is remembered
				f, err := a.Kernel().Translate(tc.va)
				if tc.err != "" {
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Fatalf("Translate(%#x) = %v; want %q", tc.va, err, tc.err)
					}
					continue
				}
				if err != nil || uint64(f.Phys) != tc.want || f.Left != tc.left {
					t.Fatalf("Translate(%#x) = %#x, %#x left, %v; want %#x, %#x", tc.va, uint64(f.Phys), f.Left, err, tc.want, tc.left)
				}
			}
		})
	}
}

// TestUser: each page table is its own space, also one that is not the first of a pair of pages.
func TestUser(t *testing.T) {
	r := newRAM()
	const user = 0x7ffc12345678
	for i, pgd := range []uint64{0x10000, 0x11000} {
		pud := 0x20000 + uint64(i)*0x10000
		r.put(pgd+index(user, 39), pud|0x67)
		r.put(pud+index(user, 30), pud+0x1000|0x67)
		r.put(pud+0x1000+index(user, 21), pud+0x2000|0x67)
		r.put(pud+0x2000+index(user, 12), pud+0x3000|0x67)
	}
	a := open(t, r, base4)
	for i, pgd := range []dumpfmt.Phys{0x10000, 0x11000} {
		f, err := a.User(pgd).Translate(user)
		if want := dumpfmt.Phys(0x23678 + i*0x10000); err != nil || f.Phys != want {
			t.Errorf("User(%#x).Translate = %#x, %v; want %#x", uint64(pgd), uint64(f.Phys), err, uint64(want))
		}
	}
}

// TestProtNone: pages that mprotect took away keep their frame, inverted since the L1TF mitigation.
func TestProtNone(t *testing.T) {
	r := newRAM()
	const user, frame = 0x400123, 0x55000
	r.put(0x10000+index(user, 39), 0x20067)
	r.put(0x20000+index(user, 30), 0x21067)
	r.put(0x21000+index(user, 21), 0x22067)
	r.put(0x22000+index(user, 12), (frame^x86PhysMask)&x86PhysMask|x86ProtNone)
	f, err := open(t, r, base4).User(0x10000).Translate(user)
	if err != nil || f.Phys != frame+0x123 {
		t.Errorf("Translate = %#x, %v; want %#x", uint64(f.Phys), err, frame+0x123)
	}
}

func TestDirectMap(t *testing.T) {
	a := open(t, newRAM(), base4)
	opened := 0
	a.WhenNeeded(func() {
		opened++
		if err := a.Late(func(string) (uint64, error) { return 0xffff9a0000000000, nil }); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if b, ok := a.DirectMap(); !ok || b != 0xffff9a0000000000 {
			t.Errorf("DirectMap = %#x, %v; want what page_offset_base holds", uint64(b), ok)
		}
	}
	if opened != 1 {
		t.Errorf("symbols were opened %d times; want once", opened)
	}
	if f, err := a.Kernel().Translate(0xffff9a0000001234); err != nil || f.Phys != 0x1234 {
		t.Errorf("Translate = %#x, %v; want 0x1234", uint64(f.Phys), err)
	}
	if err := a.Late(func(string) (uint64, error) { return 0x1234, nil }); err == nil {
		t.Error("Late takes a page_offset_base of 0x1234; want an error")
	}
}

func TestRefused(t *testing.T) {
	r := newRAM()
	for name, tc := range map[string]struct{ vci, want string }{
		"no page table": {"NUMBER(phys_base)=0\n", "swapper_pg_dir"},
		"no phys_base":  {"SYMBOL(swapper_pg_dir)=ffffffff82001000\n", "phys_base"},
	} {
		_, err := New(testEnv{dumpfmt.NewImage(r, dumpfmt.Options{}), vmcoreinfo.Parse([]byte(tc.vci))})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: New = %v; want %q", name, err, tc.want)
		}
	}
	r.info.Machine = dumpfmt.MachineAArch64
	if _, err := New(testEnv{dumpfmt.NewImage(r, dumpfmt.Options{}), vmcoreinfo.Parse(nil)}); err == nil || !strings.Contains(err.Error(), "aarch64") {
		t.Errorf("New of an arm64 dump = %v; want an error that names it", err)
	}
}

func TestRead(t *testing.T) {
	r := newRAM()
	r.put(0x1000, 1)
	a := open(t, r, base4)
	if err := a.Late(func(string) (uint64, error) { return 0xffff888000000000, nil }); err != nil {
		t.Fatal(err)
	}
	img := dumpfmt.NewImage(r, dumpfmt.Options{})
	p := make([]byte, 32)
	n, err := vmem.Read(img, a.Kernel(), p, 0xffff888000001ff0)
	var re *vmem.ReadError
	var pe *dumpfmt.PageError
	if n != 16 || !errors.As(err, &re) || re.VA != 0xffff888000002000 || !errors.As(err, &pe) || pe.PFN != 2 {
		t.Errorf("Read = %d, %v; want 16 bytes and the missing page 2 at %#x", n, err, uint64(0xffff888000002000))
	}
	if s := fmt.Sprint(err); !strings.Contains(s, "0xffff888000002000") || !strings.Contains(s, "excluded") {
		t.Errorf("the error is %q; want the address and the reason", s)
	}
	if _, err := vmem.Read(img, a.Kernel(), p, ^uint64(0)-8); err == nil {
		t.Error("Read beyond the last address = nil; want an error")
	}
}
