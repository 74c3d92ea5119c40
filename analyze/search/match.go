package search

import (
	"bytes"
	"encoding/binary"
	"slices"

	"kdx/dumpfmt"
)

// searcher is a query made ready; workers share it.
type searcher struct {
	img     *dumpfmt.Image
	order   binary.ByteOrder
	q       Query
	page    uint64
	keep    uint64   // the bits that matter
	want    []uint64 // values without the bits that don't, as memory has them
	lanes   []uint64 // want, as often as it fits into eight bytes of memory, which are read as a little-endian word
	mask    uint64   // keep likewise
	rare    []rare   // of each value
	zero    bool     // zero matches
	texts   [][]byte
	longest int // string, in bytes
}

func (s *searcher) prepare() {
	bits := uint(8 * s.q.Unit)
	if bits == 0 || bits > 64 {
		bits = 64
	}
	s.keep = ^s.q.Mask & (^uint64(0) >> (64 - bits))
	s.mask = s.inLanes(s.keep)
	for _, v := range s.q.Values {
		w := v & s.keep
		s.want, s.lanes = append(s.want, w), append(s.lanes, s.inLanes(w))
		s.zero = s.zero || w == 0
		s.rare = append(s.rare, s.rarest(w))
	}
	for _, t := range s.q.Strings {
		s.texts = append(s.texts, []byte(t))
		s.longest = max(s.longest, len(t))
	}
}

// inLanes is a value as the target's memory would have it eight bytes long, one after the other.
func (s *searcher) inLanes(v uint64) uint64 {
	var b [8]byte
	for i := 0; i < 8; i += int(s.q.Unit) {
		switch s.q.Unit {
		case 2:
			s.order.PutUint16(b[i:], uint16(v))
		case 4:
			s.order.PutUint32(b[i:], uint32(v))
		default:
			s.order.PutUint64(b[:], v)
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	return binary.LittleEndian.Uint64(b[:])
}

var zeros [4096]byte

// values appends the hits in p, which lies at addr.
func (s *searcher) values(hits []Hit, addr uint64, p []byte) []Hit {
	// Values stand at multiples of their size, wherever the search begins.
	if skip := (s.q.Unit - addr%s.q.Unit) % s.q.Unit; skip > 0 {
		if skip >= uint64(len(p)) {
			return hits
		}
		addr, p = addr+skip, p[skip:]
	}
	if !s.zero && bytes.Equal(p, zeros[:min(len(p), len(zeros))]) { // as much of memory is
		return hits
	}
	begin := len(hits)
	for which := range s.want {
		if !s.rare[which].ok {
			hits = s.dense(hits, addr, p, which)
			continue
		}
		hits = s.sparse(hits, addr, p, which)
	}
	if len(s.want) > 1 && len(hits) > begin {
		slices.SortFunc(hits[begin:], compareHits)
	}
	return hits
}

// rare is the byte of a value that memory is likely to have least of: the processor's widest instructions look for it.
type rare struct {
	ok bool // there is one, all of whose bits matter
	b  byte
	at int // index of the byte in the value, as memory has it
}

// rarest chooses it. Most of memory is zeros, small numbers, texts and addresses of the kernel, which all begin alike.
func (s *searcher) rarest(want uint64) rare {
	value, keep := s.bytes(want), s.bytes(s.keep)
	var best rare
	least := 1 << 10
	for i, b := range value {
		if keep[i] != 0xff || b == 0 || b == 0xff {
			continue
		}
		significance := i
		if s.order.Uint16([]byte{1, 0}) != 1 {
			significance = len(value) - 1 - i
		}
		common := 0
		switch {
		case b < 8:
			common += 8
		case b >= ' ' && b < 0x7f:
			common += 4
		}
		if b&(b-1) == 0 { // flags and alignments
			common += 4
		}
		if len(value) == 8 && (significance == 0 || significance > 3) {
			common += 6
		}
		if common < least {
			least, best = common, rare{true, b, i}
		}
	}
	return best
}

// bytes are a value's as memory has them.
func (s *searcher) bytes(v uint64) []byte {
	b := make([]byte, s.q.Unit)
	switch s.q.Unit {
	case 2:
		s.order.PutUint16(b, uint16(v))
	case 4:
		s.order.PutUint32(b, uint32(v))
	default:
		s.order.PutUint64(b, v)
	}
	return b
}

// sparse finds values by their rarest byte. Where that turns out to be frequent, it gives up in favour of dense.
func (s *searcher) sparse(hits []Hit, addr uint64, p []byte, which int) []Hit {
	const apart = 128 // bytes: where the byte is found more often than that, and not only here, dense is as fast
	r, unit := s.rare[which], int(s.q.Unit)
	found := 0
	for at := 0; at < len(p); {
		i := bytes.IndexByte(p[at:], r.b)
		if i < 0 {
			return hits
		}
		start := (at + i) &^ (unit - 1)
		if found++; found*apart > start+4096 {
			return s.dense(hits, addr+uint64(start), p[start:], which)
		}
		if at+i == start+r.at && start+unit <= len(p) {
			hits = s.plain(hits, addr+uint64(start), p[start:start+unit], which)
			at = start + unit
			continue
		}
		at += i + 1
	}
	return hits
}

// dense looks at every value.
func (s *searcher) dense(hits []Hit, addr uint64, p []byte, which int) []Hit {
	switch s.q.Unit {
	case 2:
		return s.parts(hits, addr, p, which, 0x0001000100010001)
	case 4:
		return s.parts(hits, addr, p, which, 0x0000000100000001)
	}
	return s.words(hits, addr, p, which)
}

// words finds values of eight bytes: eight at a time.
func (s *searcher) words(hits []Hit, addr uint64, p []byte, which int) []Hit {
	keep, want := s.mask, s.lanes[which]
	le := binary.LittleEndian
	for ; len(p) >= 64; p, addr = p[64:], addr+64 {
		b := (*[64]byte)(p)
		if le.Uint64(b[0:])&keep != want && le.Uint64(b[8:])&keep != want && le.Uint64(b[16:])&keep != want && le.Uint64(b[24:])&keep != want &&
			le.Uint64(b[32:])&keep != want && le.Uint64(b[40:])&keep != want && le.Uint64(b[48:])&keep != want && le.Uint64(b[56:])&keep != want {
			continue
		}
		hits = s.plain(hits, addr, b[:], which)
	}
	return s.plain(hits, addr, p, which)
}

// parts finds values of two or four bytes: 64 bytes at a time. low has the lowest bit of each set. A lane that is 0 once the value was
// taken off borrows from its highest bit, which was not set: some lane of the word does so just if one is 0.
func (s *searcher) parts(hits []Hit, addr uint64, p []byte, which int, low uint64) []Hit {
	keep, want := s.mask, s.lanes[which]
	high := low << (8*s.q.Unit - 1)
	le := binary.LittleEndian
	for ; len(p) >= 64; p, addr = p[64:], addr+64 {
		b := (*[64]byte)(p)
		x0, x1, x2, x3 := le.Uint64(b[0:])&keep^want, le.Uint64(b[8:])&keep^want, le.Uint64(b[16:])&keep^want, le.Uint64(b[24:])&keep^want
		x4, x5, x6, x7 := le.Uint64(b[32:])&keep^want, le.Uint64(b[40:])&keep^want, le.Uint64(b[48:])&keep^want, le.Uint64(b[56:])&keep^want
		if ((x0-low)&^x0|(x1-low)&^x1|(x2-low)&^x2|(x3-low)&^x3|(x4-low)&^x4|(x5-low)&^x5|(x6-low)&^x6|(x7-low)&^x7)&high == 0 {
			continue
		}
		hits = s.plain(hits, addr, b[:], which)
	}
	return s.plain(hits, addr, p, which)
}

// plain reads value by value, in the target's byte order.
func (s *searcher) plain(hits []Hit, addr uint64, p []byte, which int) []Hit {
	unit, want := int(s.q.Unit), s.want[which]
	for i := 0; i+unit <= len(p); i += unit {
		var w uint64
		switch unit {
		case 2:
			w = uint64(s.order.Uint16(p[i:]))
		case 4:
			w = uint64(s.order.Uint32(p[i:]))
		default:
			w = s.order.Uint64(p[i:])
		}
		if w&s.keep == want {
			hits = append(hits, Hit{addr + uint64(i), w, which})
		}
	}
	return hits
}

// strings appends the hits in p, which lies at addr.
func (s *searcher) strings(f *found, addr uint64, p []byte) {
	for which, text := range s.texts {
		s.each(p, text, func(i int) {
			f.hits = append(f.hits, Hit{Addr: addr + uint64(i), Which: which})
		})
	}
}

// each calls at with every place of text in p, overlapping ones too.
func (s *searcher) each(p, text []byte, at func(int)) {
	for from := 0; from+len(text) <= len(p); {
		i := bytes.Index(p[from:], text)
		if i < 0 {
			return
		}
		at(from + i)
		from += i + 1
	}
}
