package deflate

import "math/bits"

// Codes of lengths and distances, RFC 1951 3.2.5. Lengths are less 3, distances less 1.
var (
	lengthExtra = [32]uint8{8: 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distExtra   = [32]uint8{4: 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
	lengthBase  [32]uint16
	distBase    [32]uint16
	lengthCode  [256]uint8
	nearCode    [256]uint8 // of distances below 256
	farCode     [256]uint8 // of others, by their upper bits

	fixedLits, fixedDists [maxSymbols]code
)

func init() {
	next := 0
	for i := range 28 {
		lengthBase[i] = uint16(next)
		for range 1 << lengthExtra[i] {
			if next < 255 {
				lengthCode[next] = uint8(i)
			}
			next++
		}
	}
	lengthBase[28], lengthCode[255] = 255, 28
	next = 0
	for i := range numDists {
		distBase[i] = uint16(next)
		for d := next; d < next+1<<distExtra[i]; d++ {
			if d < 256 {
				nearCode[d] = uint8(i)
			} else {
				farCode[d>>7] = uint8(i)
			}
		}
		next += 1 << distExtra[i]
	}
	for i := range 288 {
		var c code
		switch {
		case i < 144:
			c = code{uint16(0x30 + i), 8}
		case i < 256:
			c = code{uint16(0x190 + i - 144), 9}
		case i < 280:
			c = code{uint16(i - 256), 7}
		default:
			c = code{uint16(0xc0 + i - 280), 8}
		}
		fixedLits[i] = c.reversed()
	}
	for i := range numDists {
		fixedDists[i] = code{uint16(i), 5}.reversed()
	}
}

func distCode(d uint16) uint8 {
	if d < 256 {
		return nearCode[d]
	}
	return farCode[d>>7]
}

// code is a Huffman code as it is written: its first bit is the lowest.
type code struct {
	bits uint16
	len  uint8
}

func (c code) reversed() code { return code{bits.Reverse16(c.bits) >> (16 - c.len), c.len} }

// run is a symbol of the third code, which tells the lengths of the codes of the other two, with its extra bits.
type run struct{ sym, extra, bits uint8 }

const (
	again     = 16 // the same length as before, 3 to 6 times
	zeros     = 17 // length 0, 3 to 10 times
	manyZeros = 18 // the same, 11 to 138 times
	numMeta   = 19
)

// metaOrder is the order in which the lengths of the third code are written.
var metaOrder = [numMeta]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// tableCost finds out how the codes of the block are told, and how many bits that takes.
func (c *Compressor) tableCost() int {
	c.meta.clear(numMeta)
	c.runs = c.runs[:0]
	var lens [numLits + numDists]uint8
	n := 0
	for _, k := range c.lits.codes[:c.lits.used()] {
		lens[n] = k.len
		n++
	}
	for _, k := range c.dist.codes[:c.dist.used()] {
		lens[n] = k.len
		n++
	}
	for i := 0; i < n; {
		j := i + 1
		for j < n && lens[j] == lens[i] {
			j++
		}
		c.tell(lens[i], j-i)
		i = j
	}
	c.meta.build(numMeta, 7)
	cost := 5 + 5 + 4 + 3*c.metaCount()
	for _, r := range c.runs {
		cost += int(c.meta.codes[r.sym].len) + int(r.bits)
	}
	return cost
}

// tell notes a length that comes n times.
func (c *Compressor) tell(length uint8, n int) {
	add := func(sym, extra, bits uint8) {
		c.runs = append(c.runs, run{sym, extra, bits})
		c.meta.freq[sym]++
	}
	if length == 0 {
		for ; n >= 11; n -= min(n, 138) {
			add(manyZeros, uint8(min(n, 138)-11), 7)
		}
		if n >= 3 {
			add(zeros, uint8(n-3), 3)
			n = 0
		}
	} else {
		add(length, 0, 0)
		for n--; n >= 3; n -= min(n, 6) {
			add(again, uint8(min(n, 6)-3), 2)
		}
	}
	for ; n > 0; n-- {
		add(length, 0, 0)
	}
}

// metaCount is how many lengths of the third code are written.
func (c *Compressor) metaCount() int {
	n := numMeta
	for n > 4 && c.meta.codes[metaOrder[n-1]].len == 0 {
		n--
	}
	return n
}

// tables writes the codes of the block.
func (c *Compressor) tables(w *bitWriter) {
	n := c.metaCount()
	w.add(uint64(c.lits.used()-firstLength), 5)
	w.add(uint64(c.dist.used()-1), 5)
	w.add(uint64(n-4), 4)
	for _, sym := range metaOrder[:n] {
		w.add(uint64(c.meta.codes[sym].len), 3)
	}
	for _, r := range c.runs {
		w.put(c.meta.codes[r.sym])
		w.add(uint64(r.extra), r.bits)
	}
}
