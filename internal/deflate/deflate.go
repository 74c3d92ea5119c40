// Package deflate compresses pages into zlib streams (RFC 1950, 1951), fast: it is for blocks that are compressed one by one,
// where general compressors spend most of their time on getting ready and on tables.
//
// A block is searched for matches with one probe a place, and written as one block of deflate, with Huffman codes of its own
// or, where those would cost more than they save, with the fixed ones.
package deflate

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	// MaxBlock is the size of the largest block that can be compressed, bytes.
	MaxBlock = 1 << 16

	minMatch = 4
	maxMatch = 258
	maxDist  = 1 << 15

	hashBits = 14
	hashMul  = 2654435761 // 2^32 divided by the golden ratio

	// skipShift: where nothing matches, each 32 literals make the search's steps a byte longer.
	skipShift = 5
)

// Compressor compresses blocks, one after the other. The zero value is ready. It is not safe for many goroutines, and is
// some 110 KiB large, with 8 bytes more for each match that the blocks had at most.
type Compressor struct {
	// table has the places of recent bytes by a hash of four of them. Places count on from block to block, so that what
	// former blocks left is recognised as too far, and the table is cleared only when places begin anew.
	table [1 << hashBits]uint16
	base  int // place of the block's first byte; 0: the table must be cleared
	// in is a copy of the block. An index of 16 bits is always within it, so that the search needs no bounds checks.
	in   [MaxBlock + 8]byte
	size int

	seqs []seq
	lits histogram // of literals and lengths
	dist histogram
	meta histogram // of the lengths of the codes of both
	runs []run
}

// seq is some literals, and a match behind them.
type seq struct {
	lits uint32
	len  uint16 // less 3; there is no match behind the last literals, see noMatch
	dist uint16 // less 1
}

const noMatch = 1<<16 - 1

// Compress appends the block as a zlib stream to dst. The same block always becomes the same bytes. A block that can't be
// made smaller is stored, with 11 bytes around it. src must not overlap the room behind dst; it has at most MaxBlock bytes.
func (c *Compressor) Compress(dst, src []byte) []byte {
	c.size = copy(c.in[:MaxBlock], src)
	c.search()
	c.count()
	out := c.encode(dst)
	return binary.BigEndian.AppendUint32(out, adler(src))
}

func (c *Compressor) load32(at int) uint32 { return binary.LittleEndian.Uint32(c.in[uint16(at):]) }
func (c *Compressor) load64(at int) uint64 { return binary.LittleEndian.Uint64(c.in[uint16(at):]) }

// search cuts the block into literals and matches.
func (c *Compressor) search() {
	if c.base == 0 || c.base+c.size > MaxBlock {
		c.table = [1 << hashBits]uint16{}
		c.base = 1
	}
	base, size := uint16(c.base), c.size
	c.base += size
	c.seqs = c.seqs[:0]
	lit := 0 // the first byte that is in no match yet
	for at := 0; at+8 <= size; {
		word := c.load32(at)
		slot := &c.table[word*hashMul>>(32-hashBits)]
		dist := int(base+uint16(at)-1-*slot) + 1
		*slot = base + uint16(at)
		if dist > at || dist > maxDist || c.load32(at-dist) != word {
			at += 1 + (at-lit)>>skipShift
			continue
		}
		end := c.matchEnd(at, dist)
		for at > max(lit, dist) && c.in[uint16(at-1)] == c.in[uint16(at-1-dist)] {
			at--
		}
		c.match(uint32(at-lit), end-at, dist)
		at, lit = end, end
		c.table[c.load32(end-2)*hashMul>>(32-hashBits)] = base + uint16(end-2)
	}
	c.seqs = append(c.seqs, seq{lits: uint32(size - lit), len: noMatch})
}

// match notes a match, in pieces that the format can say.
func (c *Compressor) match(lits uint32, n, dist int) {
	for n > 0 {
		k := min(n, maxMatch)
		if n > maxMatch && n-k < minMatch {
			k = n - minMatch
		}
		c.seqs = append(c.seqs, seq{lits, uint16(k - 3), uint16(dist - 1)})
		lits, n = 0, n-k
	}
}

// matchEnd is where the match at a byte ends, whose first four bytes are known to be equal.
func (c *Compressor) matchEnd(at, dist int) int {
	for at += minMatch; at+8 <= c.size; at += 8 {
		if diff := c.load64(at) ^ c.load64(at-dist); diff != 0 {
			return at + bits.TrailingZeros64(diff)/8
		}
	}
	for at < c.size && c.in[uint16(at)] == c.in[uint16(at-dist)] {
		at++
	}
	return at
}

// endOfBlock is the symbol behind the last literal or match; lengths follow it.
const (
	endOfBlock  = 256
	firstLength = 257
	numLits     = 286
	numDists    = 30
)

// count fills the histograms.
func (c *Compressor) count() {
	c.lits.clear(numLits)
	c.dist.clear(numDists)
	lits, dists := &c.lits.freq, &c.dist.freq
	at := 0
	for _, s := range c.seqs {
		end := at + int(s.lits)
		for _, b := range c.in[at:end] {
			lits[b]++
		}
		if s.len == noMatch {
			break
		}
		lits[firstLength+int(lengthCode[uint8(s.len)])]++
		dists[distCode(s.dist)&31]++
		at = end + int(s.len) + 3
	}
	lits[endOfBlock] = 1
}

// cheapest is about what a block with codes of its own takes at least, in bits: what is shorter with the fixed ones stays so.
const cheapest = 8 * 60

// encode appends the stream's header and its one block.
func (c *Compressor) encode(dst []byte) []byte {
	extra := 0
	for i, n := range lengthExtra[:numLits-firstLength] {
		extra += int(n) * int(c.lits.freq[firstLength+i])
	}
	for i, n := range distExtra[:numDists] {
		extra += int(n) * int(c.dist.freq[i])
	}
	fixed := extra + c.lits.costs(&fixedLits) + c.dist.costs(&fixedDists)
	own := fixed
	if fixed > cheapest {
		c.lits.build(numLits, 15)
		c.dist.build(numDists, 15)
		own = extra + c.tableCost() + c.lits.costs(&c.lits.codes) + c.dist.costs(&c.dist.codes)
	}
	const head, trailer = 2, 4
	if min(own, fixed)/8+head+trailer >= c.size {
		return c.stored(dst)
	}
	// Each store is of eight bytes.
	dst = slices.Grow(dst, head+min(own, fixed)/8+1+trailer+8)
	w := bitWriter{out: dst[len(dst):cap(dst)]}
	w.add(0x0178, 16) // zlib, 32 KiB window, fastest
	if fixed <= own {
		w.add(1|1<<1, 3)
		c.body(&w, &fixedLits, &fixedDists)
	} else {
		w.add(1|2<<1, 3)
		c.tables(&w)
		c.body(&w, &c.lits.codes, &c.dist.codes)
	}
	return dst[:len(dst)+w.end()]
}

func (c *Compressor) stored(dst []byte) []byte {
	const most = 1<<16 - 1
	dst = append(dst, 0x78, 0x01)
	for at := 0; ; {
		n := min(c.size-at, most)
		last := byte(0)
		if at+n == c.size {
			last = 1
		}
		dst = append(dst, last)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(n))
		dst = append(dst, c.in[at:at+n]...)
		if at += n; last == 1 {
			return dst
		}
	}
}

// body writes literals and matches.
func (c *Compressor) body(w *bitWriter, lits, dists *[maxSymbols]code) {
	at := 0
	for _, s := range c.seqs {
		end := at + int(s.lits)
		in := c.in[at:end]
		for len(in) >= 3 {
			a, b, d := lits[in[0]], lits[in[1]], lits[in[2]]
			w.put(a)
			w.put(b)
			w.put(d)
			w.flush()
			in = in[3:]
		}
		for _, b := range in {
			w.put(lits[b])
		}
		w.flush()
		if s.len == noMatch {
			break
		}
		lc := lengthCode[uint8(s.len)] & 31
		w.put(lits[firstLength+int(lc)])
		w.more(uint64(s.len)-uint64(lengthBase[lc]), lengthExtra[lc])
		dc := distCode(s.dist) & 31
		w.put(dists[dc])
		w.more(uint64(s.dist)-uint64(distBase[dc]), distExtra[dc])
		w.flush()
		at = end + int(s.len) + 3
	}
	w.put(lits[endOfBlock])
	w.flush()
}
