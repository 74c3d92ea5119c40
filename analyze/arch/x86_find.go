package arch

import (
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
)

// X86LinkedText is where x86-64 kernels are linked to begin (CONFIG_PHYSICAL_START of 16 MiB, as all distributions have
// it). KASLR counts from there.
const X86LinkedText = x86StartKernelMap + 0x1000000

// x86PMDSize is what one entry of level2_kernel_pgt maps; kernel images are aligned to it, virtually and physically
// (CONFIG_PHYSICAL_ALIGN).
const x86PMDSize = 1 << 21

// X86Image is where a kernel's image lies, as its page tables say.
type X86Image struct {
	Virt   uint64 // of its first byte, _text
	Size   uint64 // mapped bytes from there on; init code that was freed leaves holes
	Phys   dumpfmt.Phys
	Root   dumpfmt.Phys // a top page table that maps it, with PTI the kernel's half; 0 if not known
	Levels int          // of page tables: 4 or 5; 0 if not known
	Level3 dumpfmt.Phys // level3_kernel_pgt, the table of the last GiBs; 0 if not known
}

// PhysBase is what the kernel calls phys_base, in two's complement.
func (x X86Image) PhysBase() uint64 { return uint64(x.Phys) - (x.Virt - x86StartKernelMap) }

// KernelMapEnd is the distance of the image's end from __START_KERNEL_map.
func (x X86Image) KernelMapEnd() uint64 { return x.Virt + x.Size - x86StartKernelMap }

func (x X86Image) String() string {
	return fmt.Sprintf("kernel image at %#x, physical %#x", x.Virt, uint64(x.Phys))
}

// x86Table reads a page of a page table, with which all entries come at once.
func x86Table(img *dumpfmt.Image, at dumpfmt.Phys) ([]byte, error) {
	if img.Info().PageSize != 4096 {
		return nil, fmt.Errorf("pages of %d bytes", img.Info().PageSize)
	}
	return img.Page(uint64(at) >> 12)
}

func x86Entry(table []byte, i int) uint64 { return binary.LittleEndian.Uint64(table[i*8:]) }

// x86Next is the table that entry i leads to.
func x86Next(table []byte, i int) (dumpfmt.Phys, bool) {
	e := x86Entry(table, i)
	return dumpfmt.Phys(e & x86PhysMask), e&x86Present != 0 && e&x86PageSize == 0
}

const x86Last = x86EntriesPerTable - 1

// X86ImageOf finds the kernel image that the page tables at root map. CR3's lower bits must be masked away.
func X86ImageOf(img *dumpfmt.Image, root dumpfmt.Phys, levels int) (X86Image, error) {
	at := root
	for level := levels; level > 3; level-- {
		t, err := x86Table(img, at)
		if err != nil {
			return X86Image{}, fmt.Errorf("page table at %#x: %w", uint64(at), err)
		}
		next, ok := x86Next(t, x86Last)
		if !ok {
			return X86Image{}, fmt.Errorf("page table at %#x maps no kernel", uint64(at))
		}
		at = next
	}
	x, err := X86ImageBelow(img, at)
	x.Root, x.Levels = root, levels
	return x, err
}

// X86ImageBelow finds the kernel image below a table of the last 512 GiB (level3_kernel_pgt): its entry before the last
// leads to level2_kernel_pgt, in which the kernel at boot left only what it maps of itself.
func X86ImageBelow(img *dumpfmt.Image, level3 dumpfmt.Phys) (X86Image, error) {
	t, err := x86Table(img, level3)
	if err != nil {
		return X86Image{}, fmt.Errorf("page table at %#x: %w", uint64(level3), err)
	}
	at, ok := x86Next(t, x86Last-1)
	if !ok {
		return X86Image{}, fmt.Errorf("page table at %#x maps no kernel image", uint64(level3))
	}
	t, err = x86Table(img, at)
	if err != nil {
		return X86Image{}, fmt.Errorf("the kernel image's page table at %#x: %w", uint64(at), err)
	}
	x := X86Image{Level3: level3}
	for i := range x86EntriesPerTable {
		entry := x86Entry(t, i)
		if entry&x86Present == 0 {
			continue
		}
		virt := x86StartKernelMap + uint64(i)*x86PMDSize
		phys, ok := x86Block(img, entry)
		if ok && x.Size == 0 {
			x.Virt, x.Phys = virt, phys
		}
		// A table that can't be read, or is empty because init code was freed, lies within the image too.
		if x.Size > 0 && !ok || ok && uint64(phys)-virt == uint64(x.Phys)-x.Virt {
			x.Size = virt + x86PMDSize - x.Virt
		}
	}
	switch {
	case x.Size == 0:
		return x, fmt.Errorf("the kernel image's page table at %#x maps nothing", uint64(at))
	case uint64(x.Phys)%x86PMDSize != 0:
		return x, fmt.Errorf("the page table at %#x maps %#x at %#x, which is no kernel image: these are aligned to 2 MiB", uint64(at), x.Virt, uint64(x.Phys))
	}
	return x, nil
}

// x86Block is the physical address at which the 2 MiB of a present PMD entry begin, be they one page or 512.
func x86Block(img *dumpfmt.Image, entry uint64) (dumpfmt.Phys, bool) {
	if entry&x86PageSize != 0 {
		return dumpfmt.Phys(entry & x86PhysMask &^ (x86PMDSize - 1)), true
	}
	t, err := x86Table(img, dumpfmt.Phys(entry&x86PhysMask))
	if err != nil {
		return 0, false
	}
	for i := range x86EntriesPerTable {
		if e := x86Entry(t, i); e&x86Present != 0 {
			return dumpfmt.Phys(e&x86PhysMask) - dumpfmt.Phys(i<<12), true
		}
	}
	return 0, false
}

// IsX86Level3 reports whether a page looks like level3_kernel_pgt: only its last two entries are used, for the kernel
// image and for the fixed map.
func IsX86Level3(page []byte) bool {
	if len(page) != 4096 {
		return false
	}
	for i := x86Last - 1; i <= x86Last; i++ {
		if next, ok := x86Next(page, i); !ok || next == 0 {
			return false
		}
	}
	for i := range x86Last - 1 {
		if x86Entry(page, i) != 0 {
			return false
		}
	}
	return true
}

// X86RootOf finds, among the image's own pages, the top page table that leads to its level3_kernel_pgt, and tells from it
// the number of levels. Of several the fullest is the kernel's: kernels that know five levels but use four have a spare
// one with a single entry.
func X86RootOf(img *dumpfmt.Image, x X86Image) (X86Image, bool) {
	var fourth, fifth []uint64
	last := (uint64(x.Phys) + x.Size) >> 12
	for pfn := uint64(x.Phys) >> 12; pfn < last; pfn++ {
		if x86LeadsTo(img, pfn, x.Level3) {
			fourth = append(fourth, pfn)
		}
	}
	for pfn := uint64(x.Phys) >> 12; pfn < last && len(fourth) > 0; pfn++ {
		for _, f := range fourth {
			if pfn != f && x86LeadsTo(img, pfn, dumpfmt.Phys(f<<12)) {
				fifth = append(fifth, pfn)
			}
		}
	}
	x.Levels = 4
	if len(fifth) > 0 {
		fourth, x.Levels = fifth, 5
	}
	most := 0
	for _, pfn := range fourth {
		page, err := img.Page(pfn)
		if err != nil {
			continue
		}
		used := 0
		for i := range x86EntriesPerTable {
			used += int(x86Entry(page, i) & x86Present)
		}
		if used > most {
			most, x.Root = used, dumpfmt.Phys(pfn<<12)
		}
	}
	return x, most > 0
}

func x86LeadsTo(img *dumpfmt.Image, pfn uint64, table dumpfmt.Phys) bool {
	if !img.State(pfn).Readable() {
		return false
	}
	page, err := img.Page(pfn)
	if err != nil || len(page) != 4096 {
		return false
	}
	next, ok := x86Next(page, x86Last)
	return ok && next == table
}

// X86Levels tells from the tables how many levels lead from root to level3.
func X86Levels(img *dumpfmt.Image, root, level3 dumpfmt.Phys) (int, bool) {
	at := root
	for levels := 4; levels <= 5; levels++ {
		t, err := x86Table(img, at)
		if err != nil {
			return 0, false
		}
		next, ok := x86Next(t, x86Last)
		if !ok {
			return 0, false
		}
		if next == level3 {
			return levels, true
		}
		at = next
	}
	return 0, false
}
