package lzo

import "encoding/binary"

// writer writes instructions. out has room for the largest block.
type writer struct {
	out []byte
	n   int // bytes of out that are written
	src []byte
	lit int // bytes of src that are written
}

// wide is how many bytes short runs of literals are copied by, whatever their length.
const wide = 16

// copyWide copies wide bytes. Words are as fast as a register of 16 bytes, which emulators are slow at where it is not aligned.
func copyWide(dst, src []byte) {
	dst, src = dst[:wide], src[:wide]
	binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src))
	binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(src[8:]))
}

// literals writes the bytes of src up to a match.
func (w *writer) literals(to int) {
	from, n, out := w.lit, w.n, w.out
	size := to - from
	switch {
	case size == 0:
		return
	case n == 0 && size <= 238:
		out[n] = byte(size + 17)
		n++
	case size <= 3:
		// The low byte of a match's distance is the last but one, in all its forms.
		out[n-2] |= byte(size)
	case size <= 18:
		out[n] = byte(size - 3)
		n++
	default:
		out[n] = 0
		n = putRest(out, n+1, size-18)
	}
	if size <= wide && from+wide <= len(w.src) {
		copyWide(out[n:], w.src[from:])
	} else {
		copy(out[n:], w.src[from:to])
	}
	w.lit, w.n = to, n+size
}

// match writes a copy of size bytes, 4 or more, from dist bytes back.
func (w *writer) match(size, dist int) {
	w.lit += size
	out, n := w.out, w.n
	if dist <= near && size <= 8 {
		dist--
		out[n+1] = byte(dist >> 3)
		out[n] = byte(size-1)<<5 | byte(dist&7)<<2
		w.n += 2
		return
	}
	if dist <= mid {
		dist--
		n = putLength(out, n, 0x20, 31, size-2)
	} else {
		dist -= mid
		n = putLength(out, n, 0x10|byte(dist>>11&8), 7, size-2)
	}
	binary.LittleEndian.PutUint16(out[n:], uint16(dist<<2))
	w.n = n + 2
}

// putLength writes at n a first byte whose low bits have room for lengths up to most, and returns where to go on.
func putLength(out []byte, n int, op byte, most, size int) int {
	if size <= most {
		out[n] = op | byte(size)
		return n + 1
	}
	out[n] = op
	return putRest(out, n+1, size-most)
}

// putRest writes what a length is more than its first byte can say; at least 1.
func putRest(out []byte, n, size int) int {
	for ; size > 255; size -= 255 {
		out[n] = 0
		n++
	}
	out[n] = byte(size)
	return n + 1
}

func (w *writer) end() { w.n += copy(w.out[w.n:], []byte{0x11, 0, 0}) }
