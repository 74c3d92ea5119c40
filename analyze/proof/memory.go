package proof

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/analyze/mm"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// Page tables of x86-64, whose entries kdx reads here anew rather than through package arch: what protects page tables from a
// filter must not be what proves that they are there.
const (
	entries    = 512
	presentBit = 1 << 0
	hugeBit    = 1 << 7
	frameMask  = 0x000ffffffffff000
	pageShift  = 12
	tableShift = 9
)

var errOtherTables = errors.New("page tables of this machine are not walked")

// walker goes through page tables, each table once however often it is entered.
type walker struct {
	p    *pass
	mask uint64 // memory encryption: not part of a frame
	seen dumpfmt.PageSet
	// leaf is told of mapped pages, from one pfn on; nil if they are not wanted, and then the lowest tables are not read.
	leaf func(va, pfn, n uint64) error
	why  why
	// want says which part of the address space is wanted.
	want func(lo, hi uint64) bool
}

// levels is how many levels of tables there are.
func (p *pass) levels() int {
	if n, _ := p.v.VMCoreInfo().Number("pgtable_l5_enabled"); n != 0 {
		return 5
	}
	return 4
}

func (p *pass) walker() (*walker, error) {
	if p.v.Arch().Machine() != dumpfmt.MachineX86_64 {
		return nil, errOtherTables
	}
	w := &walker{p: p}
	if n, ok := p.v.VMCoreInfo().Number("sme_mask"); ok {
		w.mask = uint64(n)
	}
	return w, nil
}

// table needs the page of a table and, if its entries matter, goes on below it. base is the first address that it maps.
func (w *walker) table(pfn, base uint64, level int, first, last int) error {
	p := w.p
	if w.seen.Has(pfn) {
		return nil
	}
	w.seen.Add(pfn)
	if level == 1 && w.leaf == nil {
		return p.need(pfn, p.n%p.c.opt.Every == 0, w.why)
	}
	if err := p.need(pfn, true, w.why); err != nil {
		return err
	}
	page, err := p.v.Image().Page(pfn)
	if err != nil {
		p.v.Gap(fmt.Sprintf("page table %#x", pfn), err)
		return p.ctx.Err()
	}
	if err := p.v.Step(); err != nil {
		return err
	}
	shift := uint(pageShift + (level-1)*tableShift)
	for i := first; i < last; i++ {
		entry := binary.LittleEndian.Uint64(page[i*8:]) &^ w.mask
		if entry&presentBit == 0 {
			continue
		}
		va := base + uint64(i)<<shift
		if w.want != nil && !w.want(va, va+1<<shift-1) {
			continue
		}
		below := entry & frameMask >> pageShift
		switch {
		case level == 1 || entry&hugeBit != 0 && level <= 3:
			if w.leaf == nil {
				continue
			}
			n := uint64(1) << (shift - pageShift)
			err = w.leaf(va, below&^(n-1), n)
		default:
			err = w.table(below, va, level-1, 0, entries)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// high is what an address of the upper half has in the bits that page tables don't translate.
func high(levels int) uint64 { return ^uint64(0) << (pageShift + levels*tableShift) }

// root is the pfn of the kernel's own table.
func (p *pass) root() (uint64, error) {
	for _, name := range []string{"init_top_pgt", "swapper_pg_dir", "init_level4_pgt"} {
		addr, ok := p.v.VMCoreInfo().Symbol(name)
		if s, err := p.v.Symbol(name); !ok && err == nil {
			addr, ok = s.Addr, true
		}
		if !ok {
			continue
		}
		f, err := p.v.Arch().Kernel().Translate(addr)
		return uint64(f.Phys) >> pageShift, err
	}
	return 0, errors.New("no symbol leads to the kernel's page table")
}

func (p *pass) kernelTables() error {
	w, err := p.walker()
	if err != nil {
		return err
	}
	root, err := p.root()
	if err != nil {
		return err
	}
	return w.table(root, high(p.levels()), p.levels(), entries/2, entries)
}

// userTables needs the tables of a process. Where page tables are split (PTI), the kernel's half of the pair is pgd, and it
// maps user space too.
func (p *pass) userTables(pgd uint64) error {
	w, err := p.walker()
	if err != nil {
		return err
	}
	w.why = byPointer
	f, err := p.v.Arch().Kernel().Translate(pgd)
	if err != nil {
		return nil
	}
	return w.table(uint64(f.Phys)>>pageShift, 0, p.levels(), 0, entries/2)
}

// mapped needs all pages that the kernel has mapped for itself: vmalloc, modules, stacks, what drivers and BPF programs
// have. The direct map is all of memory, and the image has an area of its own.
func (p *pass) mapped() error {
	w, err := p.walker()
	if err != nil {
		return err
	}
	root, err := p.root()
	if err != nil {
		return err
	}
	direct, ok := p.v.Arch().DirectMap()
	if !ok {
		return errors.New("the direct map is not known, and so not what lies outside it")
	}
	lo := uint64(direct)
	hi := lo + p.v.Image().Info().MaxPFN<<pageShift
	const image = 0xffffffff80000000 // __START_KERNEL_map
	imageEnd := uint64(image + 1<<30)
	if n, ok := p.v.VMCoreInfo().Number("KERNEL_IMAGE_SIZE"); ok && n > 0 && n <= 1<<30 {
		imageEnd = image + uint64(n)
	}
	pages, err := mm.NewPages(p.v)
	if err != nil {
		return err
	}
	mapLo, mapHi := uint64(pages.Of(0)), uint64(pages.Of(pages.Max()))
	outside := func(a, b, lo, hi uint64) bool { return a < lo || b >= hi }
	w.want = func(a, b uint64) bool {
		return outside(a, b, lo, hi) && outside(a, b, image, imageEnd) && outside(a, b, mapLo, mapHi)
	}
	w.leaf = func(va, pfn, n uint64) error {
		if !w.want(va, va+n<<pageShift-1) || va < hi && va+n<<pageShift > lo {
			return nil
		}
		for i := range n {
			if err := p.need(pfn+i, p.n%p.c.opt.Every == 0, byPlace); err != nil {
				return err
			}
		}
		return nil
	}
	if err := w.table(root, high(p.levels()), p.levels(), entries/2, entries); err != nil {
		return err
	}
	for _, err := range mm.VmapAreas(p.v) { // the list of them, too
		if err != nil {
			p.v.Gap("mapped areas", err)
			break
		}
	}
	return p.ctx.Err()
}

// mapOfPages needs struct page of all memory.
func (p *pass) mapOfPages() error {
	pages, err := mm.NewPages(p.v)
	if err != nil {
		return err
	}
	page := p.v.PageSize()
	for _, r := range p.v.Image().Info().Ranges {
		lo, hi := pages.Of(uint64(r.Start)/page), pages.Of((uint64(r.End)+page-1)/page)
		if err := p.span(uint64(lo), uint64(hi), p.c.opt.Every, byPlace); err != nil {
			return err
		}
	}
	return nil
}

// perCPU needs each processor's part of the first chunk, which is laid out at boot: static variables, and what is taken from
// the rest. Further chunks are mapped kernel memory.
func (p *pass) perCPU() error {
	cpus, err := p.v.PossibleCPUs()
	if err != nil {
		return err
	}
	lo, err1 := p.v.Symbol("__per_cpu_start")
	hi, err2 := p.v.Symbol("__per_cpu_end")
	const limit = 64 << 20
	if err1 != nil || err2 != nil || hi.Addr-lo.Addr > limit {
		return errors.New("no symbols say how large it is")
	}
	size := hi.Addr - lo.Addr
	if n, ok := p.firstChunk(limit); ok {
		size = max(size, n)
	}
	for _, cpu := range cpus {
		off, err := p.v.PerCPUOffset(cpu)
		if err != nil {
			return err
		}
		if err := p.span(lo.Addr+off, lo.Addr+off+size, p.c.opt.Every, byPlace); err != nil {
			return err
		}
	}
	return nil
}

// firstChunk is how many bytes of each processor's unit are used: what lies behind was given back.
func (p *pass) firstChunk(limit uint64) (uint64, bool) {
	sym, err := p.v.Symbol("pcpu_first_chunk")
	if err != nil {
		return 0, false
	}
	at, err := p.v.Word(vmem.Addr(sym.Addr))
	if err != nil || at == 0 {
		return 0, false
	}
	chunk := p.v.ObjectOf("pcpu_chunk", vmem.Addr(at))
	base, err1 := chunk.Field("base_addr").Uint()
	n, err2 := chunk.Field("nr_pages").Uint()
	end, err3 := chunk.Field("end_offset").Uint()
	start, err4 := p.v.UintAt("pcpu_base_addr", p.v.WordSize())
	if err := errors.Join(err1, err2, err3, err4); err != nil || base < start {
		return 0, false
	}
	used := base - start + n*p.v.PageSize() - end
	return used, used <= limit
}
