package commands

import (
	"fmt"

	"kdx/analyze/mm"
	"kdx/analyze/slab"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// kmemObjects lists each slab of one cache with its objects.
func kmemObjects(c *Call) (view.Result, error) {
	if len(c.Args) != 1 {
		return nil, &UsageError{c.Cmd.Name, "-S wants the name of one cache"}
	}
	s, err := slab.New(c.View)
	if err != nil {
		return nil, err
	}
	u, _ := parseHex(c.Args[0])
	x, err := s.Lookup(c.Args[0], vmem.Addr(u))
	if err != nil {
		return nil, fmt.Errorf("there is no slab cache %s (caches whose objects are alike share one name)", c.Args[0])
	}
	cpus, err := s.CPULists(x)
	if err != nil {
		return nil, err
	}
	nodes, err := s.NodeLists(x)
	if err != nil {
		return nil, err
	}
	out := &view.SlabObjects{Cache: slabRow(c, s, x)}
	perNode := make([]int, len(nodes))
	count := func(a vmem.Addr) {
		if n := c.slabNode(s, a); n != nil && *n < len(perNode) {
			perNode[*n]++
		}
	}
	for _, l := range cpus {
		out.CPUs = append(out.CPUs, view.SlabCPU{CPU: l.CPU, Addr: l.Addr})
		if l.Active != 0 {
			count(l.Active)
		}
		for _, a := range l.Partial {
			count(a)
		}
	}
	for i, n := range nodes {
		out.Nodes = append(out.Nodes, view.SlabNode{Node: i, Addr: n.Addr, Slabs: n.Slabs, Partial: len(n.Partial), PerCPU: perNode[i]})
	}
	out.Slabs = func(yield func(view.SlabDetail) bool) { c.eachSlab(s, x, cpus, nodes, yield) }
	return out, nil
}

func (c *Call) slabNode(s *slab.Slabs, a vmem.Addr) *int {
	pfn, ok := s.Pages().PFN(a)
	if !ok {
		return nil
	}
	n, ok := mm.NodeOf(c.View, pfn)
	if !ok {
		return nil
	}
	return &n
}

func (c *Call) eachSlab(s *slab.Slabs, x *slab.Cache, cpus []slab.CPUSlabs, nodes []slab.NodeSlabs, yield func(view.SlabDetail) bool) {
	done := make(map[vmem.Addr]bool)
	show := func(list string, index int, a vmem.Addr) bool {
		if done[a] {
			return true
		}
		done[a] = true
		d, err := s.Detail(x, a)
		if err != nil {
			c.View.Gap(fmt.Sprintf("slab %#x", uint64(a)), err)
			return c.View.Context().Err() == nil
		}
		v := view.SlabDetail{List: list, Index: index, Addr: d.Addr, Memory: d.Memory, Node: c.slabNode(s, a), Total: d.Total, InUse: d.Allocated()}
		for _, o := range d.Objects {
			v.Objects = append(v.Objects, view.ObjectLine{Addr: o.Addr, Free: o.Free, Where: whereFree(o.Owner)})
		}
		return yield(v)
	}
	for _, l := range cpus {
		if l.Active != 0 && !show("cpu", l.CPU, l.Active) {
			return
		}
		for _, a := range l.Partial {
			if !show("cpu partial", l.CPU, a) {
				return
			}
		}
	}
	for i, n := range nodes {
		for _, a := range n.Partial {
			if !show("partial", i, a) {
				return
			}
		}
	}
	for a, err := range s.All(x) {
		if err != nil {
			c.View.Gap("full slabs", err)
			return
		}
		index := 0
		if n := c.slabNode(s, a); n != nil {
			index = *n
		}
		if !show("full", index, a) {
			return
		}
	}
}

func whereFree(w *slab.Owner) string {
	switch {
	case w == nil:
		return ""
	case !w.Sheaf:
		return fmt.Sprintf("cpu %d cache", w.CPU)
	case w.CPU < 0:
		return "node sheaf"
	}
	return fmt.Sprintf("cpu %d sheaf", w.CPU)
}
