// Package unpack reads compressed files and kernels' boot images as if they were not packed.
package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// Format is a way to compress a whole file.
type Format string

// The formats. LZ4Legacy is what the kernel's build makes, LZOP the file format of lzop(1).
const (
	None      Format = ""
	Gzip      Format = "gzip"
	XZ        Format = "xz"
	Zstd      Format = "zstd"
	LZ4       Format = "lz4"
	LZ4Legacy Format = "lz4 (legacy)"
	Bzip2     Format = "bzip2"
	LZOP      Format = "lzo"
	LZMA      Format = "lzma"
)

// Extensions are the names' ends of compressed files that are looked for, commonest first.
var Extensions = []string{".xz", ".zst", ".gz", ".bz2", ".lz4"}

var magics = []struct {
	format Format
	magic  []byte
}{
	{Gzip, []byte{0x1f, 0x8b, 8}},
	{XZ, []byte("\xfd7zXZ\x00")},
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{LZ4, []byte{0x04, 0x22, 0x4d, 0x18}},
	{LZ4Legacy, []byte{0x02, 0x21, 0x4c, 0x18}},
	{LZOP, []byte{0x89, 'L', 'Z', 'O', 0, '\r', '\n', 0x1a, '\n'}},
	{Bzip2, []byte("BZh")},
}

// HeadSize is how many bytes Detect wants to see.
const HeadSize = 16

// Detect tells the format from a file's first bytes, None if they are of no compressed file.
func Detect(head []byte) Format {
	for _, m := range magics {
		if bytes.HasPrefix(head, m.magic) {
			return m.format
		}
	}
	if isLZMA(head) {
		return LZMA
	}
	return None
}

// isLZMA knows the header of lzma(1), which has no magic: properties 0x5d as all writers have them, a dictionary of a
// power of two, and a length that is unknown or below 2^40.
func isLZMA(head []byte) bool {
	if len(head) < 13 || head[0] != 0x5d || head[1] != 0 || head[2] != 0 {
		return false
	}
	dict := uint32(head[3])<<16 | uint32(head[4])<<24
	if dict == 0 || dict&(dict-1) != 0 {
		return false
	}
	size := head[5:13]
	return bytes.Equal(size, bytes.Repeat([]byte{0xff}, 8)) || size[5]|size[6]|size[7] == 0
}

const (
	// maxWindow is the memory that a stream may ask for to look back: the kernel's build uses 128 MiB for xz and zstd.
	maxWindow = 256 << 20
	// DefaultLimit bounds what a file may unpack to, in bytes. The largest vmlinux with debug information have 2 GB.
	DefaultLimit = 8 << 30
)

// LimitError: a file unpacks to more than it may.
type LimitError struct {
	Limit int64 // bytes
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it unpacks to more than the limit of %d bytes", e.Limit)
}

// NewReader reads what r holds in the format f: at most limit bytes, 0 for DefaultLimit. Its errors don't name the file.
func NewReader(r io.Reader, f Format, limit int64) (io.ReadCloser, error) {
	return newReader(r, f, limit, false)
}

// newReader is NewReader. With single, gzip and xz end with the first stream, whatever stands behind it.
func newReader(r io.Reader, f Format, limit int64, single bool) (io.ReadCloser, error) {
	if limit == 0 {
		limit = DefaultLimit
	}
	var in io.Reader
	closer := func() {}
	err := guard(func() (err error) {
		switch f {
		case None:
			in = r
		case Gzip:
			var g *gzip.Reader
			if g, err = gzip.NewReader(r); err == nil {
				g.Multistream(!single)
				in = g
			}
		case XZ:
			var x *xz.Reader
			if x, err = xz.NewReader(bufio.NewReaderSize(r, 64<<10), maxWindow); err == nil {
				x.Multistream(!single)
				in = x
			}
		case Zstd:
			var d *zstd.Decoder
			if d, err = zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2)); err == nil {
				in, closer = d, d.Close
			}
		case LZ4:
			in = lz4.NewReader(r)
		case LZ4Legacy:
			in, err = newLegacy(r)
		case LZOP:
			in, err = newLZOP(r)
		case Bzip2:
			in = bzip2.NewReader(r)
		case LZMA:
			in, err = lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
		default:
			err = fmt.Errorf("unknown format %q", f)
		}
		return err
	})
	if err != nil {
		return nil, explain(f, err)
	}
	return &reader{in: in, format: f, left: limit, limit: limit, close: closer}, nil
}

// guard turns a decoder's panic on damaged data into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged data: %v", p)
		}
	}()
	return f()
}

func explain(f Format, err error) error {
	if f == None {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s data ends in its middle: %w", f, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: %w", f, err)
}

// reader bounds and guards a decoder.
type reader struct {
	in          io.Reader
	format      Format
	left, limit int64
	err         error
	close       func()
}

func (r *reader) Read(p []byte) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > r.left+1 { // one byte more tells a file of just the limit from a larger one
		p = p[:r.left+1]
	}
	err = guard(func() (err error) {
		n, err = r.in.Read(p)
		return err
	})
	if int64(n) > r.left {
		n, err = int(r.left), &LimitError{r.limit}
	}
	r.left -= int64(n)
	if err != nil {
		if err != io.EOF {
			err = explain(r.format, err)
		}
		r.err = err
	}
	return n, err
}

func (r *reader) Close() error {
	if r.close != nil {
		r.close()
		r.close = nil
	}
	return nil
}
