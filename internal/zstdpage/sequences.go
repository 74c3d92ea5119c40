package zstdpage

import "bytes"

// Codes of lengths, RFC 8878 3.1.1.3.2.1.1: larger ones have extra bits, by what they are more than the code's least.
var (
	litBase    = [36]uint32{}
	litExtra   = [36]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBase  = [53]uint32{} // less 3, as lengths of matches are kept
	matchExtra = [53]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	litCode    [64]uint8  // of short ones
	matchCode  [128]uint8 // the same

	litTable, matchTable, offsetTable fseTable
)

// The tables that every reader knows, RFC 8878 3.1.1.3.2.2.
var (
	litNorm = []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
		-1, -1, -1, -1}
	matchNorm = []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}
	offsetNorm = []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}
)

// Tables of our own, which a block tells first: in pages of a kernel's memory every second match is as far back as the one before it, and has
// a literal in front of it or none. What is told takes less than is gained from some 30 matches on.
var (
	ownLits    = newOwnTable([]int16{15, 15, 8, 2, 2, 2, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}, 6)
	ownOffsets = newOwnTable([]int16{27, -1, -1, 3, 3, 3, 4, 3, 4, 4, 4, 2, -1, -1, -1, -1, -1}, 6)
)

// ownLongest is the first number of literals that ownLits can't say.
const ownLongest = 128

// minOwn is for how many matches tables of our own are worth what they take.
const minOwn = 40

// ownTable is a table with the bytes that tell it.
type ownTable struct {
	fseTable
	told []byte
}

func newOwnTable(norm []int16, log uint) *ownTable {
	t := new(ownTable)
	t.build(norm, log)
	var out [64]byte
	t.told = bytes.Clone(out[:putTable(out[:], norm, log)])
	return t
}

func init() {
	fill := func(base []uint32, extra, short []uint8) {
		next := uint32(0)
		for i, n := range extra {
			base[i] = next
			for end := next + 1<<n; next < end; next++ {
				if int(next) < len(short) {
					short[next] = uint8(i)
				}
			}
		}
	}
	fill(litBase[:], litExtra[:], litCode[:])
	fill(matchBase[:], matchExtra[:], matchCode[:])
	litTable.build(litNorm, 6)
	matchTable.build(matchNorm, 6)
	offsetTable.build(offsetNorm, 5)
}

func litCodeOf(n uint32) uint8 {
	if n < uint32(len(litCode)) {
		return litCode[n]
	}
	return uint8(highBit(n)) + 19
}

func matchCodeOf(n uint32) uint8 {
	if n < uint32(len(matchCode)) {
		return matchCode[n]
	}
	return uint8(highBit(n)) + 36
}

// putSequences writes the section of matches and returns its size.
func (c *Compressor) putSequences(out []byte) int {
	seqs := c.seqs
	at := 0
	switch n := len(seqs); {
	case n == 0:
		out[0] = 0
		return 1
	case n < 128:
		out[0] = byte(n)
		at = 1
	default: // a page has fewer than the 0x7f00 that need a third byte
		out[0], out[1] = byte(n>>8+128), byte(n)
		at = 2
	}
	lits, offsets := &litTable, &offsetTable
	modes := &out[at]
	*modes = 0 // tables that every reader knows
	at++
	if len(seqs) >= minOwn {
		if c.longest < ownLongest {
			lits = &ownLits.fseTable
			*modes |= toldTable << 6
			at += copy(out[at:], ownLits.told)
		}
		offsets = &ownOffsets.fseTable
		*modes |= toldTable << 4
		at += copy(out[at:], ownOffsets.told)
	}
	w := bitWriter{out: out, at: at}
	// What is read first is written last.
	last := &seqs[len(seqs)-1]
	lc, mc, oc := litCodeOf(last.lits), matchCodeOf(last.len), uint8(highBit(last.offset))
	ls, ms, os := lits.first(lc), matchTable.first(mc), offsets.first(oc)
	w.extra(last, lc, mc, oc)
	for i := len(seqs) - 2; i >= 0; i-- {
		s := &seqs[i]
		lc, mc, oc = litCodeOf(s.lits), matchCodeOf(s.len), uint8(highBit(s.offset))
		os = offsets.next(&w, os, oc)
		ms = matchTable.next(&w, ms, mc)
		ls = lits.next(&w, ls, lc)
		w.extra(s, lc, mc, oc)
	}
	w.state(ms, &matchTable)
	w.state(os, offsets)
	w.state(ls, lits)
	return w.end()
}

// state writes the state in which readers begin.
func (w *bitWriter) state(state uint32, t *fseTable) { w.put(uint64(state)&(1<<t.log-1), t.log) }

// toldTable is the mode of a table that the block tells.
const toldTable = 2

// extra writes what the codes of a match don't say.
func (w *bitWriter) extra(s *seq, lc, mc, oc uint8) {
	w.put(uint64(s.lits-litBase[lc]), uint(litExtra[lc]))
	w.put(uint64(s.len-matchBase[mc]), uint(matchExtra[mc]))
	w.flush()
	w.put(uint64(s.offset)&(1<<oc-1), uint(oc))
	w.flush()
}
