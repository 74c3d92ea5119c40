package convert

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"kdx/dumpfmt"
)

// batchesPerWorker are in flight: one that is encoded, one that waits for its turn to be stored.
const batchesPerWorker = 2

// runner moves batches round: the dispatcher fills them with pfns, a worker with encoded pages, and the goroutine that
// called Run stores them in the order of the dispatcher.
type runner struct {
	job      Job
	pageSize uint64
	workers  int
	zeros    bool // the writer takes pages of zeros by their mark
	free     chan *batch
	work     chan *batch
	order    chan *batch
	report   Report
}

// batch is some pages of the output, neighbours as far as Pages has them.
type batch struct {
	pfns   []uint64
	stored []dumpfmt.Stored
	ends   []int  // of each page's bytes in buf
	buf    []byte // encoded pages, one behind the other
	counts Report
	done   chan error // of the worker; holds one
}

func newRunner(job Job) *runner {
	r := &runner{job: job, pageSize: job.Source.Info().PageSize}
	s, shares := job.Writer.(dumpfmt.ZeroSharer)
	r.zeros = job.ZeroPages || shares && s.SharesZeros()
	var pages int
	r.workers, pages = plan(job.Memory, job.Workers, r.pageSize)
	n := r.workers * batchesPerWorker
	r.free, r.work, r.order = make(chan *batch, n), make(chan *batch, n), make(chan *batch, n)
	for range n {
		r.free <- &batch{pfns: make([]uint64, 0, pages), stored: make([]dumpfmt.Stored, 0, pages), ends: make([]int, 0, pages), done: make(chan error, 1)}
	}
	return r
}

func (r *runner) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.dispatch(ctx) })
	for range r.workers {
		g.Go(func() error { return r.encode(ctx) })
	}
	g.Go(func() error { return r.store(ctx) })
	return g.Wait()
}

// dispatch cuts the pages into batches.
func (r *runner) dispatch(ctx context.Context) error {
	defer close(r.work)
	defer close(r.order)
	var b *batch
	send := func() {
		// Both have room for all batches that there are.
		r.work <- b
		r.order <- b
		b = nil
	}
	for pfn := range r.job.Pages.All() {
		if b == nil {
			select {
			case b = <-r.free:
			case <-ctx.Done():
				return ctx.Err()
			}
			b.pfns = b.pfns[:0]
		}
		if b.pfns = append(b.pfns, pfn); len(b.pfns) == cap(b.pfns) {
			send()
		}
	}
	if b != nil {
		send()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := dumpfmt.PagesErr(r.job.Pages); err != nil {
		return fmt.Errorf("choosing the pages: %w", err)
	}
	return nil
}

// encode is a worker.
func (r *runner) encode(ctx context.Context) error {
	w := newWorker(r)
	for b := range r.work {
		err := w.fill(ctx, b)
		b.done <- err
		if err != nil {
			return err
		}
	}
	return nil
}

// store puts batches into the output, each when it is its turn.
func (r *runner) store(ctx context.Context) error {
	total := r.job.Pages.Len()
	for b := range r.order {
		select {
		case err := <-b.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.put(b); err != nil {
			return fmt.Errorf("writing the pages from %#x on: %w", b.pfns[0], err)
		}
		r.count(&b.counts)
		r.free <- b
		if r.job.Progress != nil {
			r.job.Progress(Progress{Pages: r.report.Pages, Total: total, In: r.report.In, Out: r.report.Out})
		}
	}
	return ctx.Err()
}

func (r *runner) put(b *batch) error {
	if w, ok := r.job.Writer.(dumpfmt.BatchWriter); ok {
		return w.PutBatch(b.stored, b.buf)
	}
	for _, s := range b.stored {
		if err := r.job.Writer.Put(s); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) count(c *Report) {
	r.report.Pages += c.Pages
	r.report.Zero += c.Zero
	r.report.Shared += c.Shared
	r.report.Passed += c.Passed
	r.report.Changed += c.Changed
	r.report.Missing += c.Missing
	r.report.Unsure += c.Unsure
	r.report.In += int64(c.Pages * r.pageSize)
	r.report.Out += c.Out
	for _, err := range c.Errors {
		if len(r.report.Errors) < maxErrors {
			r.report.Errors = append(r.report.Errors, err)
		}
	}
}
