package arch

import (
	"testing"

	"kdx/dumpfmt"
)

// TestForget: a running kernel's page tables change, and are read anew when that is asked for.
func TestForget(t *testing.T) {
	r := newRAM()
	const pgd = 0x2001000
	r.put(pgd+index(va, 39), 0x3063)
	r.put(0x3000+index(va, 30), 0x4063)
	r.put(0x4000+index(va, 21), 0x5063)
	r.put(0x5000+index(va, 12), 0x77063)
	a := open(t, r, base4)
	x := a.(*x86)
	for i, want := range []dumpfmt.Phys{0x77456, 0x77456, 0x88456} {
		if i == 2 {
			x.Forget()
			x.img.Forget()
		}
		f, err := a.Kernel().Translate(va)
		if err != nil || f.Phys != want {
			t.Fatalf("Translate = %#x, %v; want %#x", uint64(f.Phys), err, uint64(want))
		}
		r.put(0x5000+index(va, 12), 0x88063)
	}
}

// TestImageBelow: the image begins at the first entry of its page table and ends with the last that goes on as it began.
func TestImageBelow(t *testing.T) {
	const level3, level2, ptes = 0x10000, 0x11000, 0x12000
	const first = 0x1a000000 >> 21 // of the image, from __START_KERNEL_map
	for _, tc := range []struct {
		name string
		prep func(r *ram)
		want X86Image
		ok   bool
	}{
		{"huge pages", func(r *ram) {
			r.put(level2+first*8, 0x600000|0xe3)
			r.put(level2+(first+1)*8, 0x800000|0xe3)
		}, X86Image{Virt: 0xffffffff9a000000, Size: 4 << 20, Phys: 0x600000, Level3: level3}, true},
		{"small pages, of which the first are freed, and a table that is not there", func(r *ram) {
			r.put(level2+first*8, ptes|0x63)
			r.put(ptes+3*8, 0x603000|0x63)
			r.put(level2+(first+1)*8, 0x99000|0x63)
		}, X86Image{Virt: 0xffffffff9a000000, Size: 4 << 20, Phys: 0x600000, Level3: level3}, true},
		{"something else mapped behind", func(r *ram) {
			r.put(level2+first*8, 0x600000|0xe3)
			r.put(level2+(first+9)*8, 0x200000|0xe3)
		}, X86Image{Virt: 0xffffffff9a000000, Size: 2 << 20, Phys: 0x600000, Level3: level3}, true},
		{"nothing mapped", func(r *ram) { r.put(level2, 0) }, X86Image{}, false},
		{"not aligned", func(r *ram) {
			r.put(level2+first*8, ptes|0x63)
			r.put(ptes, 0x601000|0x63)
		}, X86Image{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRAM()
			r.put(level3+510*8, level2|0x63)
			tc.prep(r)
			got, err := X86ImageBelow(dumpfmt.NewImage(r, dumpfmt.Options{}), level3)
			if (err == nil) != tc.ok || tc.ok && got != tc.want {
				t.Errorf("X86ImageBelow = %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}
