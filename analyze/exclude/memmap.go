package exclude

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

// memMap finds the struct page of a pfn. Memory models: SPARSEMEM with or without VMEMMAP, its table of sections in two stages (EXTREME) or
// in one; FLATMEM. It is immutable but for what it remembers.
type memMap struct {
	k     *kernel.Kernel
	size  uint64 // of struct page
	shift uint   // of a page of memory

	// One array for all memory: vmemmap, or mem_map of FLATMEM.
	flat bool
	base uint64 // where the struct page of pfn 0 would be

	// Sections otherwise.
	roots       uint64 // address of the table
	nroots      uint64
	perRoot     uint64 // sections that a root points to; 0 if the table holds the sections themselves
	sectionSize uint64 // of struct mem_section
	mapOffset   uint64 // of section_mem_map
	pagesShift  uint   // log2 of the pages of a section
	flagMask    uint64 // of the bits of section_mem_map that are flags

	known [64]atomic.Pointer[knownSection] // that were asked for last, by the end of their number
}

// knownSection is a section and where the struct page of pfn 0 would be by it.
type knownSection struct{ n, base uint64 }

const (
	// A section_mem_map holds flags in its low bits: at most six of them in 7.2. SECTION_MAP_LAST_BIT is an enumerator since 6.0.
	sectionFlagBits = 6
	sectionHasMap   = 1 << 1 // SECTION_HAS_MEM_MAP; bit 0 is SECTION_MARKED_PRESENT
	sectionPresent  = 1 << 0

	x86SectionBits = 27 // SECTION_SIZE_BITS of x86-64, for dumps whose VMCOREINFO does not say
	maxRoots       = 1 << 24
)

var errDiscontig = errors.New("its memory model is DISCONTIGMEM (until 5.13), which kdx does not read")

// findMemMap tries the memory models, and takes the one in which the kernel's own pages have struct pages.
func findMemMap(f *facts, size uint64) (*memMap, error) {
	m := &memMap{k: f.v.Kernel, size: size, shift: uint(bits.TrailingZeros64(f.v.PageSize()))}
	err := m.findSparse(f)
	if err == nil {
		return m, nil
	}
	if base, ok := vmemmapBase(f.v); ok {
		m.flat, m.base = true, base
		if m.works() {
			return m, nil
		}
		return nil, fmt.Errorf("%w; nor can they be read at vmemmap, %#x", err, base)
	}
	if a, ok := symbolOf(f.v, "mem_map"); ok {
		base, werr := f.v.Word(vmem.Addr(a))
		if werr != nil {
			return nil, fmt.Errorf("mem_map: %w", werr)
		}
		m.flat, m.base = true, base
		if m.works() {
			return m, nil
		}
		return nil, fmt.Errorf("mem_map is at %#x, but no struct pages can be read there", base)
	}
	if _, ok := f.v.OffsetOf("pglist_data", "node_mem_map"); ok && !f.v.HasSymbol("mem_section") {
		return nil, errDiscontig
	}
	return nil, err
}

// symbolOf is a symbol's address by VMCOREINFO, or by the kernel's tables.
func symbolOf(v *kernel.View, name string) (uint64, bool) {
	if a, ok := v.VMCoreInfo().Symbol(name); ok {
		return a, true
	}
	s, err := v.Symbol(name)
	return s.Addr, err == nil
}

// vmemmapBase is where vmemmap begins: VMCOREINFO says so since 6.12, x86-64's variable before.
func vmemmapBase(v *kernel.View) (uint64, bool) {
	if a, ok := v.VMCoreInfo().Symbol("vmemmap"); ok {
		return a, true
	}
	a, err := v.UintAt("vmemmap_base", v.WordSize())
	return a, err == nil
}

// findSparse reads the table of sections. VMCOREINFO's mem_section is the table; the symbol of that name is the table, or since 4.15 a pointer to it.
func (m *memMap) findSparse(f *facts) error {
	var ok bool
	if m.sectionSize, ok = f.size("mem_section"); !ok {
		return fmt.Errorf("SIZE(mem_section): %w", errUnknown)
	}
	if m.mapOffset, ok = f.offset("mem_section", "section_mem_map"); !ok || m.mapOffset > m.sectionSize || m.sectionSize-m.mapOffset < m.k.WordSize() {
		return fmt.Errorf("OFFSET(mem_section.section_mem_map): %w", errUnknown)
	}
	n, ok := f.v.VMCoreInfo().Number("SECTION_SIZE_BITS")
	if !ok && m.k.Arch().Machine() == dumpfmt.MachineX86_64 {
		n, ok = x86SectionBits, true
	}
	if !ok || n <= int64(m.shift) || n > 40 {
		return fmt.Errorf("NUMBER(SECTION_SIZE_BITS): %w", errUnknown)
	}
	m.pagesShift = uint(n) - m.shift
	m.flagMask = 1<<sectionFlagBits - 1
	if f.hasPageTypes() { // else the kernel is older than the enumerator
		if last, _, err := f.v.Symbols().Enumerator("SECTION_MAP_LAST_BIT"); err == nil && last > sectionFlagBits && last < 16 {
			m.flagMask = 1<<last - 1
		}
	}
	m.nroots = maxRoots
	if n, ok := f.v.VMCoreInfo().Length("mem_section"); ok && n > 0 {
		m.nroots = min(n, maxRoots)
	}
	var tables []uint64
	if a, ok := f.v.VMCoreInfo().Symbol("mem_section"); ok {
		tables = append(tables, a)
	}
	if all, err := f.v.Symbols().SymbolsNamed("mem_section"); err == nil {
		if a, err := f.v.Word(vmem.Addr(all[0].Addr)); err == nil {
			tables = append(tables, a)
		}
		tables = append(tables, all[0].Addr)
	}
	if len(tables) == 0 {
		return fmt.Errorf("mem_section: %w", symbols.ErrNotFound)
	}
	for _, t := range tables {
		for _, perRoot := range []uint64{m.k.PageSize() / m.sectionSize, 0} {
			m.roots, m.perRoot = t, perRoot
			m.known = [len(m.known)]atomic.Pointer[knownSection]{}
			if m.works() {
				return nil
			}
		}
	}
	return fmt.Errorf("the table of sections at %#x leads to no struct pages: they are not in the dump, or its page tables are not", tables[0])
}

// works reports whether most of a few pages of the largest range of RAM have a struct page that can be read. (QEMU's dumps have ranges of ROM,
// too.) One that was left out of the dump counts: it is where it should be.
func (m *memMap) works() bool {
	var r dumpfmt.PhysRange
	for _, other := range m.k.Image().Info().Ranges {
		if other.End-other.Start > r.End-r.Start {
			r = other
		}
	}
	const tries = 16
	found := 0
	buf := make([]byte, m.size)
	first, pages := uint64(r.Start)>>m.shift, uint64(r.End-r.Start)>>m.shift
	for i := range uint64(tries) {
		at, err := m.at(first + pages/tries*i)
		if err != nil {
			continue
		}
		_, err = m.k.ReadMemory(buf, at)
		var missing *dumpfmt.PageError
		if err == nil || errors.As(err, &missing) && missing.State == dumpfmt.Excluded {
			found++
		}
	}
	return found*2 > tries
}

// errNone: the kernel has no struct page for that pfn.
var errNone = errors.New("the kernel has no struct page for it")

// at is the address of a struct page.
func (m *memMap) at(pfn uint64) (uint64, error) {
	if m.flat {
		return m.base + pfn*m.size, nil
	}
	base, err := m.section(pfn >> m.pagesShift)
	return base + pfn*m.size, err
}

// run is the address of the struct page of pfn and up to which pfn, at most to, they lie side by side.
func (m *memMap) run(pfn, to uint64) (addr, end uint64, err error) {
	addr, err = m.at(pfn)
	end = to
	if !m.flat {
		end = min(to, (pfn>>m.pagesShift+1)<<m.pagesShift)
	}
	return addr, end, err
}

// section is where the struct page of pfn 0 would be if all were in the array of this section.
func (m *memMap) section(n uint64) (uint64, error) {
	known := &m.known[n%uint64(len(m.known))]
	if s := known.Load(); s != nil && s.n == n {
		return s.base, nil
	}
	base, err := m.readSection(n)
	if err == nil {
		known.Store(&knownSection{n, base})
	}
	return base, err
}

func (m *memMap) readSection(n uint64) (uint64, error) {
	at := m.roots + n*m.sectionSize
	if m.perRoot > 0 {
		if n/m.perRoot >= m.nroots {
			return 0, errNone
		}
		root, err := m.k.Word(vmem.Addr(m.roots + n/m.perRoot*m.k.WordSize()))
		if err != nil {
			return 0, fmt.Errorf("the table of sections: %w", err)
		}
		if !m.k.Arch().IsKernel(root) {
			return 0, errNone
		}
		at = root + n%m.perRoot*m.sectionSize
	} else if n >= m.nroots {
		return 0, errNone
	}
	word, err := m.k.Word(vmem.Addr(at + m.mapOffset))
	if err != nil {
		return 0, fmt.Errorf("section %d: %w", n, err)
	}
	base := word &^ m.flagMask
	if word&(sectionPresent|sectionHasMap) != sectionPresent|sectionHasMap || !m.k.Arch().IsKernel(base+n<<m.pagesShift*m.size) {
		return 0, errNone
	}
	return base, nil
}

// pfnOf is the pfn that a struct page describes, near a pfn whose struct page lies in the same array; ok is false for an address that is none.
func (m *memMap) pfnOf(addr, near uint64) (uint64, bool) {
	at, err := m.at(near)
	if err != nil {
		return 0, false
	}
	d := int64(addr - at)
	if d%int64(m.size) != 0 {
		return 0, false
	}
	pfn := uint64(int64(near) + d/int64(m.size))
	back, err := m.at(pfn)
	return pfn, err == nil && back == addr
}

// window is a stretch of the map of pages, read at once.
type window struct {
	m        *memMap
	img      *dumpfmt.Image
	src      dumpfmt.Source
	pageSize uint64

	from, to uint64 // pfns
	addr     uint64 // of the first struct page
	buf      []byte // whole pages of memory
	off      uint64 // of the first struct page in buf
	missing  []bool // pages of buf that can't be read
	whole    bool   // none is missing
	none     bool   // there are no struct pages for from to to
	noPages  bool   // because the kernel has none
	err      error  // why the last missing one is
}

// windowPages is how many struct pages a window holds: 64 KiB of 64 bytes each. It is even, so that a head and the page behind are in one.
const windowPages = 1024

func newWindow(m *memMap) *window {
	img := m.k.Image()
	w := &window{m: m, img: img, src: img.Source(), pageSize: img.Info().PageSize}
	n := (windowPages*m.size+w.pageSize-1)/w.pageSize + 1
	w.buf = make([]byte, n*w.pageSize)
	w.missing = make([]bool, n)
	return w
}

// load reads the struct pages of pfn and its neighbours up to to; false if there are none for pfn, and w.err why if they can't be found.
func (w *window) load(pfn, to uint64) bool {
	if pfn >= w.from && pfn < w.to {
		return !w.none
	}
	from := pfn &^ 1
	addr, end, err := w.m.run(from, min((pfn/windowPages+1)*windowPages, (to+1)&^1))
	w.from, w.to, w.none = from, end, err != nil
	if err != nil {
		if err != errNone {
			w.err = err
		}
		w.noPages = err == errNone
		return false
	}
	w.noPages = false
	w.addr = addr
	w.off = addr & (w.pageSize - 1)
	w.whole = true
	n := (w.off + (end-from)*w.m.size + w.pageSize - 1) / w.pageSize
	start := addr - w.off
	var frame vmem.Frame
	for i := range n {
		w.missing[i] = false
		if frame.Left <= w.pageSize {
			var err error
			if frame, err = w.m.k.Arch().Kernel().Translate(start + i*w.pageSize); err != nil {
				w.lose(i, err)
				frame.Left = 0
				continue
			}
		} else {
			frame.Phys += dumpfmt.Phys(w.pageSize)
			frame.Left -= w.pageSize
		}
		if err := w.src.ReadPage(w.buf[i*w.pageSize:(i+1)*w.pageSize], uint64(frame.Phys)>>w.m.shift); err != nil {
			w.lose(i, err)
		}
	}
	return true
}

func (w *window) lose(i uint64, err error) {
	w.missing[i] = true
	w.whole = false
	w.err = err
}

// page is the struct page of a pfn of the window, nil if it can't be read.
func (w *window) page(pfn uint64) []byte {
	at := w.off + (pfn-w.from)*w.m.size
	end := at + w.m.size
	if !w.whole && (w.missing[at/w.pageSize] || w.missing[(end-1)/w.pageSize]) {
		return nil
	}
	return w.buf[at:end]
}

// behind is the struct page behind that of pfn; nil if it can't be read.
func (w *window) behind(pfn uint64) []byte {
	if pfn+1 >= w.to {
		return nil
	}
	return w.page(pfn + 1)
}

// address of the struct page of a pfn of the window.
func (w *window) address(pfn uint64) uint64 { return w.addr + (pfn-w.from)*w.m.size }
