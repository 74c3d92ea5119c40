package kdump

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// WriterConfig says what a Writer writes.
type WriterConfig struct {
	// Info is of the dump that the pages come from: page size, byte order, word size, machine, RAM, notes, uname. Notes are
	// copied as they are.
	Info *dumpfmt.Info
	// Pages that will be written.
	Pages *dumpfmt.PageSet
	// Compression is "raw", "zlib", "snappy" or "zstd"; "" is zlib, which every reader knows.
	Compression string
	Level       int // of the compression; 0 is its fastest
	// DumpLevel is the filter level that readers shall assume, 0 to 31. With its lowest bit set, pages of zeros share one copy.
	DumpLevel int
	// UTS replaces Info's, for sources such as ELF whose headers have none; nil leaves it, with the release from VMCOREINFO.
	UTS *dumpfmt.UTS
	// Distilled, if not nil, marks the dump as distilled and is kept in it, see Info.Distilled.
	Distilled *string
}

// Writer writes a kdump-compressed dump of header version 6. Pages come in ascending order. It belongs to one goroutine.
type Writer struct {
	out     dumpfmt.Output
	cfg     WriterConfig
	order   binary.ByteOrder
	page    uint64
	encoder *codec.Encoder
	next    func() (uint64, bool)
	stop    func()
	written uint64

	data    buffered
	descs   buffered
	zero    desc // the shared page of zeros
	scratch []byte
	erase   span
	head    headLayout
}

// buffered collects bytes for consecutive offsets of an output.
type buffered struct {
	out dumpfmt.Output
	at  int64 // where buf goes
	buf []byte
}

const bufferSize = 256 << 10

func (b *buffered) append(p []byte) error {
	b.buf = append(b.buf, p...)
	if len(b.buf) < bufferSize {
		return nil
	}
	return b.flush()
}

func (b *buffered) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	_, err := b.out.WriteAt(b.buf, b.at)
	b.at += int64(len(b.buf))
	b.buf = b.buf[:0]
	return err
}

func (b *buffered) end() int64 { return b.at + int64(len(b.buf)) }

// NewWriter writes headers, notes and bitmaps to out. The error is out's, or says what in cfg can't be written.
func NewWriter(out dumpfmt.Output, cfg WriterConfig) (*Writer, error) {
	kind := codec.Zlib
	if cfg.Compression != "" {
		var err error
		if kind, err = codec.Parse(cfg.Compression); err != nil {
			return nil, err
		}
	}
	encoder, err := codec.NewEncoder(kind, cfg.Level)
	if err != nil {
		return nil, err
	}
	if cfg.DumpLevel < 0 || cfg.DumpLevel > 31 {
		return nil, fmt.Errorf("there is no dump level %d; levels go from 0 to 31", cfg.DumpLevel)
	}
	w := &Writer{out: out, cfg: cfg, order: cfg.Info.ByteOrder, page: cfg.Info.PageSize, encoder: encoder}
	w.next, w.stop = iter.Pull(cfg.Pages.All())
	w.layout(kind)
	if err := w.writeHead(); err != nil {
		return nil, err
	}
	w.descs = buffered{out: out, at: w.head.descAt}
	w.data = buffered{out: out, at: w.head.descAt + int64(cfg.Pages.Len()*descSize)}
	if cfg.DumpLevel&1 != 0 {
		w.zero = desc{offset: uint64(w.data.end()), size: uint32(w.page)}
		if err := w.data.append(make([]byte, w.page)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// WritePage writes the next page of the set, which must be pfn. Afterwards the page can be reused.
func (w *Writer) WritePage(pfn uint64, page []byte) error {
	want, ok := w.next()
	if !ok || want != pfn {
		return fmt.Errorf("page %#x was written out of order", pfn)
	}
	if uint64(len(page)) != w.page {
		return fmt.Errorf("page %#x has %d bytes; pages of this dump have %d", pfn, len(page), w.page)
	}
	w.written++
	if w.zero.size != 0 && allZero(page) {
		return w.desc(w.zero)
	}
	encoded, kind, err := w.encoder.Encode(w.scratch[:0], page)
	if err != nil {
		return fmt.Errorf("page %#x: %w", pfn, err)
	}
	w.scratch = encoded
	d := desc{offset: uint64(w.data.end()), size: uint32(len(encoded)), flags: codecFlag(kind)}
	if err := w.data.append(encoded); err != nil {
		return err
	}
	return w.desc(d)
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

func (w *Writer) desc(d desc) error {
	var b [descSize]byte
	w.order.PutUint64(b[:], d.offset)
	w.order.PutUint32(b[8:], d.size)
	w.order.PutUint32(b[12:], d.flags)
	return w.descs.append(b[:])
}

// Copy writes all pages of the set from src.
func (w *Writer) Copy(ctx context.Context, src dumpfmt.Source) error {
	page := make([]byte, w.page)
	for pfn := range w.cfg.Pages.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := src.ReadPage(page, pfn); err != nil {
			return err
		}
		if err := w.WritePage(pfn, page); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what is left. It does not close the output. A dump whose pages were not all written is an error.
func (w *Writer) Close() error {
	w.stop()
	if w.written != w.cfg.Pages.Len() {
		return fmt.Errorf("%d pages were to be written, but %d came", w.cfg.Pages.Len(), w.written)
	}
	var err error
	if text := w.cfg.Info.EraseInfo; text != "" {
		w.erase = span{off: w.data.end(), size: int64(len(text))}
		err = errors.Join(w.data.append([]byte(text)), w.writeSub())
	}
	return errors.Join(err, w.data.flush(), w.descs.flush())
}

// Size is the size of the dump so far, in bytes.
func (w *Writer) Size() int64 { return w.data.end() }
