package dumpfmt

import (
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// PageSet is a set of pfns. It takes memory only for the neighbourhoods that it has pages in. The zero value is empty.
// It is not safe for goroutines that write.
type PageSet struct {
	chunks map[uint64]*[chunkWords]uint64
	n      uint64
}

const (
	chunkWords = 512 // 4 KiB of bits: 128 MiB of memory in pages of 4 KiB
	chunkPages = chunkWords * 64
)

// Add a page; a second time it changes nothing.
func (s *PageSet) Add(pfn uint64) {
	if s.chunks == nil {
		s.chunks = make(map[uint64]*[chunkWords]uint64)
	}
	c := s.chunks[pfn/chunkPages]
	if c == nil {
		c = new([chunkWords]uint64)
		s.chunks[pfn/chunkPages] = c
	}
	w, bit := pfn%chunkPages/64, uint64(1)<<(pfn%64)
	if c[w]&bit == 0 {
		c[w] |= bit
		s.n++
	}
}

// AddRange adds the pages [from, to).
func (s *PageSet) AddRange(from, to uint64) { s.span(from, to, true) }

// RemoveRange takes the pages [from, to) out.
func (s *PageSet) RemoveRange(from, to uint64) { s.span(from, to, false) }

// span sets or clears the bits [from, to), a word at a time.
func (s *PageSet) span(from, to uint64, set bool) {
	if s.chunks == nil && set {
		s.chunks = make(map[uint64]*[chunkWords]uint64)
	}
	for from < to {
		end := min(to, (from/chunkPages+1)*chunkPages)
		c := s.chunks[from/chunkPages]
		if c == nil && set {
			c = new([chunkWords]uint64)
			s.chunks[from/chunkPages] = c
		}
		for c != nil && from < end {
			n := min(end-from, 64-from%64)
			mask := ^uint64(0) >> (64 - n) << (from % 64)
			w := &c[from%chunkPages/64]
			if set {
				s.n += uint64(bits.OnesCount64(mask &^ *w))
				*w |= mask
			} else {
				s.n -= uint64(bits.OnesCount64(mask & *w))
				*w &^= mask
			}
			from += n
		}
		from = end
	}
}

// Take adds the pages of another set, which is empty afterwards.
func (s *PageSet) Take(o *PageSet) {
	if s.chunks == nil {
		*s, *o = *o, PageSet{}
		return
	}
	for i, from := range o.chunks {
		c := s.chunks[i]
		if c == nil {
			s.chunks[i] = from
			for _, w := range from {
				s.n += uint64(bits.OnesCount64(w))
			}
			continue
		}
		for w, word := range from {
			s.n += uint64(bits.OnesCount64(word &^ c[w]))
			c[w] |= word
		}
	}
	*o = PageSet{}
}

// Has reports whether the page is in the set.
func (s *PageSet) Has(pfn uint64) bool {
	c := s.chunks[pfn/chunkPages]
	return c != nil && c[pfn%chunkPages/64]>>(pfn%64)&1 != 0
}

// Word has a bit for each of the 64 pages around pfn: bit 0 is that of the page pfn&^63.
func (s *PageSet) Word(pfn uint64) uint64 {
	c := s.chunks[pfn/chunkPages]
	if c == nil {
		return 0
	}
	return c[pfn%chunkPages/64]
}

// Len is the number of pages.
func (s *PageSet) Len() uint64 { return s.n }

// All pages in ascending order.
func (s *PageSet) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, i := range slices.Sorted(maps.Keys(s.chunks)) {
			for w, word := range s.chunks[i] {
				for ; word != 0; word &= word - 1 {
					if !yield(i*chunkPages + uint64(w)*64 + uint64(bits.TrailingZeros64(word))) {
						return
					}
				}
			}
		}
	}
}
