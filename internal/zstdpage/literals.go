package zstdpage

import (
	"encoding/binary"
	"math/bits"
)

// Kinds of literals, RFC 8878 3.1.1.3.1.
const (
	rawLiterals, rleLiterals, codedLiterals = 0, 1, 2

	// maxBits is of the longest code.
	maxBits = 11
	// minCoded is how many literals are worth a code.
	minCoded = 64
	// oneStream is how many literals fit into a single stream of codes; more make four.
	oneStream = 1 << 10
)

// literalCode is the prefix code of a page's literals.
type literalCode struct {
	freq    [256]uint32
	parts   [3][256]uint32 // of the histogram, so that a byte that comes many times does not wait for itself
	table   [256]uint32    // code<<8 | length
	lost    [256]uint8     // in eighths, by rounding
	weights weightCode
}

// putLiterals writes the section of literals and returns its size.
func (c *Compressor) putLiterals(out []byte) int {
	lits := c.lits[:c.nLits]
	if len(lits) >= minCoded {
		if n := c.code.put(out, lits); n > 0 {
			return n
		}
	}
	n := putLiteralSize(out, rawLiterals, len(lits))
	return n + copy(out[n:], lits)
}

// putLiteralSize writes the head of literals that are not coded.
func putLiteralSize(out []byte, kind, size int) int {
	switch {
	case size < 1<<5:
		out[0] = byte(kind | size<<3)
		return 1
	case size < 1<<12:
		binary.LittleEndian.PutUint16(out, uint16(kind|1<<2|size<<4))
		return 2
	}
	binary.LittleEndian.PutUint32(out, uint32(kind|3<<2|size<<4))
	return 3
}

// put writes literals with a code of their own. It returns 0 if they should stay as they are.
func (h *literalCode) put(out, lits []byte) int {
	used, most := h.count(lits)
	if int(most) == len(lits) {
		n := putLiteralSize(out, rleLiterals, len(lits))
		out[n] = lits[0]
		return n + 1
	}
	if int(most) <= len(lits)>>7+4 {
		return 0 // noise
	}
	size := h.build(used, len(lits))
	// A head of 3 to 5 bytes; the code; where there are four streams, where three of them end; the streams.
	head := 3
	if len(lits) >= oneStream {
		head = 4
		if len(lits) >= 1<<14 {
			head = 5
		}
	}
	n := h.weights.put(out[head:], h.table[:used])
	if n == 0 || size/8+n >= len(lits)-len(lits)>>6-2 {
		return 0
	}
	at := head + n
	if head == 3 {
		at = h.stream(out, at, lits)
	} else {
		jump := out[at : at+6]
		at += 6
		quarter := (len(lits) + 3) / 4
		for i := range 3 {
			end := h.stream(out, at, lits[i*quarter:(i+1)*quarter])
			binary.LittleEndian.PutUint16(jump[2*i:], uint16(end-at))
			at = end
		}
		at = h.stream(out, at, lits[3*quarter:])
	}
	coded := at - head
	if coded >= len(lits) {
		return 0
	}
	switch head {
	case 3:
		v := uint32(codedLiterals | len(lits)<<4 | coded<<14)
		out[0], out[1], out[2] = byte(v), byte(v>>8), byte(v>>16)
	case 4:
		binary.LittleEndian.PutUint32(out, codedLiterals|2<<2|uint32(len(lits))<<4|uint32(coded)<<18)
	default:
		v := codedLiterals | 3<<2 | uint64(len(lits))<<4 | uint64(coded)<<22
		binary.LittleEndian.PutUint32(out, uint32(v))
		out[4] = byte(v >> 32)
	}
	return at
}

// count fills the histogram. It returns one more than the largest byte that comes, and how often the most frequent one does.
func (h *literalCode) count(lits []byte) (used int, most uint32) {
	clear(h.freq[:])
	h.parts = [3][256]uint32{}
	for ; len(lits) >= 8; lits = lits[8:] {
		w := binary.LittleEndian.Uint64(lits)
		h.freq[w&0xff]++
		h.parts[0][w>>8&0xff]++
		h.parts[1][w>>16&0xff]++
		h.parts[2][w>>24&0xff]++
		h.freq[w>>32&0xff]++
		h.parts[0][w>>40&0xff]++
		h.parts[1][w>>48&0xff]++
		h.parts[2][w>>56]++
	}
	for _, b := range lits {
		h.freq[b]++
	}
	for i := range h.freq {
		f := h.freq[i] + h.parts[0][i] + h.parts[1][i] + h.parts[2][i]
		h.freq[i] = f
		if f > 0 {
			used = i + 1
		}
		most = max(most, f)
	}
	return used, most
}

// build makes the code and returns how many bits the literals take.
func (h *literalCode) build(used, total int) int {
	h.lengths(used, total)
	var counts [maxBits + 1]uint32
	size := 0
	for i, length := range h.table[:used] {
		counts[length&15%(maxBits+1)]++
		size += int(length * h.freq[i])
	}
	// The longest codes come first, the same length in the order of the bytes.
	var next [16]uint32
	first := uint32(0)
	for length := maxBits; length > 0; length-- {
		next[length] = first
		first = (first + counts[length]) >> 1
	}
	for i, length := range h.table[:used] {
		h.table[i] = next[length&15]<<8 | length
		next[length&15]++
	}
	return size
}

// lengths fills the table with a length for each byte that comes. Finding Huffman's, which are less than a hundredth better, takes
// several times as long: bytes would have to be sorted. Each gets the bits of its share, rounded up; the room that this leaves, in units
// of the longest codes, goes to those that lost most by it.
func (h *literalCode) lengths(used, total int) {
	const buckets = 8
	var room [buckets]int // that those take who lost so much
	free := 1 << maxBits
	width := bits.Len(uint(total))
	const point = 24
	share := uint64(buckets<<point) / uint64(total)
	for i, f := range h.freq[:used] {
		if f == 0 {
			h.table[i], h.lost[i] = 0, 0
			continue
		}
		length := width - bits.Len32(f)
		if int(f)<<length < total {
			length++
		}
		// By how much the share is more than the length says: 1 to 2.
		lost := uint64(int(f)<<length-total) * share >> point
		if length > maxBits {
			length, lost = maxBits, 0
		}
		h.table[i], h.lost[i] = uint32(length), uint8(lost)
		free -= 1 << (maxBits - length)
		room[lost&(buckets-1)] += 1 << (maxBits - length)
	}
	least := buckets
	for least > 1 && room[least-1] <= free {
		least--
		free -= room[least]
	}
	for i, lost := range h.lost[:used] {
		if int(lost) >= least {
			h.table[i]--
		}
	}
	for length := uint32(maxBits - 1); free < 0; length-- { // rare bytes got more than their share
		for i := 0; i < used && free < 0; i++ {
			if h.table[i] == length {
				h.table[i]++
				free += 1 << (maxBits - 1 - length)
			}
		}
	}
	for least--; free > 0; least = 0 {
		for i := 0; i < used && free > 0; i++ {
			if length := h.table[i]; length > 1 && int(h.lost[i]) >= least && 1<<(maxBits-length) <= free {
				free -= 1 << (maxBits - length)
				h.table[i]--
			}
		}
	}
}

// stream writes literals so that they are read from the end, and returns where it ends.
func (h *literalCode) stream(out []byte, at int, lits []byte) int {
	var acc uint64
	var n uint
	i := len(lits)
	for ; i&3 != 0; i-- {
		e := h.table[lits[i-1]]
		acc |= uint64(e>>8) << (n & 63)
		n += uint(e & 15)
	}
	for ; ; i -= 4 {
		binary.LittleEndian.PutUint64(out[at:], acc)
		at += int(n >> 3)
		acc >>= n &^ 7 & 63
		n &= 7
		if i == 0 {
			return endBits(out, at, acc, n)
		}
		// Four codes and what is left of a byte are at most 51 bits.
		four := lits[i-4 : i : i]
		e := h.table[four[3]]
		acc |= uint64(e>>8) << (n & 63)
		n += uint(e & 15)
		e = h.table[four[2]]
		acc |= uint64(e>>8) << (n & 63)
		n += uint(e & 15)
		e = h.table[four[1]]
		acc |= uint64(e>>8) << (n & 63)
		n += uint(e & 15)
		e = h.table[four[0]]
		acc |= uint64(e>>8) << (n & 63)
		n += uint(e & 15)
	}
}

// endBits writes what is left and the bit by which readers, who begin at the end, find it.
func endBits(out []byte, at int, acc uint64, n uint) int {
	binary.LittleEndian.PutUint64(out[at:], acc|1<<(n&63))
	return at + int(n>>3) + 1
}
