package target

import "hash/crc32"

// sum holds what was written at any offsets, in any order, against what is read back from front to back. A CRC without its
// initial and final complement is linear: the sum of a file is the sum of its parts, each moved to its place, and zeros add
// nothing. Bytes that are written twice must be given to shadow first.
type sum struct{ value uint32 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// add takes bytes at an offset.
func (s *sum) add(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	// Complementing what goes in and what comes out leaves the plain remainder.
	plain := ^crc32.Update(^uint32(0), castagnoli, p)
	s.value ^= shift(plain, sumEnd-uint64(off)-uint64(len(p)))
}

// sumEnd is where all files end for the sum: behind the largest.
const sumEnd = 1 << 62

// shift multiplies by x^(8n) modulo the polynomial: n bytes of zeros follow.
func shift(v uint32, n uint64) uint32 {
	for i := 0; n != 0; i, n = i+1, n>>1 {
		if n&1 != 0 {
			v = multiply(v, powers[i])
		}
	}
	return v
}

// powers[i] is x^(8·2^i).
var powers = func() (p [64]uint32) {
	p[0] = 1 << (31 - 8)
	for i := 1; i < len(p); i++ {
		p[i] = multiply(p[i-1], p[i-1])
	}
	return p
}()

// multiply is the product of two polynomials, the highest bit being x^0.
func multiply(a, b uint32) uint32 {
	var out uint32
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			out ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return out
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
func (l *ledger) want() uint32 {
	s := l.rest
	s.add(l.front[:min(l.end, shadowSize)], 0)
	return s.value
}
