package mm

import (
	"errors"
	"fmt"
	"math/bits"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// Section is a section of the map of pages (SPARSEMEM).
type Section struct {
	Number  uint64
	Addr    vmem.Addr // struct mem_section
	Coded   vmem.Addr // where the struct page of pfn 0 would be by this section
	First   uint64    // its first pfn
	Pages   uint64
	Present bool // SECTION_MARKED_PRESENT
	HasMap  bool // SECTION_HAS_MEM_MAP
	Online  bool
	Early   bool // there since boot
	Device  bool // SECTION_TAINT_ZONE_DEVICE (6.0)
}

type sectionStruct struct {
	Map uint64 `k:"section_mem_map"`
}

const (
	// The low bits of section_mem_map are flags: four in 5.10, six in 7.2; the map they stand on is aligned to more.
	sectionFlagBits = 6
	x86SectionBits  = 27 // SECTION_SIZE_BITS of x86-64, for dumps whose VMCOREINFO does not say
	maxSections     = 1 << 25
)

// sectionPages is how many pages a section has.
func sectionPages(v *kernel.View) (uint64, error) {
	n, ok := v.VMCoreInfo().Number("SECTION_SIZE_BITS")
	if !ok && v.Arch().Machine() == dumpfmt.MachineX86_64 {
		n, ok = x86SectionBits, true
	}
	page := bits.TrailingZeros64(v.PageSize())
	if !ok || n <= int64(page) || n > 40 {
		return 0, errors.New("how large sections of memory are (SECTION_SIZE_BITS) is not known")
	}
	return 1 << (uint(n) - uint(page)), nil
}

// Sections are the sections that are present, by number. The error says that the kernel has none (another memory model), or that
// their table can't be read; a part of it that can't be is a gap.
func Sections(v *kernel.View) ([]Section, error) {
	bind, err := kernel.Bind[sectionStruct](v.Kernel, "mem_section")
	if err != nil {
		return nil, err
	}
	pages, err := sectionPages(v)
	if err != nil {
		return nil, err
	}
	sym, err := v.Symbol("mem_section")
	if err != nil {
		return nil, err
	}
	t := &sectionTable{v: v, bind: bind, pages: pages, limit: maxSections}
	if n, ok := v.VMCoreInfo().Number("MAX_PHYSMEM_BITS"); ok && n > 0 && n < 64 {
		t.limit = min(t.limit, max(1, (uint64(1)<<n)/v.PageSize()/pages))
	}
	if bit, _, err := v.Symbols().Enumerator("SECTION_TAINT_ZONE_DEVICE_BIT"); err == nil && bit >= 0 && bit < sectionFlagBits {
		t.device = 1 << bit
	}
	// With SPARSEMEM_EXTREME the symbol is a pointer to the table of pages of sections; VMCOREINFO's is that table. Without, it is the
	// array of sections.
	root, err := v.Word(vmem.Addr(sym.Addr))
	if err != nil {
		return nil, fmt.Errorf("mem_section: %w", err)
	}
	if table, ok := v.VMCoreInfo().Symbol("mem_section"); ok && table != sym.Addr {
		root = table
	}
	if !v.Arch().IsKernel(root) {
		t.run(vmem.Addr(sym.Addr), 0, min(t.limit, 1<<12))
		return t.out, nil
	}
	return t.out, t.roots(vmem.Addr(root))
}

type sectionTable struct {
	v      *kernel.View
	bind   kernel.Binding[sectionStruct]
	pages  uint64
	limit  uint64 // sections that there may be
	device uint64
	out    []Section
}

// roots reads the table of pages of sections, up to where the machine's memory can end.
func (t *sectionTable) roots(table vmem.Addr) error {
	per := t.v.PageSize() / t.bind.Size()
	end := max(t.v.Image().Info().MaxPFN, nodesEnd(t.v))
	limit := min(t.limit, end/t.pages+1)
	for first := uint64(0); first < limit; first += per {
		root, err := t.v.Word(table + vmem.Addr(first/per*t.v.WordSize()))
		if err != nil {
			if first == 0 {
				return fmt.Errorf("table of memory sections: %w", err)
			}
			t.v.Gap("table of memory sections", err)
			return nil
		}
		if root != 0 {
			t.run(vmem.Addr(root), first, min(per, limit-first))
		}
	}
	return nil
}

// run reads n sections that lie in a row.
func (t *sectionTable) run(at vmem.Addr, first, n uint64) {
	for i := range n {
		addr := at + vmem.Addr(i*t.bind.Size())
		s, err := t.bind.Read(t.v, addr)
		if err != nil {
			t.v.Gap(fmt.Sprintf("memory sections %d to %d", first+i, first+n-1), err)
			return
		}
		if s.Map&3 == 0 {
			continue
		}
		t.out = append(t.out, Section{Number: first + i, Addr: addr, Coded: vmem.Addr(s.Map &^ (1<<sectionFlagBits - 1)), First: (first + i) * t.pages,
			Pages: t.pages, Present: s.Map&1 != 0, HasMap: s.Map&2 != 0, Online: s.Map&4 != 0, Early: s.Map&8 != 0, Device: s.Map&t.device != 0})
	}
}
