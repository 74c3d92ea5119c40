package exclude

import (
	"context"
	"errors"

	"kdx/dumpfmt"
)

// ErrNoVmemmap: the kernel's page descriptors don't lie in an array whose pages can be left out one by one.
var ErrNoVmemmap = errors.New("the kernel's page descriptors can't be left out: where they are is not understood")

// DropVmemmap takes pages of the kernel's page descriptors out of keep that describe only RAM of which nothing is in keep, and holes. keep
// must be what Select made of all memory. makedumpfile's -e does this. Commands that look at descriptors of pages that are left out fail on such a dump.
func (f *Filter) DropVmemmap(ctx context.Context, keep *dumpfmt.PageSet, stats *Stats) error {
	if f.layout == nil {
		return ErrNoVmemmap
	}
	perPage := f.info.PageSize / f.layout.size
	if perPage == 0 {
		return ErrNoVmemmap
	}
	needed := f.neededDescriptors(keep)
	for _, r := range f.info.Ranges {
		first, last := uint64(r.Start)>>f.shift, (uint64(r.End)-1)>>f.shift+1
		for pfn := first; pfn < last; {
			if err := ctx.Err(); err != nil {
				return err
			}
			addr, end, err := f.maps.run(pfn, min(last, pfn+checkEvery))
			if err == nil {
				f.dropRun(addr, addr+(end-pfn)*f.layout.size, keep, needed, stats)
			}
			pfn = end
		}
	}
	return nil
}

// neededDescriptors are the pages of memory that hold the descriptor of a page of keep.
func (f *Filter) neededDescriptors(keep *dumpfmt.PageSet) *dumpfmt.PageSet {
	var needed dumpfmt.PageSet
	size := f.layout.size
	next := uint64(0) // the first pfn whose descriptor is not known to be in needed
	for pfn := range keep.All() {
		if pfn < next {
			continue
		}
		addr, err := f.maps.at(pfn)
		if err != nil {
			continue
		}
		for at := addr &^ (f.info.PageSize - 1); at < addr+size; at += f.info.PageSize {
			if frame, err := f.maps.k.Arch().Kernel().Translate(at); err == nil {
				needed.Add(uint64(frame.Phys) >> f.shift)
			}
		}
		// Descriptors that lie wholly in the page in which this one ends are done.
		last := (addr + size - 1) | (f.info.PageSize - 1)
		next = pfn + 1 + (last-(addr+size-1))/size
	}
	return &needed
}

// dropRun takes the pages wholly inside [start, end) of the map of pages out of keep that are not needed.
func (f *Filter) dropRun(start, end uint64, keep, needed *dumpfmt.PageSet, stats *Stats) {
	page := f.info.PageSize
	for at := (start + page - 1) &^ (page - 1); at+page <= end; at += page {
		frame, err := f.maps.k.Arch().Kernel().Translate(at)
		if err != nil {
			continue
		}
		pfn := uint64(frame.Phys) >> f.shift
		if needed.Has(pfn) || !keep.Has(pfn) {
			continue
		}
		keep.RemoveRange(pfn, pfn+1)
		if stats != nil {
			stats.Vmemmap++
		}
	}
}
