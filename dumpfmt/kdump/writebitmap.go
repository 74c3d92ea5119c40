package kdump

import (
	"encoding/binary"
	"fmt"
	"iter"

	"kdx/dumpfmt"
)

// writeBitmaps writes the map of RAM and the map of pages, a window at a time: those of a machine with 1 TiB have 32 MiB
// each. On the way the pages are counted and shared out to the parts.
func (w *Writer) writeBitmaps() error {
	at := int64((1 + w.head.subBlocks) * w.page)
	half := int64(w.head.bitmapBlocks / 2 * w.page)
	if half > 0 {
		// The bitmaps must be there to their end, even if nothing follows.
		for _, p := range w.parts {
			if _, err := p.out.WriteAt([]byte{0}, w.head.descAt-1); err != nil {
				return err
			}
		}
	}
	if err := w.writeBitmap(at, w.ramRuns()); err != nil {
		return err
	}
	density := newDensity(w.cfg.Info.MaxPFN)
	if err := w.writeBitmap(at+half, w.pageRuns(density)); err != nil {
		return err
	}
	if err := dumpfmt.PagesErr(w.cfg.Pages); err != nil {
		return fmt.Errorf("choosing the pages: %w", err)
	}
	density.share(w.parts, w.planned.n)
	return nil
}

// density is how many pages a dump holds of each stretch of memory.
type density struct {
	maxPFN uint64
	shift  uint
	counts []uint32
}

// maxStretches bounds the memory that a density takes.
const maxStretches = 1 << 16

func newDensity(maxPFN uint64) *density {
	d := &density{maxPFN: maxPFN}
	for maxPFN>>d.shift >= maxStretches {
		d.shift++
	}
	d.counts = make([]uint32, maxPFN>>d.shift+1)
	return d
}

// share gives each part a stretch of memory with about as many pages.
func (d *density) share(parts []*partWriter, total uint64) {
	at, sum := 0, uint64(0)
	for i, p := range parts {
		p.start = min(uint64(at)<<d.shift, d.maxPFN)
		for want := total * uint64(i+1) / uint64(len(parts)); at < len(d.counts) && sum < want; at++ {
			sum += uint64(d.counts[at])
		}
		p.end = min(uint64(at)<<d.shift, d.maxPFN)
	}
	parts[len(parts)-1].end = d.maxPFN
}

// ramRuns are the pages of which the dump's memory map has at least a byte.
func (w *Writer) ramRuns() iter.Seq[run] {
	return func(yield func(run) bool) {
		for _, r := range w.cfg.Info.Ranges {
			if !yield(run{uint64(r.Start) / w.page, (uint64(r.End)-1)/w.page + 1}) {
				return
			}
		}
	}
}

// pageRuns are the pages that the dump will hold; those behind the end of memory are left to Put to refuse.
func (w *Writer) pageRuns(d *density) iter.Seq[run] {
	return func(yield func(run) bool) {
		next := run{}
		for pfn := range w.cfg.Pages.All() {
			w.planned.add(pfn)
			if pfn < d.maxPFN {
				d.counts[pfn>>d.shift]++
			}
			if pfn == next.end {
				next.end++
				continue
			}
			if next.start < next.end && !yield(next) {
				return
			}
			next = run{pfn, pfn + 1}
		}
		if next.start < next.end {
			yield(next)
		}
	}
}

// bitWindow is how much of a bitmap is built at a time, in bits.
const bitWindow = 1 << 21

// maxRecorded bounds the zeros that records of a bitmap have, in windows: as many as 2 TiB of memory take.
const maxRecorded = 256

// writeBitmap writes ascending runs. Windows without any bit are left out, as they read as zeros, but for those of a stream of records.
func (w *Writer) writeBitmap(at int64, runs iter.Seq[run]) error {
	words := make([]uint64, bitWindow/64)
	raw := make([]byte, bitWindow/8)
	window, dirty := uint64(0), false
	records := maxRecorded
	for _, p := range w.parts {
		if r, ok := p.out.(dumpfmt.Recorder); !ok || !r.Records() {
			records = 0
		}
	}
	flush := func() error {
		if !dirty && records == 0 {
			return nil
		}
		records = max(0, records-1)
		for i, word := range words {
			binary.LittleEndian.PutUint64(raw[i*8:], word)
		}
		clear(words)
		dirty = false
		n := min(uint64(len(raw)), w.head.bitmapBlocks/2*w.page-window*bitWindow/8)
		for _, p := range w.parts {
			if _, err := p.out.WriteAt(raw[:n], at+int64(window*bitWindow/8)); err != nil {
				return err
			}
		}
		return nil
	}
	for r := range runs {
		end := min(r.end, w.cfg.Info.MaxPFN)
		for pfn := r.start; pfn < end; {
			for pfn/bitWindow != window {
				if err := flush(); err != nil {
					return err
				}
				window++
				if records == 0 {
					window = pfn / bitWindow
				}
			}
			bit := pfn % bitWindow
			n := min(64-bit%64, end-pfn)
			words[bit/64] |= (^uint64(0) >> (64 - n)) << (bit % 64)
			dirty = true
			pfn += n
		}
	}
	for {
		err := flush()
		if window++; err != nil || records == 0 || window*bitWindow >= w.cfg.Info.MaxPFN {
			return err
		}
	}
}
