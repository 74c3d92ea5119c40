package kdump

import (
	"context"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// ReadRange reads neighbours with few large reads: their bytes lie side by side in the file.
func (s *Source) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
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
		if st == dumpfmt.Absent {
			continue
		}
		var page []byte
		switch st {
		case dumpfmt.Excluded:
			err = nil
		case dumpfmt.Zero:
			page = r.zero
		case dumpfmt.Present:
			if page, err = s.streamed(r, p, d); err != nil {
				st = dumpfmt.Unreadable
			}
		}
		if st == dumpfmt.Unreadable {
			err = &dumpfmt.PageError{Addr: s.phys(pfn), PFN: pfn, State: st, Level: s.info.DumpLevel, Err: err}
		}
		if err := each(pfn, st, page, err); err != nil {
			return err
		}
	}
	return nil
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

func (s *Source) streamed(r *stream, p *part, d desc) ([]byte, error) {
	kind, err := d.codec()
	if err != nil {
		return nil, err
	}
	src, err := r.bytes(p, d)
	if err != nil {
		return nil, err
	}
	if kind == codec.Raw && len(src) == len(r.page) {
		return src, nil
	}
	if err := s.decodeBytes(r.page, src, p, d, kind); err != nil {
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
