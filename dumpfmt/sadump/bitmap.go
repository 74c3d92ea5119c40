package sadump

import (
	"bytes"
	"io"
	"math/bits"

	"kdx/dumpfmt"
)

// maxBitmap bounds a bitmap, in bytes: 16 TiB of memory in pages of 4 KiB.
const maxBitmap = 512 << 20

// bitmap has a bit a page, the first in the highest bit of the first byte. Chunks without a set bit are nil, so that what is a
// hole in the file costs nothing.
type bitmap struct {
	chunks [][]byte
	ranks  []uint64 // bits before each stretch of rankPages pages; nil unless count was called
}

const (
	chunkSize  = 4096
	chunkPages = chunkSize * 8
	rankPages  = 4096
)

// readBitmap reads the bits of that many pages.
func readBitmap(f *dumpfmt.File, off int64, pages uint64) (bitmap, error) {
	var b bitmap
	buf := make([]byte, 1<<20)
	zeros := make([]byte, chunkSize)
	end := off + int64(pages+7)/8
	if end > f.Size {
		return b, io.ErrUnexpectedEOF
	}
	b.chunks = make([][]byte, (pages+chunkPages-1)/chunkPages)
	for at := off; at < end; {
		if next := min(end, f.NextData(at)); next-at >= chunkSize {
			at += (next - at) / chunkSize * chunkSize
			continue
		}
		part := buf[:min(int64(len(buf)), end-at)]
		if _, err := f.ReadFull(part, at); err != nil {
			return b, err
		}
		for i := 0; i < len(part); i += chunkSize {
			c := part[i:min(len(part), i+chunkSize)]
			if !bytes.Equal(c, zeros[:len(c)]) {
				b.chunks[(at-off)/chunkSize+int64(i/chunkSize)] = append(make([]byte, 0, chunkSize), c...)[:chunkSize]
			}
		}
		at += int64(len(part))
	}
	if c := b.chunks[len(b.chunks)-1]; c != nil && pages%8 != 0 {
		c[pages%chunkPages/8] &= 0xff << (8 - pages%8) // bits of no page
	}
	return b, nil
}

func (b *bitmap) has(pfn uint64) bool {
	if pfn/chunkPages >= uint64(len(b.chunks)) {
		return false
	}
	c := b.chunks[pfn/chunkPages]
	return c != nil && c[pfn%chunkPages/8]>>(7-pfn%8)&1 != 0
}

// count prepares rank.
func (b *bitmap) count() {
	n := uint64(0)
	for _, c := range b.chunks {
		for i := 0; i < chunkSize; i += rankPages / 8 {
			b.ranks = append(b.ranks, n)
			if c != nil {
				n += ones(c[i : i+rankPages/8])
			}
		}
	}
}

func ones(b []byte) uint64 {
	n := 0
	for _, v := range b {
		n += bits.OnesCount8(v)
	}
	return uint64(n)
}

// rank is how many bits are set before that of a page that has a set bit.
func (b *bitmap) rank(pfn uint64) uint64 {
	c := b.chunks[pfn/chunkPages]
	at := pfn % chunkPages / 8
	return b.ranks[pfn/rankPages] + ones(c[at/(rankPages/8)*(rankPages/8):at]) + uint64(bits.OnesCount8(c[at]>>(8-pfn%8)))
}

// runs calls yield for each stretch of set bits below limit.
func (b *bitmap) runs(limit uint64, yield func(from, to uint64)) {
	from, inside := uint64(0), false
	limit = min(limit, uint64(len(b.chunks))*chunkPages)
	for pfn := uint64(0); pfn < limit; {
		c := b.chunks[pfn/chunkPages]
		step, set := uint64(1), false
		switch {
		case c == nil:
			step = chunkPages - pfn%chunkPages
		case pfn%8 == 0 && (c[pfn%chunkPages/8] == 0 || c[pfn%chunkPages/8] == 0xff):
			step, set = 8, c[pfn%chunkPages/8] != 0
		default:
			set = b.has(pfn)
		}
		if set && !inside {
			from, inside = pfn, true
		}
		if !set && inside {
			yield(from, pfn)
			inside = false
		}
		pfn += step
	}
	if inside {
		yield(from, limit)
	}
}

// within reports whether each page of b is one of other.
func (b *bitmap) within(other *bitmap) bool {
	for i, c := range b.chunks {
		if c == nil {
			continue
		}
		o := other.chunks[i]
		for j, v := range c {
			if v != 0 && (o == nil || v&^o[j] != 0) {
				return false
			}
		}
	}
	return true
}

// last is the last page that is in b and other.
func (b *bitmap) last(other *bitmap) (uint64, bool) {
	for i := len(b.chunks) - 1; i >= 0; i-- {
		if b.chunks[i] == nil || other.chunks[i] == nil {
			continue
		}
		for pfn := uint64(i+1)*chunkPages - 1; ; pfn-- {
			if b.has(pfn) && other.has(pfn) {
				return pfn, true
			}
			if pfn == uint64(i)*chunkPages {
				break
			}
		}
	}
	return 0, false
}
