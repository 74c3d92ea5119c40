package lime

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// WriterConfig says what a page writer writes.
type WriterConfig struct {
	// Info is of the dump that the pages come from; of it the format keeps only where memory is.
	Info *dumpfmt.Info
	// Pages that will be put. Each run of neighbours becomes a range of its own: the format has no holes.
	Pages dumpfmt.Pages
}

// PageWriter writes an image of LiME, version 1.
type PageWriter struct {
	dumpfmt.RawPages
	out  dumpfmt.Output
	cfg  WriterConfig
	page uint64
	at   int64 // where buf goes
	buf  []byte
	head int64 // of the range that is open; -1 if none is
	from uint64
	next uint64 // one more than the last pfn
	came uint64
	zero []byte
}

const writeSize = 1 << 20

// NewPageWriter writes nothing yet. The error says what in cfg can't be written.
func NewPageWriter(out dumpfmt.Output, cfg WriterConfig) (*PageWriter, error) {
	if !dumpfmt.ValidPageSize(cfg.Info.PageSize) {
		return nil, fmt.Errorf("a LiME image can't be written of pages of %d bytes", cfg.Info.PageSize)
	}
	return &PageWriter{out: out, cfg: cfg, page: cfg.Info.PageSize, buf: make([]byte, 0, writeSize+cfg.Info.PageSize),
		head: -1, zero: make([]byte, cfg.Info.PageSize)}, nil
}

// Put stores the next page. A page that is missing ends a range, as if there had been no memory.
func (w *PageWriter) Put(p dumpfmt.Stored) error {
	if p.PFN < w.next {
		return fmt.Errorf("page %#x was written out of order", p.PFN)
	}
	w.came++
	if p.Missing || p.PFN != w.next {
		if err := w.end(); err != nil {
			return err
		}
	}
	w.next = p.PFN + 1
	if p.Missing {
		return nil
	}
	if p.Zero {
		p.Data = w.zero
	}
	if p.Codec != codec.Raw || uint64(len(p.Data)) != w.page {
		return fmt.Errorf("page %#x came as %d bytes of %s; a LiME image takes %d raw ones", p.PFN, len(p.Data), p.Codec, w.page)
	}
	if w.head < 0 {
		w.head, w.from = w.at+int64(len(w.buf)), p.PFN
		w.buf = append(w.buf, w.zero[:headerSize]...)
	}
	w.buf = append(w.buf, p.Data...)
	if len(w.buf) < writeSize {
		return nil
	}
	return w.flush()
}

// end writes the header of the range that is open: its length is known only now.
func (w *PageWriter) end() error {
	if w.head < 0 {
		return nil
	}
	var b [headerSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[:], magicLiME)
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[8:], w.from*w.page)
	le.PutUint64(b[16:], w.next*w.page-1)
	head := w.head
	w.head = -1
	if head >= w.at {
		copy(w.buf[head-w.at:], b[:])
		return nil
	}
	_, err := w.out.WriteAt(b[:], head)
	return err
}

func (w *PageWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.out.WriteAt(w.buf, w.at)
	w.at += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// Close writes what is left. Pages that did not come are an error.
func (w *PageWriter) Close() error {
	if w.came != w.cfg.Pages.Len() {
		return fmt.Errorf("%d pages were to be written, but %d came", w.cfg.Pages.Len(), w.came)
	}
	return errors.Join(w.end(), w.flush())
}

// Abort leaves an image that reads as far as it goes. The format can't say that more was to come; the error says that.
func (w *PageWriter) Abort() error {
	return errors.Join(w.end(), w.flush(), errors.New("a LiME image has no mark that says that it is incomplete"))
}
