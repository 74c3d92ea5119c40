package kdump

import (
	"encoding/binary"
	"iter"

	"kdx/dumpfmt"
)

// writeBitmaps writes the map of RAM and the map of pages, a window at a time: those of a machine with 1 TiB have 32 MiB
// each.
func (w *Writer) writeBitmaps() error {
	at := int64((1 + w.head.subBlocks) * w.page)
	half := int64(w.head.bitmapBlocks / 2 * w.page)
	if half == 0 {
		return nil
	}
	// The bitmaps must be there to their end, even if nothing follows.
	if _, err := w.out.WriteAt([]byte{0}, w.head.descAt-1); err != nil {
		return err
	}
	if err := w.writeBitmap(at, w.ramRuns()); err != nil {
		return err
	}
	return w.writeBitmap(at+half, pageRuns(w.cfg.Pages))
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

func pageRuns(set *dumpfmt.PageSet) iter.Seq[run] {
	return func(yield func(run) bool) {
		for pfn := range set.All() {
			if !yield(run{pfn, pfn + 1}) {
				return
			}
		}
	}
}

// bitWindow is how much of a bitmap is built at a time, in bits.
const bitWindow = 1 << 21

// writeBitmap writes ascending runs. Windows without any bit are left out: they read as zeros.
func (w *Writer) writeBitmap(at int64, runs iter.Seq[run]) error {
	words := make([]uint64, bitWindow/64)
	raw := make([]byte, bitWindow/8)
	window, dirty := uint64(0), false
	flush := func() error {
		if !dirty {
			return nil
		}
		for i, word := range words {
			binary.LittleEndian.PutUint64(raw[i*8:], word)
		}
		clear(words)
		dirty = false
		n := min(uint64(len(raw)), w.head.bitmapBlocks/2*w.page-window*bitWindow/8)
		_, err := w.out.WriteAt(raw[:n], at+int64(window*bitWindow/8))
		return err
	}
	for r := range runs {
		end := min(r.end, w.cfg.Info.MaxPFN)
		for pfn := r.start; pfn < end; {
			if pfn/bitWindow != window {
				if err := flush(); err != nil {
					return err
				}
				window = pfn / bitWindow
			}
			bit := pfn % bitWindow
			n := min(64-bit%64, end-pfn)
			words[bit/64] |= (^uint64(0) >> (64 - n)) << (bit % 64)
			dirty = true
			pfn += n
		}
	}
	return flush()
}
