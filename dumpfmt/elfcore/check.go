package elfcore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"kdx/dumpfmt"
)

// stretch is bytes [start, end) of the file, and whose they are.
type stretch struct {
	start, end uint64
	phys       uint64 // of start, if it is a segment's
	table      string // "" for a segment
}

func (x stretch) name() string {
	if x.table != "" {
		return x.table
	}
	return fmt.Sprintf("the segment at physical address %#x", x.phys)
}

// Check holds the program headers against each other: no two segments have the same bytes of the file, unless for the same
// memory, and where two describe the same memory, their bytes are the same.
func (s *Source) Check(ctx context.Context, report func(dumpfmt.Fault)) error {
	h, err := readHeader(s.file)
	if err != nil {
		return err
	}
	c := checker{s: s, h: h, report: report}
	c.all = append(c.all,
		stretch{start: 0, end: uint64(h.ehdr), table: "the ELF header"},
		stretch{start: h.phStart, end: h.phStart + h.phCount*h.phSize, table: "the program headers"})
	n := -1
	_, err = h.programHeaders(s.file, func(p programHeader) {
		n++
		c.header(p, int64(h.phStart)+int64(n)*int64(h.phSize))
	})
	if err != nil && uint64(n+1) == h.phCount {
		return err
	}
	slices.SortFunc(c.all, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	c.inFile()
	if !slices.ContainsFunc(s.info.Segments, func(g dumpfmt.Segment) bool { return g.HasPhys }) {
		return nil // the file does not say where memory was
	}
	slices.SortFunc(c.all, func(a, b stretch) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.phys, b.phys), cmp.Compare(a.start, b.start))
	})
	return c.inMemory(ctx)
}

type checker struct {
	s      *Source
	h      *header
	all    []stretch
	report func(dumpfmt.Fault)
	faults int
}

// maxFaults bounds what is told of a table that is damaged throughout.
const maxFaults = 100

func (c *checker) fault(at int64, format string, args ...any) {
	if c.faults++; c.faults <= maxFaults {
		c.report(dumpfmt.Fault{File: c.s.file.Name, Offset: at, Msg: fmt.Sprintf(format, args...)})
	}
}

// header takes one program header, which stands at a byte of the file.
func (c *checker) header(p programHeader, at int64) {
	size := uint64(c.s.file.Size)
	if p.filesz == 0 || p.offset >= size {
		return // what the file is too short for, is unreadable
	}
	end := p.offset + min(p.filesz, size-p.offset)
	switch p.typ {
	case ptNote:
		c.all = append(c.all, stretch{start: p.offset, end: end, table: "the notes"})
	case ptLoad:
		if p.memsz < p.filesz {
			c.fault(at, "a segment has %d bytes in the file, but only %d in memory", p.filesz, p.memsz)
		}
		if p.paddr != c.h.noPhys && p.paddr <= math.MaxUint64-p.filesz {
			c.all = append(c.all, stretch{start: p.offset, end: end, phys: p.paddr})
		}
	}
}

// inFile finds bytes of the file that belong to two.
func (c *checker) inFile() {
	widest := c.all[0]
	for _, x := range c.all[1:] {
		same := x.table == "" && widest.table == "" && x.phys-x.start == widest.phys-widest.start
		if x.start < widest.end && !same {
			c.fault(int64(x.start), "%s and %s share these bytes", widest.name(), x.name())
		}
		if x.end > widest.end {
			widest = x
		}
	}
}

// inMemory compares what two segments say of the same memory, as those of x86-64 do of the kernel's text.
func (c *checker) inMemory(ctx context.Context) error {
	left := c.s.file.Size
	var widest stretch
	for _, x := range c.all {
		if x.table != "" {
			break
		}
		end := widest.phys + (widest.end - widest.start)
		if x.phys < end && x.start != widest.start+(x.phys-widest.phys) {
			n := min(end, x.phys+(x.end-x.start)) - x.phys
			if left -= int64(n); left < 0 {
				c.fault(-1, "segments describe the same memory again and again; what they say was not compared to the end")
				return nil
			}
			if err := c.compare(ctx, x, widest.start+(x.phys-widest.phys), n); err != nil {
				return err
			}
		}
		if x.phys+(x.end-x.start) > end {
			widest = x
		}
	}
	return nil
}

// compare n bytes of a segment with others of the same memory.
func (c *checker) compare(ctx context.Context, x stretch, other, n uint64) error {
	const chunk = 1 << 20
	a, b := make([]byte, min(n, chunk)), make([]byte, min(n, chunk))
	for at := uint64(0); at < n; at += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		size := min(chunk, n-at)
		if _, err := c.s.file.ReadFull(a[:size], int64(x.start+at)); err != nil {
			return fmt.Errorf("reading %s at byte %#x: %w", c.s.file.Name, x.start+at, err)
		}
		if _, err := c.s.file.ReadFull(b[:size], int64(other+at)); err != nil {
			return fmt.Errorf("reading %s at byte %#x: %w", c.s.file.Name, other+at, err)
		}
		if !bytes.Equal(a[:size], b[:size]) {
			i := uint64(0)
			for a[i] == b[i] {
				i++
			}
			c.fault(int64(x.start+at+i), "two segments describe physical address %#x, with different bytes here and at byte %#x", x.phys+at+i, other+at+i)
			return nil
		}
	}
	return nil
}
