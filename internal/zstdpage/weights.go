package zstdpage

import "math/bits"

// weightCode tells the lengths of a Huffman code, RFC 8878 4.2.1: the weight of a byte is one more than what its code is shorter than the
// longest, 0 if it has none. The last byte's follows from those of the others.
type weightCode struct {
	weights [256]uint8
	counts  [maxBits + 1]int
	norm    [maxBits + 1]int16
	table   fseTable
}

const (
	// directWeights is how many weights can be told in four bits each.
	directWeights = 128
	weightLog     = 6
)

// put writes the weights of the code, whose table ends with a byte that has one. It returns 0 if they can't be told.
func (c *weightCode) put(out []byte, table []uint32) int {
	n := len(table) - 1
	longest := uint32(0)
	for _, e := range table {
		longest = max(longest, e&15)
	}
	c.counts = [maxBits + 1]int{}
	for i, e := range table[:n] {
		w := uint8(0)
		if length := e & 15; length > 0 {
			w = uint8(longest + 1 - length)
		}
		c.weights[i] = w
		c.counts[w]++
	}
	size := c.packed(out[1:], n)
	direct := (n + 1) / 2
	if size > 0 && size < directWeights && (n > directWeights || size < direct) {
		out[0] = byte(size)
		return 1 + size
	}
	if n > directWeights {
		return 0
	}
	out[0] = byte(127 + n)
	c.weights[n] = 0
	for i := 0; i < n; i += 2 {
		out[1+i/2] = c.weights[i]<<4 | c.weights[i+1]
	}
	return 1 + direct
}

// packed writes n weights as two interleaved streams of one table, and returns the size of both; 0 if that makes no sense.
func (c *weightCode) packed(out []byte, n int) int {
	if n < 4 || !c.normalise(n) {
		return 0
	}
	c.table.build(c.norm[:], weightLog)
	at := putTable(out, c.norm[:], weightLog)

	w := bitWriter{out: out, at: at}
	var states [2]uint32 // of weights with even and odd numbers
	i := n - 1
	states[i&1] = c.table.first(c.weights[i])
	i--
	states[i&1] = c.table.first(c.weights[i])
	for i--; i >= 0; i-- {
		states[i&1] = c.table.next(&w, states[i&1], c.weights[i])
		if i&3 == 0 {
			w.flush()
		}
	}
	w.flush()
	w.put(uint64(states[1])&(1<<weightLog-1), weightLog)
	w.put(uint64(states[0])&(1<<weightLog-1), weightLog)
	return w.end()
}

// normalise shares the table's places out to the weights that come, by how often they do. It is false if all are the same.
func (c *weightCode) normalise(n int) bool {
	const places = 1 << weightLog
	left, best := places, 0
	for w, count := range c.counts {
		if count == n {
			return false
		}
		c.norm[w] = 0
		if count == 0 {
			continue
		}
		share := max(1, (count*places+n/2)/n)
		c.norm[w] = int16(share)
		left -= share
		if count > c.counts[best] {
			best = w
		}
	}
	// What rounding left over, or took too much, is the most frequent one's.
	if int(c.norm[best])+left < 1 {
		return false
	}
	c.norm[best] += int16(left)
	return true
}

// highBit is the number of the highest bit of a value that is not 0.
func highBit(v uint32) uint { return uint(bits.Len32(v) - 1) }
