package dumpfmt

import "context"

// Counts says how many pages of a dump are in which state. Absent pages are not counted.
type Counts struct {
	Present    uint64            `json:"present"`
	Zero       uint64            `json:"zero"`
	Excluded   uint64            `json:"excluded"`
	Unsure     uint64            `json:"zero_or_excluded"`
	Unreadable uint64            `json:"missing"`
	Codecs     map[string]uint64 `json:"by_compression,omitempty"` // of the present ones, for formats that have a codec a page
}

// Add counts n pages of one state.
func (c *Counts) Add(st PageState, n uint64) {
	switch st {
	case Present:
		c.Present += n
	case Zero:
		c.Zero += n
	case Excluded:
		c.Excluded += n
	case ZeroOrExcluded:
		c.Unsure += n
	case Unreadable:
		c.Unreadable += n
	}
}

// Counter is implemented by formats that can count pages faster than by asking for the state of each.
type Counter interface {
	// Count reads the dump's tables, not its pages. The error is the context's, or a read error.
	Count(ctx context.Context) (Counts, error)
}

// Count counts the pages of the dump by their state.
func (im *Image) Count(ctx context.Context) (Counts, error) {
	if c, ok := im.src.(Counter); ok {
		return c.Count(ctx)
	}
	var c Counts
	for pfn := range im.info.MaxPFN {
		if pfn%(1<<16) == 0 && ctx.Err() != nil {
			return c, ctx.Err()
		}
		c.Add(im.src.State(pfn), 1)
	}
	return c, nil
}
