package commands

import (
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/identify"
	"kdx/analyze/mm"
	"kdx/analyze/slab"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func kmemCommand() *Command {
	return &Command{
		Name: "kmem", Group: "memory", Summary: "the kernel's memory: totals, slab caches, what is at an address", Needs: NeedsTypes, Complete: "symbol",
		Usage: []string{"-i", "-s [CACHE | ADDRESS]…", "-S CACHE", "-v | -p | -V | -z | -h | -o | -g [FLAGS]", "[-P] ADDRESS…"},
		Flags: []Flag{
			{Name: "i", Help: "the totals of /proc/meminfo"},
			{Name: "s", Help: "slab caches: all, or those named"},
			{Name: "S", Help: "each slab of a cache with its objects, allocated ones in brackets"},
			{Name: "v", Help: "mapped areas of vmalloc space"},
			{Name: "p", Help: "every page: its struct page, mapping, index, count and flags"},
			{Name: "V", Help: "the counters of /proc/vmstat: zones, nodes, events"},
			{Name: "z", Help: "zones: size, watermarks, counters"},
			{Name: "h", Help: "huge pages of each size"},
			{Name: "o", Help: "the offsets of the CPUs' per-CPU areas", Needs: NeedsSymbols},
			{Name: "g", Help: "the names of page flags, or of those that are set in FLAGS (hexadecimal)"},
			{Name: "P", Help: "addresses are physical"},
		},
		Help: "ADDRESS is identified: its symbol, the slab object it is in (in brackets if it is allocated) and the cache, the task whose structure or stack " +
			"it is in, the vmalloc area, and its page. A number below the kernel's addresses is taken as a physical address, and the address of a struct page " +
			"as that of its page.\n\n" +
			"-s: ALLOCATED counts the objects that someone holds. /proc/slabinfo counts free ones that wait at a CPU or in a sheaf as active too; " +
			"that count is `active` in JSON. -S finds full slabs too, which are on no list, by looking at all pages. Caches whose objects are alike are merged by the kernel and show under one name.",
		Examples: []Example{{"kmem -i", "how much memory was free"}, {"kmem -s kmalloc-64", "one cache"}, {"kmem ffff888003a4c000", "what is there?"}},
		Run:      runKmem,
	}
}

func runKmem(c *Call) (view.Result, error) {
	switch {
	case c.Flags.Has("i"):
		return kmemInfo(c), nil
	case c.Flags.Has("s"):
		return kmemSlabs(c)
	case c.Flags.Has("S"):
		return kmemObjects(c)
	case c.Flags.Has("v"):
		return kmemVmalloc(c)
	case c.Flags.Has("p"):
		return kmemPages(c)
	case c.Flags.Has("V"):
		return kmemStats(c), nil
	case c.Flags.Has("z"):
		return kmemZones(c)
	case c.Flags.Has("h"):
		return kmemHuge(c)
	case c.Flags.Has("o"):
		return kmemPerCPU(c)
	case c.Flags.Has("g"):
		return kmemFlags(c)
	case len(c.Args) == 0:
		return nil, &UsageError{c.Cmd.Name, "want a flag or an address"}
	}
	return kmemAddress(c)
}

func kmemInfo(c *Call) view.Result {
	i := mm.ReadInfo(c.View)
	return &view.Meminfo{PageSize: i.PageSize, Pages: view.MeminfoPages{Total: i.Total, Free: i.Free, Used: i.Used, Shared: i.Shared,
		Buffers: i.Buffers, Cached: i.Cached, SwapCached: i.SwapCached, AnonPages: i.AnonPages, Mapped: i.Mapped, PageTables: i.PageTables,
		KernelStack: i.KernelStack, Slab: i.Slab, SlabReclaimable: i.SlabReclaimable, SlabUnreclaimable: i.SlabUnreclaimable,
		HugeTotal: i.HugeTotal, HugeFree: i.HugeFree, SwapTotal: i.SwapTotal, SwapUsed: i.SwapUsed, SwapFree: i.SwapFree,
		CommitLimit: i.CommitLimit, Committed: i.Committed}}
}

func kmemSlabs(c *Call) (view.Result, error) {
	s, err := slab.New(c.View)
	if err != nil {
		return nil, err
	}
	caches, err := s.Caches()
	if err != nil {
		return nil, err
	}
	if len(c.Args) > 0 {
		var chosen []*slab.Cache
		for _, a := range c.Args {
			u, _ := strconv.ParseUint(strings.TrimPrefix(a, "0x"), 16, 64)
			x, err := s.Lookup(a, vmem.Addr(u))
			switch {
			case err == nil:
				chosen = append(chosen, x)
			case c.View.Arch().IsKernel(u):
				return kmemAddress(c)
			default:
				return nil, fmt.Errorf("there is no slab cache %s (caches whose objects are alike share one name)", a)
			}
		}
		caches = chosen
	}
	out := make(view.SlabCaches, 0, len(caches))
	for _, x := range caches {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		out = append(out, slabRow(c, s, x))
	}
	return out, nil
}

func slabRow(c *Call, s *slab.Slabs, x *slab.Cache) view.SlabCache {
	row := view.SlabCache{Addr: x.Addr, Name: x.Name, ObjectSize: x.ObjectSize, Size: x.Size, SlabSize: x.SlabSize, PerSlab: x.PerSlab}
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
	var out view.VmallocAreas
	for a, err := range mm.VmapAreas(c.View) {
		if err != nil {
			c.View.Gap("", err)
			continue
		}
		out = append(out, vmallocArea(&a))
	}
	return out, c.View.Context().Err()
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
			Addr: o.Addr, Inside: o.Inside, State: "allocated"}
		if n, ok := mm.NodeOf(c.View, uint64(o.Memory-f.Pages().Virt(0))/c.View.PageSize()); ok {
			s.Node = &n
		}
		switch {
		case o.Free:
			s.State = "free"
		case o.Unsure != nil:
			s.State = "unknown"
		}
		s.Where = whereFree(o.Owner)
		x.Object = s
	}
	if r.Task != nil {
		x.Task = contextOf(f.Tasks, r.Task)
	}
	if r.Vmap != nil {
		a := vmallocArea(r.Vmap)
		x.Vmap = &a
	}
	if p := r.Page; p != nil {
		x.Page = pageLine(f.Pages(), p)
	}
	return x
}

func pageLine(pages *mm.Pages, p *mm.Page) *view.PageLine {
	return &view.PageLine{Addr: p.Addr, Phys: vmem.Addr(p.Phys), Mapping: p.Mapping, Index: p.Index, Count: p.RefCount,
		Flags: vmem.Addr(p.Flags), Names: pages.FlagText(p.Flags)}
}
