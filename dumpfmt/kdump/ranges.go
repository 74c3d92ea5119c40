package kdump

import (
	"math/bits"

	"kdx/dumpfmt"
)

// maxRanges bounds the memory map that a bitmap of alternating bits can make. Beyond it, ranges grow over small gaps;
// State stays exact.
const maxRanges = 1 << 16

// rangeCollector turns the words of a bitmap into ranges of pfns.
type rangeCollector struct {
	runs   []run
	gap    uint64 // runs this close are joined
	joined bool
}

type run struct{ start, end uint64 } // pfns

func (c *rangeCollector) add(pfn uint64, words []uint64) {
	for i, w := range words {
		base := pfn + uint64(i)*64
		switch w {
		case 0:
		case ^uint64(0):
			c.run(base, base+64)
		default:
			c.word(base, w)
		}
	}
}

func (c *rangeCollector) word(base, w uint64) {
	for at := uint64(0); w != 0; {
		skip := uint64(bits.TrailingZeros64(w))
		w >>= skip
		n := uint64(bits.TrailingZeros64(^w))
		c.run(base+at+skip, base+at+skip+n)
		w >>= n
		at += skip + n
	}
}

func (c *rangeCollector) run(start, end uint64) {
	if n := len(c.runs); n > 0 && start-c.runs[n-1].end <= c.gap {
		c.joined = c.joined || start != c.runs[n-1].end
		c.runs[n-1].end = end
		return
	}
	if len(c.runs) == maxRanges {
		c.coarsen()
	}
	c.runs = append(c.runs, run{start, end})
}

// coarsen joins runs over ever larger gaps until half of the room is free.
func (c *rangeCollector) coarsen() {
	c.joined = true
	for len(c.runs) > maxRanges/2 {
		c.gap = 2*c.gap + 1
		out := c.runs[:1]
		for _, r := range c.runs[1:] {
			if last := &out[len(out)-1]; r.start-last.end <= c.gap {
				last.end = r.end
			} else {
				out = append(out, r)
			}
		}
		c.runs = out
	}
}

func (c *rangeCollector) ranges(pageSize uint64) []dumpfmt.PhysRange {
	out := make([]dumpfmt.PhysRange, len(c.runs))
	for i, r := range c.runs {
		out[i] = dumpfmt.PhysRange{Start: dumpfmt.Phys(r.start * pageSize), End: dumpfmt.Phys(r.end * pageSize)}
	}
	return out
}
