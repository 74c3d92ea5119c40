package commands

import (
	"fmt"

	"kdx/analyze/mm"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// kmemFree shows the lists of free pages, or where the pages of addresses are on them.
func kmemFree(c *Call) (view.Result, error) {
	pages, err := mm.NewPages(c.View)
	if err != nil {
		return nil, err
	}
	buddy, err := mm.NewBuddy(c.View, pages)
	if err != nil {
		return nil, err
	}
	if len(c.Args) > 0 {
		return kmemFreeAt(c, pages, buddy)
	}
	before := c.gapCount()
	zones, err := mm.Zones(c.View)
	if err != nil {
		return nil, err
	}
	missing := c.gapCount() > before
	starts := c.nodeStarts()
	return &view.FreePages{PageSize: c.View.PageSize(), Blocks: c.Flags.Has("F"), Missing: missing, Zones: func(yield func(*view.FreeZone) bool) {
		for i := range zones {
			z := &zones[i]
			out := c.freeZone(pages, z, starts)
			out.Separate = z.Index == 0
			if out.Free != nil && (*out.Free > 0 || z.Present > 0) {
				c.freeAreas(buddy, z, out)
			}
			if !yield(out) || c.View.Context().Err() != nil {
				return
			}
		}
	}}, nil
}

// gapCount is how much could not be read so far.
func (c *Call) gapCount() int {
	gaps, dropped := c.View.Gaps()
	return len(gaps) + dropped
}

// nodeStarts are the first pages of nodes.
func (c *Call) nodeStarts() map[int]uint64 {
	nodes, err := mm.Nodes(c.View)
	c.View.Gap("nodes", err)
	starts := make(map[int]uint64)
	for _, n := range nodes {
		starts[n.ID] = n.Start
	}
	return starts
}

func (c *Call) freeZone(pages *mm.Pages, z *mm.Zone, nodeStarts map[int]uint64) *view.FreeZone {
	out := &view.FreeZone{Node: z.Node, Index: z.Index, Name: z.Name, Size: z.Spanned, Areas: []view.FreeArea{}, CPUs: []view.CPUFree{}}
	for _, s := range z.Stats {
		if s.Name == "NR_FREE_PAGES" {
			n := uint64(max(s.Value, 0))
			out.Free = &n
		}
	}
	if z.Spanned > 0 {
		first := pages.Of(z.Start)
		out.MemMap, out.Start = &first, vmem.Addr(z.Start*c.View.PageSize())
		out.StartNr = z.Start - min(z.Start, nodeStarts[z.Node])
	}
	return out
}

func (c *Call) freeAreas(buddy *mm.Buddy, z *mm.Zone, out *view.FreeZone) {
	pending, err := mm.Pending(c.View, z)
	if err != nil {
		c.View.Gap(fmt.Sprintf("what CPUs have not added to the counters of zone %s", z.Name), err)
	} else {
		out.Pending = &pending
	}
	areas, err := buddy.Areas(z)
	c.View.Gap("", err) // it names the zone
	for _, a := range areas {
		va := view.FreeArea{Order: a.Order, NrFree: a.NrFree, Lists: []view.FreeList{}}
		for _, l := range a.Lists {
			va.Lists = append(va.Lists, view.FreeList{Addr: l.Head, Order: l.Order, Type: buddy.Types[l.Type], Walk: func(f func(vmem.Addr) bool) (n uint64, ok bool) {
				for p, err := range buddy.Blocks(l) {
					if err != nil {
						c.View.Gap("zone "+z.Name, err)
						return n, false
					}
					n++
					if !f(p.Addr) {
						return n, false
					}
				}
				return n, true
			}})
		}
		out.Areas = append(out.Areas, va)
	}
	cpus, err := buddy.CPUs(z)
	if err != nil {
		c.View.Gap(fmt.Sprintf("zone %s: free pages of CPUs", z.Name), err)
	}
	for _, p := range cpus {
		out.CPUs = append(out.CPUs, view.CPUFree(p))
	}
}

func kmemFreeAt(c *Call, pages *mm.Pages, buddy *mm.Buddy) (view.Result, error) {
	var out view.FreePlaces
	for _, a := range c.Args {
		pfn, err := c.pageNumber(pages, a)
		if err != nil {
			return nil, err
		}
		p, err := c.freePlace(pages, buddy, pfn)
		if err != nil {
			return nil, err
		}
		if p == nil {
			c.View.Gap("", fmt.Errorf("%s: page %#x is in no free block, nor on a CPU's list of free pages", a, pfn))
			continue
		}
		out = append(out, *p)
	}
	return out, nil
}

// freePlace says where a page lies among the free ones; nil if it is in use.
func (c *Call) freePlace(pages *mm.Pages, buddy *mm.Buddy, pfn uint64) (*view.FreePlace, error) {
	f, ok, err := buddy.Find(pfn)
	if err != nil {
		return nil, err
	}
	if ok {
		zone := view.FreeZone{Name: "?"}
		if f.Zone.Addr != 0 {
			zone = *c.freeZone(pages, &f.Zone, c.nodeStarts())
		}
		place := &view.FreePlace{Zone: zone, Order: &f.Block.Private, PageSize: c.View.PageSize(), Page: pages.Of(pfn), Block: &f.Block.Addr, Index: f.Index}
		if f.Listed {
			place.Type, place.List = &buddy.Types[f.List.Type], &f.List.Head
		}
		return place, nil
	}
	p, err := pages.Read(c.View, pfn)
	if err != nil || p.RefCount != 0 || p.Head != 0 {
		return nil, err
	}
	cpu, z, ok := buddy.Keeper(pfn)
	if !ok {
		return nil, nil
	}
	return &view.FreePlace{Zone: *c.freeZone(pages, &z, c.nodeStarts()), PageSize: c.View.PageSize(), Page: pages.Of(pfn), CPU: &cpu}, nil
}
