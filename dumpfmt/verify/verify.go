// Package verify reads a dump from end to end: every page is decoded, every table held against the others, and a sum made
// of the pages, which is the same for each dump that holds the same pages, in whatever format.
package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"kdx/dumpfmt"
	"kdx/dumpfmt/describe"
	"kdx/dumpfmt/internal/sweep"
)

// Options of Check. The zero value is good.
type Options struct {
	Workers int // goroutines that read; 0: as many as there are cores
	// Progress is told how many of the pages were read; nil if nobody wants to know.
	Progress func(what string, done, total int64)
}

// Report is what Check found. Its JSON form is a contract: names are kept.
type Report struct {
	Sound      bool     `json:"sound"` // nothing below says otherwise
	Format     string   `json:"format"`
	Files      []string `json:"files"`
	Incomplete bool     `json:"incomplete"` // the dump says that it was cut short, or the file ends too early
	PageSize   uint64   `json:"page_size"`  // bytes

	// SHA256 is the sum over the pages that are held and can be read, see docs/verify.md.
	SHA256 string `json:"sha256"`
	// SHA256Holes is the same with pages that are zero or excluded taken for pages of zeros; "" if there are none.
	SHA256Holes string `json:"sha256_holes_as_zeros,omitempty"`

	Pages dumpfmt.Counts `json:"pages"`
	// Unreadable are the first ranges of pages that the dump should hold, but that can't be read.
	Unreadable     []Unreadable `json:"unreadable"`
	UnreadableMore uint64       `json:"unreadable_more,omitempty"` // ranges beyond those
	Faults         []Fault      `json:"faults"`                    // in the structure; the first ones
	FaultsMore     uint64       `json:"faults_more,omitempty"`
	Warnings       []string     `json:"warnings"` // what was odd in the headers

}

// Unreadable are neighbouring pages that can't be read.
type Unreadable struct {
	From  describe.Hex `json:"from"` // pfn
	To    describe.Hex `json:"to"`   // the first one behind
	Error string       `json:"error"`
}

// Fault is what contradicts itself in the dump's tables.
type Fault struct {
	File   string        `json:"file"`
	Offset *describe.Hex `json:"offset"` // null if it is at no one place
	Error  string        `json:"error"`
}

const (
	maxUnreadable = 20
	maxFaults     = 20
)

// Check reads the whole dump. The error is the context's, or says what kept it from doing so; damage is no error but what
// the report is about.
func Check(ctx context.Context, im *dumpfmt.Image, opt Options) (*Report, error) {
	info := im.Info()
	if err := sweep.Bounded(info); err != nil {
		return nil, err
	}
	if opt.Progress == nil {
		opt.Progress = func(string, int64, int64) {}
	}
	r := &Report{Format: info.Format, Files: info.Files, PageSize: info.PageSize, Incomplete: info.Incomplete || info.Truncated,
		Unreadable: []Unreadable{}, Faults: []Fault{}, Warnings: append([]string{}, info.Warnings...)}
	if c, ok := im.Source().(dumpfmt.Checker); ok {
		opt.Progress("checking the tables", 0, 0)
		if err := c.Check(ctx, r.fault); err != nil {
			return nil, err
		}
	}
	if err := r.read(ctx, im, opt); err != nil {
		return nil, err
	}
	if err := r.codecs(ctx, im); err != nil {
		return nil, err
	}
	r.Sound = !r.Incomplete && r.Pages.Unreadable == 0 && len(r.Faults) == 0
	return r, nil
}

func (r *Report) fault(f dumpfmt.Fault) {
	if len(r.Faults) == maxFaults {
		r.FaultsMore++
		return
	}
	out := Fault{File: f.File, Error: f.Msg}
	if f.Offset >= 0 {
		at := describe.Hex(f.Offset)
		out.Offset = &at
	}
	r.Faults = append(r.Faults, out)
}

// codecs adds the compressions, which the format's own count knows without reading a page.
func (r *Report) codecs(ctx context.Context, im *dumpfmt.Image) error {
	c, ok := im.Source().(dumpfmt.Counter)
	if !ok {
		return nil
	}
	n, err := c.Count(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		r.Pages.Codecs = n.Codecs
	}
	return nil
}

// worker reads chunks and makes their sums.
type worker struct {
	held, holes *chunkHash // holes: with pages that are zero or excluded
	zero        []byte
	zeroSum     [sha256.Size]byte
}

// chunk is what a worker found in one.
type chunk struct {
	counts      dumpfmt.Counts
	held, holes chunkSum
	bad         []badRange
}

// badRange are the pages [from, to).
type badRange struct {
	from, to uint64
	err      error
}

func (r *Report) read(ctx context.Context, im *dumpfmt.Image, opt Options) error {
	info := im.Info()
	held, holes := newSum(info.PageSize), newSum(info.PageSize)
	zero := make([]byte, info.PageSize)
	zeroSum := sha256.Sum256(zero)
	open := func() *worker {
		return &worker{held: newChunkHash(), holes: newChunkHash(), zero: zero, zeroSum: zeroSum}
	}
	read := func(ctx context.Context, w *worker, c sweep.Chunk) (*chunk, error) { return w.read(ctx, im, c) }
	total := int64(sweep.Pages(info))
	done := int64(0)
	var bad badRanges
	err := sweep.Run(ctx, opt.Workers, sweep.Chunks(chunkPages, info), open, read, func(_ sweep.Chunk, c *chunk) error {
		held.add(&c.held)
		holes.add(&c.holes)
		done += int64(r.count(&c.counts))
		for _, b := range c.bad {
			bad.add(b)
		}
		opt.Progress("reading all pages", done, total)
		return nil
	})
	if err != nil {
		return err
	}
	r.SHA256 = hex.EncodeToString(held.bytes())
	if r.Pages.Unsure > 0 {
		r.SHA256Holes = hex.EncodeToString(holes.bytes())
	}
	for _, b := range bad.first {
		r.Unreadable = append(r.Unreadable, Unreadable{From: describe.Hex(b.from), To: describe.Hex(b.to), Error: b.err.Error()})
	}
	r.UnreadableMore = bad.n - uint64(len(bad.first))
	return nil
}

// count adds the counts of a chunk and returns its pages.
func (r *Report) count(c *dumpfmt.Counts) uint64 {
	r.Pages.Present += c.Present
	r.Pages.Zero += c.Zero
	r.Pages.Excluded += c.Excluded
	r.Pages.Unsure += c.Unsure
	r.Pages.Unreadable += c.Unreadable
	return c.Present + c.Zero + c.Excluded + c.Unsure + c.Unreadable
}

func (w *worker) read(ctx context.Context, im *dumpfmt.Image, at sweep.Chunk) (*chunk, error) {
	c := new(chunk)
	w.held.reset()
	w.holes.reset()
	err := im.ReadRange(ctx, at.From, at.To, func(pfn uint64, st dumpfmt.PageState, page []byte, err error) error {
		c.counts.Add(st, 1)
		switch st {
		case dumpfmt.Present, dumpfmt.Zero:
			sum := w.zeroSum
			if st != dumpfmt.Zero && !bytes.Equal(page, w.zero) {
				sum = sha256.Sum256(page)
			}
			w.held.add(pfn, sum)
			w.holes.add(pfn, sum)
		case dumpfmt.ZeroOrExcluded:
			w.holes.add(pfn, w.zeroSum)
		case dumpfmt.Unreadable:
			c.unreadable(pfn, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.held, c.holes = w.held.done(), w.holes.done()
	return c, nil
}

func (c *chunk) unreadable(pfn uint64, err error) {
	if n := len(c.bad); n > 0 && c.bad[n-1].to == pfn {
		c.bad[n-1].to++
		return
	}
	var pe *dumpfmt.PageError
	if errors.As(err, &pe) && pe.Err != nil {
		err = pe.Err // the page's number is said anyway
	}
	c.bad = append(c.bad, badRange{pfn, pfn + 1, err})
}

// badRanges joins ranges over the ends of chunks and keeps the first.
type badRanges struct {
	first []badRange
	n     uint64
	end   uint64 // of the last one
}

func (b *badRanges) add(r badRange) {
	if b.n > 0 && b.end == r.from {
		if b.n == uint64(len(b.first)) {
			b.first[b.n-1].to = r.to
		}
		b.end = r.to
		return
	}
	if len(b.first) < maxUnreadable {
		b.first = append(b.first, r)
	}
	b.n++
	b.end = r.to
}
