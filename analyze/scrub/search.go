package scrub

import (
	"bytes"
	"fmt"
	"slices"
)

// hit is a stretch of a block of memory that matches.
type hit struct{ from, to int }

// lookBehind is how many bytes before a place an expression must see to tell \b and ^.
const lookBehind = 4

// search finds what p matches in block. last says that the block's end is the end of memory, too: a match that reaches a last
// byte which is not, and that could be longer, is an error. lowered returns the block in lower case.
func (p *pattern) search(block []byte, last bool, lowered func() []byte, found func(hit)) error {
	if p.need == nil {
		return p.searchAny(block, last, found)
	}
	in := block
	if p.fold {
		in = lowered()
	}
	// A match holds one of the needed strings, and begins and ends within what surrounds it.
	from, to := 0, -1
	for at := 0; ; {
		i := p.next(in, at)
		if i < 0 {
			break
		}
		lo, hi := max(0, i-p.before-lookBehind), min(len(block), i+p.max)
		if to >= 0 && lo > to {
			if err := p.match(block, from, to, to, last, found); err != nil {
				return err
			}
			to = -1
		}
		if to < 0 {
			from = lo
		}
		to = max(to, hi)
		at = i + 1
	}
	if to < 0 {
		return nil
	}
	return p.match(block, from, to, to, last, found)
}

// searchAny is search for an expression of which no part is known: in small pieces, on which regexp is faster.
func (p *pattern) searchAny(block []byte, last bool, found func(hit)) error {
	const piece = 2 << 10
	for from := 0; from < len(block); from += piece {
		to := min(len(block), from+piece)
		if p.first != nil && !slices.ContainsFunc(block[from:to], func(c byte) bool { return p.first[c] }) {
			continue
		}
		if err := p.match(block, max(0, from-lookBehind), min(len(block), to+p.max), to, last, found); err != nil {
			return err
		}
	}
	return nil
}

// next is where the first of the needed strings is, from at on; -1 if there is none.
func (p *pattern) next(in []byte, at int) int {
	best := -1
	for _, s := range p.need {
		end := len(in)
		if best >= 0 {
			end = min(end, best+len(s))
		}
		if at > end {
			continue
		}
		if i := bytes.Index(in[at:end], s); i >= 0 && (best < 0 || at+i < best) {
			best = at + i
		}
	}
	return best
}

// match finds the matches in block[from:to] that begin before limit.
func (p *pattern) match(block []byte, from, to, limit int, last bool, found func(hit)) error {
	for _, m := range p.re.FindAllIndex(block[from:to], -1) {
		h := hit{from + m[0], from + m[1]}
		if h.from >= limit || h.from == h.to {
			continue
		}
		if h.to == to && p.open && to < len(block) { // more may belong to it
			if m := p.re.FindIndex(block[h.from:]); m != nil && m[0] == 0 {
				h.to = h.from + m[1]
			}
		}
		if p.open && h.to == len(block) && !last && h.to-h.from >= longest {
			return errTooLong
		}
		found(h)
	}
	return nil
}

var errTooLong = fmt.Errorf("a match is longer than %d KiB: bound it, as in {0,200} instead of *", longest>>10)

// block is a stretch of memory, contiguous to whoever wrote into it, whose pages may lie anywhere.
type block struct {
	data []byte
	pfns []uint64
	main int // matches that begin behind are those of the next block
	last bool
	low  []byte // data in lower case
}

func (b *block) lowered() []byte {
	if len(b.low) == len(b.data) {
		return b.low
	}
	b.low = slices.Grow(b.low[:0], len(b.data))[:len(b.data)]
	for i, c := range b.data {
		b.low[i] = lower[c]
	}
	return b.low
}

// searchAll marks what the patterns match in a block.
func (s *regexSearch) searchAll(blk *block) error {
	size := s.marks.pageSize
	blk.low = blk.low[:0]
	for i, p := range s.patterns {
		err := p.search(blk.data, blk.last, blk.lowered, func(h hit) {
			if h.from > blk.main && !blk.last {
				return
			}
			fresh := false
			for at := uint64(h.from); at < uint64(h.to); {
				off := at % size
				n := min(uint64(h.to)-at, size-off)
				if s.marks.addNew(blk.pfns[at/size], off, off+n) {
					fresh = true
				}
				at += n
			}
			if fresh {
				s.matches[i].Add(1)
				s.bytes[i].Add(uint64(h.to - h.from))
			}
		})
		if err != nil {
			return fmt.Errorf("rule %d: in memory from physical address %#x on: %w", s.rules[i]+1, blk.pfns[0]*size, err)
		}
	}
	return nil
}
