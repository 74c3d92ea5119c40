package deflate

import "encoding/binary"

// bitWriter packs bits, the lowest first. Between flushes there is room for 56.
type bitWriter struct {
	out []byte // with room for 8 bytes behind all that is written
	at  int
	acc uint64
	n   uint
}

func (w *bitWriter) put(c code) {
	w.acc |= uint64(c.bits) << (w.n & 63)
	w.n += uint(c.len)
}

func (w *bitWriter) more(v uint64, n uint8) {
	w.acc |= v << (w.n & 63)
	w.n += uint(n)
}

func (w *bitWriter) flush() {
	binary.LittleEndian.PutUint64(w.out[w.at:], w.acc)
	w.at += int(w.n >> 3)
	w.acc >>= w.n &^ 7 & 63
	w.n &= 7
}

func (w *bitWriter) add(v uint64, n uint8) {
	w.more(v, n)
	w.flush()
}

// end fills the last byte and returns how many there are.
func (w *bitWriter) end() int {
	w.flush()
	if w.n > 0 {
		w.at++
	}
	return w.at
}
