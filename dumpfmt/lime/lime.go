// Package lime reads the memory images of LiME (version 1) and AVML (version 2), and writes LiME's.
//
//	header, memory of one range | header, memory of the next | …
//
// AVML's memory is a stream of snappy frames, with its length behind it. Neither says anything of the machine. AVML leaves
// ranges out that hold only zeros; they can't be told from memory that there wasn't.
package lime

import (
	"context"
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
)

const (
	magicLiME = 0x4c694d45
	magicAVML = 0x4c4d5641

	headerSize = 32

	// maxAddress is beyond what machines have.
	maxAddress = 1 << 63

	// maxRanges bounds what damaged headers make kdx keep. AVML begins a range each 16 MiB.
	maxRanges = 1 << 22
)

// Config says what the headers do not.
type Config struct {
	Machine  dumpfmt.Machine // "" is x86_64
	PageSize uint64          // bytes; 0 is what is usual on the machine
	// Progress, if not nil, is told how far opening is, in bytes.
	Progress func(done, total int64)
}

// Probe reports whether a file that begins with head is an image of LiME or AVML.
func Probe(head []byte) bool {
	h, ok := parse(head)
	return ok && h.start <= h.last && h.last < maxAddress
}

// rangeHeader is the header of one range, both ends belong to it.
type rangeHeader struct {
	packed      bool
	start, last uint64
}

func parse(b []byte) (rangeHeader, bool) {
	if len(b) < headerSize {
		return rangeHeader{}, false
	}
	le := binary.LittleEndian
	h := rangeHeader{start: le.Uint64(b[8:]), last: le.Uint64(b[16:])}
	switch magic, version := le.Uint32(b), le.Uint32(b[4:]); {
	case magic == magicLiME && version == 1:
	case magic == magicAVML && version == 2:
		h.packed = true
	default:
		return h, false
	}
	return h, true
}

// Open reads the headers of an image. It takes over f only if it succeeds. The error is a *dumpfmt.FormatError, the
// context's, or what reading the file said.
func Open(ctx context.Context, f *dumpfmt.File, cfg Config) (*Source, error) {
	info := &dumpfmt.Info{
		Format: "lime", Flattened: f.Flattened, Files: []string{f.Name}, DumpLevel: -1, Incomplete: f.Incomplete, Warnings: f.Warnings,
		Machine: cfg.Machine, ByteOrder: binary.LittleEndian,
	}
	if err := info.Assume(cfg.PageSize); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	s := &Source{file: f, info: info}
	for 1<<s.shift < info.PageSize {
		s.shift++
	}
	if err := s.headers(ctx, cfg.Progress); err != nil {
		return nil, err
	}
	s.sort()
	if info.Truncated {
		info.Incomplete = true
		info.Warn("%s is truncated: it ends at byte %#x, inside a range of memory", f.Name, f.Size)
	}
	return s, nil
}

// headers finds all ranges, and of packed ones places where reading can begin.
func (s *Source) headers(ctx context.Context, progress func(done, total int64)) error {
	var b [headerSize]byte
	for off := int64(0); off < s.file.Size; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if progress != nil {
			progress(off, s.file.Size)
		}
		n, err := s.file.ReadFull(b[:], off)
		h, ok := parse(b[:n])
		switch {
		case ok && h.start <= h.last && h.last < maxAddress:
		case off == 0:
			return &dumpfmt.FormatError{File: s.file.Name, Offset: off, Msg: "not a header of LiME or AVML", Err: err}
		case n < headerSize:
			s.info.Truncated = true
			return nil
		default:
			s.info.Incomplete = true
			s.info.Warn("at byte %#x no header stands where one should be: what follows, %d bytes, can't be read", off, s.file.Size-off)
			return nil
		}
		if len(s.pieces) > maxRanges {
			return &dumpfmt.FormatError{File: s.file.Name, Offset: off, Msg: fmt.Sprintf("more than %d ranges of memory", maxRanges)}
		}
		if h.packed {
			s.info.Format = "avml"
			off, err = s.frames(ctx, off+headerSize, h)
		} else {
			off = s.plain(off+headerSize, h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain adds a range that lies in the file as it was, and returns where the next header is.
func (s *Source) plain(off int64, h rangeHeader) int64 {
	size := h.last - h.start + 1
	have := min(size, uint64(max(0, s.file.Size-off)))
	s.add(piece{start: h.start, end: h.start + have, off: off})
	s.lose(h.start+have, h.last+1)
	return off + int64(have)
}

func (s *Source) add(p piece) {
	if p.start < p.end {
		s.pieces = append(s.pieces, p)
	}
}

// lose adds memory that the file ends before.
func (s *Source) lose(start, end uint64) {
	if start < end {
		s.info.Truncated = true
		s.pieces = append(s.pieces, piece{start: start, end: end, kind: lost})
	}
}
