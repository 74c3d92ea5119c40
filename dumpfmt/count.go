package dumpfmt

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Counts says how many pages of a dump are in which state. Absent pages are not counted.
type Counts struct {
	Present    uint64            `json:"present"`
	Zero       uint64            `json:"zero"`
	Excluded   uint64            `json:"excluded"`
	Unsure     uint64            `json:"zero_or_excluded"`
	Unreadable uint64            `json:"missing"`
	Codecs     map[string]uint64 `json:"by_compression,omitempty"` // of the present ones, for formats that have a codec a page
}

// Text names the counts that are not zero: "95 present (90 zlib, 5 raw), 3 zero". Unreadable pages are called as given.
func (c *Counts) Text(unreadable string) string {
	var by []string
	for name, n := range c.Codecs {
		by = append(by, fmt.Sprintf("%d %s", n, name))
	}
	slices.Sort(by)
	text := fmt.Sprintf("%d present", c.Present)
	if len(by) > 0 {
		text += " (" + strings.Join(by, ", ") + ")"
	}
	for _, s := range []struct {
		n    uint64
		what string
	}{{c.Zero, "zero"}, {c.Excluded, "excluded"}, {c.Unsure, "zero or excluded"}, {c.Unreadable, unreadable}} {
		if s.n > 0 {
			text += fmt.Sprintf(", %d %s", s.n, s.what)
		}
	}
	return text
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
