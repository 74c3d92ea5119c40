// Package identify says what lies at an address: a symbol, a slab's object, a vmalloc area, a module, a per-CPU variable, a task or
// its stack, a page.
package identify

import (
	"errors"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/module"
	"kdx/analyze/slab"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

// Finder answers for one View. Parts of the kernel that can't be read are gaps of it, and the others still answer.
type Finder struct {
	// Tasks and StackSize (in bytes) let it find tasks; without them it doesn't.
	Tasks     *task.Table
	StackSize uint64

	v      *kernel.View
	slabs  *slab.Slabs
	pages  *mm.Pages
	missed bool // for some address it can't be told which object it is in, which was said
}

// New makes a Finder. The error is that the kernel's pages can't be found.
func New(v *kernel.View) (*Finder, error) {
	f := &Finder{v: v}
	var err error
	if f.slabs, err = slab.New(v); err != nil {
		f.slabs = nil
		v.Gap("slab caches", err)
	}
	f.pages, err = mm.NewPages(v)
	return f, err
}

// Slabs are the kernel's slab caches; nil if it has none that kdx knows.
func (f *Finder) Slabs() *slab.Slabs { return f.slabs }

// Pages are the kernel's struct pages.
func (f *Finder) Pages() *mm.Pages { return f.pages }

// Result is all that is known of an address.
type Result struct {
	Addr   vmem.Addr
	Symbol *symbols.Symbol
	Object *slab.Object
	Task   *task.Task // whose task_struct or stack it is in
	Stack  bool       // in its stack
	Vmap   *mm.VmapArea
	Mapped vmem.Addr // where Vmap maps the page, if the address was not one of Vmap's
	Module string    // whose memory it is
	PerCPU *PerCPU
	Page   *mm.Page
	// Phys is set if the address was taken as a physical one, or as that of a struct page.
	Phys *dumpfmt.Phys
}

// PerCPU is a place in a CPU's per-CPU area.
type PerCPU struct {
	CPU int
	// Symbol is the variable, nil for memory that was allocated; Offset is that from it, or from the start of the area.
	Symbol *symbols.Symbol
	Offset uint64
}

// SlabObject is the object that covers addr, whatever its state. Where that can't be told, the first time is a gap.
func (f *Finder) SlabObject(addr vmem.Addr) (slab.Object, bool) {
	if f.slabs == nil {
		return slab.Object{}, false
	}
	o, ok, err := f.slabs.At(addr)
	if err != nil && !f.missed {
		f.missed = true
		f.v.GapFirst("slab objects that addresses are in", err)
	}
	if err != nil || !ok || !o.Inside {
		return slab.Object{}, false
	}
	return o, true
}

// At says what is at addr: a kernel address, the address of a struct page, or a physical one.
func (f *Finder) At(addr uint64) Result {
	r := Result{Addr: vmem.Addr(addr)}
	if !f.v.Arch().IsKernel(addr) {
		p := dumpfmt.Phys(addr)
		r.Phys = &p
		pfn := addr / f.v.PageSize()
		if pfn >= f.v.Image().Info().MaxPFN {
			return r
		}
		r.Addr = f.pages.Virt(pfn) + vmem.Addr(addr%f.v.PageSize())
		f.kernel(&r)
		f.page(&r, pfn)
		f.mapped(&r, pfn)
		return r
	}
	if pfn, ok := f.pages.PFN(r.Addr); ok {
		p := dumpfmt.Phys(pfn * f.v.PageSize())
		r.Phys = &p
		f.page(&r, pfn)
		f.mapped(&r, pfn)
		return r
	}
	f.kernel(&r)
	frame, err := f.v.Arch().Kernel().Translate(uint64(r.Addr))
	if err != nil {
		var fault *vmem.FaultError
		if !errors.As(err, &fault) || fault.Err != nil {
			f.v.Gap("page", err)
		}
		return r
	}
	f.page(&r, uint64(frame.Phys)/f.v.PageSize())
	return r
}

func (f *Finder) kernel(r *Result) {
	if s, err := f.v.SymbolAt(r.Addr); err == nil {
		r.Symbol = &s
	}
	f.object(r)
	f.task(r)
	f.vmap(r)
	f.perCPU(r)
	f.module(r)
}

// perCPU finds the CPU whose per-CPU area has the address.
func (f *Finder) perCPU(r *Result) {
	cpus, err := f.v.PossibleCPUs()
	if err != nil {
		f.v.GapOnce("per-CPU areas", err)
		return
	}
	start, err := f.v.Symbol("__per_cpu_start")
	if err != nil {
		return // a kernel for one CPU
	}
	unit, _ := f.v.UintAt("pcpu_unit_size", 4)
	for _, cpu := range cpus {
		off, err := f.v.PerCPUOffset(cpu)
		if err != nil {
			f.v.GapOnce("per-CPU areas", err)
			return
		}
		x := r.Addr - vmem.Addr(off)
		if f.v.IsPerCPU(x) {
			r.PerCPU = &PerCPU{CPU: cpu, Offset: uint64(x) - start.Addr}
			f.variable(r.PerCPU, start.Addr, uint64(x))
			return
		}
		if n := uint64(x) - start.Addr; n < unit && unit < 1<<30 {
			r.PerCPU = &PerCPU{CPU: cpu, Offset: n}
			return
		}
	}
}

// variable finds the per-CPU variable that begins last before x; the area begins at start. Until 6.14 those of x86-64 are absolute symbols from 0 on, which are
// not found by address.
func (f *Finder) variable(p *PerCPU, start, x uint64) {
	for s := range f.v.Symbols().All() {
		if s.Addr >= start && s.Addr <= x && (p.Symbol == nil || s.Addr > p.Symbol.Addr) {
			p.Symbol = &s
		}
	}
	if p.Symbol != nil {
		p.Offset = x - p.Symbol.Addr
	}
}

// module finds the module whose memory it is; all of that are vmalloc areas.
func (f *Finder) module(r *Result) {
	if r.Vmap == nil {
		return
	}
	all, err := module.Read(f.v)
	if err != nil {
		f.v.GapOnce("modules", err)
		return
	}
	for _, m := range all {
		if m.Contains(r.Addr) {
			r.Module = m.Name
			return
		}
	}
}

// mapped finds the vmalloc area that has a page, and whose stack that is.
func (f *Finder) mapped(r *Result, pfn uint64) {
	if r.Object != nil || r.Vmap != nil {
		return
	}
	for a, err := range mm.VmapAreas(f.v) {
		if err != nil {
			f.v.Gap("", err)
			continue
		}
		at, ok, err := mm.AreaPage(f.v, &a, pfn)
		if err != nil {
			f.v.Gap("", err)
			continue
		}
		if !ok {
			continue
		}
		r.Vmap, r.Mapped = &a, at+vmem.Addr(uint64(*r.Phys)%f.v.PageSize())
		there := Result{Addr: r.Mapped, Vmap: &a}
		if r.Task == nil {
			f.task(&there)
			r.Task, r.Stack = there.Task, there.Stack
		}
		f.module(&there)
		r.Module = there.Module
		return
	}
}

func (f *Finder) object(r *Result) {
	if f.slabs == nil {
		return
	}
	o, ok, err := f.slabs.At(r.Addr)
	if err != nil {
		f.v.Gap("slab", err)
		return
	}
	if !ok {
		return
	}
	f.slabs.State(&o)
	f.v.Gap("state of the slab object", o.Unsure)
	r.Object = &o
}

func (f *Finder) task(r *Result) {
	if f.Tasks == nil {
		return
	}
	if r.Object != nil {
		// Where the address lies in a slab, its object decides: struct task_struct's size in the types is that with the
		// largest FPU state there is, and objects are smaller.
		if x := f.Tasks.ByAddr(r.Object.Addr); x != nil && r.Object.Inside {
			r.Task = x
		}
		return
	}
	size, err := f.v.Struct("task_struct")
	for _, x := range f.Tasks.Tasks {
		switch {
		case f.StackSize > 0 && r.Addr >= x.Stack && uint64(r.Addr-x.Stack) < f.StackSize && x.Stack != 0:
			r.Task, r.Stack = x, true
			return
		case err == nil && x.Addr == r.Addr, err == nil && x.Idle && r.Addr >= x.Addr && uint64(r.Addr-x.Addr) < size.Size:
			r.Task = x // init_task is a variable
			return
		}
	}
}

func (f *Finder) vmap(r *Result) {
	if _, ok := f.pages.Direct(r.Addr); ok {
		return
	}
	for a, err := range mm.VmapAreas(f.v) {
		if err != nil {
			f.v.Gap("", err)
			continue
		}
		if r.Addr >= a.Start && r.Addr < a.End {
			r.Vmap = &a
			return
		}
	}
}

func (f *Finder) page(r *Result, pfn uint64) {
	p, err := f.pages.Read(f.v, pfn)
	if err != nil {
		f.v.Gap("", err)
		return
	}
	r.Page = &p
}
