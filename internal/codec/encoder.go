package codec

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Encoder encodes pages with one codec. It is safe for many goroutines.
type Encoder struct {
	codec Codec
	level int
	zlib  sync.Pool
	zstd  *zstd.Encoder
}

// deflater is a zlib writer with the buffer it fills.
type deflater struct {
	out bytes.Buffer
	z   *zlib.Writer
}

// NewEncoder makes an encoder. level 0 is the codec's fastest; zlib has 1 to 9, zstd 1 to 22 as its command line counts.
// LZO can be read but not written.
func NewEncoder(c Codec, level int) (*Encoder, error) {
	e := &Encoder{codec: c, level: level}
	switch c {
	case Raw, Snappy:
	case Zlib:
		if level == 0 {
			e.level = zlib.BestSpeed
		}
		if _, err := zlib.NewWriterLevel(io.Discard, e.level); err != nil {
			return nil, err
		}
	case Zstd:
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(max(1, level))))
		if err != nil {
			return nil, err
		}
		e.zstd = z
	default:
		return nil, fmt.Errorf("pages can't be compressed with %s; there are raw, zlib, snappy and zstd", c)
	}
	return e, nil
}

// Encode appends the encoded page to dst. If that isn't smaller than the page, it appends the page itself, and the codec
// returned is Raw.
func (e *Encoder) Encode(dst, page []byte) ([]byte, Codec, error) {
	start := len(dst)
	out := dst
	switch e.codec {
	case Zlib:
		var err error
		if out, err = e.deflate(dst, page); err != nil {
			return dst, Raw, err
		}
	case Snappy:
		out = append(dst, s2.EncodeSnappy(nil, page)...)
	case Zstd:
		out = e.zstd.EncodeAll(page, dst)
	}
	if e.codec == Raw || len(out)-start >= len(page) {
		return append(out[:start], page...), Raw, nil
	}
	return out, e.codec, nil
}

func (e *Encoder) deflate(dst, page []byte) ([]byte, error) {
	d, _ := e.zlib.Get().(*deflater)
	if d == nil {
		d = &deflater{}
		z, err := zlib.NewWriterLevel(&d.out, e.level)
		if err != nil {
			return nil, err
		}
		d.z = z
	}
	defer e.zlib.Put(d)
	d.out.Reset()
	d.z.Reset(&d.out)
	if _, err := d.z.Write(page); err != nil {
		return nil, err
	}
	if err := d.z.Close(); err != nil {
		return nil, err
	}
	return append(dst, d.out.Bytes()...), nil
}
