package mm_test

import (
	"errors"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"

	"github.com/google/go-cmp/cmp"
)

const vmaDecls = `
struct vm_area_struct { unsigned long vm_start, vm_end; struct vm_area_struct *vm_next; unsigned long vm_flags, vm_pgoff; void *vm_file; };
struct mm_struct { struct vm_area_struct *mmap; };
`

// vmaList makes a process of 5.10 with a list of mappings; the last leads to next.
func vmaList(t *testing.T, next vmem.Addr, at ...[2]uint64) (*kerneltest.Machine, vmem.Addr, []vmem.Addr) {
	m := kerneltest.New(t, vmaDecls)
	space := m.Alloc(64)
	var all []vmem.Addr
	for _, a := range at {
		x := m.Alloc(128)
		m.Set(x, "vm_area_struct", "vm_start", a[0])
		m.Set(x, "vm_area_struct", "vm_end", a[1])
		m.Set(x, "vm_area_struct", "vm_flags", 0x8000071)
		m.Set(x, "vm_area_struct", "vm_next", uint64(next))
		if n := len(all); n > 0 {
			m.Set(all[n-1], "vm_area_struct", "vm_next", uint64(x))
		} else {
			m.Set(space, "mm_struct", "mmap", uint64(x))
		}
		all = append(all, x)
	}
	return m, space, all
}

func TestVMAs(t *testing.T) {
	m, space, all := vmaList(t, 0, [2]uint64{0x400000, 0x401000}, [2]uint64{0x600000, 0x700000})
	var got []mm.VMA
	for a, err := range mm.VMAs(m.View(), space) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a)
	}
	want := []mm.VMA{{Addr: all[0], Start: 0x400000, End: 0x401000, Flags: 0x8000071}, {Addr: all[1], Start: 0x600000, End: 0x700000, Flags: 0x8000071}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestVMAsDamaged: loops end, wild pointers and impossible limits are named.
func TestVMAsDamaged(t *testing.T) {
	ok := [2]uint64{0x400000, 0x401000}
	for _, c := range []struct {
		name string
		next func(first vmem.Addr) vmem.Addr
		at   [][2]uint64
		good int
		loop bool
	}{
		{"loop", func(first vmem.Addr) vmem.Addr { return first }, [][2]uint64{ok, {0x600000, 0x700000}}, 2, true},
		{"wild", func(vmem.Addr) vmem.Addr { return 0xdead000000000000 }, [][2]uint64{ok}, 1, false},
		{"limits", func(vmem.Addr) vmem.Addr { return 0 }, [][2]uint64{ok, {0x700000, 0x600000}}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, space, all := vmaList(t, 0, c.at...)
			m.Set(all[len(all)-1], "vm_area_struct", "vm_next", uint64(c.next(all[0])))
			good, bad, loop := 0, 0, false
			for _, err := range mm.VMAs(m.View(), space) {
				if err == nil {
					good++
					continue
				}
				bad++
				loop = loop || errors.Is(err, walk.ErrLoop)
			}
			if good != c.good || bad != 1 || loop != c.loop {
				t.Errorf("%d mappings, %d errors, loop %v; want %d, 1, %v", good, bad, loop, c.good, c.loop)
			}
		})
	}
}

func TestVMAFlags(t *testing.T) {
	macros := kerneltest.New(t, vmaDecls)
	if d := cmp.Diff([]string{"READ", "MAYREAD", "MAYWRITE", "MAYEXEC", "SOFTDIRTY", "bit 40"}, mm.VMAFlagNames(macros.View(), 1<<40|0x8000071)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	enum := kerneltest.New(t, vmaDecls+"enum { VMA_READ_BIT, VMA_ODD_BIT, VMA_ARCH_BIT = 40, VMA_SAME_BIT = 40 };")
	if d := cmp.Diff([]string{"READ", "ODD", "ARCH"}, mm.VMAFlagNames(enum.View(), 1<<40|3)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestVirtualPages(t *testing.T) {
	v := kerneltest.New(t, vmaDecls).View()
	n := 0
	for p, err := range mm.VirtualPages(v, v.Arch().Kernel(), vmem.UserAddr(kerneltest.Base), vmem.UserAddr(kerneltest.Base+0x3000)) {
		if err != nil || p.Phys == nil || *p.Phys != uint64(p.Addr)-uint64(kerneltest.Base) {
			t.Errorf("page %+v, %v", p, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d pages; want 3", n)
	}
	for p := range mm.VirtualPages(v, v.Arch().Kernel(), 0x1000, 0x2000) {
		if p.Phys != nil || p.Swap != nil || p.Err != nil {
			t.Errorf("page %+v; want one that is not mapped", p)
		}
	}
}
