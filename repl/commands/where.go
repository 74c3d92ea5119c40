package commands

import (
	"kdx/analyze/identify"
	"kdx/analyze/slab"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// where tells what lies at an address, for annotations: the symbol that covers it, the object of a slab cache, whose task_struct or
// stack it is.
type where struct {
	c      *Call
	f      *identify.Finder
	tasks  *task.Table
	stacks map[vmem.Addr]*task.Task // by page of the stack
	state  bool                     // say of objects whether they are allocated
	missed bool                     // that some can't be told is a gap already
	seen   map[uint64]view.Pointee  // what was told already, as lists and trees come back to the same addresses; zero for nothing
}

// newWhere makes one. Where tasks can't be read, they are a gap and the rest is told.
func (c *Call) newWhere(state bool) (*where, error) {
	f, err := identify.New(c.View)
	if err != nil {
		return nil, err
	}
	w := &where{c: c, f: f, state: state, stacks: make(map[vmem.Addr]*task.Task), seen: make(map[uint64]view.Pointee)}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		c.View.Gap("tasks", err)
		return w, nil
	}
	w.tasks = t
	tr, err := c.State.Tracer(c.View)
	if err != nil {
		return nil, err
	}
	page, size := vmem.Addr(c.View.PageSize()), vmem.Addr(tr.StackSize())
	for _, x := range t.Tasks {
		for a := x.Stack; x.Stack != 0 && a < x.Stack+size; a += page {
			w.stacks[a] = x
		}
	}
	return w, nil
}

// at says what lies at a kernel address; ok is false where that is not known, and for other addresses.
func (w *where) at(addr uint64) (p view.Pointee, ok bool) {
	const most = 1 << 16
	if !w.c.View.Arch().IsKernel(addr) {
		return p, false
	}
	if p, ok := w.seen[addr]; ok {
		return p, p != view.Pointee{}
	}
	if len(w.seen) >= most {
		clear(w.seen)
	}
	p = w.find(addr)
	w.seen[addr] = p
	return p, p != view.Pointee{}
}

func (w *where) find(addr uint64) view.Pointee {
	if x := w.stacks[vmem.Addr(addr&^(w.c.View.PageSize()-1))]; x != nil {
		h := header(x)
		return view.Pointee{Task: &h, Stack: true}
	}
	o, ok := w.object(vmem.Addr(addr))
	if !ok {
		return view.Pointee{Symbol: symbolText(w.c.View, addr, w.c.State.Hex)}
	}
	p := view.Pointee{Cache: o.Cache.Name, Object: o.Addr, Offset: addr - uint64(o.Addr)}
	if w.tasks != nil {
		if x := w.tasks.ByAddr(o.Addr); x != nil {
			h := header(x)
			p.Task = &h
		}
	}
	if w.state {
		w.f.Slabs().State(&o)
		p.State = objectState(&o)
	}
	return p
}

// object is the slab object that covers addr. Where that can't be told for want of a struct page, the first such is a gap: what is
// shown without an object is then no proof that there is none.
func (w *where) object(addr vmem.Addr) (slab.Object, bool) {
	slabs := w.f.Slabs()
	if slabs == nil {
		return slab.Object{}, false
	}
	o, ok, err := slabs.At(addr)
	if err != nil && !w.missed {
		w.missed = true
		w.c.View.GapFirst("slab objects that addresses are in", err)
	}
	return o, err == nil && ok && o.Inside
}

// pointees is -a: what the addresses in values lead to; twice: with each slab object's address, and whether it is free. It is nil
// without -a, and where nothing can be told, which is a gap then.
func (c *Call) pointees() func(uint64) (view.Pointee, bool) {
	if !c.Flags.Has("a") {
		return nil
	}
	w, err := c.newWhere(c.Flags.Count("a") > 1)
	if err != nil {
		c.View.Gap("what pointers lead to", err)
		return nil
	}
	return w.at
}

// annotateFlag is -a of what prints values.
func annotateFlag() Flag {
	return Flag{Name: "a", Help: "pointers with what they lead to: [object of a slab cache+offset], a task_struct or stack and its task; twice: with the object's address, and whether it is free", Needs: NeedsTypes}
}
