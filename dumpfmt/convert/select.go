package convert

import (
	"context"
	"iter"
	"runtime"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"

	"kdx/dumpfmt"
)

// Selector adds those pages of [from, to) to keep that an output shall hold. It is called by several goroutines at once,
// with a set for each. again says that this stretch was decided before, so that nothing is counted twice; what it says must
// not change.
type Selector func(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, again bool) error

// stretch is how many pages a Selector is asked for at once: 32 KiB of bits. It is a multiple of what a PageSet takes at least.
const stretch = 1 << 18

// Select decides which pages of the ranges an output shall hold. If a bit for each fits into memory (bytes; 0 means
// DefaultMemory), all are decided at once. Otherwise stretches are decided again whenever somebody goes over the pages, which
// takes memory for a few stretches only. The error is the selector's or the context's.
func Select(ctx context.Context, sel Selector, ranges []dumpfmt.PhysRange, pageSize uint64, memory int64) (dumpfmt.Pages, error) {
	if memory == 0 {
		memory = DefaultMemory
	}
	w := &windows{ctx: ctx, sel: sel, ranges: ranges, pageSize: pageSize}
	bits := uint64(0)
	for range w.stretches() {
		bits += stretch
	}
	if bits/8 > uint64(memory) {
		return w, nil
	}
	return w.all(ctx)
}

// windows are pages that are decided anew each time.
type windows struct {
	ctx      context.Context
	sel      Selector
	ranges   []dumpfmt.PhysRange
	pageSize uint64

	mu    sync.Mutex
	known bool // n is right
	n     uint64
	err   error
}

// stretches yields the first pages of the stretches that have RAM in them.
func (w *windows) stretches() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		next := uint64(0)
		for _, r := range w.ranges {
			if r.Start >= r.End {
				continue
			}
			last := (uint64(r.End) - 1) / w.pageSize / stretch
			for i := max(next, uint64(r.Start)/w.pageSize/stretch); i <= last; i++ {
				if !yield(i * stretch) {
					return
				}
				next = i + 1
			}
		}
	}
}

// decide asks for the pages of RAM in a stretch.
func (w *windows) decide(ctx context.Context, at uint64, again bool) (*dumpfmt.PageSet, error) {
	keep := new(dumpfmt.PageSet)
	next := at
	first := sort.Search(len(w.ranges), func(i int) bool { return uint64(w.ranges[i].End) > at*w.pageSize })
	for _, r := range w.ranges[first:] {
		from := max(next, uint64(r.Start)/w.pageSize)
		to := min(at+stretch, (uint64(r.End)-1)/w.pageSize+1)
		if from >= at+stretch {
			break
		}
		if r.Start >= r.End || from >= to {
			continue
		}
		next = to
		if err := w.sel(ctx, from, to, keep, again); err != nil {
			return nil, err
		}
	}
	return keep, nil
}

// all decides all pages at once.
func (w *windows) all(ctx context.Context) (*dumpfmt.PageSet, error) {
	var (
		mu  sync.Mutex
		set dumpfmt.PageSet
	)
	g, group := errgroup.WithContext(ctx) // group ends with the last goroutine
	g.SetLimit(runtime.GOMAXPROCS(0))
	for at := range w.stretches() {
		g.Go(func() error {
			keep, err := w.decide(group, at, false)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			set.Take(keep)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return &set, nil
}

// Len counts the pages, if nobody went over all of them before.
func (w *windows) Len() uint64 {
	w.mu.Lock()
	known := w.known
	w.mu.Unlock()
	if !known {
		for range w.All() {
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// Err is why the last All ended too early.
func (w *windows) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// decided is what became of a stretch.
type decided struct {
	keep *dumpfmt.PageSet
	err  error
}

// All decides stretches, a few ahead of the one whose pages it yields.
func (w *windows) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		ctx, cancel := context.WithCancel(w.ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		ahead := make(chan chan decided, max(1, runtime.GOMAXPROCS(0)-1))
		w.mu.Lock()
		again := w.known
		w.mu.Unlock()
		running.Go(func() {
			defer close(ahead)
			for at := range w.stretches() {
				one := make(chan decided, 1)
				select {
				case ahead <- one:
				case <-ctx.Done():
					return
				}
				running.Go(func() {
					keep, err := w.decide(ctx, at, again)
					one <- decided{keep, err}
				})
			}
		})
		n := uint64(0)
		for one := range ahead {
			d := <-one
			if d.err != nil {
				w.finish(0, d.err)
				return
			}
			n += d.keep.Len()
			for pfn := range d.keep.All() {
				if !yield(pfn) {
					return
				}
			}
		}
		w.finish(n, ctx.Err())
	}
}

func (w *windows) finish(n uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	if err == nil {
		w.n, w.known = n, true
	}
}
