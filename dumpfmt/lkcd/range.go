package lkcd

import (
	"context"
	"fmt"
	"sort"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// window is a part of the file in memory.
type window struct {
	f   *dumpfmt.File
	buf []byte
	at  int64
}

const rangeWindow = 512 << 10

// bytes [off, off+n) of the file, valid until the next call.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < w.at || off+n > w.at+int64(len(w.buf)) {
		if int64(cap(w.buf)) < n {
			w.buf = make([]byte, n)
		}
		w.buf = w.buf[:cap(w.buf)]
		m, err := w.f.ReadFull(w.buf, off)
		w.buf, w.at = w.buf[:m], off
		if int64(m) < n {
			return nil, err
		}
	}
	return w.buf[off-w.at:][:n], nil
}

// ReadRange reads neighbours of the file together.
func (s *Source) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
	dst := make([]byte, s.h.pageSize)
	return s.walk(ctx, from, to, func(p page, data []byte, err error) error {
		if err == nil {
			if err = s.decode(dst, data, p); err != nil {
				err = s.unreadable(p, fmt.Errorf("%s at byte %#x: %w", s.file.Name, p.off+pageHeader, err))
			}
		}
		if err != nil {
			return each(p.pfn, dumpfmt.Unreadable, nil, err)
		}
		return each(p.pfn, dumpfmt.Present, dst, nil)
	})
}

// ReadEncodedRange reads neighbours of the file together. Those that are not stored in a form that others know are decoded.
func (s *Source) ReadEncodedRange(ctx context.Context, from, to uint64, each dumpfmt.EncodedFunc) error {
	dst := make([]byte, s.h.pageSize)
	return s.walk(ctx, from, to, func(p page, data []byte, err error) error {
		c := codec.Raw
		switch {
		case err != nil:
		case p.flags&pageRaw == 0 && p.size > 0 && s.h.compress == compressGzip:
			c = codec.Zlib
		case p.flags&pageRaw == 0 || uint64(p.size) != s.h.pageSize:
			if err = s.decode(dst, data, p); err != nil {
				err = s.unreadable(p, fmt.Errorf("%s at byte %#x: %w", s.file.Name, p.off+pageHeader, err))
			}
			data = dst
		}
		if err != nil {
			return each(p.pfn, dumpfmt.Unreadable, nil, c, err)
		}
		return each(p.pfn, dumpfmt.Present, data, c, nil)
	})
}

// walk calls fn with the stored bytes of the pages of [from, to), in ascending order.
func (s *Source) walk(ctx context.Context, from, to uint64, fn func(p page, data []byte, err error) error) error {
	w := window{f: s.file, buf: make([]byte, 0, rangeWindow)}
	chunks := s.index.chunks
	i := sort.Search(len(chunks), func(i int) bool { return chunks[i].base >= from&^63 })
	for i < len(chunks) && chunks[i].base < to {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var found [64]page // by memory; flags 0 is none
		base := chunks[i].base
		for ; i < len(chunks) && chunks[i].base == base; i++ {
			s.headers(&w, chunks[i], &found)
		}
		for _, p := range found {
			if p.flags == 0 || p.pfn < from || p.pfn >= to {
				continue
			}
			data, err := w.bytes(p.off+pageHeader, p.size)
			if err != nil {
				if p.pfn == s.index.cut {
					err = errBehindEnd
				}
				err = s.unreadable(p, fmt.Errorf("reading %s at byte %#x: %w", s.file.Name, p.off+pageHeader, err))
			}
			if err := fn(p, data, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// headers fills found with a chunk's page headers, as far as they can be read; of the others none is found, and they were
// there when the dump was opened.
func (s *Source) headers(w *window, c chunk, found *[64]page) {
	off := c.off
	for mask := c.mask; mask != 0; mask &= mask - 1 {
		b, err := w.bytes(off, pageHeader)
		if err != nil {
			return
		}
		p := s.scan.parse(b, off)
		if !s.scan.plausible(p) || p.pfn&^63 != c.base {
			return
		}
		if slot := &found[p.pfn&63]; slot.flags == 0 {
			*slot = p
		}
		off += pageHeader + p.size
	}
}
