package elfcore

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// WriterConfig says what a page writer writes.
type WriterConfig struct {
	// Info is of the dump that the pages come from: page size, byte order, word size, machine, RAM, notes. Notes and device
	// dumps are copied as they are, but ERASEINFO, which is written from Info.EraseInfo.
	Info *dumpfmt.Info
	// Pages that will be put. RAM that is not among them becomes holes that are marked as excluded.
	Pages dumpfmt.Pages
	// ZeroPages: longer runs of pages that come with the mark Zero are left out of the file, as holes that are marked as
	// zeros. Without it they are part of the file; a file with holes of its own needs no room for them.
	ZeroPages bool
	// Segments are what the program headers shall say of addresses; their places in a file don't matter. nil are those of
	// Info, and for formats that have none its ranges, with virtual address 0. Several may cover the same memory.
	Segments []dumpfmt.Segment
}

const (
	// zeroRun is how many neighbouring pages of zeros are worth a segment of their own, in pages. Fewer stay in the file.
	zeroRun = 64
	// dataAlign is where pages begin, in bytes, but never at a page of the file: makedumpfile maps segments that do, takes
	// them to be as long in the file as in memory, and then reads the wrong bytes of files with holes.
	dataAlign = 64
)

// PageWriter writes an ELF core: headers, notes, pages, in this order in the file, as readers expect it. What the program
// headers will say is only known with the last page, so the room for them is reserved by an upper bound.
type PageWriter struct {
	dumpfmt.RawPages
	out   dumpfmt.Output
	cfg   WriterConfig
	page  uint64
	class class
	maps  *mapping
	heads *headers

	at     int64  // where the next page goes
	next   uint64 // first pfn that was not decided yet
	came   uint64 // pages
	zeros  run    // pages of zeros that wait for their neighbours
	damage bool   // pages were missing
	open   bool   // the file's last pages are zeros that were not written
	failed bool   // a write did
	sparse bool   // the output is a file; crash takes a stream with holes in it for cut short
}

// NewPageWriter writes what stands in front of the pages. The error is out's, or says what in cfg can't be written.
func NewPageWriter(out dumpfmt.Output, cfg WriterConfig) (*PageWriter, error) {
	if !dumpfmt.ValidPageSize(cfg.Info.PageSize) || cfg.Info.ByteOrder == nil {
		return nil, fmt.Errorf("an ELF dump can't be written of pages of %d bytes", cfg.Info.PageSize)
	}
	w := &PageWriter{out: out, cfg: cfg, page: cfg.Info.PageSize}
	_, w.sparse = out.(syscall.Conn)
	segments := cfg.Segments
	if segments == nil {
		segments = segmentsOf(cfg.Info)
	}
	room := w.bound(segments)
	machine, class, err := w.target(segments)
	if err != nil {
		return nil, err
	}
	w.class = class
	if w.heads, err = newHeaders(out, cfg.Info, class, machine, room); err != nil {
		return nil, err
	}
	w.maps = newMapping(segments, w.page, w.heads.add)
	w.at = (w.heads.end + dataAlign - 1) &^ (dataAlign - 1)
	if w.at%int64(w.page) == 0 {
		w.at += dataAlign
	}
	w.heads.data, w.heads.sparse = w.at, w.sparse
	w.heads.beyond = beyond64
	if class.word == 4 {
		w.heads.beyond = beyond32
	}
	return w, nil
}

// segmentsOf are the program headers of a dump's own, or one for each range of its RAM.
func segmentsOf(info *dumpfmt.Info) []dumpfmt.Segment {
	if len(info.Segments) > 0 {
		return info.Segments
	}
	out := make([]dumpfmt.Segment, len(info.Ranges))
	for i, r := range info.Ranges {
		out[i] = dumpfmt.Segment{Phys: r.Start, HasPhys: true, MemSize: uint64(r.End - r.Start)}
	}
	return out
}

// bound is how many program headers there can be: the runs of pages that are left out are known, and of zeros, no more runs
// fit between the other pages than their number says.
func (w *PageWriter) bound(segments []dumpfmt.Segment) uint64 {
	n, zeros := uint64(0), uint64(0)
	m := newMapping(segments, w.page, func(s segment) error {
		n++
		zeros += (s.filesz/w.page + 2) / (zeroRun + 1)
		return nil
	})
	next, start := uint64(0), uint64(0)
	add := func() {
		if start < next {
			m.add(run{start, next, backed, 0})
		}
	}
	for pfn := range w.cfg.Pages.All() {
		if pfn != next {
			add()
			m.add(run{next, pfn, excluded, 0})
			start = pfn
		}
		next = pfn + 1
	}
	add()
	m.finish(next)
	if w.cfg.ZeroPages {
		n += zeros
	}
	// Pages that the input turns out not to have take two segments for each run of them.
	return n + missingRuns*2 + w.cfg.Pages.Len()/1024
}

// Offsets that no byte of a file has; those of pages that nobody had.
const (
	beyond32 = 0xf0000000
	beyond64 = 1 << 62
)

// missingRuns is how many runs of damaged pages there is always room for.
const missingRuns = 64

// target chooses the file's class: the word size of the machine, but 64-bit for memory or files that need it.
func (w *PageWriter) target(segments []dumpfmt.Segment) (uint16, class, error) {
	info := w.cfg.Info
	machine, ok := machines[info.Machine]
	if !ok {
		return 0, class{}, fmt.Errorf("an ELF dump can't be written for machine %q: the number that ELF gives it is not known", info.Machine)
	}
	const most = beyond32 - 64<<20 // what a 32-bit file can hold, with room for headers and notes
	end := uint64(0)
	for _, s := range segments {
		if s.HasPhys {
			end = max(end, uint64(s.Phys)+s.MemSize)
		}
	}
	if info.WordSize == 8 || end > 1<<32-1 || w.cfg.Pages.Len() > most/w.page {
		if info.WordSize != 8 && !wideFileOf32(info.Machine) {
			return 0, class{}, fmt.Errorf("an ELF dump can't be written: more than 4 GiB of memory of a 32-bit %s", info.Machine)
		}
		return machine, class64, nil
	}
	return machine, class32, nil
}

// Put stores the next page. Its error is the output's, or says that the page is no part of the dump.
func (w *PageWriter) Put(p dumpfmt.Stored) error { return w.PutBatch([]dumpfmt.Stored{p}, p.Data) }

// PutBatch stores the next pages. Their bytes go to the output as they lie there; pages of zeros stay holes
// of a file.
func (w *PageWriter) PutBatch(pages []dumpfmt.Stored, data []byte) error {
	var pending []byte
	at, left := w.at, data
	for i := range pages {
		p := &pages[i]
		if len(p.Data) > len(left) {
			return fmt.Errorf("page %#x with %d bytes came with %d", p.PFN, len(p.Data), len(left))
		}
		page := left[:len(p.Data)]
		left = left[len(page):]
		off, err := w.place(p, page)
		switch {
		case err != nil:
			return errors.Join(w.write(pending, at), err)
		case off < 0: // zeros, or nothing
		case len(pending) > 0 && off == at+int64(len(pending)) && cap(pending) == cap(page)+len(pending): // side by side in both
			pending = pending[:len(pending)+len(page)]
			continue
		default:
			if err := w.write(pending, at); err != nil {
				return err
			}
			pending, at = page, off
			continue
		}
		if err := w.write(pending, at); err != nil {
			return err
		}
		pending = nil
	}
	return w.write(pending, at)
}

func (w *PageWriter) write(b []byte, at int64) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.out.WriteAt(b, at)
	w.failed = w.failed || err != nil
	w.open = false
	return err
}

// place decides where a page goes: -1 if it is not written.
func (w *PageWriter) place(p *dumpfmt.Stored, page []byte) (int64, error) {
	if p.PFN < w.next {
		return -1, fmt.Errorf("page %#x was written out of order", p.PFN)
	}
	if !w.maps.covers(p.PFN) {
		return -1, fmt.Errorf("page %#x lies outside of the memory that the dump describes", p.PFN)
	}
	if p.PFN > w.next {
		if err := w.skip(p.PFN); err != nil {
			return -1, err
		}
	}
	w.next = p.PFN + 1
	w.came++
	whole := uint64(len(page)) == w.page && p.Codec == codec.Raw
	switch {
	case p.Missing:
		w.damage = true
		return -1, errors.Join(w.settle(), w.maps.add(run{p.PFN, p.PFN + 1, lost, 0}))
	case p.Zero || whole && allZero(page):
		if w.zeros.start == w.zeros.end {
			w.zeros = run{start: p.PFN, end: p.PFN}
		}
		w.zeros.end++
		return -1, nil
	case !whole:
		return -1, fmt.Errorf("page %#x came as %d bytes of %s; an ELF dump takes %d raw ones", p.PFN, len(page), p.Codec, w.page)
	}
	if err := w.settle(); err != nil {
		return -1, err
	}
	off := w.at
	w.at += int64(w.page)
	return off, w.maps.add(run{p.PFN, p.PFN + 1, backed, off})
}

// skip says that the pages up to pfn were left out.
func (w *PageWriter) skip(pfn uint64) error {
	if err := w.settle(); err != nil {
		return err
	}
	return w.maps.add(run{w.next, pfn, excluded, 0})
}

// settle decides what becomes of pages of zeros that wait: a hole in memory, or one in the file.
func (w *PageWriter) settle() error {
	z := w.zeros
	if z.start == z.end {
		return nil
	}
	w.zeros = run{}
	if w.cfg.ZeroPages && z.end-z.start >= zeroRun {
		z.kind = zeroed
		return w.maps.add(z)
	}
	z.kind, z.offset = backed, w.at
	w.at += int64((z.end - z.start) * w.page)
	if w.sparse {
		w.open = true
		return w.maps.add(z)
	}
	for at := z.offset; at < w.at; at += int64(len(zeroes)) {
		if err := w.write(zeroes[:min(int64(len(zeroes)), w.at-at)], at); err != nil {
			return err
		}
	}
	return w.maps.add(z)
}

// zeroes is what is written where holes of a file do not help.
var zeroes [64 << 10]byte

// Close writes the program headers. Pages that did not come are an error; pages that came as missing mark the dump as
// incomplete.
func (w *PageWriter) Close() error {
	if w.came != w.cfg.Pages.Len() {
		return fmt.Errorf("%d pages were to be written, but %d came", w.cfg.Pages.Len(), w.came)
	}
	if err := errors.Join(w.settle(), w.maps.finish(w.next)); err != nil {
		return err
	}
	return errors.Join(w.endData(), w.heads.finish(w.damage))
}

// endData gives the file its full size, also if it ends with zeros that nobody wrote. After a failed write it must not: what
// could not be written would read as zeros.
func (w *PageWriter) endData() error {
	if !w.open || w.failed {
		return nil
	}
	_, err := w.out.WriteAt(zeroes[:1], w.at-1)
	return err
}

// Abort writes headers that show the pages that came, and the others as behind the end of the file.
func (w *PageWriter) Abort() error {
	err := w.settle()
	from := w.next
	for pfn := range w.cfg.Pages.All() {
		if err != nil {
			break
		}
		if pfn < from {
			continue
		}
		if pfn > w.next {
			err = w.maps.add(run{w.next, pfn, excluded, 0})
		}
		err = errors.Join(err, w.maps.add(run{pfn, pfn + 1, lost, 0}))
		w.next = pfn + 1
	}
	return errors.Join(err, w.maps.finish(w.next), w.endData(), w.heads.finish(true))
}

func allZero(page []byte) bool {
	for len(page) > len(zeroes) {
		if !bytes.Equal(page[:len(zeroes)], zeroes[:]) {
			return false
		}
		page = page[len(zeroes):]
	}
	return bytes.Equal(page, zeroes[:len(page)])
}
