package lime

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"
	"sync"

	"kdx/dumpfmt"
)

type kind uint8

const (
	plain  kind = iota
	packed      // in snappy chunks
	lost        // behind the end of the file
)

// piece is memory [start, end), in bytes.
type piece struct {
	start, end uint64
	off        int64 // of start in the file; of the first chunk, if packed
	kind       kind
	skip       uint64 // bytes of the first chunks that are not in the piece
}

// Source is an open image.
type Source struct {
	file   *dumpfmt.File
	info   *dumpfmt.Info
	pieces []piece // sorted, disjoint
	shift  uint

	mu    sync.Mutex
	cache [16]unpacked // the chunks that were read last
	hand  int
}

// unpacked is the memory of one chunk.
type unpacked struct {
	start uint64
	data  []byte
}

// sort the pieces, cut away what comes twice, and fill what Info says of memory.
func (s *Source) sort() {
	slices.SortStableFunc(s.pieces, func(a, b piece) int { return cmp.Compare(a.start, b.start) })
	out := s.pieces[:0]
	end := uint64(0)
	for _, p := range s.pieces {
		if p.end <= end {
			s.twice(p.start)
			continue
		}
		if p.start < end {
			s.twice(p.start)
			if p.kind == packed {
				p.skip = end - p.start
			} else {
				p.off += int64(end - p.start)
			}
			p.start = end
		}
		end = p.end
		if n := len(out); n > 0 && p.kind == plain && out[n-1].kind == plain && out[n-1].end == p.start && out[n-1].off+int64(p.start-out[n-1].start) == p.off {
			out[n-1].end = p.end
			continue
		}
		out = append(out, p)
	}
	s.pieces = slices.Clip(out)
	info := s.info
	for _, p := range s.pieces {
		if n := len(info.Ranges); n > 0 && uint64(info.Ranges[n-1].End) == p.start {
			info.Ranges[n-1].End = dumpfmt.Phys(p.end)
		} else {
			info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: dumpfmt.Phys(p.start), End: dumpfmt.Phys(p.end)})
		}
		info.MaxPFN = (p.end-1)>>s.shift + 1
	}
}

func (s *Source) twice(start uint64) {
	s.info.Warn("memory at %#x is in the image twice; the range that begins lower counts", start)
}

// Info is what the headers say.
func (s *Source) Info() *dumpfmt.Info { return s.info }

// Close closes the file.
func (s *Source) Close() error { return s.file.Close() }

// find the pieces that touch the page.
func (s *Source) find(pfn uint64) []piece {
	if pfn >= s.info.MaxPFN {
		return nil
	}
	start := pfn << s.shift
	last := start + (s.info.PageSize - 1)
	i := sort.Search(len(s.pieces), func(i int) bool { return s.pieces[i].end > start })
	j := i
	for j < len(s.pieces) && s.pieces[j].start <= last {
		j++
	}
	return s.pieces[i:j]
}

// State of one page.
func (s *Source) State(pfn uint64) dumpfmt.PageState {
	st := dumpfmt.Absent
	for _, p := range s.find(pfn) {
		if p.kind == lost {
			return dumpfmt.Unreadable
		}
		st = dumpfmt.Present
	}
	return st
}

var errBehindEnd = errors.New("the file ends before it (truncated image), or is damaged there")

// ReadPage reads one page. Parts of it that no range covers are zero.
func (s *Source) ReadPage(dst []byte, pfn uint64) error {
	start := pfn << s.shift
	pe := &dumpfmt.PageError{Addr: dumpfmt.Phys(start), PFN: pfn, State: s.State(pfn), Level: -1}
	switch pe.State {
	case dumpfmt.Absent:
		return pe
	case dumpfmt.Unreadable:
		pe.Err = errBehindEnd
		return pe
	}
	dst = dst[:s.info.PageSize]
	clear(dst)
	for _, p := range s.find(pfn) {
		lo, hi := max(p.start, start), min(p.end, start+s.info.PageSize)
		if err := s.read(dst[lo-start:hi-start], p, lo); err != nil {
			pe.State, pe.Err = dumpfmt.Unreadable, err
			return pe
		}
	}
	return nil
}

// read fills dst from address addr of the piece.
func (s *Source) read(dst []byte, p piece, addr uint64) error {
	if p.kind == plain {
		_, err := s.file.ReadFull(dst, p.off+int64(addr-p.start))
		return err
	}
	at, off := p.start-p.skip, p.off
	for len(dst) > 0 {
		if n := s.cached(dst, addr); n > 0 {
			dst, addr = dst[n:], addr+uint64(n)
			continue
		}
		c, err := s.chunkAt(off)
		if err != nil {
			return err
		}
		if addr >= at+c.out {
			at, off = at+c.out, c.next
			continue
		}
		data := make([]byte, c.out)
		if err := s.decode(data, make([]byte, c.size), c); err != nil {
			return err
		}
		s.keep(unpacked{at, data})
		n := copy(dst, data[addr-at:])
		dst, addr = dst[n:], addr+uint64(n)
	}
	return nil
}

func (s *Source) cached(dst []byte, addr uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.cache {
		if addr >= u.start && addr-u.start < uint64(len(u.data)) {
			return copy(dst, u.data[addr-u.start:])
		}
	}
	return 0
}

func (s *Source) keep(u unpacked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache[s.hand] = u
	s.hand = (s.hand + 1) % len(s.cache)
}

// rangeWindow is how many bytes ReadRange reads at a time.
const rangeWindow = 512 << 10

// ReadRange reads runs of whole pages with large reads, packed ones chunk by chunk.
func (s *Source) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
	buf := make([]byte, min(max(rangeWindow, s.info.PageSize), max(to-from, 1)<<s.shift))
	to = min(to, s.info.MaxPFN)
	for pfn := from; pfn < to; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := s.readRun(buf, pfn, to, each)
		if err != nil {
			return err
		}
		pfn += n
		if n > 0 {
			continue
		}
		st := s.State(pfn)
		if st == dumpfmt.Absent {
			pfn = s.next(pfn)
			continue
		}
		if err := dumpfmt.ReadOne(s, buf[:s.info.PageSize], pfn, st, each); err != nil {
			return err
		}
		pfn++
	}
	return nil
}

// next is the first page behind an absent one that has memory.
func (s *Source) next(pfn uint64) uint64 {
	i := sort.Search(len(s.pieces), func(i int) bool { return s.pieces[i].start > pfn<<s.shift })
	if i == len(s.pieces) {
		return s.info.MaxPFN
	}
	return max(pfn+1, s.pieces[i].start>>s.shift)
}

// readRun reads the pages at pfn that lie wholly in one piece, as many as fit; none if it can't.
func (s *Source) readRun(buf []byte, pfn, to uint64, each dumpfmt.PageFunc) (uint64, error) {
	parts := s.find(pfn)
	start := pfn << s.shift
	if len(parts) != 1 || parts[0].kind == lost || parts[0].start > start {
		return 0, nil
	}
	n := min(uint64(len(buf))>>s.shift, (parts[0].end-start)>>s.shift, to-pfn)
	if n == 0 || s.read(buf[:n<<s.shift], parts[0], start) != nil {
		return 0, nil // page by page, each with its own error
	}
	for i := range n {
		if err := each(pfn+i, dumpfmt.Present, buf[i<<s.shift:][:s.info.PageSize], nil); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Count counts by pieces; pages that two of them share are looked at one by one.
func (s *Source) Count(ctx context.Context) (dumpfmt.Counts, error) {
	var c dumpfmt.Counts
	mask := s.info.PageSize - 1
	next := uint64(0)
	edge := func(pfn uint64) {
		if pfn >= next {
			c.Add(s.State(pfn), 1)
			next = pfn + 1
		}
	}
	for _, p := range s.pieces {
		if p.start&mask != 0 {
			edge(p.start >> s.shift)
		}
		if first, last := max(next, (p.start+mask)>>s.shift), p.end>>s.shift; first < last {
			st := dumpfmt.Present
			if p.kind == lost {
				st = dumpfmt.Unreadable
			}
			c.Add(st, last-first)
			next = last
		}
		if p.end&mask != 0 {
			edge(p.end >> s.shift)
		}
	}
	return c, ctx.Err()
}
