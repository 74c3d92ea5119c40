package lzo

import "encoding/binary"

// writer writes instructions. out has room for the largest block.
type writer struct {
	out []byte
	n   int
}

// wide is how many bytes short runs of literals are copied by, whatever their length.
const wide = 16

// literals writes the bytes src[from:to].
func (w *writer) literals(src []byte, from, to int) {
	n := to - from
	switch {
	case n == 0:
		return
	case w.n == 0 && n <= 238:
		w.byte(byte(n + 17))
	case n <= 3:
		// The low byte of a match's distance is the last but one, in all its forms.
		w.out[w.n-2] |= byte(n)
	case n <= 18:
		w.byte(byte(n - 3))
	default:
		w.byte(0)
		w.rest(n - 18)
	}
	if n <= wide && from+wide <= len(src) {
		copy(w.out[w.n:w.n+wide], src[from:from+wide])
	} else {
		copy(w.out[w.n:], src[from:to])
	}
	w.n += n
}

// match writes a copy of size bytes, 4 or more, from dist bytes back.
func (w *writer) match(size, dist int) {
	switch {
	case dist <= near && size <= 8:
		dist--
		w.byte(byte(size-1)<<5 | byte(dist&7)<<2)
		w.byte(byte(dist >> 3))
		return
	case dist <= mid:
		dist--
		w.length(0x20, 31, size-2)
	default:
		dist -= mid
		w.length(0x10|byte(dist>>11&8), 7, size-2)
	}
	binary.LittleEndian.PutUint16(w.out[w.n:], uint16(dist<<2))
	w.n += 2
}

// length writes a first byte whose low bits have room for lengths up to most.
func (w *writer) length(op byte, most, n int) {
	if n <= most {
		w.byte(op | byte(n))
		return
	}
	w.byte(op)
	w.rest(n - most)
}

// rest writes what a length is more than its first byte can say; at least 1.
func (w *writer) rest(n int) {
	for ; n > 255; n -= 255 {
		w.byte(0)
	}
	w.byte(byte(n))
}

func (w *writer) end() {
	w.byte(0x11)
	w.byte(0)
	w.byte(0)
}

func (w *writer) byte(b byte) {
	w.out[w.n] = b
	w.n++
}
