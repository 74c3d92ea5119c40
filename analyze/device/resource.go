package device

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Resource is a range of I/O ports or physical addresses that someone claimed. End is its last.
type Resource struct {
	Addr       vmem.Addr
	Start, End uint64
	Name       *string // nil if it can't be read; "" if there is none
	Depth      int     // 0 for the whole space
}

type resource struct {
	Start   uint64    `k:"start"`
	End     uint64    `k:"end"`
	Name    vmem.Addr `k:"name"`
	Sibling vmem.Addr `k:"sibling"`
	Child   vmem.Addr `k:"child"`
}

// maxDepth of resources: they nest as buses do.
const maxDepth = 256

// Resources yields a tree of resources from the symbol of its root (ioport_resource, iomem_resource), parents first. One whose
// name can't be read comes with the error.
func Resources(v *kernel.View, root string) iter.Seq2[Resource, error] {
	return func(yield func(Resource, error) bool) {
		bind, err := kernel.Bind[resource](v.Kernel, "resource")
		if err != nil {
			yield(Resource{}, err)
			return
		}
		sym, err := v.Symbol(root)
		if err != nil {
			yield(Resource{}, err)
			return
		}
		seen := make(map[vmem.Addr]bool)
		type open struct {
			at    vmem.Addr
			depth int
		}
		stack := []open{{vmem.Addr(sym.Addr), 0}}
		for len(stack) > 0 {
			o := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if err := v.Step(); err != nil {
				yield(Resource{}, err)
				return
			}
			if seen[o.at] || o.depth > maxDepth {
				if !yield(Resource{}, fmt.Errorf("%s: resource %#x: %w", root, uint64(o.at), walk.ErrLoop)) {
					return
				}
				continue
			}
			seen[o.at] = true
			s, err := bind.Read(v, o.at)
			if err != nil {
				if !yield(Resource{}, fmt.Errorf("%s: %w", root, err)) {
					return
				}
				continue
			}
			r := Resource{Addr: o.at, Start: s.Start, End: s.End, Depth: o.depth}
			name := ""
			if s.Name != 0 {
				name, err = v.CString(s.Name, maxName)
			}
			if err == nil {
				r.Name = &name
			} else {
				err = fmt.Errorf("%s: name of the resource at %#x: %w", root, uint64(o.at), err)
			}
			if !yield(r, err) {
				return
			}
			if s.Sibling != 0 && o.depth > 0 {
				stack = append(stack, open{s.Sibling, o.depth})
			}
			if s.Child != 0 {
				stack = append(stack, open{s.Child, o.depth + 1})
			}
		}
	}
}
