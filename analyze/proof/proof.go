// Package proof checks a filtered dump against the dump that it was made of: what the kernel needs, and what readers of dumps
// follow, must be in it, with the same bytes.
//
// It knows nothing of how pages were chosen. It follows the kernel's own pointers from VMCOREINFO and the well-known lists on,
// reads each page that it comes across through the output, and compares. A page that the filter took for free or for a
// program's own is found if a task, a page table, a slab or a mapping of the kernel leads to it.
//
// A page that the input lacks proves nothing and is no failure: it was lost before.
package proof

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kdx/analyze/kernel"
	"kdx/dumpfmt"
)

// Options of Check. The zero value is good.
type Options struct {
	// Budget bounds the check in time: what was not reached is said, and is no failure. 0 means DefaultBudget of the
	// input's memory; a negative one is no bound.
	Budget time.Duration
	// Every: of the pages of a large area each must be there, and one of so many is compared byte by byte. Pages that
	// were followed are always compared. 0 means 32; 1 compares all.
	Every int
	// Change is what the conversion did to pages (scrubbing); Untouched names those that it can't have altered. Both as
	// in convert.Job; nil if pages were copied as they are. Change is called on several goroutines.
	Change    func(pfn uint64, page []byte) (changed bool, err error)
	Untouched func(pfn uint64) bool
	// Info is what the output's headers should say of kernel and processors; nil means what the input's say.
	Info *dumpfmt.Info
	// Waived pages were left out because somebody asked for it (the unused part of the map of pages; another file of a
	// split set), so that they may be missing; nil for none.
	Waived func(pfn uint64) bool
	// Workers is how many goroutines check; 0 means one a processor.
	Workers int
}

// defaultEvery is one page of how many that is compared in areas of which all must be there.
const defaultEvery = 32

// DefaultBudget is how long a check of so many bytes of memory may take if nobody says otherwise: a twentieth of what
// converting them takes, and what a small machine needs that is busy with other things. Left alone, one of 512 MiB is
// checked in 50 ms.
func DefaultBudget(memory uint64) time.Duration {
	const small, perGiB = 400 * time.Millisecond, 50 * time.Millisecond
	return small + time.Duration(memory>>20)*perGiB/1024
}

// Check holds the output, which was opened anew, against the kernel that it was made of. The error is the context's: what
// is wrong with the output is in the Report, see Report.Err.
func Check(ctx context.Context, full *kernel.Kernel, out *dumpfmt.Image, opt Options) (Report, error) {
	return newChecker(full, out, opt).run(ctx, areas)
}

func (c *checker) run(ctx context.Context, areas []area) (Report, error) {
	begin := time.Now()
	if c.out.Info().PageSize != c.in.Info().PageSize {
		areas = areas[:1] // the headers, which say so: pages can't be compared
	}
	c.failed, c.doubted = make([]uint64, len(areas)), make([]uint64, len(areas))
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if c.opt.Budget > 0 {
		bounded, cancel = context.WithTimeout(ctx, c.opt.Budget)
	}
	defer cancel()
	done := make([]Checked, len(areas))
	var next atomic.Int64
	var g errgroup.Group
	for range min(c.opt.Workers, len(areas)) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(areas) {
					return nil
				}
				done[i] = c.area(bounded, i, areas[i])
			}
		})
	}
	g.Wait() // goroutines report in done
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	return c.report(done, time.Since(begin)), nil
}

// area checks one area.
func (c *checker) area(ctx context.Context, i int, a area) Checked {
	out := Checked{Name: a.name}
	if ctx.Err() != nil {
		out.Unfinished = true
		return out
	}
	p, err := c.newPass(ctx, i, a.name)
	if err == nil {
		err = a.check(p)
	}
	out.Pages, out.Compared, out.NotInInput, out.Waived = p.pages, p.compared, p.absent, p.waived
	gaps, dropped := p.gaps()
	out.Gaps = len(gaps) + dropped
	switch {
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		out.Unfinished = true
	case err != nil:
		out.Note = err.Error()
	case out.Gaps > 0:
		out.Note = fmt.Sprintf("the input itself lacks parts: %s", gaps[0])
	}
	return out
}

func newChecker(full *kernel.Kernel, out *dumpfmt.Image, opt Options) *checker {
	full = full.Core()
	in := full.Image()
	if opt.Every <= 0 {
		opt.Every = defaultEvery
	}
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.Info == nil {
		opt.Info = in.Info()
	}
	if opt.Budget == 0 {
		opt.Budget = DefaultBudget(memory(in.Info()))
	}
	c := &checker{full: full, in: in, out: out, opt: opt}
	c.buffers.New = func() any {
		size := in.Info().PageSize
		return &buffers{make([]byte, size), make([]byte, size)}
	}
	c.layout = sync.OnceValue(func() *layout { return newLayout(full) })
	return c
}

func memory(info *dumpfmt.Info) uint64 {
	var n uint64
	for _, r := range info.Ranges {
		n += uint64(r.End - r.Start)
	}
	return n
}
