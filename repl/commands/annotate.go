package commands

import (
	"fmt"

	"kdx/analyze/identify"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// annotator names what values point to: symbols at level 0; at 1 objects of slab caches too, as [cache]; at 2 as [address:cache].
// Where slab caches can't be read, symbols remain. The answer is "" for what is neither.
func (c *Call) annotator(level int) func(uint64) string {
	var slabs *identify.Finder
	if level > 0 {
		f, err := identify.New(c.View)
		if err != nil {
			c.View.GapOnce("slab caches", err)
		} else {
			slabs = f
		}
	}
	return func(u uint64) string {
		if u < 4096 || !c.View.Arch().IsKernel(u) {
			return ""
		}
		if slabs != nil {
			if obj, ok := slabs.SlabObject(vmem.Addr(u)); ok {
				if level > 1 {
					return fmt.Sprintf("[%x:%s]", u, view.Printable(obj.Cache.Name))
				}
				return "[" + view.Printable(obj.Cache.Name) + "]"
			}
		}
		return symbolText(c.View, u, c.State.Hex)
	}
}
