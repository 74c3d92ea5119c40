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
	out   *dumpfmt.Stream
	cfg   WriterConfig
	page  uint64
	head  int64 // of the range that is open; -1 if none is
	from  uint64
	pages dumpfmt.Rising
	zero  []byte
}

// NewPageWriter writes nothing yet. The error says what in cfg can't be written.
func NewPageWriter(out dumpfmt.Output, cfg WriterConfig) (*PageWriter, error) {
	if !dumpfmt.ValidPageSize(cfg.Info.PageSize) {
		return nil, fmt.Errorf("a LiME image can't be written of pages of %d bytes", cfg.Info.PageSize)
	}
	page := cfg.Info.PageSize
	return &PageWriter{out: dumpfmt.NewStream(out, 0, headerSize+page), cfg: cfg, page: page, head: -1, zero: make([]byte, page)}, nil
}

// Put stores the next page. A page that is missing ends a range, as if there had been no memory.
func (w *PageWriter) Put(p dumpfmt.Stored) error {
	last := w.pages.Next
	if err := w.pages.Come(p.PFN); err != nil {
		return err
	}
	if p.Missing || p.PFN != last {
		if err := w.end(last); err != nil {
			return err
		}
	}
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
		w.head, w.from = w.out.End(), p.PFN
		return w.out.Append(w.zero[:headerSize], p.Data)
	}
	return w.out.Append(p.Data)
}

// end writes the header of the range that is open, of the pages before next: its length is known only now.
func (w *PageWriter) end(next uint64) error {
	if w.head < 0 {
		return nil
	}
	var b [headerSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[:], magicLiME)
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[8:], w.from*w.page)
	le.PutUint64(b[16:], next*w.page-1)
	head := w.head
	w.head = -1
	return w.out.Patch(b[:], head)
}

// Close writes what is left. Pages that did not come are an error.
func (w *PageWriter) Close() error {
	if err := w.pages.All(w.cfg.Pages); err != nil {
		return err
	}
	return errors.Join(w.end(w.pages.Next), w.out.Flush())
}

// Abort leaves an image that reads as far as it goes. The format can't say that more was to come; the error says that.
func (w *PageWriter) Abort() error {
	return errors.Join(w.end(w.pages.Next), w.out.Flush(), errors.New("a LiME image has no mark that says that it is incomplete"))
}
