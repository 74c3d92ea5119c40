package kdump

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"

	"kdx/dumpfmt"
)

// Check holds the bitmaps against each other, and the places of all pages against each other and against the tables.
func (s *Source) Check(ctx context.Context, report func(dumpfmt.Fault)) error {
	s.checkVMCoreInfo(report)
	if err := s.checkSubset(ctx, report); err != nil {
		return err
	}
	for i, p := range s.parts {
		h, err := readHeader(p.file)
		if err != nil {
			return err
		}
		s.checkBitmapEnds(p, report)
		if i > 0 {
			if err := s.sameBitmaps(ctx, p, report); err != nil {
				return err
			}
		}
		if err := s.checkPlaces(ctx, p, h, report); err != nil {
			return err
		}
	}
	return nil
}

// checkVMCoreInfo: the sub header points to the VMCOREINFO inside the notes.
func (s *Source) checkVMCoreInfo(report func(dumpfmt.Fault)) {
	at, vmci := s.h.vmcoreinfo, s.info.VMCoreInfo
	if at.size == 0 || s.h.note.size == 0 || vmci == nil {
		return
	}
	f := s.parts[0].file
	text := make([]byte, max(0, min(at.size, maxVMCoreInfo)))
	if at.off < 0 {
		text = nil
	} else if _, err := f.ReadFull(text, at.off); err != nil {
		text = nil
	}
	if !bytes.Equal(bytes.TrimRight(text, "\x00"), bytes.TrimRight([]byte(vmci.Text()), "\x00")) {
		report(dumpfmt.Fault{File: f.Name, Offset: at.off, Msg: fmt.Sprintf("the sub header says that the VMCOREINFO stands here, %d bytes, but the one among the notes is another", at.size)})
	}
}

// checkSubset: a page that is in the dump must be RAM.
func (s *Source) checkSubset(ctx context.Context, report func(dumpfmt.Fault)) error {
	n, first := uint64(0), uint64(0)
	for i := range min(s.ram.blocks(), s.dumped.blocks()) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.dumped.before[i] == s.dumped.before[i+1] {
			continue
		}
		ram, err := s.ram.block(i)
		if err != nil {
			return err
		}
		dumped, err := s.dumped.block(i)
		if err != nil {
			return err
		}
		for j, w := range dumped.words {
			if j < len(ram.words) {
				w &^= ram.words[j]
			}
			if w != 0 && n == 0 {
				first = i<<s.dumped.shift + uint64(j)*64 + uint64(bits.TrailingZeros64(w))
			}
			n += uint64(bits.OnesCount64(w))
		}
	}
	if n > 0 {
		report(dumpfmt.Fault{File: s.parts[0].file.Name, Offset: s.dumped.off + int64(first/8),
			Msg: fmt.Sprintf("the second bitmap has %d pages that are no RAM by the first bitmap; the first is page %#x", n, first)})
	}
	return nil
}

// checkBitmapEnds: behind the last page, bitmaps are empty.
func (s *Source) checkBitmapEnds(p *part, report func(dumpfmt.Fault)) {
	h := s.h
	size := h.bitmapSize()
	tail := make([]byte, size-h.maxMapnr/8)
	for i := range h.bitmapBlocks * h.blockSize / max(size, 1) {
		if i > 1 {
			break
		}
		at := h.bitmapAt() + int64(h.bitmapBlocks/2*h.blockSize*i)
		if h.single() && i > 0 {
			break
		}
		at += int64(h.maxMapnr / 8)
		if _, err := p.file.ReadFull(tail, at); err != nil {
			return // truncated, which is known
		}
		if h.maxMapnr%8 != 0 {
			tail[0] &= ^byte(0) << (h.maxMapnr % 8)
		}
		if !allZero(tail) {
			report(dumpfmt.Fault{File: p.file.Name, Offset: at, Msg: fmt.Sprintf("bitmap %d has pages behind the last one, %#x", i+1, h.maxMapnr-1)})
		}
	}
}

// sameBitmaps: each part of a split set has the bitmaps of the whole dump.
func (s *Source) sameBitmaps(ctx context.Context, p *part, report func(dumpfmt.Fault)) error {
	const chunk = 1 << 20
	first := s.parts[0].file
	a, b := make([]byte, chunk), make([]byte, chunk)
	end := s.h.descAt()
	for at := s.h.bitmapAt(); at < end; at += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(chunk, end-at)
		_, errA := first.ReadFull(a[:n], at)
		_, errB := p.file.ReadFull(b[:n], at)
		if errA != nil || errB != nil {
			return nil // truncated, which is known
		}
		if !bytes.Equal(a[:n], b[:n]) {
			report(dumpfmt.Fault{File: p.file.Name, Offset: at, Msg: "the bitmaps from here on are not those of " + first.Name})
			return nil
		}
	}
	return nil
}

// stretch is bytes of the file, and whose it is: that of the pages from the part's nth on, whose descriptors follow
// each other as their bytes do, or of a table.
type stretch struct {
	start, end uint64
	nth        uint64
	table      string // "" for pages
}

// maxPlaces bounds what pages that lie in no order make kdx remember. Writers put them one behind the other: a sound dump
// has two or three places.
const maxPlaces = 1 << 19

// checkPlaces: pages don't share bytes with each other, but for the page of zeros, nor with tables; and the descriptors end
// where the bitmap says.
func (s *Source) checkPlaces(ctx context.Context, p *part, h *header, report func(dumpfmt.Fault)) error {
	descEnd := uint64(h.descAt()) + s.dumped.count()*descSize
	places := []stretch{
		{start: 0, end: uint64(h.bitmapAt()), table: "the headers and notes"},
		{start: uint64(h.bitmapAt()), end: uint64(h.descAt()), table: "the bitmaps"},
		{start: uint64(h.descAt()), end: descEnd, table: "the descriptors"},
	}
	if p.zeroAt != 0 {
		places = append(places, stretch{start: p.zeroAt, end: p.zeroAt + s.h.blockSize, table: "the page of zeros that others share"})
	}
	if h.erase.size > 0 && h.erase.off > 0 {
		places = append(places, stretch{start: uint64(h.erase.off), end: uint64(h.erase.off) + uint64(h.erase.size), table: "the record of erased data"})
	}
	tables := len(places)
	err := s.eachDesc(ctx, p, func(n uint64, d desc) {
		if p.isZero(d, s.h.blockSize) || p.check(d, s.h.blockSize) != nil {
			return
		}
		if last := &places[len(places)-1]; last.table == "" && last.end == d.offset {
			last.end += uint64(d.size)
			return
		}
		if len(places) < maxPlaces {
			places = append(places, stretch{start: d.offset, end: d.offset + uint64(d.size), nth: n})
		}
	})
	if err != nil {
		return err
	}
	if len(places) == maxPlaces {
		report(dumpfmt.Fault{File: p.file.Name, Offset: h.descAt(), Msg: "the pages lie scattered over the file, as no writer leaves them; whether some share their bytes was not looked for to the end"})
	}
	s.checkDescEnd(p, places[tables:], report)
	slices.SortFunc(places, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	s.checkShared(p, places, report)
	return nil
}

// maxShared is how many shared places are looked at closely.
const maxShared = 20

// checkShared finds places, which are sorted by their start, that overlap.
func (s *Source) checkShared(p *part, places []stretch, report func(dumpfmt.Fault)) {
	widest, n := places[0], 0
	for _, x := range places[1:] {
		if x.start < widest.end {
			if n++; n <= maxShared {
				report(dumpfmt.Fault{File: p.file.Name, Offset: int64(x.start),
					Msg: fmt.Sprintf("%s and %s share these bytes", s.owner(p, widest, x.start), s.owner(p, x, x.start))})
			}
		}
		if x.end > widest.end {
			widest = x
		}
	}
	if n > maxShared {
		report(dumpfmt.Fault{File: p.file.Name, Offset: -1, Msg: fmt.Sprintf("%d more places of the file belong to more than one page or table", n-maxShared)})
	}
}

// checkDescEnd: behind the last descriptor that the bitmap has a page for, there is no other.
func (s *Source) checkDescEnd(p *part, pages []stretch, report func(dumpfmt.Fault)) {
	at := p.descAt + int64(p.count*descSize)
	for _, x := range pages {
		if x.start < uint64(at)+descSize && uint64(at) < x.end {
			return // data begins here
		}
	}
	var raw [descSize]byte
	if p.zeroAt != 0 && uint64(at) >= p.zeroAt || p.count == 0 {
		return
	}
	if _, err := p.file.ReadFull(raw[:], at); err != nil {
		return
	}
	d := parseDesc(s.h.order, raw[:])
	if _, err := d.codec(); err != nil || p.check(d, s.h.blockSize) != nil || d.offset < uint64(at) {
		return
	}
	report(dumpfmt.Fault{File: p.file.Name, Offset: at, Msg: fmt.Sprintf("the descriptors go on behind the %d pages that the second bitmap has: pages of the dump may be taken for their neighbours", p.count)})
}

// owner says whose bytes these are.
func (s *Source) owner(p *part, x stretch, at uint64) string {
	if x.table != "" {
		return x.table
	}
	n := x.nth
	for end := x.start; n < p.count; n++ {
		d, err := p.desc(s.h.order, n)
		if err != nil {
			break
		}
		if p.isZero(d, s.h.blockSize) {
			continue
		}
		if end += uint64(d.size); end > at {
			break
		}
	}
	return fmt.Sprintf("page %#x", s.pfnOf(p.first+n))
}

// pfnOf finds the page with so many in front of it in the second bitmap.
func (s *Source) pfnOf(rank uint64) uint64 {
	lo, hi := uint64(0), s.dumped.bits
	for lo < hi {
		mid := lo + (hi-lo)/2
		if r, err := s.dumped.rank(mid + 1); err != nil || r > rank {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
