// Package codec decodes and encodes single pages with the compressions of the kdump-compressed format.
//
// A page's size is always known, so that nothing allocates by what compressed bytes claim: each decoder fills a buffer
// exactly or fails.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"kdx/internal/lzo"
)

// Codec is a compression of single pages.
type Codec uint8

// The compressions. Raw is none at all.
const (
	Raw    Codec = iota
	Zlib         // RFC 1950
	LZO          // LZO1X block
	Snappy       // raw block, no framing
	Zstd         // one frame
)

var names = [...]string{"raw", "zlib", "lzo", "snappy", "zstd"}

func (c Codec) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// Parse finds a codec by its name.
func Parse(name string) (Codec, error) {
	for i, n := range names {
		if n == name {
			return Codec(i), nil
		}
	}
	return Raw, fmt.Errorf("no compression is called %q; there are raw, zlib, lzo, snappy and zstd", name)
}

// Decoder decodes pages. It is safe for many goroutines and keeps their state for reuse.
type Decoder struct {
	zlib sync.Pool
	zstd func() (*zstd.Decoder, error)
}

// zstdMemory bounds what one zstd frame may make the decoder hold: the window of level 1 is 512 KiB.
const zstdMemory = 8 << 20

// NewDecoder makes a Decoder.
func NewDecoder() *Decoder {
	return &Decoder{zstd: sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(zstdMemory), zstd.WithDecoderLowmem(true))
	})}
}

// Decode fills dst with the page that src holds. It fails if src decodes to more or fewer bytes.
func (d *Decoder) Decode(c Codec, dst, src []byte) (err error) {
	defer func() {
		// The decoders are other people's code and src is hostile: a fault of theirs costs this page and no more.
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: decoder failed: %v", c, r)
		}
	}()
	n := 0
	switch c {
	case Raw:
		if len(src) != len(dst) {
			return fmt.Errorf("raw: page has %d bytes; want %d", len(src), len(dst))
		}
		copy(dst, src)
		return nil
	case Zlib:
		n, err = d.inflate(dst, src)
	case LZO:
		n, err = lzo.Decompress(dst, src)
	case Snappy:
		n, err = unsnap(dst, src)
	case Zstd:
		n, err = d.unzstd(dst, src)
	default:
		return fmt.Errorf("%s is not known", c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	if n != len(dst) {
		return fmt.Errorf("%s: page decodes to %d bytes; want %d", c, n, len(dst))
	}
	return nil
}

// Plausible reports whether bytes look as if they decoded to a page of the size: what a codec puts at their ends is there. It costs next to
// nothing, and finds bytes that were overwritten, lost or never written; a flipped bit in the midst is for Decode.
func Plausible(c Codec, src []byte, size int) (ok bool) {
	defer func() {
		if recover() != nil { // as in Decode
			ok = false
		}
	}()
	switch c {
	case Raw:
		return len(src) == size
	case Zlib: // the method, a checksum of the head, and at least a block and a checksum
		return len(src) >= 8 && src[0]&0xf == 8 && (uint(src[0])<<8|uint(src[1]))%31 == 0
	case LZO: // the end mark
		return len(src) >= 3 && string(src[len(src)-3:]) == "\x11\x00\x00"
	case Snappy:
		n, err := s2.DecodedLen(src)
		return err == nil && n == size
	case Zstd:
		var h zstd.Header
		return h.Decode(src) == nil && !h.Skippable && (!h.HasFCS || h.FrameContentSize == uint64(size))
	}
	return false
}

// inflater is a zlib reader with the input it reads.
type inflater struct {
	src  bytes.Reader
	z    io.ReadCloser
	more [1]byte
}

func (d *Decoder) inflate(dst, src []byte) (int, error) {
	f, _ := d.zlib.Get().(*inflater)
	if f == nil {
		f = &inflater{}
	}
	f.src.Reset(src)
	if err := f.reset(); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(f.z, dst)
	if err != nil {
		return n, err
	}
	// One more read reaches the checksum, and shows a page that is too long.
	m, err := f.z.Read(f.more[:])
	if m > 0 {
		return n + m, errors.New("page is longer than it should be")
	}
	if err != nil && err != io.EOF {
		return n, err
	}
	d.zlib.Put(f)
	return n, nil
}

func (f *inflater) reset() (err error) {
	if f.z == nil {
		f.z, err = zlib.NewReader(&f.src)
		return err
	}
	return f.z.(zlib.Resetter).Reset(&f.src, nil)
}

func unsnap(dst, src []byte) (int, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return 0, err
	}
	if n != len(dst) {
		return n, nil
	}
	_, err = s2.Decode(dst, src)
	return n, err
}

func (d *Decoder) unzstd(dst, src []byte) (int, error) {
	z, err := d.zstd()
	if err != nil {
		return 0, err
	}
	out, err := z.DecodeAll(src, dst[:0:len(dst)])
	if err != nil {
		return len(out), err
	}
	if len(out) == len(dst) && &out[0] != &dst[0] {
		copy(dst, out)
	}
	return len(out), nil
}
