package zstdpage

import "encoding/binary"

// bitWriter packs bits, the lowest first. Between flushes there is room for 56.
type bitWriter struct {
	out []byte // with room for 8 bytes behind all that is written
	at  int
	acc uint64
	n   uint
}

func (w *bitWriter) put(v uint64, n uint) {
	w.acc |= v << (w.n & 63)
	w.n += n
}

func (w *bitWriter) flush() {
	binary.LittleEndian.PutUint64(w.out[w.at:], w.acc)
	w.at += int(w.n >> 3)
	w.acc >>= w.n &^ 7 & 63
	w.n &= 7
}

// close fills the last byte and returns where the bits end.
func (w *bitWriter) close() int {
	w.flush()
	if w.n > 0 {
		w.at++
	}
	return w.at
}

// end is close for bits that are read from their end.
func (w *bitWriter) end() int {
	w.flush()
	return endBits(w.out, w.at, w.acc, w.n)
}

const (
	maxLog    = 6
	maxSymbol = 52 // of match lengths
)

// fseTable encodes symbols by finite state entropy, RFC 8878 4.1: a state is a place of the table, from 1<<log on.
type fseTable struct {
	log     uint
	symbols [maxSymbol + 1]fseSymbol
	states  [1 << maxLog]uint16
}

// fseSymbol says how a symbol changes the state: (state+bits)>>16 bits go out, what is left and find is where the next state stands.
type fseSymbol struct {
	bits uint32
	find int32
}

// build makes the table of normalised frequencies; -1 is a symbol that is rarer than one place.
func (t *fseTable) build(norm []int16, log uint) {
	size := 1 << log
	t.log = log
	var symbols [1 << maxLog]uint8
	var starts [maxSymbol + 1]int
	high, sum := size-1, 0
	for s, n := range norm {
		starts[s] = sum
		if n == -1 {
			symbols[high] = uint8(s)
			high--
			n = 1
		}
		sum += int(n)
	}
	step, mask, at := size>>1+size>>3+3, size-1, 0
	for s, n := range norm {
		for range n {
			symbols[at&(1<<maxLog-1)] = uint8(s)
			for at = (at + step) & mask; at > high; at = (at + step) & mask {
			}
		}
	}
	for i, s := range symbols[:size] {
		t.states[starts[s]&(1<<maxLog-1)] = uint16(size + i)
		starts[s]++
	}
	sum = 0
	for s, n := range norm {
		if n == -1 {
			n = 1
		}
		switch {
		case n == 1:
			t.symbols[s] = fseSymbol{uint32(log)<<16 - uint32(size), int32(sum - 1)}
		case n > 1:
			out := uint32(log - highBit(uint32(n-1)))
			t.symbols[s] = fseSymbol{out<<16 - uint32(n)<<out, int32(sum - int(n))}
		}
		sum += int(n)
	}
}

// first is the state that ends with a symbol.
func (t *fseTable) first(sym uint8) uint32 {
	s := &t.symbols[sym]
	n := (s.bits + 1<<15) >> 16
	return uint32(t.states[(int32((n<<16-s.bits)>>(n&31))+s.find)&(1<<maxLog-1)])
}

// next writes what leads from the next state to this one.
func (t *fseTable) next(w *bitWriter, state uint32, sym uint8) uint32 {
	s := &t.symbols[sym]
	n := (state + s.bits) >> 16
	w.put(uint64(state)&(1<<(n&31)-1), uint(n))
	return uint32(t.states[(int32(state>>(n&31))+s.find)&(1<<maxLog-1)])
}

// putTable tells a table by its normalised frequencies, RFC 8878 4.1.1, and returns how many bytes that takes.
func putTable(out []byte, norm []int16, log uint) int {
	w := bitWriter{out: out}
	w.put(uint64(log-5), 4)
	remaining, threshold := 1<<log+1, 1<<log
	width := log + 1
	for i := 0; remaining > 1; {
		count := int(norm[i])
		most := 2*threshold - 1 - remaining // values below it are told with a bit less
		remaining -= max(count, -count)
		v := count + 1
		if v >= threshold {
			v += most
		}
		n := width
		if v < most {
			n--
		}
		w.put(uint64(v), n)
		w.flush()
		i++
		if count == 0 {
			zeros := 0
			for norm[i] == 0 {
				zeros++
				i++
			}
			for ; zeros >= 3; zeros -= 3 {
				w.put(3, 2)
			}
			w.put(uint64(zeros), 2)
			w.flush()
		}
		for remaining < threshold {
			width--
			threshold >>= 1
		}
	}
	return w.close()
}
