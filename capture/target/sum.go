package target

import (
	"encoding/binary"
	"math/bits"
)

// sum holds what was written at any offsets, in any order, against what is read back from front to back. Every eight bytes of a
// file are a number, which is multiplied by one that belongs to their place; the products are added up modulo 2^128 (multilinear
// hashing, of Carter and Wegman). So the sum of a file is the sum of its pieces, and zeros add nothing. It costs little also where
// no instruction computes a CRC. Bytes that are written twice must be given to shadow first.
type sum struct{ hi, lo uint64 }

// wordSize is how many bytes are a number.
const wordSize = 8

// add takes bytes at an offset.
func (s *sum) add(p []byte, off int64) {
	at := uint64(off)
	if into := at % wordSize; into != 0 {
		n := min(len(p), int(wordSize-into))
		s.part(p[:n], at)
		p, at = p[n:], at+uint64(n)
	}
	hi, lo, place := s.hi, s.lo, at/wordSize*step
	for ; len(p) >= wordSize; p, at, place = p[wordSize:], at+wordSize, place+step {
		h, l := bits.Mul64(binary.LittleEndian.Uint64(p), factor(place))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
	}
	s.hi, s.lo = hi, lo
	s.part(p, at)
}

// part takes bytes of one number.
func (s *sum) part(p []byte, at uint64) {
	var word [wordSize]byte
	copy(word[at%wordSize:], p)
	h, l := bits.Mul64(binary.LittleEndian.Uint64(word[:]), factor(at/wordSize*step))
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, l, 0)
	s.hi += h + carry
}

// step is between the seeds of neighbours (2^64 divided by the golden ratio, odd).
const step = 0x9e3779b97f4a7c15

// factor makes an odd number of a seed that looks as if it were chosen by lot: bits of the seed reach all of its bits.
func factor(seed uint64) uint64 {
	seed = (seed ^ seed>>32) * 0xbf58476d1ce4e5b9
	return seed ^ seed>>32 | 1
}

// shadowSize is the part at the front of a file that may be written several times: the headers of a dump.
const shadowSize = 64 << 10

// ledger is what a file should hold.
type ledger struct {
	front [shadowSize]byte
	rest  sum
	end   int64
}

// wrote takes bytes that were written at an offset.
func (l *ledger) wrote(p []byte, off int64) {
	l.end = max(l.end, off+int64(len(p)))
	if off < shadowSize {
		n := copy(l.front[off:], p)
		p, off = p[n:], off+int64(n)
	}
	l.rest.add(p, off)
}

// want is the sum of the whole file.
func (l *ledger) want() sum {
	s := l.rest
	s.add(l.front[:min(l.end, shadowSize)], 0)
	return s
}
