package commands

import (
	"fmt"

	"kdx/analyze/mm"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// kmemNodes shows nodes with their zones, the sections of the map of pages, and blocks of memory with their states.
func kmemNodes(c *Call) (view.Result, error) {
	nodes, err := mm.Nodes(c.View)
	if err != nil {
		return nil, err
	}
	pages, err := mm.NewPages(c.View)
	if err != nil {
		return nil, err
	}
	zones, err := mm.Zones(c.View)
	c.View.Gap("zones", err)
	out := &view.MemoryNodes{Nodes: []view.MemoryNode{}, Sections: []view.MemorySection{}, Blocks: []view.MemoryBlock{}}
	for _, n := range nodes {
		v := view.MemoryNode{Node: n.ID, Size: n.Spanned, Addr: n.Addr, MemMap: pages.Of(n.Start), Start: vmem.Addr(n.Start * c.View.PageSize()),
			StartNr: n.Start, Zones: []view.MemoryZone{}}
		for _, z := range zones {
			if z.Node != n.ID {
				continue
			}
			vz := view.MemoryZone{Index: z.Index, Addr: z.Addr, Name: z.Name, Size: z.Spanned}
			if z.Spanned > 0 {
				first := pages.Of(z.Start)
				vz.MemMap, vz.Start, vz.StartNr = &first, vmem.Addr(z.Start*c.View.PageSize()), z.Start
			}
			v.Zones = append(v.Zones, vz)
		}
		out.Nodes = append(out.Nodes, v)
	}
	sections, err := mm.Sections(c.View)
	c.View.Gap("memory sections", err)
	for _, s := range sections {
		out.Sections = append(out.Sections, view.MemorySection{Number: s.Number, Addr: s.Addr, Coded: s.Coded,
			MemMap: s.Coded + vmem.Addr(s.First*pages.Size()), State: sectionState(&s), PFN: s.First})
	}
	for b, err := range mm.MemoryBlocks(c.View) {
		if err != nil {
			c.View.Gap("", err)
			continue
		}
		if b.State == "" {
			c.View.Gap("", fmt.Errorf("memory block %s: this kernel has no state %d", b.Name, b.Value))
		}
		out.Blocks = append(out.Blocks, view.MemoryBlock{Addr: b.Addr, Name: b.Name, Start: vmem.Addr(b.Start), End: vmem.Addr(b.End), Node: b.Node,
			State: b.State, Value: b.Value, Section: b.Section})
	}
	return out, nil
}

func sectionState(s *mm.Section) string {
	var b []byte
	for _, f := range []struct {
		set    bool
		letter byte
	}{{s.Present, 'P'}, {s.HasMap, 'M'}, {s.Online, 'O'}, {s.Early, 'E'}, {s.Device, 'D'}} {
		if f.set {
			b = append(b, f.letter)
		}
	}
	return string(b)
}
