package reduce

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"kdx/analyze/exclude"
	"kdx/analyze/kernel"
	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
)

// filters are the bits of a level that need the kernel.
const filters = exclude.MaxLevel &^ exclude.LevelZero

// chooser decides which pages of a stretch stay, and counts them.
type chooser func(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, stats *exclude.Stats) error

// choose decides which pages stay.
func (r *run) choose(ctx context.Context) error {
	r.report.Recorded = r.level()
	r.report.Stats = new(exclude.Stats)
	if r.Level&filters == 0 && !r.Vmemmap {
		return r.each(ctx, r.all)
	}
	if r.Kernel == nil {
		r.report.Gaps = append(r.report.Gaps, kernel.Gap{What: "the kernel can't be opened, so that only pages of zeros can be left out", Err: r.WhyNot})
		r.recordUnfiltered()
		return r.each(ctx, r.all)
	}
	f, err := exclude.Open(r.Kernel.Core().View(ctx))
	if err != nil {
		return fmt.Errorf("finding out how the kernel describes its pages: %w", err)
	}
	defer func() {
		if r.report.Gaps = f.Gaps(); r.report.Kept() && r.filtered() == 0 {
			r.recordUnfiltered()
		}
	}()
	err = r.each(ctx, func(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, stats *exclude.Stats) error {
		return f.Select(ctx, r.Level, from, to, keep, stats)
	})
	if err != nil || !r.Vmemmap {
		return err
	}
	return r.dropVmemmap(ctx, f)
}

// recordUnfiltered has the output state only what the input was filtered of, and whether pages of zeros go.
func (r *run) recordUnfiltered() {
	if in := r.Image.Info(); in.DumpLevel >= 0 || !in.Filtered {
		r.report.Recorded &^= r.Level & filters &^ max(0, in.DumpLevel)
	}
}

// filtered is how many pages were left out by their class.
func (r *run) filtered() (n uint64) {
	for _, c := range []exclude.Class{exclude.Free, exclude.Unaccepted, exclude.Cache, exclude.PrivateCache, exclude.User} {
		n += r.report.Stats.Left[c]
	}
	return n
}

func (r *run) dropVmemmap(ctx context.Context, f *exclude.Filter) error {
	keep, ok := r.pages.(*dumpfmt.PageSet)
	if !ok {
		return errors.New("finding unused descriptors of pages takes a bit of memory for each page: allow more memory")
	}
	before := new(dumpfmt.PageSet)
	for pfn := range keep.All() {
		before.Add(pfn)
	}
	r.waived = func(pfn uint64) bool { return before.Has(pfn) && !keep.Has(pfn) }
	return f.DropVmemmap(ctx, keep, r.report.Stats)
}

// all keeps what the input holds.
func (r *run) all(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, stats *exclude.Stats) error {
	for pfn := from; pfn < to; pfn++ {
		class := exclude.Kernel
		switch r.Image.State(pfn) {
		case dumpfmt.Absent:
			class = exclude.Hole
		case dumpfmt.Excluded:
			class = exclude.Missing
		default:
			keep.Add(pfn)
		}
		stats.Pages[class]++
		if class != exclude.Kernel {
			stats.Left[class]++
		}
	}
	return ctx.Err()
}

// each has all pages of memory chosen. Who bounds memory gets them chosen again whenever they are needed.
func (r *run) each(ctx context.Context, pick chooser) error {
	info := r.Image.Info()
	total := uint64(0)
	for _, m := range info.Ranges {
		total += uint64(m.End-m.Start) / info.PageSize
	}
	var mu sync.Mutex // of the report, and of Progress
	seen := uint64(0)
	sel := func(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, again bool) error {
		var stats exclude.Stats
		if err := pick(ctx, from, to, keep, &stats); err != nil {
			return err
		}
		unsure := r.dropUnsure(from, to, keep)
		mu.Lock()
		defer mu.Unlock()
		if !again {
			seen += to - from
			r.report.Stats.Add(&stats)
			r.report.Unsure += unsure
			r.tell(Progress{Step: StepSelect, Done: min(seen, total), Total: total})
		}
		return nil
	}
	memory := r.Memory
	if memory == 0 {
		memory = math.MaxInt64
	}
	var err error
	if r.pages, err = convert.Select(ctx, sel, info.Ranges, info.PageSize, memory); err != nil {
		return err
	}
	r.pages.Len() // where memory is bounded, they are chosen for the first time now
	if p, ok := r.pages.(interface{ Err() error }); ok && p.Err() != nil {
		return p.Err()
	}
	holes := info.MaxPFN - min(info.MaxPFN, seen)
	r.report.Stats.Pages[exclude.Hole] += holes
	r.report.Stats.Left[exclude.Hole] += holes
	return nil
}

// dropUnsure takes out the pages of which a filtered ELF file can't say whether they were zeros: to write zeros in their
// place would make sure what is not.
func (r *run) dropUnsure(from, to uint64, keep *dumpfmt.PageSet) uint64 {
	n := uint64(0)
	if !r.Image.Info().Filtered {
		return n
	}
	for pfn := from; pfn < to; pfn++ {
		if r.Image.State(pfn) == dumpfmt.ZeroOrExcluded {
			n++
			keep.RemoveRange(pfn, pfn+1)
		}
	}
	return n
}
