package kdump

import (
	"context"
	"fmt"
	"math/bits"

	"kdx/dumpfmt"
)

// Count reads both bitmaps and all descriptors.
func (s *Source) Count(ctx context.Context) (dumpfmt.Counts, error) {
	c := dumpfmt.Counts{Codecs: make(map[string]uint64)}
	for i := range s.ram.blocks() {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		if s.ram.before[i] == s.ram.before[i+1] {
			continue
		}
		ram, err := s.ram.block(i)
		if err != nil {
			return c, err
		}
		var dumped []uint64
		if i < s.dumped.blocks() {
			blk, err := s.dumped.block(i)
			if err != nil {
				return c, err
			}
			dumped = blk.words
		}
		for j, w := range ram.words {
			if j < len(dumped) {
				w &^= dumped[j]
			}
			lost := s.lostBits(i<<s.dumped.shift+uint64(j)*64, w)
			c.Unreadable += lost
			c.Excluded += uint64(bits.OnesCount64(w)) - lost
		}
	}
	if s.dumped.bits < s.h.maxMapnr {
		c.Unreadable, c.Excluded = c.Unreadable+c.Excluded, 0
	}
	here := uint64(0)
	for _, p := range s.parts {
		here += p.count
		if err := s.countPart(ctx, p, &c); err != nil {
			return c, err
		}
	}
	c.Unreadable += s.dumped.count() - here
	return c, nil
}

// lostBits counts those of the pages of which nobody knows whether the dump holds them: w has their bits, from pfn on.
func (s *Source) lostBits(pfn uint64, w uint64) (n uint64) {
	if pfn+64 <= s.sure {
		return 0
	}
	for ; w != 0; w &= w - 1 {
		if at := pfn + uint64(bits.TrailingZeros64(w)); at >= s.sure && at < s.dumped.bits && s.lostBit(at) {
			n++
		}
	}
	return n
}

func (s *Source) countPart(ctx context.Context, p *part, c *dumpfmt.Counts) error {
	got := uint64(0)
	err := s.eachDesc(ctx, p, func(n uint64, d desc) {
		got++
		if p.first+n >= s.sureRank || !p.descCame(n) {
			c.Unreadable++
			return
		}
		s.countDesc(p, d, c)
	})
	c.Unreadable += p.count - got
	return err
}

// eachDesc reads the part's descriptors in order, as far as the file has them.
func (s *Source) eachDesc(ctx context.Context, p *part, each func(n uint64, d desc)) error {
	const batch = 1 << 16
	buf := make([]byte, min(p.count, batch)*descSize)
	for at := uint64(0); at < p.count; at += batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		want := min(batch, p.count-at)
		n, err := p.file.ReadFull(buf[:want*descSize], p.descAt+int64(at*descSize))
		got := uint64(n / descSize)
		for i := range got {
			each(at+i, parseDesc(s.h.order, buf[i*descSize:]))
		}
		if got < want {
			if p.descAt+int64((at+want)*descSize) <= p.file.Size {
				return fmt.Errorf("reading the descriptors of %s: %w", p.file.Name, err)
			}
			return nil
		}
	}
	return nil
}

func (s *Source) countDesc(p *part, d desc, c *dumpfmt.Counts) {
	if p.isZero(d, s.h.blockSize) {
		c.Zero++
		return
	}
	kind, err := d.codec()
	if err != nil || p.check(d, s.h.blockSize) != nil {
		c.Unreadable++
		return
	}
	c.Present++
	c.Codecs[kind.String()]++
}
