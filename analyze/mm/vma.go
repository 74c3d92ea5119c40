package mm

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// VMA is a mapping of user space.
type VMA struct {
	Addr       vmem.Addr // of the vm_area_struct
	Start, End vmem.UserAddr
	Flags      uint64
	PageOffset uint64    // in the file, in pages
	File       vmem.Addr // 0 for anonymous memory
}

type vmaStruct struct {
	Start  uint64    `k:"vm_start"`
	End    uint64    `k:"vm_end"`
	Flags  uint64    `k:"vm_flags"`
	Offset uint64    `k:"vm_pgoff"`
	File   vmem.Addr `k:"vm_file"`
	Next   vmem.Addr `k:"vm_next,optional"` // until 6.0
}

// VMAs yields the mappings of the mm_struct at mm, by rising address: from its maple tree, or before 6.1 its list.
func VMAs(v *kernel.View, mm vmem.Addr) iter.Seq2[VMA, error] {
	return func(yield func(VMA, error) bool) {
		bind, err := kernel.Bind[vmaStruct](v.Kernel, "vm_area_struct")
		if err != nil {
			yield(VMA{}, err)
			return
		}
		read := func(at vmem.Addr) (vmaStruct, bool) {
			s, err := bind.Read(v, at)
			if err == nil && s.Start >= s.End {
				err = fmt.Errorf("mapping %#x: it begins at %#x and ends at %#x: it is damaged", uint64(at), s.Start, s.End)
			}
			if err != nil {
				return s, yield(VMA{}, err)
			}
			return s, yield(VMA{at, vmem.UserAddr(s.Start), vmem.UserAddr(s.End), s.Flags, s.Offset, s.File}, nil)
		}
		if off, ok := v.OffsetOf("mm_struct", "mm_mt"); ok {
			for r, err := range walk.Maple(v, mm+vmem.Addr(off)) {
				if err != nil {
					if !yield(VMA{}, err) {
						return
					}
					continue
				}
				if _, more := read(vmem.Addr(r.Entry)); !more {
					return
				}
			}
			return
		}
		off, ok := v.OffsetOf("mm_struct", "mmap")
		if !ok {
			yield(VMA{}, errors.New("struct mm_struct of this kernel has neither mm_mt nor mmap"))
			return
		}
		at, err := v.Word(mm + vmem.Addr(off))
		if err != nil {
			yield(VMA{}, err)
			return
		}
		seen := make(map[uint64]bool)
		for at != 0 {
			if seen[at] {
				yield(VMA{}, fmt.Errorf("mapping %#x: %w", at, walk.ErrLoop))
				return
			}
			seen[at] = true
			s, more := read(vmem.Addr(at))
			if !more {
				return
			}
			at = uint64(s.Next)
		}
	}
}
