package unpack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"io"

	"github.com/pierrec/lz4/v4"

	"kdx/internal/lzo"
)

// blocks is a format of blocks that are each decompressed at once.
type blocks struct {
	next func() ([]byte, error) // the next block's data, or io.EOF
	left []byte
}

func (b *blocks) Read(p []byte) (int, error) {
	for len(b.left) == 0 {
		var err error
		if b.left, err = b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

const legacyBlock = 8 << 20 // what a block of lz4's legacy format unpacks to, but for the last

// newLegacy reads lz4's legacy format: a magic, then blocks of a 32-bit length and that many bytes, to the end of the file.
func newLegacy(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	magic := binary.LittleEndian.Uint32(magicOf(LZ4Legacy))
	if _, err := io.ReadFull(in, make([]byte, 4)); err != nil {
		return nil, err
	}
	var src, dst []byte
	next := func() ([]byte, error) {
		var size uint32
		for first := true; first || size == magic; first = false { // files may be joined, each with its magic
			var h [4]byte
			if _, err := io.ReadFull(in, h[:]); err != nil {
				return nil, err // io.EOF at a block's border
			}
			size = binary.LittleEndian.Uint32(h[:])
		}
		if int64(size) > int64(lz4.CompressBlockBound(legacyBlock)) {
			return nil, fmt.Errorf("a block of %d bytes, more than the format has", size)
		}
		if dst == nil {
			dst = make([]byte, legacyBlock)
		}
		var err error
		if src, err = readBlock(in, src, int(size)); err != nil {
			return nil, err
		}
		n, err := lz4.UncompressBlock(src, dst)
		if err != nil {
			return nil, err
		}
		return dst[:n], nil
	}
	return &blocks{next: next}, nil
}

func magicOf(f Format) []byte {
	for _, m := range magics {
		if m.format == f {
			return m.magic
		}
	}
	return nil
}

// readBlock fills buf, which grows if it must, with the n bytes of a block.
func readBlock(r io.Reader, buf []byte, n int) ([]byte, error) {
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return buf, unexpected(err)
	}
	return buf, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Flags in the header of an lzop file: which checksums stand before a block's data, of what is packed (C) and of what it
// unpacks to (D).
const (
	lzopAdlerD   = 1 << 0
	lzopAdlerC   = 1 << 1
	lzopExtra    = 1 << 6
	lzopCRCD     = 1 << 8
	lzopCRCC     = 1 << 9
	lzopMulti    = 1 << 10
	lzopFilter   = 1 << 11
	lzopMaxBlock = 64 << 20
)

// newLZOP reads the format of lzop(1), all numbers big endian: a header, then blocks of two lengths, unpacked and packed,
// checksums and data, to a length of zero.
func newLZOP(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	flags, err := lzopHeader(in)
	if err != nil {
		return nil, err
	}
	var src, dst []byte
	ended := false
	next := func() ([]byte, error) {
		if ended {
			return nil, io.EOF
		}
		size, err := be32(in)
		if err != nil {
			return nil, unexpected(err)
		}
		if size == 0 {
			ended = true
			return nil, io.EOF
		}
		packed, err := be32(in)
		if err != nil {
			return nil, unexpected(err)
		}
		if size > lzopMaxBlock || packed > size {
			return nil, fmt.Errorf("a block of %d bytes, packed %d, which the format does not have", size, packed)
		}
		var sums []lzopSum
		for _, s := range []struct {
			flag   uint32
			sum    func([]byte) uint32
			packed bool
		}{{lzopAdlerD, adler32.Checksum, false}, {lzopCRCD, crc32.ChecksumIEEE, false}, {lzopAdlerC, adler32.Checksum, true}, {lzopCRCC, crc32.ChecksumIEEE, true}} {
			if flags&s.flag == 0 || s.packed && packed == size { // a block that is stored has no checksum of its packed form
				continue
			}
			want, err := be32(in)
			if err != nil {
				return nil, unexpected(err)
			}
			if !s.packed {
				sums = append(sums, lzopSum{s.sum, want})
			}
		}
		if src, err = readBlock(in, src, int(packed)); err != nil {
			return nil, err
		}
		out := src
		if packed < size {
			if cap(dst) < int(size) {
				dst = make([]byte, size)
			}
			n, err := lzo.Decompress(dst[:size], src)
			if err != nil {
				return nil, err
			}
			if n != int(size) {
				return nil, fmt.Errorf("a block of %d bytes unpacks to %d", size, n)
			}
			out = dst[:size]
		}
		for _, s := range sums {
			if got := s.sum(out); got != s.want {
				return nil, fmt.Errorf("checksum of a block is %#x, not %#x", got, s.want)
			}
		}
		return out, nil
	}
	return &blocks{next: next}, nil
}

type lzopSum struct {
	sum  func([]byte) uint32
	want uint32
}

func be32(r io.Reader) (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(r, b[:])
	return binary.BigEndian.Uint32(b[:]), err
}

// lzopHeader reads up to the first block and returns the flags.
func lzopHeader(r io.Reader) (flags uint32, err error) {
	skip := func(n int64) {
		if err == nil {
			_, err = io.CopyN(io.Discard, r, n)
		}
	}
	word := func() (v uint32) {
		if err == nil {
			v, err = be32(r)
		}
		return v
	}
	short := func() uint16 {
		var b [2]byte
		if err == nil {
			_, err = io.ReadFull(r, b[:])
		}
		return binary.BigEndian.Uint16(b[:])
	}
	const newer = 0x0940 // the version that added fields
	skip(int64(len(magicOf(LZOP))))
	version := short()
	skip(2) // of the library
	if version >= newer {
		skip(2) // version needed
	}
	skip(1) // method; all are LZO1X
	if version >= newer {
		skip(1) // level
	}
	flags = word()
	if flags&lzopFilter != 0 {
		skip(4)
	}
	skip(8) // mode and time
	if version >= newer {
		skip(4)
	}
	var name [1]byte
	if err == nil {
		_, err = io.ReadFull(r, name[:])
	}
	skip(int64(name[0]))
	skip(4) // checksum of the header
	if flags&lzopExtra != 0 {
		n := word()
		skip(int64(n) + 4)
	}
	switch {
	case err != nil:
		return 0, unexpected(err)
	case flags&lzopMulti != 0:
		return 0, errors.New("an archive of several files")
	case flags&lzopFilter != 0:
		return 0, errors.New("a filter, which no kernel uses")
	}
	return flags, nil
}
