package rawmem

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// WriterConfig says what a page writer writes.
type WriterConfig struct {
	// Info is of the dump that the pages come from.
	Info *dumpfmt.Info
	// Pages that will be put. RAM that is not among them becomes holes of the file, which the map tells from zeros.
	Pages dumpfmt.Pages
	// Map takes the text of the Map, which readers want beside the image, under its name with .map behind.
	Map io.Writer
}

// PageWriter writes each page at its physical address, so that other tools can read the image without the map. Pages of zeros
// and those that are left out are holes of the file.
type PageWriter struct {
	dumpfmt.RawPages
	out    *dumpfmt.Stream
	cfg    WriterConfig
	page   uint64
	text   *bufio.Writer
	pages  dumpfmt.Rising
	run    Range  // of pages, that goes on
	next   uint64 // one more than the last pfn in the map
	ranges int    // of Info.Ranges: those before it are behind
}

// NewPageWriter writes the head of the map. The error is Map's, or says what in cfg can't be written.
func NewPageWriter(out dumpfmt.Output, cfg WriterConfig) (*PageWriter, error) {
	info := cfg.Info
	if !dumpfmt.ValidPageSize(info.PageSize) || info.ByteOrder == nil {
		return nil, fmt.Errorf("a memory image can't be written of pages of %d bytes", info.PageSize)
	}
	if cfg.Map == nil {
		return nil, errors.New("a memory image can't be written without its map, which alone tells zeros from pages that were left out")
	}
	w := &PageWriter{out: dumpfmt.NewStream(out, 0, info.PageSize), cfg: cfg, page: info.PageSize, text: bufio.NewWriter(cfg.Map)}
	order := "little"
	if info.ByteOrder == binary.ByteOrder(binary.BigEndian) {
		order = "big"
	}
	fmt.Fprintf(w.text, "# kdx memory map: START-END OFFSET, hexadecimal, END excluded\nmachine %s\npagesize %d\nbyteorder %s\n", info.Machine, w.page, order)
	return w, w.text.Flush()
}

// Put stores the next page.
func (w *PageWriter) Put(p dumpfmt.Stored) error {
	if err := w.pages.Come(p.PFN); err != nil {
		return err
	}
	st := dumpfmt.Present
	switch {
	case p.Missing:
		st = dumpfmt.Unreadable
	case p.Zero:
		st = dumpfmt.Zero
	case p.Codec != codec.Raw || uint64(len(p.Data)) != w.page:
		return fmt.Errorf("page %#x came as %d bytes of %s; a memory image takes %d raw ones", p.PFN, len(p.Data), p.Codec, w.page)
	}
	if err := w.mark(p.PFN, st); err != nil || st != dumpfmt.Present {
		return err
	}
	if err := w.out.MoveTo(int64(p.PFN * w.page)); err != nil {
		return err
	}
	return w.out.Append(p.Data)
}

// mark adds a page to the map.
func (w *PageWriter) mark(pfn uint64, st dumpfmt.PageState) error {
	start := pfn * w.page
	if w.run.End != start || w.run.State != st {
		if err := w.line(w.run); err != nil {
			return err
		}
		if err := w.excluded(w.next, pfn); err != nil {
			return err
		}
		w.run = Range{Start: start, End: start, State: st}
	}
	w.run.End += w.page
	w.next = pfn + 1
	return nil
}

// excluded writes lines for what of the pages [from, to) is RAM.
func (w *PageWriter) excluded(from, to uint64) error {
	ranges := w.cfg.Info.Ranges
	for ; w.ranges < len(ranges); w.ranges++ {
		r := ranges[w.ranges]
		lo, hi := max(from, uint64(r.Start)/w.page), min(to, (uint64(r.End)-1)/w.page+1)
		if lo < hi {
			if err := w.line(Range{Start: lo * w.page, End: hi * w.page, State: dumpfmt.Excluded}); err != nil {
				return err
			}
			from = hi
		}
		if (uint64(r.End)-1)/w.page+1 > to {
			return nil
		}
	}
	return nil
}

func (w *PageWriter) line(r Range) error {
	if r.Start == r.End {
		return nil
	}
	var err error
	switch r.State {
	case dumpfmt.Present:
		_, err = fmt.Fprintf(w.text, "%x-%x %x\n", r.Start, r.End, r.Start)
	case dumpfmt.Zero:
		_, err = fmt.Fprintf(w.text, "%x-%x zero\n", r.Start, r.End)
	case dumpfmt.Unreadable:
		_, err = fmt.Fprintf(w.text, "%x-%x missing\n", r.Start, r.End)
	default:
		_, err = fmt.Fprintf(w.text, "%x-%x excluded\n", r.Start, r.End)
	}
	return err
}

// Close writes what is left of image and map; it does not close Map. Pages that did not come are an error.
func (w *PageWriter) Close() error {
	if err := w.pages.All(w.cfg.Pages); err != nil {
		return err
	}
	return errors.Join(w.out.Flush(), w.endMap())
}

func (w *PageWriter) endMap() error {
	err := w.line(w.run)
	w.run = Range{}
	return errors.Join(err, w.excluded(w.next, w.cfg.Info.MaxPFN), w.text.Flush())
}

// Abort writes a map that says which pages did not come, and that the image is incomplete.
func (w *PageWriter) Abort() error {
	err := w.out.Flush()
	from := w.next
	for pfn := range w.cfg.Pages.All() {
		if pfn < from {
			continue
		}
		if merr := w.mark(pfn, dumpfmt.Unreadable); merr != nil {
			return errors.Join(err, merr)
		}
	}
	_, ierr := w.text.WriteString("incomplete\n")
	return errors.Join(err, ierr, w.endMap())
}
