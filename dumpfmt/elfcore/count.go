package elfcore

import (
	"context"

	"kdx/dumpfmt"
)

// Count counts pages by whole extents; only pages at an extent's edge are looked at one by one.
func (s *Source) Count(ctx context.Context) (dumpfmt.Counts, error) {
	var c dumpfmt.Counts
	mask := s.info.PageSize - 1
	next := uint64(0) // first pfn that was not counted yet
	edge := func(pfn uint64) {
		if pfn >= next {
			c.Add(s.State(pfn), 1)
			next = pfn + 1
		}
	}
	for i, e := range s.extents {
		if i%4096 == 0 && ctx.Err() != nil {
			return c, ctx.Err()
		}
		if e.start&mask != 0 {
			edge(e.start >> s.shift)
		}
		if first, last := max(next, (e.start+mask)>>s.shift), e.end>>s.shift; first < last {
			c.Add(state(s.extents[i:i+1]), last-first)
			next = last
		}
		if e.end&mask != 0 {
			edge(e.end >> s.shift)
		}
	}
	return c, nil
}
