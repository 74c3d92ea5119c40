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
	little  bool     // the target's byte order
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
	for _, v := range s.q.Values {
		w := v & s.keep
		s.want = append(s.want, w)
		s.zero = s.zero || w == 0
	}
	s.little = s.order.Uint16([]byte{1, 0}) == 1
	for _, t := range s.q.Strings {
		s.texts = append(s.texts, []byte(t))
		s.longest = max(s.longest, len(t))
	}
}

// values appends the hits in p, which lies at addr.
func (s *searcher) values(hits []Hit, addr uint64, p []byte) []Hit {
	// Values stand at multiples of their size, wherever the search begins.
	if skip := (s.q.Unit - addr%s.q.Unit) % s.q.Unit; skip > 0 {
		if skip >= uint64(len(p)) {
			return hits
		}
		addr, p = addr+skip, p[skip:]
	}
	begin := len(hits)
	for which, want := range s.want {
		if s.q.Unit == 8 && s.little {
			hits = s.words(hits, addr, p, want, which)
			continue
		}
		hits = s.plain(hits, addr, p, want, which)
	}
	if len(s.want) > 1 && len(hits) > begin {
		slices.SortFunc(hits[begin:], compareHits)
	}
	return hits
}

// words is the fast way for words of a little-endian target: eight at a time.
func (s *searcher) words(hits []Hit, addr uint64, p []byte, want uint64, which int) []Hit {
	keep := s.keep
	le := binary.LittleEndian
	for ; len(p) >= 64; p, addr = p[64:], addr+64 {
		b := (*[64]byte)(p)
		if le.Uint64(b[0:])&keep != want && le.Uint64(b[8:])&keep != want && le.Uint64(b[16:])&keep != want && le.Uint64(b[24:])&keep != want &&
			le.Uint64(b[32:])&keep != want && le.Uint64(b[40:])&keep != want && le.Uint64(b[48:])&keep != want && le.Uint64(b[56:])&keep != want {
			continue
		}
		hits = s.plain(hits, addr, b[:], want, which)
	}
	return s.plain(hits, addr, p, want, which)
}

// plain reads value by value, in the target's byte order.
func (s *searcher) plain(hits []Hit, addr uint64, p []byte, want uint64, which int) []Hit {
	unit := int(s.q.Unit)
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
