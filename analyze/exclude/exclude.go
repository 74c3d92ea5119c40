// Package exclude says which pages of a kernel's memory may go at a dump level, with makedumpfile's meaning of levels 0 to 31.
//
// What it knows of a kernel comes from the numbers that the kernel exports for this purpose (VMCOREINFO) and from its types (BTF or
// debug information), never from its version. What it does not understand stays in the dump, and Gaps says so.
package exclude

import (
	"context"
	"fmt"
	"sync"

	"kdx/analyze/kernel"
	"kdx/dumpfmt"
)

// Options of Open. There are none yet that change what stays.
type Options struct{}

// Filter decides pages of one kernel. It is safe for many goroutines.
type Filter struct {
	img  *dumpfmt.Image
	info *dumpfmt.Info

	mu   sync.Mutex
	gaps []kernel.Gap
}

// Open finds out how this kernel describes its pages. What it can't find is a Gap and no error: those pages stay. The error is
// the context's.
func Open(v *kernel.View, opt Options) (*Filter, error) {
	return KeepAll(v.Image(), fmt.Errorf("not looked for")), nil
}

// KeepAll is a Filter that leaves out nothing, for a dump whose kernel can't be opened; why becomes its Gap.
func KeepAll(img *dumpfmt.Image, why error) *Filter {
	f := &Filter{img: img, info: img.Info()}
	f.gaps = append(f.gaps, kernel.Gap{What: "the kernel is not understood, so that all pages stay but those of zeros", Err: why})
	return f
}

// Gaps says what of the kernel is not understood, and what could not be read so far; the pages that it is about stay.
func (f *Filter) Gaps() []kernel.Gap {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]kernel.Gap(nil), f.gaps...)
}

// Select adds those pages of [from, to) to keep that stay at the level (0 to MaxLevel) and counts all of them in stats. Either may be
// nil. Zero pages stay: they are found when pages are read. So it may be called for several ranges at once, each with a keep
// and stats of its own. Pages of HWPoison and Offline go at all levels; who wants all pages need not call it.
// The error is the context's, or that of a level that does not exist.
func (f *Filter) Select(ctx context.Context, level int, from, to uint64, keep *dumpfmt.PageSet, stats *Stats) error {
	if level < 0 || level > MaxLevel {
		return fmt.Errorf("there is no dump level %d: levels are 0 to %d", level, MaxLevel)
	}
	for pfn := from; pfn < to; pfn++ {
		c := Kernel
		switch f.img.State(pfn) {
		case dumpfmt.Absent:
			c = Hole
		case dumpfmt.Excluded:
			c = Missing
		}
		if stats != nil {
			stats.Pages[c]++
		}
		if c.Goes(level) {
			if stats != nil {
				stats.Left[c]++
			}
			continue
		}
		if keep != nil {
			keep.Add(pfn)
		}
	}
	return ctx.Err()
}

// DropVmemmap takes pages of vmemmap, where the kernel describes its pages, out of keep if they describe only pages that are not
// in keep; keep must be what Select made of all memory. (makedumpfile's -e.)
func (f *Filter) DropVmemmap(ctx context.Context, keep *dumpfmt.PageSet, stats *Stats) error {
	return ctx.Err()
}

// ClassOf is the class of one page.
func (f *Filter) ClassOf(ctx context.Context, pfn uint64) (Class, error) {
	var s Stats
	if err := f.Select(ctx, MaxLevel, pfn, pfn+1, nil, &s); err != nil {
		return Unknown, err
	}
	for c, n := range s.Pages {
		if n != 0 {
			return Class(c), nil
		}
	}
	return Unknown, nil
}
