// Package zstdpage compresses pages into zstd frames (RFC 8878), fast: it is for blocks that are compressed one by one, where general
// compressors spend most of their time on getting ready and on tables.
//
// A page is one frame of one block. It is searched for matches with one probe a place. What is left of it has a prefix code of its
// own; the matches are written with tables that are always the same.
package zstdpage

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	// MaxPage is the size of the largest page that can be compressed, bytes.
	MaxPage = 1 << 16

	minMatch = 5

	hashBits = 13
	hashMul  = 889523592379 // a prime of 40 bits

	// skipShift: where nothing matches, each 32 literals make the search's steps a byte longer.
	skipShift = 5
)

// Compressor compresses pages, one after the other. The zero value is ready. It is not safe for many goroutines, and is some
// 100 KiB large, and as much again for large pages.
type Compressor struct {
	// table has the places of recent bytes by a hash of five of them. Places count on from page to page, so that what
	// former pages left is recognised as too far, and the table is cleared only when places begin anew.
	table [1 << hashBits]uint16
	base  int // place of the page's first byte; 0: the table must be cleared
	// in is a copy of the page. An index of 16 bits is always within it, so that the search needs no bounds checks.
	in   [MaxPage + 8]byte
	size int

	lits    []byte // of the page, one behind the other
	nLits   int
	seqs    []seq
	longest uint32 // run of literals in front of a match
	code    literalCode
	out     []byte // the block's content
}

// seq is some literals, and a match behind them.
type seq struct {
	lits   uint32
	len    uint32 // of the match, less 3
	offset uint32 // Offset_Value of RFC 8878, 3.1.1.5: the distance and 3, or 1 to 3 for a recent one
}

// wide is how many bytes short runs of literals are copied by, whatever their length.
const wide = 16

// Parts of a frame.
const (
	magic = 0xfd2fb528

	singleSegment = 1 << 5 // no window but the page
	size16        = 1 << 6 // its size, less 256, in two bytes; without it, in one byte as it is

	rawBlock, rleBlock, compressedBlock = 0, 1, 2
	lastBlock                           = 1
)

// Compress appends the page as a zstd frame to dst. The same page always becomes the same bytes. One that can't be made smaller is
// stored, with up to 10 bytes around it. src must not overlap the room behind dst; it has at most MaxPage bytes.
func (c *Compressor) Compress(dst, src []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	if len(src) < 256 {
		dst = append(dst, singleSegment, byte(len(src)))
	} else {
		dst = append(dst, singleSegment|size16)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(src)-256))
	}
	if len(src) > 1 && bytes.Equal(src[1:], src[:len(src)-1]) {
		return append(appendBlock(dst, rleBlock, len(src)), src[0])
	}
	c.size = copy(c.in[:MaxPage], src)
	if c.size >= minSize {
		c.search()
		if body := c.block(); len(body) < len(src) {
			return append(appendBlock(dst, compressedBlock, len(body)), body...)
		}
	}
	return append(appendBlock(dst, rawBlock, len(src)), src...)
}

// minSize is of pages that are worth a try, bytes.
const minSize = 32

func appendBlock(dst []byte, kind, size int) []byte {
	head := lastBlock | kind<<1 | size<<3
	return append(dst, byte(head), byte(head>>8), byte(head>>16))
}

func (c *Compressor) load32(at int) uint32 { return binary.LittleEndian.Uint32(c.in[uint16(at):]) }
func (c *Compressor) load64(at int) uint64 { return binary.LittleEndian.Uint64(c.in[uint16(at):]) }

func hash(word uint64) uint64 { return word << 24 * hashMul >> (64 - hashBits) & (1<<hashBits - 1) }

// search cuts the page into literals and matches.
func (c *Compressor) search() {
	if c.base == 0 || c.base+c.size > MaxPage {
		c.table = [1 << hashBits]uint16{}
		c.base = 1
	}
	base, size := uint16(c.base), c.size
	c.base += size
	c.seqs, c.nLits, c.longest = c.seqs[:0], 0, 0
	if room := size + wide; len(c.lits) < room {
		c.lits = make([]byte, room)
	}
	lit := 0              // the first byte that is in no match yet
	recent, older := 1, 4 // distances that the format takes for the last ones where there were none
	for at := 1; at+8 <= size; {
		word := c.load64(at)
		slot := &c.table[hash(word)]
		dist := int(base+uint16(at)-1-*slot) + 1
		*slot = base + uint16(at)
		if at > recent && uint32(word>>8) == c.load32(at+1-recent) {
			// The distance of the last match goes on.
			at++
			end := c.matchEnd(at+4, recent)
			for at > lit && at > recent && c.in[uint16(at-1)] == c.in[uint16(at-1-recent)] {
				at--
			}
			// There is a literal in front: otherwise the last match would have gone on. Without one, 1 means another distance.
			c.add(lit, at, end, 1)
			at, lit = end, end
			continue
		}
		if dist > at || uint32(word) != c.load32(at-dist) || byte(word>>32) != c.in[uint16(at+4-dist)] {
			at += 1 + (at-lit)>>skipShift
			continue
		}
		end := c.matchEnd(at+minMatch, dist)
		for at > max(lit, dist) && c.in[uint16(at-1)] == c.in[uint16(at-1-dist)] {
			at--
		}
		c.add(lit, at, end, uint32(dist+3))
		recent, older = dist, recent
		c.table[hash(c.load64(end-2))] = base + uint16(end-2)
		at, lit = end, end
		for at+8 <= size && at >= older && c.load32(at) == c.load32(at-older) {
			// Without literals, 1 means the distance before the last.
			c.table[hash(c.load64(at))] = base + uint16(at)
			end := c.matchEnd(at+4, older)
			c.add(at, at, end, 1)
			recent, older = older, recent
			at, lit = end, end
		}
	}
	c.literals(lit, size)
}

// add notes the literals [lit, at) and the match [at, end).
func (c *Compressor) add(lit, at, end int, offset uint32) {
	c.literals(lit, at)
	c.longest = max(c.longest, uint32(at-lit))
	c.seqs = append(c.seqs, seq{uint32(at - lit), uint32(end - at - 3), offset})
}

func (c *Compressor) literals(from, to int) {
	n := to - from
	if n <= wide && from+wide <= len(c.in) {
		// Words, as emulators are slow at registers of 16 bytes that are not aligned.
		to, of := c.lits[c.nLits:][:wide], c.in[from:][:wide]
		binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(of))
		binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(of[8:]))
	} else {
		copy(c.lits[c.nLits:], c.in[from:to])
	}
	c.nLits += n
}

// matchEnd is where a match ends that is known to go to a byte.
func (c *Compressor) matchEnd(at, dist int) int {
	for ; at+8 <= c.size; at += 8 {
		if diff := c.load64(at) ^ c.load64(at-dist); diff != 0 {
			return at + bits.TrailingZeros64(diff)/8
		}
	}
	for at < c.size && c.in[uint16(at)] == c.in[uint16(at-dist)] {
		at++
	}
	return at
}

// block makes the content of a compressed block.
func (c *Compressor) block() []byte {
	// Literals take less than they are and a few bytes; a match takes less than 8 bytes, and at least 4 of the page.
	if room := 2*c.size + 1024; len(c.out) < room {
		c.out = slices.Grow(c.out[:0], room)[:room]
	}
	n := c.putLiterals(c.out)
	n += c.putSequences(c.out[n:])
	return c.out[:n]
}
