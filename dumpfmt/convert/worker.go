package convert

import (
	"context"
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// worker turns pages of the source into what the writer stores.
type worker struct {
	*runner
	src     dumpfmt.Source
	ranges  dumpfmt.RangeReader   // nil if the source has none
	encoded dumpfmt.EncodedSource // nil if the source has none, or all pages may change
	b       *batch
	page    []byte
	next    uint64 // the first pfn of the range that was not handled yet
	each    dumpfmt.PageFunc
}

func newWorker(r *runner) *worker {
	w := &worker{runner: r, src: r.job.Source, page: make([]byte, r.pageSize)}
	w.ranges, _ = w.src.(dumpfmt.RangeReader)
	if r.job.Change == nil || r.job.Untouched != nil {
		w.encoded, _ = w.src.(dumpfmt.EncodedSource)
	}
	w.each = w.add
	return w
}

// fill reads and encodes the pages of a batch.
func (w *worker) fill(ctx context.Context, b *batch) error {
	w.b = b
	b.stored, b.ends, b.buf, b.counts = b.stored[:0], b.ends[:0], b.buf[:0], Report{}
	for i := 0; i < len(b.pfns); {
		j := i + 1
		for j < len(b.pfns) && b.pfns[j] == b.pfns[j-1]+1 {
			j++
		}
		if err := w.run(ctx, b.pfns[i], b.pfns[j-1]+1); err != nil {
			return err
		}
		i = j
	}
	// The buffer may have moved while it grew.
	at := 0
	for i, end := range b.ends {
		if end > at {
			b.stored[i].Data = b.buf[at:end]
		}
		at = end
	}
	b.counts.Pages, b.counts.Out = uint64(len(b.stored)), int64(len(b.buf))
	return nil
}

// run handles the pages [from, to).
func (w *worker) run(ctx context.Context, from, to uint64) error {
	if w.encoded != nil {
		for pfn := from; pfn < to; pfn++ {
			if pfn%256 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.pass(pfn); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	if w.ranges == nil {
		for pfn := from; pfn < to; pfn++ {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.read(pfn); err != nil {
				return err
			}
		}
		return nil
	}
	w.next = from
	if err := w.ranges.ReadRange(ctx, from, to, w.each); err != nil {
		return err
	}
	return w.absentTo(to)
}

// absentTo handles pages that a range left out: they belong to the output, but the source has no memory there.
func (w *worker) absentTo(to uint64) error {
	for ; w.next < to; w.next++ {
		if err := w.read(w.next); err != nil {
			return err
		}
	}
	return nil
}

// pass hands on a page as it is encoded, if the writer takes it.
func (w *worker) pass(pfn uint64) error {
	if w.job.Change != nil && !w.job.Untouched(pfn) {
		return w.read(pfn)
	}
	start := len(w.b.buf)
	data, c, ok, err := w.encoded.EncodedPage(w.b.buf, pfn)
	if err != nil || !ok || !w.job.Writer.Takes(c) || w.job.ZeroPages && w.mayBeZero(data[start:], c) {
		return w.read(pfn)
	}
	w.b.buf = data
	w.store(dumpfmt.Stored{PFN: pfn, Codec: c})
	w.b.counts.Passed++
	return nil
}

// mayBeZero reports encoded pages that are so short that they must be decoded to see whether they hold only zeros.
func (w *worker) mayBeZero(data []byte, c codec.Codec) bool {
	const least = 16 // times that every codec makes zeros smaller
	if c == codec.Raw {
		return allZero(data)
	}
	return uint64(len(data)) <= w.pageSize/least
}

// read decodes one page.
func (w *worker) read(pfn uint64) error {
	if st := w.src.State(pfn); st == dumpfmt.Zero || st == dumpfmt.ZeroOrExcluded {
		clear(w.page)
		return w.encodePage(pfn, st, w.page)
	}
	if err := w.src.ReadPage(w.page, pfn); err != nil {
		w.missing(pfn, err)
		return nil
	}
	return w.encodePage(pfn, dumpfmt.Present, w.page)
}

// add takes a page of a range.
func (w *worker) add(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
	if err := w.absentTo(pfn); err != nil {
		return err
	}
	w.next = pfn + 1
	if !st.Readable() {
		if err == nil {
			err = w.src.ReadPage(w.page, pfn)
		}
		w.missing(pfn, err)
		return nil
	}
	if w.job.Change != nil {
		page = w.page[:copy(w.page, page)]
	}
	return w.encodePage(pfn, st, page)
}

// encodePage stores a page's bytes. If there is a Change, page is the worker's own.
func (w *worker) encodePage(pfn uint64, st dumpfmt.PageState, page []byte) error {
	if w.job.Change != nil && (w.job.Untouched == nil || !w.job.Untouched(pfn)) {
		changed, err := w.job.Change(pfn, page)
		if err != nil {
			return fmt.Errorf("changing page %#x: %w", pfn, err)
		}
		if changed {
			w.b.counts.Changed++
			st = dumpfmt.Present
		}
	}
	if st == dumpfmt.ZeroOrExcluded {
		w.b.counts.Unsure++
	}
	if w.job.ZeroPages && (st != dumpfmt.Present || allZero(page)) {
		w.b.counts.Zero++
		w.store(dumpfmt.Stored{PFN: pfn, Zero: true})
		return nil
	}
	data, c, err := w.job.Writer.Encode(w.b.buf, page)
	if err != nil {
		return fmt.Errorf("encoding page %#x: %w", pfn, err)
	}
	w.b.buf = data
	w.store(dumpfmt.Stored{PFN: pfn, Codec: c})
	return nil
}

func (w *worker) missing(pfn uint64, err error) {
	w.b.counts.Missing++
	if len(w.b.counts.Errors) < maxErrors {
		w.b.counts.Errors = append(w.b.counts.Errors, err)
	}
	w.store(dumpfmt.Stored{PFN: pfn, Missing: true})
}

// store notes a page whose bytes, if it has any, were appended to the batch.
func (w *worker) store(s dumpfmt.Stored) {
	w.b.stored = append(w.b.stored, s)
	w.b.ends = append(w.b.ends, len(w.b.buf))
}

// allZero looks at eight bytes at a time; most pages that hold anything show it early.
func allZero(page []byte) bool {
	for ; len(page) >= 64; page = page[64:] {
		var sum uint64
		for i := 0; i < 64; i += 8 {
			sum |= binary.NativeEndian.Uint64(page[i:])
		}
		if sum != 0 {
			return false
		}
	}
	for _, c := range page {
		if c != 0 {
			return false
		}
	}
	return true
}
