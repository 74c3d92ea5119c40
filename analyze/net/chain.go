// Package net reads the kernel's network: devices and their addresses by namespace, neighbours, and sockets with what waits
// in their queues.
package net

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// chain yields the entries of a list that is linked by plain pointers and ends with NULL; next lies at the given offset in
// bytes. Such a list has no links back, so all that was seen is remembered.
func chain(v *kernel.View, first vmem.Addr, next uint64) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		seen := make(map[vmem.Addr]bool)
		for at := first; at != 0; {
			if err := v.Step(); err != nil {
				yield(0, err)
				return
			}
			if seen[at] {
				yield(0, fmt.Errorf("entry %#x: %w", uint64(at), walk.ErrLoop))
				return
			}
			seen[at] = true
			p, err := v.Word(at + vmem.Addr(next))
			if err != nil {
				yield(0, fmt.Errorf("entry %#x: %w", uint64(at), err))
				return
			}
			if !yield(at, nil) {
				return
			}
			at = vmem.Addr(p)
		}
	}
}

// offsets finds members of struct tag; the error names the first that the kernel lacks.
func offsets(v *kernel.View, tag string, members map[string]*uint64) error {
	t, err := v.Struct(tag)
	if err != nil {
		return err
	}
	for name, to := range members {
		off, ok := t.OffsetOf(name)
		if !ok {
			return fmt.Errorf("struct %s of this kernel has no member %s", tag, name)
		}
		*to = off
	}
	return nil
}
