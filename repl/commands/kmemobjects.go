package commands

import (
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/mm"
	"kdx/analyze/slab"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// slabChoice is what -s, -S and -r were asked about.
type slabChoice struct {
	slabs   *slab.Slabs
	caches  []*slab.Cache
	named   bool // by arguments
	ignored map[*slab.Cache]bool
	objects []string // arguments that are addresses of no cache: of objects
	list    bool     // only the names
}

// chooseSlabs takes the arguments and -I apart.
func (c *Call) chooseSlabs() (*slabChoice, error) {
	s, err := slab.New(c.View)
	if err != nil {
		return nil, err
	}
	out := &slabChoice{slabs: s, ignored: make(map[*slab.Cache]bool)}
	if out.caches, err = s.Caches(); err != nil {
		return nil, err
	}
	for _, list := range c.Flags.Values("I") {
		for _, name := range strings.Split(list, ",") {
			for _, x := range out.caches {
				if x.Name == name {
					out.ignored[x] = true
				}
			}
		}
	}
	if slices.Equal(c.Args, []string{"list"}) {
		out.list = true
		return out, nil
	}
	if len(c.Args) == 0 {
		return out, nil
	}
	all := out.caches
	out.caches, out.named = nil, true
	for _, a := range c.Args {
		u, isAddr := parseHex(a)
		i := slices.IndexFunc(all, func(x *slab.Cache) bool { return x.Name == a || isAddr && x.Addr == vmem.Addr(u) })
		switch {
		case i >= 0:
			out.caches = append(out.caches, all[i])
		case isAddr && (c.View.Arch().IsKernel(u) || c.Flags.Has("P")):
			out.objects = append(out.objects, a)
		default:
			return nil, fmt.Errorf("there is no slab cache %s (caches whose objects are alike share one name; `kmem -s list` names them)", a)
		}
	}
	return out, nil
}

func slabNames(caches []*slab.Cache) view.SlabNames {
	out := make(view.SlabNames, 0, len(caches))
	for _, x := range caches {
		out = append(out, view.SlabName{Addr: x.Addr, Name: cacheName(x)})
	}
	return out
}

// kmemObjects lists each slab of caches with its objects.
func kmemObjects(c *Call) (view.Result, error) {
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
	only, err := c.slabCPUs()
	if err != nil {
		return nil, err
	}
	// Full slabs are on no list. They are found once, for all caches that were asked for.
	var full map[vmem.Addr][]vmem.Addr
	return &view.SlabDump{One: choice.named && len(choice.caches) == 1, Caches: func(yield func(*view.SlabObjects) bool) {
		for _, x := range choice.caches {
			if c.View.Context().Err() != nil {
				return
			}
			if choice.ignored[x] {
				if !yield(&view.SlabObjects{Cache: ignoredRow(x), Slabs: func(func(view.SlabDetail) bool) {}}) {
					return
				}
				continue
			}
			if full == nil {
				full = c.slabsByCache(choice)
			}
			if !yield(c.slabObjects(choice.slabs, x, only, full[x.Addr])) {
				return
			}
		}
	}}, nil
}

// slabCPUs are the CPUs of -S=CPUS; nil for all.
func (c *Call) slabCPUs() (map[int]bool, error) {
	list := c.Flags.Value("S")
	if list == "" || list == "a" || list == "all" {
		return nil, nil
	}
	all, err := c.View.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	top := 0
	if len(all) > 0 {
		top = all[len(all)-1] + 1
	}
	cpus, err := parseCPUs(list, top)
	if err != nil {
		return nil, &UsageError{c.Cmd.Name, err.Error()}
	}
	only := make(map[int]bool)
	for _, cpu := range cpus {
		only[cpu] = true
	}
	return only, nil
}

// slabsByCache looks for all slabs of the chosen caches.
func (c *Call) slabsByCache(choice *slabChoice) map[vmem.Addr][]vmem.Addr {
	wanted := make(map[vmem.Addr]bool)
	for _, x := range choice.caches {
		wanted[x.Addr] = !choice.ignored[x]
	}
	out := make(map[vmem.Addr][]vmem.Addr)
	for f, err := range choice.slabs.Everywhere() {
		if err != nil {
			c.View.Gap("full slabs", err)
			break
		}
		if wanted[f.Cache] {
			out[f.Cache] = append(out[f.Cache], f.Slab)
		}
	}
	return out
}

func (c *Call) slabObjects(s *slab.Slabs, x *slab.Cache, only map[int]bool, all []vmem.Addr) *view.SlabObjects {
	out := &view.SlabObjects{Cache: slabRow(c, s, x), CPUs: []view.SlabCPU{}, Nodes: []view.SlabNode{}}
	cpus, err := s.CPULists(x)
	if err != nil {
		c.View.Gap(fmt.Sprintf("slab cache %s: slabs of CPUs", x.Name), err)
	}
	nodes, err := s.NodeLists(x)
	if err != nil {
		c.View.Gap("", err) // it names the cache
	}
	perNode := make(map[int]int)      // slabs that CPUs allocate from
	taken := make(map[vmem.Addr]bool) // slabs of CPUs: none of the nodes' lists
	var shown []slab.CPUSlabs
	for _, l := range cpus {
		if l.Active != 0 {
			taken[l.Active] = true
			if n := c.slabNode(s, l.Active); n != nil {
				perNode[*n]++
			}
		}
		for _, a := range l.Partial {
			taken[a] = true
		}
		if only == nil || only[l.CPU] {
			shown = append(shown, l)
			out.CPUs = append(out.CPUs, view.SlabCPU{CPU: l.CPU, Addr: l.Addr})
		}
	}
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, view.SlabNode{Node: n.Node, Addr: n.Addr, Slabs: n.Slabs, Partial: len(n.Partial), PerCPU: perNode[n.Node]})
	}
	out.Slabs = func(yield func(view.SlabDetail) bool) { c.eachSlab(s, x, shown, nodes, taken, all, yield) }
	return out
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

// eachSlab yields the slabs of the CPUs that are shown, those of nodes, and all others that were found. taken are those of all CPUs.
func (c *Call) eachSlab(s *slab.Slabs, x *slab.Cache, cpus []slab.CPUSlabs, nodes []slab.NodeSlabs, taken map[vmem.Addr]bool, all []vmem.Addr,
	yield func(view.SlabDetail) bool) {
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
		v := view.SlabDetail{List: list, Index: index, Addr: d.Addr, Memory: d.Memory, Node: c.slabNode(s, a), Total: d.Total, Objects: objectLines(d.Objects)}
		if n, ok := d.Allocated(); ok {
			v.InUse = &n
		}
		return yield(v)
	}
	list := func(name string, index int, slabs []vmem.Addr) bool {
		for _, a := range slabs {
			if !show(name, index, a) {
				return false
			}
		}
		return true
	}
	for _, l := range cpus {
		if l.Active != 0 && !show("cpu", l.CPU, l.Active) || !list("cpu partial", l.CPU, l.Partial) {
			return
		}
	}
	for i, n := range nodes {
		if !list("partial", n.Node, n.Partial) || !list("full", n.Node, n.Full) {
			return
		}
		for _, a := range all {
			at := c.slabNode(s, a)
			here := at != nil && *at == n.Node || at == nil && i == 0
			if here && !taken[a] && !slices.Contains(n.Empty, a) && !show("full", n.Node, a) {
				return
			}
		}
		if !list("empty", n.Node, n.Empty) {
			return
		}
	}
}

func whereFree(w *slab.Owner) string {
	switch {
	case w == nil:
		return ""
	case w.Array:
		return "shared cache"
	case !w.Sheaf:
		return fmt.Sprintf("cpu %d cache", w.CPU)
	case w.CPU < 0:
		return "node sheaf"
	}
	return fmt.Sprintf("cpu %d sheaf", w.CPU)
}

func objectLines(objects []slab.ObjectState) []view.ObjectLine {
	out := make([]view.ObjectLine, 0, len(objects))
	for _, o := range objects {
		l := view.ObjectLine{Addr: o.Addr, Where: whereFree(o.Owner)}
		if !o.Unknown {
			l.Free = &o.Free
		}
		out = append(out, l)
	}
	return out
}
