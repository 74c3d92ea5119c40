package arch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

// x86-64's fixed places (Documentation/arch/x86/x86_64/mm.rst). Direct map, vmalloc and vmemmap move with KASLR and are
// read from the kernel's variables.
const (
	x86StartKernelMap  = 0xffffffff80000000 // kernel image, linked here; __START_KERNEL_map
	x86ImageSizeKASLR  = 1 << 30            // KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE
	x86PageOffset4     = 0xffff888000000000 // direct map without randomisation, since 4.20
	x86PageOffset5     = 0xff11000000000000 // the same with 5-level paging
	x86LowestKernel4   = 0xffff800000000000
	x86LowestKernel5   = 0xff00000000000000
	x86Present         = 1 << 0
	x86PageSize        = 1 << 7 // in PUD and PMD entries: a huge page
	x86ProtNone        = 1 << 8 // in an entry that is not present: present to the kernel, see pte_present()
	x86PhysMask        = 0x000ffffffffff000
	x86EntriesPerTable = 512
)

type x86 struct {
	img      *dumpfmt.Image
	levels   int
	sme      uint64 // memory encryption bit of page-table entries
	physBase uint64 // two's complement: KASLR can make it negative
	image    uint64 // size of the kernel image map in bytes
	kaslr    uint64
	hasKASLR bool

	direct atomic.Pointer[linear] // nil until Late
	open   func()                 // leads to Late; nil if nothing does

	kernel *x86Space
}

// PageTableKey is an entry that kdx itself adds to a VMCOREINFO which it derived: the physical address of the page table
// with which the kernel was found, hexadecimal, where no symbol names it.
const PageTableKey = "KDX-PAGE-TABLE"

// linear is a map of physical memory from 0 on.
type linear struct{ base, size uint64 }

func newX86(env Env) (Arch, error) {
	img, vci := env.Image(), env.VMCoreInfo()
	a := &x86{img: img, levels: 4, image: x86ImageSizeKASLR}
	if n, ok := vci.Number("pgtable_l5_enabled"); ok && n != 0 {
		a.levels = 5
	}
	if n, ok := vci.Number("sme_mask"); ok {
		a.sme = uint64(n)
	}
	if n, ok := vci.Number("KERNEL_IMAGE_SIZE"); ok && n > 0 {
		a.image = uint64(n)
	}
	a.kaslr, a.hasKASLR = vci.Hex("KERNELOFFSET")
	base, err := x86PhysBase(env)
	if err != nil {
		return nil, err
	}
	a.physBase = base
	if table, ok := vci.Hex(PageTableKey); ok {
		a.kernel = &x86Space{a: a, root: dumpfmt.Phys(table), kernel: true}
		return a, nil
	}
	root, ok := uint64(0), false
	// init_level4_pgt was renamed init_top_pgt in 4.13; VMCOREINFO carries it as swapper_pg_dir too.
	for _, name := range []string{"init_top_pgt", "swapper_pg_dir", "init_level4_pgt"} {
		if root, ok = vci.Symbol(name); ok {
			break
		}
	}
	if !ok {
		return nil, errors.New("VMCOREINFO has no SYMBOL(swapper_pg_dir): the kernel's page tables can't be found")
	}
	a.kernel = &x86Space{a: a, root: dumpfmt.Phys(root - x86StartKernelMap + a.physBase), kernel: true}
	return a, nil
}

// x86PhysBase finds phys_base: VMCOREINFO since 4.10, else the program header that maps the kernel image, else the
// kdump header.
func x86PhysBase(env Env) (uint64, error) {
	info := env.Image().Info()
	if n, ok := env.VMCoreInfo().Number("phys_base"); ok {
		return uint64(n), nil
	}
	for _, s := range info.Segments {
		if s.HasPhys && s.Virt >= x86StartKernelMap && s.Virt < x86StartKernelMap+x86ImageSizeKASLR {
			return uint64(s.Phys) - (s.Virt - x86StartKernelMap), nil
		}
	}
	if info.PhysBase != nil {
		return uint64(*info.PhysBase), nil
	}
	return 0, errors.New("neither VMCOREINFO nor the dump's headers give phys_base: the kernel image can't be found in memory")
}

func (a *x86) Machine() dumpfmt.Machine { return dumpfmt.MachineX86_64 }
func (a *x86) Kernel() vmem.Space       { return a.kernel }

// Forget drops what was remembered of page tables, which a running kernel changes.
func (a *x86) Forget() { a.kernel.tlb.Forget() }

func (a *x86) User(pgd dumpfmt.Phys) vmem.Space {
	return &x86Space{a: a, root: pgd &^ 0xfff} // with PTI, mm.pgd is the kernel's half of a pair, which maps user space too
}

func (a *x86) Late(word func(string) (uint64, error)) error {
	base, err := word("page_offset_base")
	if err != nil && !errors.Is(err, symbols.ErrNotFound) {
		return fmt.Errorf("page_offset_base: %w: the direct map is read through page tables", err)
	}
	if err != nil { // a kernel without CONFIG_DYNAMIC_MEMORY_LAYOUT
		base = x86PageOffset4
		if a.levels == 5 {
			base = x86PageOffset5
		}
	}
	if !a.IsKernel(base) || base >= x86StartKernelMap {
		return fmt.Errorf("page_offset_base is %#x, which is no kernel address: the direct map is read through page tables", base)
	}
	a.direct.Store(&linear{base, a.img.Info().MaxPFN * a.img.Info().PageSize})
	return nil
}

func (a *x86) WhenNeeded(open func()) { a.open = open }

func (a *x86) DirectMap() (vmem.Addr, bool) {
	d := a.direct.Load()
	if d == nil && a.open != nil {
		a.open()
		d = a.direct.Load()
	}
	if d == nil {
		return 0, false
	}
	return vmem.Addr(d.base), true
}

func (a *x86) IsKernel(va uint64) bool {
	if a.levels == 5 {
		return va >= x86LowestKernel5
	}
	return va >= x86LowestKernel4
}

func (a *x86) KASLROffset() (uint64, bool) { return a.kaslr, a.hasKASLR }

func (a *x86) Describe() [][2]string {
	out := [][2]string{
		{"page table levels", fmt.Sprint(a.levels)},
		{"phys_base", fmt.Sprintf("%#x", int64(a.physBase))},
		{"kernel page table", fmt.Sprintf("%#x (physical)", uint64(a.kernel.root))},
	}
	if a.hasKASLR {
		out = append(out, [2]string{"KASLR offset", fmt.Sprintf("%#x", a.kaslr)})
	}
	if d := a.direct.Load(); d != nil {
		out = append(out, [2]string{"direct map", fmt.Sprintf("%#x", d.base)})
	}
	if a.sme != 0 {
		out = append(out, [2]string{"memory encryption mask", fmt.Sprintf("%#x", a.sme)})
	}
	return out
}

// x86Space is one set of page tables.
type x86Space struct {
	a      *x86
	root   dumpfmt.Phys
	kernel bool
	tlb    vmem.TLB
}

func (s *x86Space) Translate(va uint64) (vmem.Frame, error) {
	if s.kernel {
		// The kernel image and the direct map are linear: no page table need be in the dump to read them.
		if off := va - x86StartKernelMap; va >= x86StartKernelMap && off < s.a.image {
			return vmem.Frame{Phys: dumpfmt.Phys(off + s.a.physBase), Left: s.a.image - off}, nil
		}
		if d := s.a.direct.Load(); d != nil && va-d.base < d.size {
			return vmem.Frame{Phys: dumpfmt.Phys(va - d.base), Left: d.size - (va - d.base)}, nil
		}
		if !s.a.IsKernel(va) {
			return vmem.Frame{}, &vmem.FaultError{VA: va}
		}
	}
	if f, ok := s.tlb.Get(va); ok {
		return f, nil
	}
	w, err := s.walk(va, nil)
	if err != nil {
		return vmem.Frame{}, err
	}
	if !w.Present {
		last := w.Steps[len(w.Steps)-1]
		return vmem.Frame{}, &vmem.FaultError{VA: va, Level: last.Level, Entry: last.Entry, Left: w.PageSize - va%w.PageSize}
	}
	s.tlb.Put(va, w.PageSize, w.Frame)
	return w.Frame, nil
}

func (s *x86Space) Walk(va uint64) (vmem.Walk, error) { return s.walk(va, make([]vmem.Step, 0, 5)) }

type x86Level struct {
	name  string
	shift uint // of what an entry maps
}

var x86Levels = [...]x86Level{{"PGD", 48}, {"P4D", 39}, {"PUD", 30}, {"PMD", 21}, {"PTE", 12}}

func (s *x86Space) walk(va uint64, steps []vmem.Step) (vmem.Walk, error) {
	w := vmem.Walk{Steps: steps}
	table := s.root
	levels := x86Levels[:]
	if s.a.levels == 4 {
		levels = levels[1:]
	}
	for i, l := range levels {
		name := l.name
		if i == 0 {
			name = "PGD"
		}
		addr := table + dumpfmt.Phys(va>>l.shift%x86EntriesPerTable*8)
		var b [8]byte
		if _, err := s.a.img.ReadPhys(b[:], addr); err != nil {
			return w, &vmem.FaultError{VA: va, Level: name, Err: err}
		}
		entry := binary.LittleEndian.Uint64(b[:])
		w.Steps = append(w.Steps, vmem.Step{Level: name, Addr: addr, Entry: entry})
		leaf := l.shift == 12 || entry&x86PageSize != 0 && (l.shift == 21 || l.shift == 30)
		entry &^= s.a.sme
		if entry&x86Present == 0 {
			if !leaf || entry&x86ProtNone == 0 {
				w.PageSize = 1 << l.shift
				return w, nil
			}
			// PROT_NONE and NUMA-hinting entries hold the inverted frame number since the L1TF mitigation (4.18).
			entry = entry ^ x86PhysMask
		}
		if leaf {
			size := uint64(1) << l.shift
			mask := x86PhysMask &^ (size - 1)
			off := va & (size - 1)
			w.Present, w.PageSize = true, size
			w.Frame = vmem.Frame{Phys: dumpfmt.Phys(entry&mask + off), Left: size - off}
			return w, nil
		}
		table = dumpfmt.Phys(entry & x86PhysMask)
	}
	return w, nil
}

var x86FlagNames = []struct {
	bit  uint64
	name string
}{{1 << 0, "PRESENT"}, {1 << 1, "RW"}, {1 << 2, "USER"}, {1 << 3, "PWT"}, {1 << 4, "PCD"}, {1 << 5, "ACCESSED"},
	{1 << 6, "DIRTY"}, {1 << 7, "PSE"}, {1 << 8, "GLOBAL"}, {1 << 63, "NX"}}

func (a *x86) PTEFlags(level string, entry uint64) []string {
	var out []string
	for _, f := range x86FlagNames {
		name := f.name
		if entry&f.bit == 0 {
			continue
		}
		switch {
		case f.bit == x86PageSize && level == "PTE":
			name = "PAT"
		case f.bit == x86ProtNone && entry&x86Present == 0:
			name = "PROTNONE"
		}
		out = append(out, name)
	}
	return out
}
