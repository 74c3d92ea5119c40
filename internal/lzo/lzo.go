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
// Linux documentation (staging/lzo), with three more kinds of matches that this compressor has no use for.
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

	hashBits = 14
	hashMul  = 2654435761 // 2^32 divided by the golden ratio

	// skipShift: where nothing matches, each 16 literals make the search's steps a byte longer.
	skipShift = 4
)

// Compressor compresses blocks, one after the other. The zero value is ready. It is not safe for many goroutines, and is
// 96 KiB large.
type Compressor struct {
	// table has the places of recent bytes by a hash of four of them. Places count on from block to block, so that what
	// former blocks left is recognised as too far, and the table is cleared only when places begin anew.
	table [1 << hashBits]uint16
	base  int // place of the window's first byte; 0: the table must be cleared
	// in is the window: a copy of the block, or of a part of a large one. An index of 16 bits is always within it, so that
	// the search needs no bounds checks, which would take a sixth of its time.
	in [window + 8]byte
}

// window is how much of a block is searched at once. Matches don't reach from one window into another.
const window = 1 << 16

// Bound is the largest size that a block of n bytes is compressed to.
func Bound(n int) int { return n + n/255 + 16 }

// Compress appends the compressed block to dst. The same block always becomes the same bytes. src must not overlap the
// room behind dst.
func (c *Compressor) Compress(dst, src []byte) []byte {
	// The wide stores of literals may write that far beyond.
	dst = slices.Grow(dst, Bound(len(src))+wide)
	w := writer{out: dst[len(dst):cap(dst)], src: src}
	for from := 0; from < len(src); from += window {
		size := copy(c.in[:window], src[from:])
		c.begin(size)
		c.search(&w, from, size)
		c.base += size
	}
	w.literals(len(src))
	w.end()
	return dst[:len(dst)+w.n]
}

func (c *Compressor) begin(size int) {
	if c.base == 0 || c.base+size > window {
		c.table = [1 << hashBits]uint16{}
		c.base = 1
	}
}

// search writes the matches of the window, and the literals in front of them. The window has size bytes, the first of them
// is the block's byte from.
func (c *Compressor) search(w *writer, from, size int) {
	base := uint16(c.base)
	lit := w.lit - from // the first byte that isn't written; negative if it is in a former window
	for at := head; at+8 <= size; {
		seq := c.load32(at)
		slot := &c.table[seq*hashMul>>(32-hashBits)]
		dist := int(base+uint16(at)-1-*slot) + 1
		*slot = base + uint16(at)
		if dist > at || dist > far || c.load32(at-dist) != seq {
			at += 1 + (at-lit)>>skipShift
			continue
		}
		end := c.matchEnd(at, dist, size)
		for at > max(lit, head, dist) && c.in[uint16(at-1)] == c.in[uint16(at-1-dist)] {
			at--
		}
		w.literals(from + at)
		w.match(end-at, dist)
		at = end
		lit = end
	}
}

func (c *Compressor) load32(at int) uint32 { return binary.LittleEndian.Uint32(c.in[uint16(at):]) }
func (c *Compressor) load64(at int) uint64 { return binary.LittleEndian.Uint64(c.in[uint16(at):]) }

// matchEnd is where the match at a byte ends, whose first four bytes are known to be equal.
func (c *Compressor) matchEnd(at, dist, size int) int {
	for at += minMatch; at+8 <= size; at += 8 {
		if diff := c.load64(at) ^ c.load64(at-dist); diff != 0 {
			return at + bits.TrailingZeros64(diff)/8
		}
	}
	for at < size && c.in[uint16(at)] == c.in[uint16(at-dist)] {
		at++
	}
	return at
}
