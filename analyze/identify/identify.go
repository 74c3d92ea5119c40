// Package identify says what lies at an address: a symbol, a slab's object, a vmalloc area, a task or its stack, a page.
package identify

import (
	"errors"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
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

	v     *kernel.View
	slabs *slab.Slabs
	pages *mm.Pages
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
	Page   *mm.Page
	// Phys is set if the address was taken as a physical one, or as that of a struct page.
	Phys *dumpfmt.Phys
}

// SlabObject is the object that covers addr, whatever its state.
func (f *Finder) SlabObject(addr vmem.Addr) (slab.Object, bool) {
	if f.slabs == nil {
		return slab.Object{}, false
	}
	o, ok, err := f.slabs.At(addr)
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
		return r
	}
	if pfn, ok := f.pages.PFN(r.Addr); ok {
		p := dumpfmt.Phys(pfn * f.v.PageSize())
		r.Phys = &p
		f.page(&r, pfn)
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
