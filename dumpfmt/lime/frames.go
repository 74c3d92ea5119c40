package lime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/s2"

	"kdx/dumpfmt"
)

// Chunks of a snappy stream: type, three bytes of length, and then for data a checksum of what it decodes to.
const (
	chunkHead    = 4
	chunkSum     = 4
	chunkPacked  = 0x00
	chunkPlain   = 0x01
	chunkSkipMin = 0x80 // up to 0xff: padding, and the mark at the beginning of a stream
	maxChunk     = 64 << 10
	maxPacked    = maxChunk + maxChunk/6 + 32 // that data of maxChunk bytes takes at most

	// perPiece is how many chunks one place where reading can begin stands for: 1 MiB of memory.
	perPiece = 16
)

var errBadChunk = errors.New("the snappy stream is damaged")

// chunk of data in the file.
type chunk struct {
	typ  byte
	off  int64 // of its data, behind the checksum
	size int64 // of its data in the file
	out  uint64
	sum  uint32
	next int64
}

// chunkAt reads the head of the data chunk at off or behind it, over chunks that hold none. The error is errBadChunk,
// io.ErrUnexpectedEOF, or what reading said.
func (s *Source) chunkAt(off int64) (chunk, error) {
	for range 1 << 10 { // streams begin with one mark
		var b [chunkHead + chunkSum + binary.MaxVarintLen32]byte
		n, err := s.file.ReadFull(b[:min(int64(len(b)), max(0, s.file.Size-off))], off)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return chunk{}, err
		}
		if n < chunkHead {
			return chunk{}, io.ErrUnexpectedEOF
		}
		typ, size := b[0], int64(b[1])|int64(b[2])<<8|int64(b[3])<<16
		if typ >= chunkSkipMin {
			off += chunkHead + size
			continue
		}
		if size < chunkSum || typ > chunkPlain || size > maxPacked {
			return chunk{}, errBadChunk
		}
		if n < chunkHead+chunkSum {
			return chunk{}, io.ErrUnexpectedEOF
		}
		c := chunk{typ: typ, off: off + chunkHead + chunkSum, size: size - chunkSum, sum: binary.LittleEndian.Uint32(b[chunkHead:]), next: off + chunkHead + size}
		c.out = uint64(c.size)
		if typ == chunkPacked {
			out, used := binary.Uvarint(b[chunkHead+chunkSum : n])
			if used <= 0 && n < len(b) {
				return chunk{}, io.ErrUnexpectedEOF
			}
			if used <= 0 {
				return chunk{}, errBadChunk
			}
			c.out = out
		}
		if c.out == 0 || c.out > maxChunk {
			return chunk{}, errBadChunk
		}
		return c, nil
	}
	return chunk{}, errBadChunk
}

// frames adds a packed range and returns where the next header is. Where the stream is cut short or damaged, the rest of the
// range is lost, and of the file.
func (s *Source) frames(ctx context.Context, off int64, h rangeHeader) (int64, error) {
	start, end := h.start, h.last+1
	var p piece
	for n := 0; start < end; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		c, err := s.chunkAt(off)
		if err == nil && (c.out > end-start || c.next > s.file.Size) {
			err = errBadChunk
			if c.next > s.file.Size {
				err = io.ErrUnexpectedEOF
			}
		}
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errBadChunk):
			s.add(p)
			truncated := s.info.Truncated
			s.lose(start, end)
			if errors.Is(err, errBadChunk) {
				s.info.Truncated, s.info.Incomplete = truncated, true
				s.info.Warn("at byte %#x %v: what follows can't be read", off, err)
			}
			return s.file.Size, nil
		case err != nil:
			return 0, &dumpfmt.FormatError{File: s.file.Name, Offset: off, Msg: "reading a snappy stream", Err: err}
		}
		if n%perPiece == 0 {
			s.add(p)
			p = piece{start: start, off: off, kind: packed}
		}
		start += c.out
		p.end = start
		off = c.next
	}
	s.add(p)
	// The length of the stream stands behind it; it is not needed.
	return off + 8, nil
}

// decode fills out with a chunk's data.
func (s *Source) decode(out, buf []byte, c chunk) error {
	in := buf[:c.size]
	if _, err := s.file.ReadFull(in, c.off); err != nil {
		return fmt.Errorf("reading %s at byte %#x: %w", s.file.Name, c.off, err)
	}
	if c.typ == chunkPlain {
		copy(out, in)
	} else {
		n, err := s2.DecodedLen(in)
		if err == nil && n != len(out) {
			err = errBadChunk
		}
		if err == nil {
			_, err = s2.Decode(out, in)
		}
		if err != nil {
			return fmt.Errorf("%s at byte %#x: %w", s.file.Name, c.off, err)
		}
	}
	sum := crc32.Checksum(out, castagnoli)
	if sum = (sum>>15 | sum<<17) + 0xa282ead8; sum != c.sum {
		return fmt.Errorf("%s at byte %#x: the checksum of the snappy stream is wrong", s.file.Name, c.off)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
