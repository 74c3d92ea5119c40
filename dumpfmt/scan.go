package dumpfmt

import (
	"context"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// PageFunc is called with one page. page is nil unless the state is Readable, and valid only during the call; err is the
// *PageError of an Unreadable one. Excluded pages come without an error: there are many. An error that PageFunc returns ends
// the scan.
type PageFunc func(pfn uint64, st PageState, page []byte, err error) error

// RangeReader is implemented by formats that can read neighbours faster than page by page.
type RangeReader interface {
	// ReadRange calls each for the pages of [from, to) in ascending order, leaving out absent ones.
	// The error is each's or the context's.
	ReadRange(ctx context.Context, from, to uint64, each PageFunc) error
}

// RunReader is implemented by formats that keep neighbours side by side and as they are.
type RunReader interface {
	// ReadRun fills dst, some pages long, with the pages from pfn on, and returns how many it read: all that lie side by
	// side. If that is none, the page at pfn has to be read on its own.
	ReadRun(dst []byte, pfn uint64) int
}

// scanBatch is how many neighbours one goroutine of a Scan reads before it takes new ones.
const scanBatch = 2048

// Scan reads the whole dump past the cache, on all cores. Each goroutine takes batches of neighbours, so each is called
// from several at once, and pages come in no order. It is told of unreadable and excluded pages, too, but not of absent ones.
func (im *Image) Scan(ctx context.Context, each PageFunc) error {
	return im.ScanRange(ctx, 0, im.info.MaxPFN, each)
}

// ScanRange is Scan of the pages [from, to).
func (im *Image) ScanRange(ctx context.Context, from, to uint64, each PageFunc) error {
	batches := im.batches(from, to)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), len(batches)) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) {
					return nil
				}
				if err := im.ReadRange(ctx, batches[i].from, batches[i].to, each); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// batch is a stretch of pfns for one goroutine, at most some GiB of memory even if there are many.
type batch struct{ from, to uint64 }

// maxBatches bounds the list of a machine with many TiB.
const maxBatches = 1 << 20

// batches cuts the dump's memory map from first to last into pieces that don't share a page.
func (im *Image) batches(first, last uint64) []batch {
	pages := uint64(0)
	for _, r := range im.info.Ranges {
		pages += uint64(r.End-r.Start)>>im.pageShift + 1
	}
	size := max(scanBatch, pages/maxBatches)
	var out []batch
	next := first
	for _, r := range im.info.Ranges {
		end := min(last, (uint64(r.End)-1)>>im.pageShift+1)
		for from := max(next, uint64(r.Start)>>im.pageShift); from < end; {
			to := min(end, (from/size+1)*size)
			out = append(out, batch{from, to})
			from, next = to, to
		}
	}
	return out
}

// ReadRange calls each for the pages of [from, to) in ascending order, on this goroutine and past the cache. It is told of
// unreadable and excluded pages, too, but not of absent ones.
func (im *Image) ReadRange(ctx context.Context, from, to uint64, each PageFunc) error {
	if r, ok := im.src.(RangeReader); ok {
		return r.ReadRange(ctx, from, to, each)
	}
	return im.readRange(ctx, from, to, each)
}

// readRange serves formats that read page by page.
func (im *Image) readRange(ctx context.Context, from, to uint64, each PageFunc) error {
	buf := make([]byte, im.info.PageSize)
	for pfn := from; pfn < to; pfn++ {
		if pfn%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		st := im.src.State(pfn)
		if st == Absent {
			continue
		}
		if err := ReadOne(im.src, buf, pfn, st, each); err != nil {
			return err
		}
	}
	return nil
}

// ReadOne reads a page of the given state and hands it to each. It is for implementations of RangeReader.
func ReadOne(src Source, page []byte, pfn uint64, st PageState, each PageFunc) error {
	if st == Excluded {
		return each(pfn, st, nil, nil)
	}
	if err := src.ReadPage(page, pfn); err != nil {
		return each(pfn, Unreadable, nil, err)
	}
	return each(pfn, st, page, nil)
}
