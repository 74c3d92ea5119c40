package lkcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// Source is an open LKCD dump.
type Source struct {
	file    *dumpfmt.File
	info    *dumpfmt.Info
	h       *header
	index   *index
	scan    scanner // for its parameters
	extra   int     // of run lengths, see unrle
	decoder *codec.Decoder
	bufs    sync.Pool
}

// Open reads the header and all page headers of a dump; progress, if not nil, is told how far it is, in bytes. It takes
// over f only if it succeeds. The error is a *dumpfmt.FormatError, the context's, or what reading the file said.
func Open(ctx context.Context, f *dumpfmt.File, progress func(done, total int64)) (*Source, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	machine, word := h.target()
	info := &dumpfmt.Info{
		Format: "lkcd", Flattened: f.Flattened, Files: []string{f.Name}, PageSize: h.pageSize, ByteOrder: h.order,
		WordSize: word, Machine: machine, HeaderVersion: h.version, DumpLevel: -1, Filtered: h.level&levelAll == 0,
		Incomplete: f.Incomplete, Timestamp: h.time, UTS: h.uts, Warnings: f.Warnings,
	}
	switch h.compress {
	case compressNone:
	case compressRLE:
		info.Codecs = []string{"rle"}
	case compressGzip:
		info.Codecs = []string{"zlib"}
	default:
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.layout.compress),
			Msg: fmt.Sprintf("pages are compressed in way %d, which is not known: there are none, run lengths and gzip", h.compress)}
	}
	s := &Source{file: f, info: info, h: h, decoder: codec.NewDecoder(), extra: 1}
	s.bufs.New = func() any { return new([]byte) }
	s.scan = scanner{f: f, h: h, buf: make([]byte, 0, scanWindow)}
	if s.index, err = build(ctx, &s.scan, progress); err != nil {
		return nil, err
	}
	s.scan.buf = nil
	info.MaxPFN = s.index.maxPFN
	info.Ranges = s.index.ranges(h.pageSize)
	s.chooseRuns()
	readCPUs(f, h, info)
	s.warn()
	return s, nil
}

// chooseRuns decides once for the file what run lengths mean: each page has one size under one of the meanings only,
// unless it has no runs.
func (s *Source) chooseRuns() {
	if s.h.compress != compressRLE {
		return
	}
	dst, src := make([]byte, s.h.pageSize), make([]byte, s.h.pageSize)
	for _, p := range s.index.samples {
		b := src[:p.size]
		if _, err := s.file.ReadFull(b, p.off+pageHeader); err != nil {
			continue
		}
		as1, as0 := unrle(dst, b, 1) == nil, unrle(dst, b, 0) == nil
		if as1 == as0 {
			continue
		}
		if as0 {
			s.extra = 0
			s.info.Warn("run lengths count one less than those that kernels wrote: they are read so")
		}
		return
	}
}

func (s *Source) warn() {
	info, x := s.info, s.index
	if s.h.live {
		info.Warn("the dump was taken of a system that went on running: its pages are not of one moment")
	}
	if x.dupes > 0 {
		info.Warn("%d pages are in the dump more than once: the first of each counts", x.dupes)
	}
	switch {
	case x.ended:
	case x.damage > 0:
		info.Incomplete = true
		info.Warn("at byte %#x no page header stands where one should be: what follows, %d bytes, can't be read", x.damage, s.file.Size-x.damage)
	case x.cut != noPage:
		info.Incomplete, info.Truncated = true, true
		info.Warn("%s is truncated: it ends at byte %#x, inside page %#x", s.file.Name, s.file.Size, x.cut)
	default:
		info.Incomplete = true
		info.Warn("the mark at the end of the dump is missing: its last pages may never have been written (%d are here; its header says %d)", x.pages, s.h.pages)
	}
	if len(x.empty) > 0 {
		info.Incomplete = true
		info.Warn("%d pages have a header without data: whoever wrote the dump could not read them", len(x.empty))
	}
}

// Info is what the header says.
func (s *Source) Info() *dumpfmt.Info { return s.info }

// Close closes the file.
func (s *Source) Close() error { return s.file.Close() }

// State of one page. The format does not tell pages that were left out from memory that was not there: both are Absent.
func (s *Source) State(pfn uint64) dumpfmt.PageState {
	if _, _, ok := s.index.find(pfn); !ok {
		return dumpfmt.Absent
	}
	if s.suspect(pfn) {
		// The page may be there a second time, in front of where it is cut short or empty.
		p, err := s.locate(pfn)
		if err != nil || p.flags&pageRaw == 0 && p.size == 0 || p.off+pageHeader+p.size > s.file.Size {
			return dumpfmt.Unreadable
		}
	}
	return dumpfmt.Present
}

func (s *Source) suspect(pfn uint64) bool {
	_, empty := slices.BinarySearch(s.index.empty, pfn)
	return empty || pfn == s.index.cut
}

var (
	errNoData    = errors.New("its header has no data: whoever wrote the dump could not read it")
	errBehindEnd = errors.New("the file ends inside it (truncated dump)")
)

// locate reads the page's header, over those before it in its chunk.
func (s *Source) locate(pfn uint64) (page, error) {
	fail := func(st dumpfmt.PageState, err error) error {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn * s.h.pageSize), PFN: pfn, State: st, Level: -1, Err: err}
	}
	c, skip, ok := s.index.find(pfn)
	if !ok {
		return page{}, fail(dumpfmt.Absent, nil)
	}
	off := c.off
	var b [pageHeader]byte
	for {
		if _, err := s.file.ReadFull(b[:], off); err != nil {
			return page{}, fail(dumpfmt.Unreadable, fmt.Errorf("reading %s at byte %#x: %w", s.file.Name, off, err))
		}
		p := s.scan.parse(b[:], off)
		if !s.scan.plausible(p) || skip == 0 && p.pfn != pfn {
			return page{}, fail(dumpfmt.Unreadable, fmt.Errorf("%s at byte %#x: the page header that was there is gone", s.file.Name, off))
		}
		if skip == 0 {
			return p, nil
		}
		skip--
		off += pageHeader + p.size
	}
}

// stored reads the page's bytes, which are appended to dst.
func (s *Source) stored(dst []byte, pfn uint64) ([]byte, page, error) {
	p, err := s.locate(pfn)
	if err != nil {
		return dst, p, err
	}
	n := len(dst)
	dst = slices.Grow(dst, int(p.size))[:n+int(p.size)]
	if _, err := s.file.ReadFull(dst[n:], p.off+pageHeader); err != nil {
		if pfn == s.index.cut {
			err = errBehindEnd
		}
		return dst[:n], p, s.unreadable(p, fmt.Errorf("reading %s at byte %#x: %w", s.file.Name, p.off+pageHeader, err))
	}
	return dst, p, nil
}

func (s *Source) unreadable(p page, err error) error {
	return &dumpfmt.PageError{Addr: dumpfmt.Phys(p.pfn * s.h.pageSize), PFN: p.pfn, State: dumpfmt.Unreadable, Level: -1, Err: err}
}

// ReadPage decodes one page.
func (s *Source) ReadPage(dst []byte, pfn uint64) error {
	buf := s.bufs.Get().(*[]byte)
	defer s.bufs.Put(buf)
	data, p, err := s.stored((*buf)[:0], pfn)
	*buf = data
	if err != nil {
		return err
	}
	if err := s.decode(dst, data, p); err != nil {
		return s.unreadable(p, fmt.Errorf("%s at byte %#x: %w", s.file.Name, p.off+pageHeader, err))
	}
	return nil
}

func (s *Source) decode(dst, data []byte, p page) error {
	switch {
	case p.flags&pageRaw != 0 && p.size == 0: // as crash reads it
		clear(dst)
		return nil
	case p.flags&pageRaw != 0:
		return s.decoder.Decode(codec.Raw, dst, data)
	case p.size == 0:
		return errNoData
	case s.h.compress == compressGzip:
		return s.decoder.Decode(codec.Zlib, dst, data)
	case s.h.compress == compressRLE:
		return unrle(dst, data, s.extra)
	}
	return errors.New("the page is compressed, but the header says that none is")
}

// EncodedPage hands out raw pages and those of gzip.
func (s *Source) EncodedPage(dst []byte, pfn uint64) ([]byte, codec.Codec, bool, error) {
	n := len(dst)
	if s.State(pfn) != dumpfmt.Present {
		return dst, codec.Raw, false, nil
	}
	dst, p, err := s.stored(dst, pfn)
	switch {
	case err != nil:
		return dst[:n], codec.Raw, false, err
	case p.flags&pageRaw != 0 && uint64(p.size) == s.h.pageSize:
		return dst, codec.Raw, true, nil
	case p.flags&pageRaw == 0 && p.size > 0 && s.h.compress == compressGzip:
		return dst, codec.Zlib, true, nil
	}
	return dst[:n], codec.Raw, false, nil
}

// Count counts pages by the index.
func (s *Source) Count(context.Context) (dumpfmt.Counts, error) {
	var c dumpfmt.Counts
	for _, r := range s.info.Ranges {
		c.Present += uint64(r.End-r.Start) / s.h.pageSize
	}
	bad := uint64(0)
	for _, pfn := range s.index.empty {
		if s.State(pfn) == dumpfmt.Unreadable {
			bad++
		}
	}
	if _, seen := slices.BinarySearch(s.index.empty, s.index.cut); !seen && s.State(s.index.cut) == dumpfmt.Unreadable {
		bad++
	}
	c.Present, c.Unreadable = c.Present-bad, bad
	return c, nil
}
