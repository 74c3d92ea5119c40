package lkcd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/bits"
	"slices"
	"sort"

	"kdx/dumpfmt"
)

// Flags of a page header.
const (
	pageRaw        = 1
	pageCompressed = 2
	pageEnd        = 4
	pageKnown      = 0x3f | versionMCLX // s390 has 8, 0x10 and 0x20 for the ends of its memory

	pageHeader = 16 // bytes
)

// chunk is some neighbours in the file, in ascending order, that are in the same 64 pages of memory: header by header from
// off on, as many as mask has bits. A dump of 1 TiB takes 100 MB of them.
type chunk struct {
	base uint64 // pfn of the mask's first bit, a multiple of 64
	mask uint64
	off  int64
}

// page is one page header.
type page struct {
	pfn   uint64
	size  int64
	flags uint32
	off   int64 // of the header
}

// scanner reads page headers one behind the other.
type scanner struct {
	f      *dumpfmt.File
	h      *header
	kvbase uint64 // what version 1 on i386 adds to addresses
	buf    []byte
	at     int64 // of buf in the file
}

const scanWindow = 256 << 10

// read the header at off. The error is io.EOF if the file ends there.
func (s *scanner) read(off int64) (page, error) {
	if off < s.at || off+pageHeader > s.at+int64(len(s.buf)) {
		s.buf = s.buf[:cap(s.buf)]
		n, err := s.f.ReadFull(s.buf, off)
		s.buf, s.at = s.buf[:n], off
		if n < pageHeader {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return page{}, err
		}
	}
	return s.parse(s.buf[off-s.at:], off), nil
}

func (s *scanner) parse(b []byte, off int64) page {
	o := s.h.order
	p := page{size: int64(o.Uint32(b[8:])), flags: o.Uint32(b[12:]), off: off}
	p.pfn = o.Uint64(b) - s.kvbase
	if p.flags&versionMCLX == 0 {
		p.pfn /= s.h.pageSize
	}
	return p
}

// plausible reports whether a page header can be one.
func (s *scanner) plausible(p page) bool {
	kind := p.flags & (pageRaw | pageCompressed | pageEnd)
	return p.flags&^pageKnown == 0 && kind != 0 && (kind&pageEnd != 0 || p.size <= int64(s.h.pageSize)) && p.pfn < maxAddress/s.h.pageSize
}

// maxAddress is beyond what machines have.
const maxAddress = 1 << 63

// start finds the first page header. Version 10 names the size of its buffer as version 9 does, but a reader of it, and so
// maybe a writer, keeps to 64 KiB.
func (s *scanner) start() int64 {
	first := int64(dataStart)
	if s.h.layout.buffer != 0 && s.h.bufferSize >= uint64(s.h.layout.size) && s.h.bufferSize <= maxDataStart {
		first = int64(s.h.bufferSize)
	}
	if s.h.version != 10 || first == dataStart {
		return first
	}
	if p, err := s.read(first); err == nil && s.plausible(p) {
		return first
	}
	if p, err := s.read(dataStart); err == nil && s.plausible(p) {
		return dataStart
	}
	return first
}

// index is where the pages are.
type index struct {
	chunks  []chunk
	pages   uint64 // headers that were read
	ended   bool   // the end mark was there
	cut     uint64 // pfn of the page in which the file ends; noPage if none
	empty   []uint64
	damage  int64 // where the chain of headers is broken; 0 if it is not
	dupes   uint64
	maxPFN  uint64
	samples []page // some compressed pages
}

const (
	noPage     = ^uint64(0)
	maxSamples = 64
	maxEmpty   = 1 << 16
)

// build reads all page headers.
func build(ctx context.Context, s *scanner, progress func(done, total int64)) (*index, error) {
	x := &index{cut: noPage}
	off := s.start()
	for n := 0; ; n++ {
		if n%(1<<14) == 0 {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if progress != nil {
				progress(min(off, s.f.Size), s.f.Size)
			}
		}
		p, err := s.read(off)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &dumpfmt.FormatError{File: s.f.Name, Offset: off, Msg: "reading a page header", Err: err}
		}
		if n == 0 && s.h.version == 1 && p.pfn*s.h.pageSize == i386Base {
			s.kvbase = i386Base
			p.pfn = 0
		}
		if !s.plausible(p) {
			x.damage = off
			break
		}
		if p.flags&pageEnd != 0 {
			x.ended = true
			break
		}
		x.add(p)
		off += pageHeader + p.size
		if off > s.f.Size {
			x.cut = p.pfn
			break
		}
	}
	x.sort()
	return x, nil
}

// i386Base is where i386 kernels map their memory (PAGE_OFFSET), which version 1 adds to addresses.
const i386Base = 0xc0000000

func (x *index) add(p page) {
	x.pages++
	base, bit := p.pfn&^63, uint64(1)<<(p.pfn&63)
	if n := len(x.chunks); n > 0 && x.chunks[n-1].base == base && x.chunks[n-1].mask < bit {
		x.chunks[n-1].mask |= bit
	} else {
		x.chunks = append(x.chunks, chunk{base: base, mask: bit, off: p.off})
	}
	x.maxPFN = max(x.maxPFN, p.pfn+1)
	if p.flags&(pageRaw|pageCompressed) == pageCompressed {
		switch {
		case p.size == 0 && len(x.empty) < maxEmpty:
			x.empty = append(x.empty, p.pfn)
		case len(x.samples) < maxSamples:
			x.samples = append(x.samples, p)
		}
	}
}

// sort by memory; of a page that is there more than once, the first in the file counts.
func (x *index) sort() {
	slices.SortFunc(x.chunks, func(a, b chunk) int { return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.off, b.off)) })
	out := x.chunks[:0]
	have := uint64(0)
	for i, c := range x.chunks {
		if i == 0 || x.chunks[i-1].base != c.base {
			have = 0
		}
		x.dupes += uint64(bits.OnesCount64(have & c.mask))
		if c.mask&^have != 0 {
			out = append(out, c)
		}
		have |= c.mask
	}
	x.chunks = slices.Clip(out)
	slices.Sort(x.empty)
	x.empty = slices.Compact(x.empty)
}

// find the chunk that has the page, and how many headers of it come before.
func (x *index) find(pfn uint64) (chunk, int, bool) {
	base, bit := pfn&^63, uint64(1)<<(pfn&63)
	i := sort.Search(len(x.chunks), func(i int) bool { return x.chunks[i].base >= base })
	for ; i < len(x.chunks) && x.chunks[i].base == base; i++ { // at most 64: each has a page that those before it lack
		if c := x.chunks[i]; c.mask&bit != 0 {
			return c, bits.OnesCount64(c.mask & (bit - 1)), true
		}
	}
	return chunk{}, 0, false
}

// ranges are the pages that the dump has.
func (x *index) ranges(pageSize uint64) []dumpfmt.PhysRange {
	var out []dumpfmt.PhysRange
	add := func(from, to uint64) {
		a, b := dumpfmt.Phys(from*pageSize), dumpfmt.Phys(to*pageSize)
		if n := len(out); n > 0 && out[n-1].End == a {
			out[n-1].End = b
		} else {
			out = append(out, dumpfmt.PhysRange{Start: a, End: b})
		}
	}
	for i := 0; i < len(x.chunks); {
		base, mask := x.chunks[i].base, uint64(0)
		for ; i < len(x.chunks) && x.chunks[i].base == base; i++ {
			mask |= x.chunks[i].mask
		}
		for mask != 0 {
			lo := uint64(bits.TrailingZeros64(mask))
			n := uint64(bits.TrailingZeros64(^(mask >> lo)))
			add(base+lo, base+lo+n)
			mask &^= (^uint64(0) >> (64 - n)) << lo
		}
	}
	return out
}
