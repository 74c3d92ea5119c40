// Package sweep goes over the memory of dumps in chunks of neighbours, on many goroutines, and takes the results in order.
package sweep

import (
	"context"
	"fmt"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"

	"kdx/dumpfmt"
)

// Chunk is the pages [From, To).
type Chunk struct{ From, To uint64 }

// Chunks yields aligned chunks of size pages, in ascending order, that together cover the RAM of the dumps. All have the
// same page size. A chunk may hold gaps.
func Chunks(size uint64, infos ...*dumpfmt.Info) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		at := make([]int, len(infos)) // ranges that are behind
		for next := uint64(0); ; next++ {
			first, found := uint64(0), false
			for i, info := range infos {
				// A chunk that begins behind the last page of the range is done with it.
				for at[i] < len(info.Ranges) && lastPage(info, at[i])/size < next {
					at[i]++
				}
				if at[i] == len(info.Ranges) {
					continue
				}
				chunk := max(next, uint64(info.Ranges[at[i]].Start)/info.PageSize/size)
				if !found || chunk < first {
					first, found = chunk, true
				}
			}
			if !found || !yield(Chunk{first * size, first*size + size}) {
				return
			}
			next = first
		}
	}
}

func lastPage(info *dumpfmt.Info, i int) uint64 {
	return (uint64(info.Ranges[i].End) - 1) / info.PageSize
}

// Pages is how many pages of RAM the dump describes.
func Pages(info *dumpfmt.Info) uint64 {
	n := uint64(0)
	for i, r := range info.Ranges {
		n += lastPage(info, i) - uint64(r.Start)/info.PageSize + 1
	}
	return n
}

// maxPages is far more than any machine has: 1 PiB in pages of 4 KiB.
const maxPages = 1 << 38

// Bounded says so if a damaged dump claims so many pages that going through them would take days.
func Bounded(info *dumpfmt.Info) error {
	if n := Pages(info); n > maxPages {
		return fmt.Errorf("%s claims %d TiB of memory, more than any machine has: its headers must be damaged (kdx info shows them)",
			info.Files[0], n>>30*(info.PageSize>>10))
	}
	return nil
}

// Run calls do for each chunk, on workers goroutines (0: as many as there are cores), and fold with the results in the
// order of the chunks, on one. Each goroutine has a state of its own, which open makes. No more chunks are in work or wait
// than a few for each worker. The error is the first of do's or fold's, or the context's.
func Run[W, R any](ctx context.Context, workers int, chunks iter.Seq[Chunk], open func() W,
	do func(ctx context.Context, w W, c Chunk) (R, error), fold func(c Chunk, r R) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	type job struct {
		chunk  Chunk
		result chan R
	}
	todo := make(chan job)
	order := make(chan job, 4*workers)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(todo)
		defer close(order)
		for c := range chunks {
			j := job{c, make(chan R, 1)}
			select {
			case order <- j:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case todo <- j:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			w := open()
			for j := range todo {
				r, err := do(ctx, w, j.chunk)
				if err != nil {
					return err
				}
				j.result <- r
			}
			return nil
		})
	}
	g.Go(func() error {
		for j := range order {
			select {
			case r := <-j.result:
				if err := fold(j.chunk, r); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}
