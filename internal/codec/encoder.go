package codec

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"kdx/internal/deflate"
	"kdx/internal/lzo"
	"kdx/internal/zstdpage"
)

// Encoder encodes pages with one codec. It is safe for many goroutines and keeps their state for reuse: once each of them has
// encoded a page, nothing is allocated if dst has room.
type Encoder struct {
	codec Codec
	level int
	zlib  sync.Pool // of *deflater
	page  sync.Pool // of *deflate.Compressor, for zlib at its fastest
	lzo   sync.Pool // of *lzo.Compressor
	frame sync.Pool // of *zstdpage.Compressor, for zstd at its fastest
	zstd  sync.Pool // of *zstd.Encoder; one of its own would make states for all cores, of 0.5 MiB and more each
}

// fastestZstd is zstd's lowest level.
const fastestZstd = 1

// maxPage is the largest page of any machine, in bytes.
const maxPage = 256 << 10

// deflater is a zlib writer with the buffer it fills.
type deflater struct {
	out appender
	z   *zlib.Writer
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// NewEncoder makes an encoder. level 0 is the codec's fastest; zlib has 1 to 9, zstd 1 to 22 as its command line counts, the
// others have none.
func NewEncoder(c Codec, level int) (*Encoder, error) {
	e := &Encoder{codec: c, level: level}
	switch c {
	case Raw, Snappy, LZO:
	case Zlib:
		if level == 0 {
			e.level = zlib.BestSpeed
		}
		if _, err := zlib.NewWriterLevel(io.Discard, e.level); err != nil {
			return nil, err
		}
	case Zstd:
		if level == 0 {
			e.level = fastestZstd
		}
		if e.level == fastestZstd {
			break // the library's is for pages that hardly any machine has
		}
		z, err := e.newZstd()
		if err != nil {
			return nil, err
		}
		e.zstd.Put(z)
	default:
		return nil, fmt.Errorf("pages can't be compressed with %s; there are raw, zlib, lzo, snappy and zstd", c)
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
		if e.level == zlib.BestSpeed && len(page) <= deflate.MaxBlock {
			out = e.fastest(dst, page)
		} else if out, err = e.deflate(dst, page); err != nil {
			return dst, Raw, err
		}
	case LZO:
		z, _ := e.lzo.Get().(*lzo.Compressor)
		if z == nil {
			z = new(lzo.Compressor)
		}
		out = z.Compress(dst, page)
		e.lzo.Put(z)
	case Snappy:
		// EncodeSnappy writes into what it is given only if the longest result has room there.
		out = slices.Grow(dst, s2.MaxEncodedLen(len(page)))
		out = out[:start+len(s2.EncodeSnappy(out[start:cap(out)], page))]
	case Zstd:
		var err error
		if e.level == fastestZstd && len(page) <= zstdpage.MaxPage {
			out = e.zstdPage(dst, page)
		} else if out, err = e.zstandard(dst, page); err != nil {
			return dst, Raw, err
		}
	}
	if e.codec == Raw || len(out)-start >= len(page) {
		return append(out[:start], page...), Raw, nil
	}
	return out, e.codec, nil
}

// fastest is for pages one by one: the general compressor spends half of its time on tables.
func (e *Encoder) fastest(dst, page []byte) []byte {
	z, _ := e.page.Get().(*deflate.Compressor)
	if z == nil {
		z = new(deflate.Compressor)
	}
	dst = z.Compress(dst, page)
	e.page.Put(z)
	return dst
}

// zstdPage is fastest for zstd.
func (e *Encoder) zstdPage(dst, page []byte) []byte {
	z, _ := e.frame.Get().(*zstdpage.Compressor)
	if z == nil {
		z = new(zstdpage.Compressor)
	}
	dst = z.Compress(dst, page)
	e.frame.Put(z)
	return dst
}

func (e *Encoder) deflate(dst, page []byte) ([]byte, error) {
	d, _ := e.zlib.Get().(*deflater)
	if d == nil {
		d = &deflater{}
		z, err := zlib.NewWriterLevel(io.Discard, e.level)
		if err != nil {
			return nil, err
		}
		d.z = z
	}
	d.out.b = dst
	d.z.Reset(&d.out)
	_, err := d.z.Write(page)
	if err == nil {
		err = d.z.Close()
	}
	out := d.out.b
	d.out.b = nil
	e.zlib.Put(d)
	return out, err
}

func (e *Encoder) newZstd() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(maxPage), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(e.level)))
}

func (e *Encoder) zstandard(dst, page []byte) ([]byte, error) {
	z, _ := e.zstd.Get().(*zstd.Encoder)
	if z == nil {
		var err error
		if z, err = e.newZstd(); err != nil {
			return nil, err
		}
	}
	dst = z.EncodeAll(page, dst)
	e.zstd.Put(z)
	return dst, nil
}
