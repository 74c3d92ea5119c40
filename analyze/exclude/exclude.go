// Package exclude says which pages of a kernel's memory may go at a dump level, with makedumpfile's meaning of levels 0 to 31.
//
// What it knows of a kernel comes from the numbers that the kernel exports for this purpose (VMCOREINFO) and from its types (BTF or
// debug information), never from its version. Lists that the kernel keeps are held against that knowledge. What it does not understand
// stays in the dump, and Gaps says so. See docs/filtering.md.
package exclude

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"kdx/analyze/kernel"
	"kdx/dumpfmt"
)

// Filter decides pages of one kernel. It is safe for many goroutines.
type Filter struct {
	img    *dumpfmt.Image
	info   *dumpfmt.Info
	shift  uint
	layout *layout         // nil if pages are not understood
	maps   *memMap         // nil with layout
	guard  dumpfmt.PageSet // pages that stay whatever their flags say
	listed dumpfmt.PageSet // pages in the CPUs' own lists of free pages
	states bool            // the dump's ranges of RAM have pages that it does not hold

	gaps []kernel.Gap // found by Open

	mu        sync.Mutex
	dark, odd uint64 // pages that Select kept because their struct page can't be read, or is not understood
	darkErr   error
}

// Open finds out how this kernel describes its pages. What it can't find is a Gap and no error: those pages stay. The error is
// the context's.
func Open(v *kernel.View) (*Filter, error) {
	f := newFilter(v.Image())
	know := &facts{v: v}
	err := f.understand(know)
	f.gaps = append(f.gaps, know.gaps...)
	if cerr := v.Context().Err(); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		f.layout, f.maps = nil, nil
		f.keepsAll(err)
	}
	return f, nil
}

func newFilter(img *dumpfmt.Image) *Filter {
	info := img.Info()
	f := &Filter{img: img, info: info, shift: uint(bits.TrailingZeros64(info.PageSize))}
	f.states = info.Filtered || info.DumpLevel > 0 || info.Incomplete || info.Truncated || info.Split != nil || info.Distilled != nil || info.Format != "elf"
	return f
}

func (f *Filter) understand(know *facts) error {
	l, err := newLayout(know)
	if err != nil {
		return err
	}
	if f.maps, err = findMemMap(know, l.size); err != nil {
		return err
	}
	f.layout = l
	f.heedFreeLists(know)
	f.protect(know)
	f.heedObjects(know)
	f.heedCPULists(know)
	return nil
}

func (f *Filter) keepsAll(why error) {
	f.gaps = append(f.gaps, kernel.Gap{What: "the kernel's pages are not understood, so that all stay but those of zeros", Err: why})
}

// Gaps says what of the kernel is not understood, and what could not be read so far; the pages that it is about stay.
func (f *Filter) Gaps() []kernel.Gap {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.gaps)
	if f.dark > 0 && f.layout != nil {
		err := f.darkErr
		if err == nil {
			err = errors.New("the kernel has none for them")
		}
		out = append(out, kernel.Gap{What: fmt.Sprintf("%d pages stay because their struct page can't be read", f.dark), Err: err})
	}
	if f.odd > 0 {
		out = append(out, kernel.Gap{What: fmt.Sprintf("%d pages stay", f.odd), Err: errors.New("their struct pages contradict themselves")})
	}
	return out
}

// Select adds those pages of [from, to) to keep that stay at the level (0 to MaxLevel) and counts all of them in stats. Either may be
// nil. Zero pages stay: they are found when pages are read. It may be called for several ranges at once, each with a keep
// and stats of its own. Pages of HWPoison and Offline go at all levels; who wants all pages need not call it.
// The error is the context's, or that of a level that does not exist.
func (f *Filter) Select(ctx context.Context, level int, from, to uint64, keep *dumpfmt.PageSet, stats *Stats) error {
	if level < 0 || level > MaxLevel {
		return fmt.Errorf("there is no dump level %d: levels are 0 to %d", level, MaxLevel)
	}
	s := f.newScan(level, keep)
	err := s.pages(ctx, from, to)
	if stats != nil {
		stats.Add(&s.stats)
	}
	f.mu.Lock()
	f.dark += s.dark
	f.odd += s.odd
	if f.darkErr == nil && s.w != nil {
		f.darkErr = s.w.err
	}
	f.mu.Unlock()
	return err
}
