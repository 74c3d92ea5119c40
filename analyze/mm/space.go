package mm

import (
	"errors"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// VirtualPage is a page of a mapping, and where it is. One of Phys, Swap is set if the page is in memory or in swap.
type VirtualPage struct {
	Addr vmem.UserAddr
	Phys *uint64
	Swap *SwapSlot
	// Err is why the page tables don't tell; the page may be anywhere.
	Err error
}

// SwapSlot is a place in swap.
type SwapSlot struct{ Device, Offset uint64 } // index of swap_info; pages

// swapEntries is an architecture that can tell a swap entry from its page-table entry.
type swapEntries interface {
	SwapEntry(entry uint64) (device, offset uint64, ok bool)
}

// SwapOf takes the page-table entry of a page that is not in memory apart; nil if it is no swap entry.
func SwapOf(v *kernel.View, entry uint64) *SwapSlot {
	a, ok := v.Arch().(swapEntries)
	if !ok {
		return nil
	}
	if dev, off, ok := a.SwapEntry(entry); ok {
		return &SwapSlot{dev, off}
	}
	return nil
}

// VirtualPages goes through the pages of [start, end) as the page tables of space have them. The error is the View's: cancelled, or too
// many pages.
func VirtualPages(v *kernel.View, space vmem.Space, start, end vmem.UserAddr) iter.Seq2[VirtualPage, error] {
	return func(yield func(VirtualPage, error) bool) {
		page := vmem.UserAddr(v.PageSize())
		unmapped := start // up to where no table is
		for at := start; at < end; at += page {
			if err := v.Step(); err != nil {
				yield(VirtualPage{}, err)
				return
			}
			p := VirtualPage{Addr: at}
			if at >= unmapped {
				p, unmapped = virtualPage(v, space, at)
			}
			if !yield(p, nil) || at+page < at {
				return
			}
		}
	}
}

// virtualPage looks a page up. From it to unmapped there is none.
func virtualPage(v *kernel.View, space vmem.Space, at vmem.UserAddr) (p VirtualPage, unmapped vmem.UserAddr) {
	p.Addr = at
	f, err := space.Translate(uint64(at))
	var fault *vmem.FaultError
	switch {
	case err == nil:
		phys := uint64(f.Phys)
		p.Phys = &phys
	case errors.As(err, &fault) && fault.Err == nil:
		if fault.Level == "PTE" {
			p.Swap = SwapOf(v, fault.Entry)
		} else if fault.Entry == 0 {
			return p, at + vmem.UserAddr(fault.Left)
		}
	default:
		p.Err = err
	}
	return p, at
}
