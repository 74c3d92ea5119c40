package convert

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// worker turns pages of the source into what the writer stores. It reads in the best way that the source has.
type worker struct {
	*runner
	src     dumpfmt.Source
	decoder *codec.Decoder
	read    func(ctx context.Context, from, to uint64) error // hands pages to decodedPage or encodedPage
	b       *batch
	page    []byte // of the worker, for pages that have to be decoded or changed
	window  []byte
	nought  []byte // a page of zeros
	next    uint64 // the first pfn of the range that was not handled yet
	// zero is a page of zeros as it is encoded: of a machine that was up for long few pages are such, of others half.
	zero      []byte
	zeroCodec codec.Codec
	// seen is the last page of zeros that came encoded.
	seen      []byte
	seenCodec codec.Codec
}

// runWindow is how much is read at once from formats whose pages lie side by side, bytes.
const runWindow = 256 << 10

func newWorker(r *runner) *worker {
	w := &worker{runner: r, src: r.job.Source, page: make([]byte, r.pageSize), nought: make([]byte, r.pageSize)}
	switch src := w.src.(type) {
	case dumpfmt.EncodedRangeReader:
		w.decoder = codec.NewDecoder()
		w.read = func(ctx context.Context, from, to uint64) error {
			return src.ReadEncodedRange(ctx, from, to, w.encodedPage)
		}
	case dumpfmt.EncodedSource:
		w.decoder = codec.NewDecoder()
		w.read = func(ctx context.Context, from, to uint64) error { return w.readEncoded(ctx, src, from, to) }
	case dumpfmt.RunReader:
		if p, ok := r.job.Writer.(dumpfmt.PlainWriter); ok && p.Plain() && r.job.Change == nil {
			w.read = func(ctx context.Context, from, to uint64) error { return w.readPlain(ctx, src, from, to) }
			break
		}
		w.window = make([]byte, max(runWindow, r.pageSize))
		w.read = func(ctx context.Context, from, to uint64) error { return w.readRuns(ctx, src, from, to) }
	case dumpfmt.RangeReader:
		w.read = func(ctx context.Context, from, to uint64) error { return src.ReadRange(ctx, from, to, w.borrowedPage) }
	default:
		w.read = w.readPages
	}
	return w
}

// fill reads and encodes the pages of a batch.
func (w *worker) fill(ctx context.Context, b *batch) error {
	w.b = b
	if b.buf == nil {
		// Codecs want more room than they need in the end.
		b.buf = make([]byte, 0, (uint64(cap(b.pfns))+2)*w.pageSize)
	}
	b.stored, b.ends, b.buf, b.counts = b.stored[:0], b.ends[:0], b.buf[:0], Report{}
	for i := 0; i < len(b.pfns); {
		j := i + 1
		for j < len(b.pfns) && b.pfns[j] == b.pfns[j-1]+1 {
			j++
		}
		to := b.pfns[j-1] + 1
		w.next = b.pfns[i]
		if err := w.read(ctx, w.next, to); err != nil {
			return err
		}
		if err := w.absentTo(to); err != nil {
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

// absentTo handles pages that a range left out: they belong to the output, but the source has no memory there.
func (w *worker) absentTo(to uint64) error {
	for w.next < to {
		if err := w.readPage(w.next); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) readPages(ctx context.Context, from, to uint64) error {
	for pfn := from; pfn < to; pfn++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.readPage(pfn); err != nil {
			return err
		}
	}
	return nil
}

// readPage reads one page in the way that every format has.
func (w *worker) readPage(pfn uint64) error {
	st := w.src.State(pfn)
	if err := w.src.ReadPage(w.page, pfn); err != nil {
		w.missing(pfn, err)
		return nil
	}
	if !st.Readable() {
		st = dumpfmt.Present // it was unreadable a moment ago
	}
	return w.decodedPage(pfn, st, w.page)
}

func (w *worker) readRuns(ctx context.Context, src dumpfmt.RunReader, from, to uint64) error {
	for pfn := from; pfn < to; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n := src.ReadRun(w.window[:min(uint64(len(w.window)), (to-pfn)*w.pageSize)], pfn)
		for i := range uint64(n) {
			if err := w.decodedPage(pfn+i, dumpfmt.Present, w.window[i*w.pageSize:][:w.pageSize]); err != nil {
				return err
			}
		}
		if pfn += uint64(n); n > 0 {
			continue
		}
		if err := w.readPage(pfn); err != nil {
			return err
		}
		pfn++
	}
	return nil
}

// readPlain reads pages to where they are stored from, if they need neither a change nor compression.
func (w *worker) readPlain(ctx context.Context, src dumpfmt.RunReader, from, to uint64) error {
	for pfn := from; pfn < to; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		at := len(w.b.buf)
		room := min(max(runWindow, w.pageSize), (to-pfn)*w.pageSize)
		w.b.buf = slices.Grow(w.b.buf, int(room))
		run := w.b.buf[at : at+int(room)]
		n := src.ReadRun(run, pfn)
		if n == 0 {
			if err := w.readPage(pfn); err != nil {
				return err
			}
			pfn++
			continue
		}
		for i := range uint64(n) {
			if err := w.plainPage(pfn+i, run[i*w.pageSize:][:w.pageSize]); err != nil {
				return err
			}
		}
		pfn += uint64(n)
	}
	return nil
}

// plainPage stores a page that lies at the end of the batch's buffer or, if pages in front of it were left out, behind it.
func (w *worker) plainPage(pfn uint64, page []byte) error {
	if w.zeros && w.allZero(page) {
		return w.zeroPage(pfn)
	}
	end := len(w.b.buf)
	w.b.buf = w.b.buf[:end+len(page)]
	if &w.b.buf[end] != &page[0] {
		copy(w.b.buf[end:], page)
	}
	return w.store(dumpfmt.Stored{PFN: pfn})
}

func (w *worker) readEncoded(ctx context.Context, src dumpfmt.EncodedSource, from, to uint64) error {
	for pfn := from; pfn < to; pfn++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		start := len(w.b.buf)
		data, c, ok, err := src.EncodedPage(w.b.buf, pfn)
		if err != nil || !ok {
			err = w.readPage(pfn)
		} else {
			// It stays where it is if it passes; otherwise what it becomes is shorter than a page and overwrites it.
			err = w.encodedPage(pfn, dumpfmt.Present, data[start:], c, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// encodedPage hands a page on as it is encoded, if the writer takes it.
func (w *worker) encodedPage(pfn uint64, st dumpfmt.PageState, data []byte, c codec.Codec, _ error) error {
	if err := w.absentTo(pfn); err != nil {
		return err
	}
	if st != dumpfmt.Present || c == codec.Raw && uint64(len(data)) != w.pageSize {
		return w.readPage(pfn)
	}
	if !w.job.Writer.Takes(c) || w.job.Change != nil && !w.untouched(pfn) || !codec.Plausible(c, data, int(w.pageSize)) {
		return w.decode(pfn, data, c) // or says what is wrong with it
	}
	if w.zeros && w.mayBeZero(data, c) {
		zero, err := w.encodedZero(data, c)
		if err != nil {
			return w.readPage(pfn) // which fails, too, and says where
		}
		if zero {
			return w.zeroPage(pfn)
		}
	}
	w.b.buf = append(w.b.buf, data...)
	w.b.counts.Passed++
	return w.store(dumpfmt.Stored{PFN: pfn, Codec: c})
}

func (w *worker) decode(pfn uint64, data []byte, c codec.Codec) error {
	if err := w.decoder.Decode(c, w.page, data); err != nil {
		return w.readPage(pfn) // which fails, too, and says where
	}
	return w.decodedPage(pfn, dumpfmt.Present, w.page)
}

// mayBeZero reports encoded pages that are so short that they may hold only zeros.
func (w *worker) mayBeZero(data []byte, c codec.Codec) bool {
	const least = 16 // times that every codec makes zeros smaller
	return c == codec.Raw || uint64(len(data)) <= w.pageSize/least
}

// encodedZero reports whether an encoded page holds only zeros. Whoever wrote the dump encoded all such pages alike.
func (w *worker) encodedZero(data []byte, c codec.Codec) (bool, error) {
	if c == codec.Raw {
		return w.allZero(data), nil
	}
	if c == w.seenCodec && bytes.Equal(data, w.seen) {
		return true, nil
	}
	if err := w.decoder.Decode(c, w.page, data); err != nil || !w.allZero(w.page) {
		return false, err
	}
	w.seen, w.seenCodec = append(w.seen[:0], data...), c
	return true, nil
}

// zeroPage stores a page of zeros by its mark.
func (w *worker) zeroPage(pfn uint64) error {
	if w.job.ZeroPages {
		w.b.counts.Zero++
	} else {
		w.b.counts.Shared++
	}
	return w.store(dumpfmt.Stored{PFN: pfn, Zero: true})
}

func (w *worker) untouched(pfn uint64) bool { return w.job.Untouched != nil && w.job.Untouched(pfn) }

// borrowedPage takes a page that must not be written to.
func (w *worker) borrowedPage(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
	if err := w.absentTo(pfn); err != nil {
		return err
	}
	if !st.Readable() {
		return w.readPage(pfn)
	}
	if w.job.Change != nil {
		page = w.page[:copy(w.page, page)]
	}
	return w.decodedPage(pfn, st, page)
}

// decodedPage stores a page's bytes.
func (w *worker) decodedPage(pfn uint64, st dumpfmt.PageState, page []byte) error {
	if w.job.Change != nil && !w.untouched(pfn) {
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
	zero := st != dumpfmt.Present || w.allZero(page)
	if zero && w.zeros {
		return w.zeroPage(pfn)
	}
	if zero && w.zero != nil {
		w.b.buf = append(w.b.buf, w.zero...)
		return w.store(dumpfmt.Stored{PFN: pfn, Codec: w.zeroCodec})
	}
	start := len(w.b.buf)
	data, c, err := w.job.Writer.Encode(w.b.buf, page)
	if err != nil {
		return fmt.Errorf("encoding page %#x: %w", pfn, err)
	}
	if zero {
		w.zero, w.zeroCodec = bytes.Clone(data[start:]), c
	}
	w.b.buf = data
	return w.store(dumpfmt.Stored{PFN: pfn, Codec: c})
}

func (w *worker) missing(pfn uint64, err error) {
	w.b.counts.Missing++
	if len(w.b.counts.Errors) < maxErrors {
		w.b.counts.Errors = append(w.b.counts.Errors, err)
	}
	_ = w.store(dumpfmt.Stored{PFN: pfn, Missing: true})
}

// store notes a page whose bytes, if it has any, were appended to the batch.
func (w *worker) store(s dumpfmt.Stored) error {
	w.b.stored = append(w.b.stored, s)
	w.b.ends = append(w.b.ends, len(w.b.buf))
	w.next = s.PFN + 1
	return nil
}

func (w *worker) allZero(page []byte) bool { return bytes.Equal(page, w.nought) }
