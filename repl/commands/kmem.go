package commands

import (
	"fmt"
	"slices"

	"kdx/analyze/identify"
	"kdx/analyze/mm"
	"kdx/analyze/slab"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func kmemCommand() *Command {
	return &Command{
		Name: "kmem", Group: "memory", Summary: "the kernel's memory: totals, slab caches, what is at an address", Needs: NeedsTypes, Complete: "symbol",
		Usage: []string{"-i[=shared]", "-s [CACHE | ADDRESS | list]… [-I CACHE,…]", "-S[=CPUS] [CACHE | ADDRESS | list]… [-I CACHE,…]", "-r [CACHE]… [-I CACHE,…]",
			"-f | -F [ADDRESS]…", "-p [ADDRESS]…", "-m MEMBER[,MEMBER]… [ADDRESS]…", "-v [ADDRESS]…", "-n | -V | -z | -h | -o | -g [FLAGS]", "[-P] ADDRESS…"},
		Flags: []Flag{
			{Name: "i", Maybe: "shared", Help: "the totals of /proc/meminfo; with =shared also the pages to which there is more than one reference"},
			{Name: "s", Help: "slab caches: all, or those named; the object at ADDRESS; list: names and addresses alone"},
			{Name: "S", Maybe: "CPUS", Help: "each slab of all caches, or of those named, with its objects, allocated ones in brackets; only what these CPUs have beside the nodes' slabs. With ADDRESS, all objects of its slab"},
			{Name: "r", Help: "slab caches, those of memory control groups added to the cache that they were made from"},
			{Name: "I", Arg: "CACHE,…", Help: "with -s, -S and -r: don't look into these caches"},
			{Name: "f", Help: "lists of free pages by order and migrate type, counted, and those that CPUs keep; or the list with ADDRESS's page"},
			{Name: "F", Help: "-f with the first struct page of each block"},
			{Name: "n", Help: "nodes, sections of the map of pages (P present, M has a map, O online, E early, D device memory), blocks of memory and their state"},
			{Name: "v", Help: "mapped areas of vmalloc space, or that with ADDRESS"},
			{Name: "p", Help: "every page, or ADDRESS's: its struct page, mapping, index, count and flags"},
			{Name: "m", Arg: "MEMBER,…", Help: "these members of every struct page, or of ADDRESS's"},
			{Name: "V", Help: "the counters of /proc/vmstat: zones, nodes, NUMA, events"},
			{Name: "z", Help: "zones: size, watermarks, counters"},
			{Name: "h", Help: "huge pages of each size"},
			{Name: "o", Help: "the offsets of the CPUs' per-CPU areas", Needs: NeedsSymbols},
			{Name: "g", Help: "the names of page flags, or of those that are set in FLAGS (hexadecimal)"},
			{Name: "P", Help: "addresses are physical"},
		},
		Help: "ADDRESS is identified: its symbol, the slab object it is in (in brackets if it is allocated) and the cache, the task whose structure or stack " +
			"it is in, the per-CPU variable and its CPU, the module, the vmalloc area, where the page is among the free ones, and the page. A number below the " +
			"kernel's addresses is taken as a physical address, and the address of a struct page as that of its page; where such a page is mapped in vmalloc " +
			"space is said, too.\n\n" +
			"-s: ALLOCATED counts the objects that someone holds. /proc/slabinfo counts free ones that wait at a CPU or in a sheaf as active too; " +
			"that count is `active` in JSON. -S finds full slabs too, which are on no list, by looking at all pages. Caches whose objects are alike are merged by the " +
			"kernel and show under one name. PER-CPU counts the slabs that CPUs allocate from.\n\n" +
			"-i=shared counts pages with more than one reference that are not reserved. It looks at all pages. A large folio counts once: only its first page has a count.\n\n" +
			"-f: BLOCKS and PAGES are counted on the lists; it is said if an area's own count is another. The sum is verified against the zones' counters. " +
			"Pages that CPUs keep (COUNT by the kernel, LISTED on the lists) are not in it.",
		Examples: []Example{{"kmem -i", "how much memory was free"}, {"kmem -s kmalloc-64", "one cache"}, {"kmem -S=0 task_struct", "its slabs: what CPU 0 has, and the node's"},
			{"kmem -f", "lists of free pages"}, {"kmem -p 1000000", "the page at a physical address"}, {"kmem -m flags,_refcount,lru 1000000", "members of its struct page"},
			{"kmem init_task", "what is there?"}},
		Run: runKmem,
	}
}

func runKmem(c *Call) (view.Result, error) {
	for _, f := range []struct {
		name string
		run  func(*Call) (view.Result, error)
	}{
		{"i", kmemInfo}, {"s", kmemSlabs}, {"S", kmemObjects}, {"r", kmemRoots}, {"f", kmemFree}, {"F", kmemFree}, {"n", kmemNodes}, {"v", kmemVmalloc},
		{"p", kmemPages}, {"m", kmemMembers}, {"V", kmemStats}, {"z", kmemZones}, {"h", kmemHuge}, {"o", kmemPerCPU}, {"g", kmemFlags},
	} {
		if c.Flags.Has(f.name) {
			return f.run(c)
		}
	}
	if len(c.Args) == 0 {
		return nil, &UsageError{c.Cmd.Name, "want a flag or an address"}
	}
	return kmemAddress(c)
}

func kmemInfo(c *Call) (view.Result, error) {
	i := mm.ReadInfo(c.View)
	out := &view.Meminfo{PageSize: i.PageSize, Pages: view.MeminfoPages{Total: i.Total, Free: i.Free, Used: i.Used, Shared: i.Shared,
		Buffers: i.Buffers, Cached: i.Cached, SwapCached: i.SwapCached, AnonPages: i.AnonPages, Mapped: i.Mapped, PageTables: i.PageTables,
		KernelStack: i.KernelStack, Slab: i.Slab, SlabReclaimable: i.SlabReclaimable, SlabUnreclaimable: i.SlabUnreclaimable,
		HugeTotal: i.HugeTotal, HugeFree: i.HugeFree, SwapTotal: i.SwapTotal, SwapUsed: i.SwapUsed, SwapFree: i.SwapFree,
		CommitLimit: i.CommitLimit, Committed: i.Committed}}
	switch how := c.Flags.Value("i"); how {
	case "":
		return out, nil
	case "shared":
	default:
		return nil, &UsageError{c.Cmd.Name, "-i=" + how + ": want -i or -i=shared"}
	}
	pages, err := mm.NewPages(c.View)
	if err != nil {
		c.View.Gap("shared pages", err)
		return out, nil
	}
	before := c.gapCount()
	n, err := mm.Shared(c.View, pages)
	if err != nil {
		c.View.Gap("shared pages", err)
		return out, c.View.Context().Err()
	}
	if c.gapCount() > before {
		return out, nil // a count of part of the pages is none
	}
	out.Pages.MultiplyUsed = &n
	return out, nil
}

func kmemSlabs(c *Call) (view.Result, error) {
	choice, err := c.chooseSlabs()
	if err != nil {
		return nil, err
	}
	if choice.list {
		return slabNames(choice.caches), nil
	}
	if len(choice.objects) > 0 {
		return c.slabObjectsAt(choice.objects)
	}
	out := make(view.SlabCaches, 0, len(choice.caches))
	for _, x := range choice.caches {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		if choice.ignored[x] {
			out = append(out, ignoredRow(x))
			continue
		}
		out = append(out, slabRow(c, choice.slabs, x))
	}
	return out, nil
}

func ignoredRow(x *slab.Cache) view.SlabCache {
	return view.SlabCache{Addr: x.Addr, Name: cacheName(x), ObjectSize: x.ObjectSize, Size: x.Size, SlabSize: x.SlabSize, PerSlab: x.PerSlab, Ignored: true}
}

// kmemRoots adds the caches that kernels before 5.9 make for memory control groups to those that they were made from. Others have no
// such caches: groups share them.
func kmemRoots(c *Call) (view.Result, error) {
	choice, err := c.chooseSlabs()
	if err != nil {
		return nil, err
	}
	if len(choice.objects) > 0 {
		return nil, &UsageError{c.Cmd.Name, "-r wants names of caches"}
	}
	everyone, err := choice.slabs.Caches()
	if err != nil {
		return nil, err
	}
	if choice.list {
		return slabNames(slices.DeleteFunc(slices.Clone(everyone), func(x *slab.Cache) bool { return x.Root != 0 })), nil
	}
	children := make(map[vmem.Addr][]*slab.Cache)
	for _, x := range everyone {
		if x.Root != 0 {
			children[x.Root] = append(children[x.Root], x)
		}
	}
	var out view.SlabCaches
	for _, x := range choice.caches {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		switch {
		case x.Root != 0 && !choice.named:
			continue
		case choice.ignored[x]:
			out = append(out, ignoredRow(x))
			continue
		}
		row := slabRow(c, choice.slabs, x)
		for _, child := range children[x.Addr] {
			r := slabRow(c, choice.slabs, child)
			row.Allocated, row.Active = sumOf(row.Allocated, r.Allocated), sumOf(row.Active, r.Active)
			row.Total, row.Slabs = sumOf(row.Total, r.Total), sumOf(row.Slabs, r.Slabs)
		}
		out = append(out, row)
	}
	return out, nil
}

// sumOf is nil if a part of the sum is not known.
func sumOf(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	s := *a + *b
	return &s
}

func cacheName(x *slab.Cache) *string {
	if x.Name == slab.Unnamed {
		return nil
	}
	return &x.Name
}

func slabRow(c *Call, s *slab.Slabs, x *slab.Cache) view.SlabCache {
	row := view.SlabCache{Addr: x.Addr, Name: cacheName(x), ObjectSize: x.ObjectSize, Size: x.Size, SlabSize: x.SlabSize, PerSlab: x.PerSlab}
	u, err := s.Usage(x)
	if err != nil {
		c.View.Gap("", err)
		return row
	}
	allocated, active := u.Allocated(), u.Active()
	row.Total, row.Slabs = &u.Total, &u.Slabs
	if !u.FreeUnknown {
		row.Active = &active
		if !u.CPUUnknown {
			row.Allocated = &allocated
		}
	}
	return row
}

func kmemVmalloc(c *Call) (view.Result, error) {
	var wanted []vmem.Addr
	for _, a := range c.Args {
		addr, err := c.address(a)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, addr)
	}
	out := view.VmallocAreas{}
	for a, err := range mm.VmapAreas(c.View) {
		if err != nil {
			c.View.Gap("", err)
			continue
		}
		if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(at vmem.Addr) bool { return c.inArea(&a, at) }) {
			continue
		}
		out = append(out, vmallocArea(&a))
	}
	return out, c.View.Context().Err()
}

// inArea reports whether an address, or a page if it is a physical address, is in a mapped area.
func (c *Call) inArea(a *mm.VmapArea, at vmem.Addr) bool {
	if c.View.Arch().IsKernel(uint64(at)) && !c.Flags.Has("P") {
		return at >= a.Start && at < a.End
	}
	_, ok, err := mm.AreaPage(c.View, a, uint64(at)/c.View.PageSize())
	c.View.Gap(fmt.Sprintf("pages of the vmalloc area at %#x", uint64(a.Start)), err)
	return ok
}

func vmallocArea(a *mm.VmapArea) view.VmallocArea {
	out := view.VmallocArea{Area: a.Addr, Start: a.Start, End: a.End}
	if a.VM != 0 {
		out.VM = &a.VM
	}
	return out
}

func kmemAddress(c *Call) (view.Result, error) {
	f, err := identify.New(c.View)
	if err != nil {
		return nil, err
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		c.View.Gap("tasks", err)
	} else {
		f.Tasks = t
		if tr, err := c.State.Tracer(c.View); err == nil {
			f.StackSize = tr.StackSize()
		}
	}
	var out view.Identities
	for _, a := range c.Args {
		addr, err := c.address(a)
		if err != nil {
			return nil, err
		}
		if c.Flags.Has("P") && c.View.Arch().IsKernel(uint64(addr)) {
			return nil, &UsageError{c.Cmd.Name, a + " is no physical address"}
		}
		r := f.At(uint64(addr))
		out = append(out, identity(c, f, &r))
	}
	return out, nil
}

// objectState is a slab object's state once it was asked for.
func objectState(o *slab.Object) string {
	switch {
	case o.Free:
		return "free"
	case o.Unsure != nil:
		return "unknown"
	}
	return "allocated"
}

func identity(c *Call, f *identify.Finder, r *identify.Result) view.Identity {
	x := view.Identity{Addr: r.Addr, Stack: r.Stack}
	if r.Phys != nil {
		p := vmem.Addr(*r.Phys)
		x.Phys = &p
	}
	if r.Symbol != nil {
		l := symbolLine(*r.Symbol, uint64(r.Addr))
		x.Symbol = &l
	}
	if o := r.Object; o != nil {
		s := &view.SlabObject{Cache: slabRow(c, f.Slabs(), o.Cache), Slab: o.Slab, Memory: o.Memory, Total: o.Total, InUse: o.InUse,
			Addr: o.Addr, Inside: o.Inside, State: objectState(o)}
		if n, ok := mm.NodeOf(c.View, uint64(o.Memory-f.Pages().Virt(0))/c.View.PageSize()); ok {
			s.Node = &n
		}
		s.Where = whereFree(o.Owner)
		x.Object = s
	}
	if r.Task != nil {
		x.Task = contextOf(c.View, f.Tasks, r.Task)
	}
	if r.Vmap != nil {
		a := vmallocArea(r.Vmap)
		x.Vmap = &a
	}
	if p := r.PerCPU; p != nil {
		x.PerCPU = &view.IdentityPerCPU{CPU: p.CPU, Offset: p.Offset}
		if p.Symbol != nil {
			l := symbolLine(*p.Symbol, p.Symbol.Addr+p.Offset)
			x.PerCPU.Symbol = &l
		}
	}
	x.Module = r.Module
	if r.Mapped != 0 {
		x.Mapped = &r.Mapped
	}
	if p := r.Page; p != nil {
		x.Page = pageLine(f.Pages(), p)
		if r.Object == nil && p.RefCount == 0 {
			x.Free = c.identityFree(f, p.PFN)
		}
	}
	return x
}

// identityFree is where a page lies among the free ones; nil if it does not, or that can't be found out.
func (c *Call) identityFree(f *identify.Finder, pfn uint64) *view.FreePlace {
	buddy, err := mm.NewBuddy(c.View, f.Pages())
	if err != nil {
		c.View.GapOnce("free pages", err)
		return nil
	}
	place, err := c.freePlace(f.Pages(), buddy, pfn)
	c.View.Gap("free pages", err)
	return place
}

// slabObjectsAt are the objects at addresses, as kmem -s shows them; with -S all objects of their slabs.
func (c *Call) slabObjectsAt(words []string) (view.Result, error) {
	f, err := identify.New(c.View)
	if err != nil {
		return nil, err
	}
	var out view.Identities
	for _, w := range words {
		addr, err := c.address(w)
		if err != nil {
			return nil, err
		}
		r := f.At(uint64(addr))
		if r.Object == nil {
			c.View.Gap("", fmt.Errorf("%s is in no slab", w))
			continue
		}
		object := *r.Object
		r.Symbol, r.Task, r.Page, r.Vmap = nil, nil, nil, nil
		x := identity(c, f, &r)
		if c.Flags.Has("S") {
			d, err := f.Slabs().Detail(object.Cache, object.Slab)
			if err != nil {
				c.View.Gap(fmt.Sprintf("slab %#x", uint64(object.Slab)), err)
			} else {
				x.Object.Objects = objectLines(d.Objects)
			}
		}
		out = append(out, x)
	}
	return out, nil
}

func pageLine(pages *mm.Pages, p *mm.Page) *view.PageLine {
	return &view.PageLine{Addr: p.Addr, Phys: vmem.Addr(p.Phys), Mapping: p.Mapping, Index: p.Index, Count: p.RefCount,
		Flags: vmem.Addr(p.Flags), Names: pages.FlagText(p.Flags)}
}
