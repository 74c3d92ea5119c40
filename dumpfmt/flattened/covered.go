package flattened

import (
	"slices"
	"sort"
)

// covered are the bytes of a file that were written. Writers fill a few places of a dump side by side, so that few spans are enough.
type covered struct{ spans []span }

// span is bytes [at, end) of a file.
type span struct{ at, end int64 }

// maxSpans bounds what a stream in no order makes kdx remember, 1 MiB. What is beyond counts as never written: that errs on the safe side.
const maxSpans = 1 << 16

// add notes bytes that were written.
func (c *covered) add(at, size int64) {
	if size <= 0 {
		return
	}
	end := at + size
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].end >= at })
	j := i
	for ; j < len(c.spans) && c.spans[j].at <= end; j++ {
		at, end = min(at, c.spans[j].at), max(end, c.spans[j].end)
	}
	switch {
	case i < j:
		c.spans[i] = span{at, end}
		c.spans = slices.Delete(c.spans, i+1, j)
	case len(c.spans) < maxSpans:
		c.spans = slices.Insert(c.spans, i, span{at, end})
	}
}

// end is behind the last byte that was written.
func (c *covered) end() int64 {
	if len(c.spans) == 0 {
		return 0
	}
	return c.spans[len(c.spans)-1].end
}

// nextGap is the first byte at or behind off that was not written, or size.
func (c *covered) nextGap(off, size int64) int64 {
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].end > off })
	if i < len(c.spans) && c.spans[i].at <= off {
		off = c.spans[i].end
	}
	return min(off, size)
}

// nextData is the first byte at or behind off that was written, or size.
func (c *covered) nextData(off, size int64) int64 {
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].end > off })
	if i == len(c.spans) {
		return size
	}
	return min(max(off, c.spans[i].at), size)
}
