package kdump

import (
	"context"
	"slices"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// ReadRange reads neighbours with few large reads: their bytes lie side by side in the file.
func (s *Source) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
	return s.walk(ctx, from, to, func(r *stream, at place) error {
		if at.state != dumpfmt.Present {
			return each(at.pfn, at.state, r.pageOf(at.state), at.err)
		}
		page, err := s.streamed(r, at)
		if err != nil {
			return each(at.pfn, dumpfmt.Unreadable, nil, s.pageError(at.pfn, err))
		}
		return each(at.pfn, at.state, page, nil)
	})
}

// ReadEncodedRange is ReadRange without decoding.
func (s *Source) ReadEncodedRange(ctx context.Context, from, to uint64, each dumpfmt.EncodedFunc) error {
	return s.walk(ctx, from, to, func(r *stream, at place) error {
		if at.state != dumpfmt.Present {
			return each(at.pfn, at.state, nil, codec.Raw, at.err)
		}
		data, kind, err := r.stored(at)
		if err != nil {
			return each(at.pfn, dumpfmt.Unreadable, nil, kind, s.pageError(at.pfn, err))
		}
		return each(at.pfn, at.state, data, kind, nil)
	})
}

// EncodedPage appends a page as it stands in the file.
func (s *Source) EncodedPage(dst []byte, pfn uint64) ([]byte, codec.Codec, bool, error) {
	p, d, st, _ := s.locate(pfn)
	if st != dumpfmt.Present {
		return dst, codec.Raw, false, nil
	}
	kind, err := d.codec()
	if err != nil || kind == codec.Raw && uint64(d.size) != s.h.blockSize {
		return dst, kind, false, nil // ReadPage says what is wrong
	}
	n := len(dst)
	dst = slices.Grow(dst, int(d.size))[:n+int(d.size)]
	if err := p.read(dst[n:], d); err != nil {
		return dst[:n], kind, false, s.pageError(pfn, err)
	}
	return dst, kind, true, nil
}

// place is where a page is.
type place struct {
	pfn   uint64
	state dumpfmt.PageState
	part  *part
	desc  desc
	err   error // a *dumpfmt.PageError, if it is Unreadable
}

// walk finds the pages of [from, to), but for absent ones.
func (s *Source) walk(ctx context.Context, from, to uint64, each func(*stream, place) error) error {
	r, _ := s.streams.Get().(*stream)
	if r == nil {
		r = &stream{page: make([]byte, s.h.blockSize), zero: make([]byte, s.h.blockSize)}
	}
	defer s.streams.Put(r)
	r.reset()
	for pfn := from; pfn < to; pfn++ {
		if pfn%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		p, d, st, err := s.locate(pfn)
		switch st {
		case dumpfmt.Absent:
			continue
		case dumpfmt.Unreadable:
			err = s.pageError(pfn, err)
		default:
			err = nil
		}
		if err := each(r, place{pfn, st, p, d, err}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) pageError(pfn uint64, err error) error {
	return &dumpfmt.PageError{Addr: s.phys(pfn), PFN: pfn, State: dumpfmt.Unreadable, Level: s.info.DumpLevel, Err: err}
}

// stream is a window of one part's file that moves along with a range.
type stream struct {
	part       *part
	at         uint64
	buf        []byte // the window
	used       int    // bytes of it that pages took
	room       []byte
	page, zero []byte
}

// A window grows while pages use most of it, and shrinks where they lie scattered.
const (
	firstWindow = 64 << 10
	minWindow   = 16 << 10
	maxWindow   = 512 << 10
)

func (r *stream) reset() {
	r.part, r.buf, r.used = nil, nil, firstWindow/2
}

func (r *stream) pageOf(st dumpfmt.PageState) []byte {
	if st == dumpfmt.Zero {
		return r.zero
	}
	return nil
}

// stored returns the bytes of a page as they stand in the file.
func (r *stream) stored(at place) ([]byte, codec.Codec, error) {
	kind, err := at.desc.codec()
	if err != nil {
		return nil, kind, err
	}
	src, err := r.bytes(at.part, at.desc)
	return src, kind, err
}

func (s *Source) streamed(r *stream, at place) ([]byte, error) {
	src, kind, err := r.stored(at)
	if err != nil {
		return nil, err
	}
	if kind == codec.Raw && len(src) == len(r.page) {
		return src, nil
	}
	if err := s.decodeBytes(r.page, src, at.part, at.desc, kind); err != nil {
		return nil, err
	}
	return r.page, nil
}

// bytes returns the encoded page, reading a new window if it isn't in this one.
func (r *stream) bytes(p *part, d desc) ([]byte, error) {
	size := uint64(d.size)
	if p != r.part || d.offset < r.at || d.offset+size > r.at+uint64(len(r.buf)) {
		want := max(size, min(maxWindow, max(minWindow, 2*uint64(r.used))))
		want = min(want, uint64(p.file.Size)-d.offset)
		if uint64(len(r.room)) < want {
			r.room = make([]byte, max(want, maxWindow))
		}
		n, err := p.file.ReadFull(r.room[:want], int64(d.offset))
		if uint64(n) < size {
			r.part = nil
			return nil, p.readError(d, err)
		}
		r.part, r.at, r.buf, r.used = p, d.offset, r.room[:n], 0
	}
	r.used += int(size)
	return r.buf[d.offset-r.at:][:size], nil
}
