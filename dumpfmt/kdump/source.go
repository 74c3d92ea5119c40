package kdump

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// Source is an open kdump-compressed dump or diskdump.
type Source struct {
	h      *header
	info   *dumpfmt.Info
	parts  []*part
	ram    *bitmap
	dumped *bitmap
	// Of a flattened stream that ended too early, the second bitmap may have gaps. Which descriptor is whose is known in front of
	// the first gap only: below page sure, which has sureRank pages in front of it.
	sure, sureRank uint64
	decoder        *codec.Decoder
	bufs           sync.Pool // of *[]byte, a page each
	streams        sync.Pool // of *stream
}

var (
	errNotWritten = errors.New("it was never written (incomplete dump)")
	errOtherPart  = errors.New("it is in a part of the split set that was not named")
	errDistilled  = errors.New("it is not in this distilled dump")
	errBitmapLost = errors.New("the flattened stream ended before the bitmap came that says where it is (truncated dump)")
	errDescLost   = errors.New("the flattened stream ended before its descriptor came (truncated dump)")
	errNoBitmap   = errors.New("the file ends inside its bitmaps (truncated dump)")
)

// Info is what the headers say.
func (s *Source) Info() *dumpfmt.Info { return s.info }

// Close closes the files.
func (s *Source) Close() error {
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}

// State of one page.
func (s *Source) State(pfn uint64) dumpfmt.PageState {
	_, _, st, _ := s.locate(pfn)
	return st
}

// locate finds a page's descriptor. The error says why a page is Unreadable.
func (s *Source) locate(pfn uint64) (*part, desc, dumpfmt.PageState, error) {
	if pfn >= s.h.maxMapnr {
		return nil, desc{}, dumpfmt.Absent, nil
	}
	dumped, err := s.dumped.test(pfn)
	if err != nil {
		return nil, desc{}, dumpfmt.Unreadable, err
	}
	if !dumped {
		st, err := s.leftOut(pfn)
		return nil, desc{}, st, err
	}
	if pfn >= s.sure {
		return nil, desc{}, dumpfmt.Unreadable, errBitmapLost
	}
	p := s.partOf(pfn)
	if p == nil {
		return nil, desc{}, dumpfmt.Unreadable, errOtherPart
	}
	rank, err := s.dumped.rank(pfn)
	if err != nil {
		return nil, desc{}, dumpfmt.Unreadable, err
	}
	d, err := p.desc(s.h.order, rank-p.first)
	if err != nil {
		return nil, desc{}, dumpfmt.Unreadable, err
	}
	if p.isZero(d, s.h.blockSize) {
		return p, d, dumpfmt.Zero, nil
	}
	if err := p.check(d, s.h.blockSize); err != nil {
		return nil, desc{}, dumpfmt.Unreadable, err
	}
	return p, d, dumpfmt.Present, nil
}

// leftOut is the state of a page that bitmap 2 doesn't have.
func (s *Source) leftOut(pfn uint64) (dumpfmt.PageState, error) {
	ram, err := s.ram.test(pfn)
	if err != nil {
		return dumpfmt.Unreadable, err
	}
	switch {
	case pfn >= s.ram.bits, ram && pfn >= s.dumped.bits:
		return dumpfmt.Unreadable, errNoBitmap
	case ram && pfn >= s.sure && s.lostBit(pfn):
		return dumpfmt.Unreadable, errBitmapLost
	case ram && s.info.Distilled != nil:
		return dumpfmt.Excluded, errDistilled
	case ram:
		return dumpfmt.Excluded, nil
	}
	return dumpfmt.Absent, nil
}

// lostBit reports whether the byte of the second bitmap never came that has the page's bit.
func (s *Source) lostBit(pfn uint64) bool { return !s.dumped.file.Came(s.dumped.off+int64(pfn/8), 1) }

func (p *part) isZero(d desc, pageSize uint64) bool {
	return p.zeroAt != 0 && d.offset == p.zeroAt && d.flags == 0 && uint64(d.size) == pageSize
}

func (s *Source) partOf(pfn uint64) *part {
	i := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].end > pfn })
	if i == len(s.parts) || pfn < s.parts[i].start {
		return nil
	}
	return s.parts[i]
}

// ReadPage decodes one page.
func (s *Source) ReadPage(dst []byte, pfn uint64) error {
	p, d, st, err := s.locate(pfn)
	switch st {
	case dumpfmt.Zero:
		clear(dst)
		return nil
	case dumpfmt.Present:
		err = s.decode(dst, p, d)
		if err == nil {
			return nil
		}
		st = dumpfmt.Unreadable
	}
	return &dumpfmt.PageError{Addr: s.phys(pfn), PFN: pfn, State: st, Level: s.info.DumpLevel, Err: err}
}

func (s *Source) decode(dst []byte, p *part, d desc) error {
	c, err := d.codec()
	if err != nil {
		return err
	}
	if c == codec.Raw && int(d.size) == len(dst) {
		return p.read(dst, d)
	}
	buf, _ := s.bufs.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, s.h.blockSize)
		buf = &b
	}
	defer s.bufs.Put(buf)
	src := (*buf)[:d.size]
	if err := p.read(src, d); err != nil {
		return err
	}
	return s.decodeBytes(dst, src, p, d, c)
}

func (s *Source) decodeBytes(dst, src []byte, p *part, d desc, c codec.Codec) error {
	if err := s.decoder.Decode(c, dst, src); err != nil {
		return fmt.Errorf("its %d bytes at %#x of %s are damaged: %w", d.size, d.offset, p.file.Name, err)
	}
	return nil
}

func (p *part) read(b []byte, d desc) error {
	if _, err := p.file.ReadFull(b, int64(d.offset)); err != nil {
		return p.readError(d, err)
	}
	return nil
}

func (p *part) readError(d desc, err error) error {
	return fmt.Errorf("reading %s at byte %#x: %w", p.file.Name, d.offset, err)
}
