package kdump

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// Config says what a Writer writes.
type Config struct {
	// Info is of the dump that the pages come from: page size, byte order, word size, machine, RAM, notes, uname. Notes are
	// copied as they are.
	Info *dumpfmt.Info
	// Pages that will be written.
	Pages dumpfmt.Pages
	// Codec of pages, raw by default. Level is the codec's; 0 is its fastest.
	Codec codec.Codec
	Level int
	// AsIs takes pages that are compressed already as they are, with whatever codec and level. Otherwise only those in Codec
	// are taken, if no Level is asked for.
	AsIs bool
	// DumpLevel is the filter level that readers shall assume, 0 to 31.
	DumpLevel int
	// UTS replaces Info's, for sources such as ELF whose headers have none; nil leaves it, with the release from VMCOREINFO.
	UTS *dumpfmt.UTS
	// Distilled, if not nil, marks the dump as distilled and is kept in it, see Info.Distilled.
	Distilled *string
}

// Writer writes a kdump-compressed dump of header version 6, or a split set of them. It is a dumpfmt.PageWriter. At every level
// pages of zeros share one copy: their descriptors point to it, which readers take like any other page.
type Writer struct {
	cfg     Config
	order   binary.ByteOrder
	page    uint64
	encoder *codec.Encoder
	head    headLayout

	parts   []*partWriter
	at      int    // index of the part that is being written
	planned tally  // what Pages said
	put     tally  // what came
	last    uint64 // pfn of the last page that came
	missing uint64 // of them
	used    uint32 // flags of the codecs that they had
}

// NewPageWriter writes headers, notes and bitmaps to out. The error is out's, or says what in cfg can't be written.
func NewPageWriter(out dumpfmt.Output, cfg Config) (*Writer, error) {
	return NewSplitWriter([]dumpfmt.Output{out}, cfg)
}

// NewSplitWriter writes a split set: each output is a dump with the headers and bitmaps of all pages, and holds its share
// of the pages. The shares are stretches of memory with about as many pages each. One output gives a whole dump.
func NewSplitWriter(outs []dumpfmt.Output, cfg Config) (*Writer, error) {
	if len(outs) == 0 {
		return nil, errors.New("no output was given for the dump")
	}
	if cfg.DumpLevel < 0 || cfg.DumpLevel > 31 {
		return nil, fmt.Errorf("there is no dump level %d; levels go from 0 to 31", cfg.DumpLevel)
	}
	encoder, err := codec.NewEncoder(cfg.Codec, cfg.Level)
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, order: cfg.Info.ByteOrder, page: cfg.Info.PageSize, encoder: encoder}
	w.layout()
	for _, out := range outs {
		w.parts = append(w.parts, &partWriter{w: w, out: out})
	}
	if err := w.writeHeads(); err != nil {
		return nil, err
	}
	for _, p := range w.parts {
		if err := p.begin(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Takes reports whether pages in the codec are stored as they are.
func (w *Writer) Takes(c codec.Codec) bool {
	if w.cfg.AsIs {
		return c == codec.Raw || codecFlag(c) != 0
	}
	return c == w.cfg.Codec && w.cfg.Level == 0
}

// Encode appends the page, compressed, or as it is if that is not longer.
func (w *Writer) Encode(dst, page []byte) ([]byte, codec.Codec, error) {
	return w.encoder.Encode(dst, page)
}

// Plain reports whether pages are not compressed.
func (w *Writer) Plain() bool { return w.cfg.Codec == codec.Raw }

// SharesZeros says that pages of zeros can come by their mark.
func (w *Writer) SharesZeros() bool { return true }

// Put stores the next page.
func (w *Writer) Put(s dumpfmt.Stored) error {
	p, err := w.next(s.PFN)
	if err != nil {
		return err
	}
	d, err := p.place(s, p.data.end())
	if err != nil {
		return err
	}
	if err := p.append(s.Data); err != nil {
		return err
	}
	w.count(s)
	return p.desc(d)
}

// PutBatch stores the next pages. Their bytes go to the output as they lie there.
func (w *Writer) PutBatch(pages []dumpfmt.Stored, data []byte) error {
	for len(pages) > 0 {
		p, err := w.next(pages[0].PFN)
		if err != nil {
			return err
		}
		n, size := p.share(pages)
		if size > len(data) {
			return fmt.Errorf("pages with %d bytes came with %d", size, len(data))
		}
		if err := p.batch(pages[:n], data[:size]); err != nil {
			return err
		}
		pages, data = pages[n:], data[size:]
	}
	return nil
}

// next returns the part that holds the page, which must come behind the last one.
func (w *Writer) next(pfn uint64) (*partWriter, error) {
	if w.put.n > 0 && pfn <= w.last {
		return nil, fmt.Errorf("page %#x was written behind page %#x", pfn, w.last)
	}
	for pfn >= w.parts[w.at].end {
		if w.at == len(w.parts)-1 {
			return nil, fmt.Errorf("page %#x lies behind the end of memory", pfn)
		}
		// What is left in the buffers of a part goes out before the next one begins.
		if err := w.parts[w.at].flush(); err != nil {
			return nil, err
		}
		w.at++
	}
	return w.parts[w.at], nil
}

func (w *Writer) count(s dumpfmt.Stored) {
	w.last = s.PFN
	w.put.add(s.PFN)
	if s.Missing {
		w.missing++
	}
	w.used |= codecFlag(s.Codec)
}

// Close writes what is left. It does not close the output. A dump whose pages were not all written is an error.
func (w *Writer) Close() error {
	if w.put != w.planned {
		return fmt.Errorf("%d pages were to be written, but %d came, or others", w.planned.n, w.put.n)
	}
	status := w.head.status | w.used
	if w.missing > 0 {
		status |= statusIncomplete
	}
	for _, p := range w.parts {
		if err := p.finish(status); err != nil {
			return err
		}
	}
	return nil
}

// Abort writes descriptors of the pages that are there and marks the dump as incomplete; the descriptors of all others
// stay zero, which readers take for pages that were never written.
func (w *Writer) Abort() error {
	var errs []error
	for _, p := range w.parts {
		errs = append(errs, p.abort())
	}
	return errors.Join(errs...)
}

// Size is the size of the dump so far, of all parts together, in bytes.
func (w *Writer) Size() int64 {
	n := int64(0)
	for _, p := range w.parts {
		n += p.data.end()
	}
	return n
}

// tally tells two sequences of pfns apart: a dump must get the pages that its bitmap announced.
type tally struct{ n, sum uint64 }

func (t *tally) add(pfn uint64) {
	t.n++
	t.sum += (pfn + 1) * 0x9e3779b97f4a7c15 * (pfn | 1)
}

func codecFlag(c codec.Codec) uint32 {
	switch c {
	case codec.Zlib:
		return flagZlib
	case codec.LZO:
		return flagLZO
	case codec.Snappy:
		return flagSnappy
	case codec.Zstd:
		return flagZstd
	}
	return 0
}
