// Package lzo compresses blocks into the LZO1X format, which makedumpfile -l writes and every reader of
// kdump-compressed dumps understands.
//
// A stream of LZO1X is a sequence of instructions: runs of literal bytes, and matches, which copy bytes that were decoded
// before. The first byte of an instruction says which it is and how long, the last two bits of a match's distance word how
// many literals (up to three) follow it without an instruction of their own:
//
//	first byte   meaning
//	18 … 255     at the start of a stream: as many literals, less 17
//	0000 LLLL    3+L literals, or 18 and more
//	01 L DDD SS  match of 3 or 4 bytes, one more byte of distance, up to 2 KiB back
//	1 LL DDD SS  match of 5 to 8 bytes, the same
//	001 LLLLL    match of 2+L bytes, or 33 and more, a word of distance, up to 16 KiB back
//	0001 H LLL   match of 2+L bytes, or 9 and more, a word of distance, 16 to 48 KiB back
//	0001 0001    with a word of zeros: the end
//
// A length of 0 is followed by its rest, in bytes of 255 (written as 0) and a last one. The format is described in the
// Linux documentation (staging/lzo); what is read here with other instructions is not needed for writing.
package lzo

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	near = 0x800  // farthest distance of a match in two bytes
	mid  = 0x4000 // of one with a length of five bits
	far  = 0xbfff // of any

	minMatch = 4
	// head literals come in front of the first match, as from other compressors: fewer are a form that readers seldom meet.
	head = 4

	hashBits = 13
	hashMul  = 2654435761 // 2^32 divided by the golden ratio

	// skipShift: where nothing matches, each 32 literals make the search's steps a byte longer.
	skipShift = 5
)

// Compressor compresses blocks, one after the other. The zero value is ready. It is not safe for many goroutines, and is
// some 32 KiB large.
type Compressor struct {
	// table has the places of recent bytes by a hash of four of them. A place counts on over all blocks, so that what
	// former ones left is recognised by its distance and the table need not be cleared.
	table [1 << hashBits]uint32
	base  uint32 // place of the block's first byte
}

// Bound is the largest size that a block of n bytes is compressed to.
func Bound(n int) int { return n + n/255 + 16 }

// Compress appends the compressed block to dst. The same block always becomes the same bytes. src must not overlap the
// room behind dst.
func (c *Compressor) Compress(dst, src []byte) []byte {
	// The wide stores of literals may write that far beyond.
	dst = slices.Grow(dst, Bound(len(src))+wide)
	w := writer{out: dst[len(dst):cap(dst)]}
	c.block(&w, src)
	w.end()
	return dst[:len(dst)+w.n]
}

// begin finds room for the places of a block: none in the table is as near as its first byte.
func (c *Compressor) begin(n int) {
	if c.base == 0 || uint64(c.base)+uint64(n) > 1<<32-1 {
		c.table = [1 << hashBits]uint32{}
		c.base = 1
	}
}

// block writes all of src.
func (c *Compressor) block(w *writer, src []byte) {
	c.begin(len(src))
	base := c.base
	c.base += uint32(len(src))

	lit := 0 // the first byte that isn't written
	for at := head; at+8 <= len(src); {
		seq := binary.LittleEndian.Uint32(src[at:])
		slot := &c.table[seq*hashMul>>(32-hashBits)]
		dist := int(base + uint32(at) - *slot)
		*slot = base + uint32(at)
		if dist > min(at, far) || binary.LittleEndian.Uint32(src[at-dist:]) != seq {
			at += 1 + (at-lit)>>skipShift
			continue
		}
		size := minMatch + common(src, at+minMatch-dist, at+minMatch)
		for at > max(lit, head, dist) && src[at-1] == src[at-1-dist] {
			at--
			size++
		}
		w.literals(src, lit, at)
		w.match(size, dist)
		at += size
		lit = at
	}
	w.literals(src, lit, len(src))
}

// common counts the bytes that are equal from a and from b on, which is behind a.
func common(src []byte, a, b int) int {
	from := b
	for b+8 <= len(src) {
		diff := binary.LittleEndian.Uint64(src[a:]) ^ binary.LittleEndian.Uint64(src[b:])
		if diff != 0 {
			return b - from + bits.TrailingZeros64(diff)/8
		}
		a += 8
		b += 8
	}
	for b < len(src) && src[a] == src[b] {
		a++
		b++
	}
	return b - from
}
