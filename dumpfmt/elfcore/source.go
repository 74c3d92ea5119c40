package elfcore

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"kdx/dumpfmt"
)

// Source is an open ELF core dump.
type Source struct {
	file    *dumpfmt.File
	info    *dumpfmt.Info
	extents []extent
	shift   uint
}

// Open reads the headers and notes of an ELF core dump. It takes over f only if it succeeds. The error is a
// *dumpfmt.FormatError or what reading the file said.
func Open(f *dumpfmt.File) (*Source, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	if h.phCount > maxSegments {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.phnum),
			Msg: fmt.Sprintf("%d program headers are more than any dump has", h.phCount)}
	}
	machine, word := h.target()
	info := &dumpfmt.Info{
		Format: "elf", Flattened: f.Flattened, Files: []string{f.Name},
		ByteOrder: h.order, WordSize: word, Machine: machine, DumpLevel: -1,
		Incomplete: h.incomplete || f.Incomplete,
		Warnings:   f.Warnings,
	}
	var loads, notes []programHeader
	collect := func(p programHeader) {
		switch p.typ {
		case ptLoad:
			loads = append(loads, p)
		case ptNote:
			notes = append(notes, p)
		}
	}
	read, err := h.programHeaders(f, collect)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.phStart + read*h.phSize), Msg: "reading program headers", Err: err}
	}
	if read < h.phCount {
		info.Truncated = true
		info.Warn("the file ends inside its program headers: %d of %d could be read", read, h.phCount)
	}
	for _, n := range notes {
		if n.offset > math.MaxInt64 || n.filesz > math.MaxInt64 {
			info.Warn("notes at byte %#x, %#x bytes long, can't be", n.offset, n.filesz)
			continue
		}
		info.ReadNotes(f, int64(n.offset), int64(n.filesz))
	}
	info.SetPageSize()
	s := &Source{file: f, info: info}
	for 1<<s.shift < info.PageSize {
		s.shift++
	}
	s.layout(h, loads)
	if len(loads) == 0 {
		if info.Truncated {
			return nil, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.phStart), Msg: "the file ends before any memory segment"}
		}
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.phStart), Msg: "no memory segments (PT_LOAD) in this ELF file"}
	}
	return s, nil
}

// layout turns the segments into extents and fills what Info says of memory.
func (s *Source) layout(h *header, loads []programHeader) {
	info := s.info
	unknown := physUnknown(loads)
	if unknown {
		info.Warn("all %d segments have physical address 0: the file does not say where memory was", len(loads))
	}
	var all layers
	for i, p := range loads {
		seg := dumpfmt.Segment{Offset: p.offset, FileSize: p.filesz, MemSize: max(p.memsz, p.filesz), Virt: p.vaddr}
		if p.paddr != h.noPhys && !unknown {
			seg.Phys, seg.HasPhys = dumpfmt.Phys(p.paddr), true
		}
		if uint64(seg.Phys)+seg.MemSize < uint64(seg.Phys) {
			info.Warn("segment %d at %#x with %#x bytes goes beyond the end of the address space and was left out", i, p.paddr, seg.MemSize)
			continue
		}
		info.Segments = append(info.Segments, seg)
		s.place(&all, seg)
	}
	info.Filtered = len(all[hole]) > 0
	s.extents = all.flatten()
	for _, e := range s.extents {
		if n := len(info.Ranges); n > 0 && uint64(info.Ranges[n-1].End) == e.start {
			info.Ranges[n-1].End = dumpfmt.Phys(e.end)
		} else {
			info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: dumpfmt.Phys(e.start), End: dumpfmt.Phys(e.end)})
		}
		info.MaxPFN = (e.end-1)>>s.shift + 1
	}
	if info.Truncated {
		info.Incomplete = true
	}
}

// physUnknown: old /proc/kcore (before Linux 4.11) and user-space cores have 0 in all p_paddr. One segment at 0 is
// legitimate.
func physUnknown(loads []programHeader) bool {
	for _, p := range loads {
		if p.paddr != 0 {
			return false
		}
	}
	return len(loads) > 1
}

// place adds a segment's extents: bytes in the file, bytes behind its end, hole.
func (s *Source) place(all *layers, seg dumpfmt.Segment) {
	size := uint64(s.file.Size)
	inFile := uint64(0)
	if seg.Offset < size {
		inFile = min(seg.FileSize, size-seg.Offset)
	}
	if inFile < seg.FileSize {
		s.info.Truncated = true
	}
	if !seg.HasPhys {
		return
	}
	start := uint64(seg.Phys)
	all.add(extent{start: start, end: start + inFile, offset: int64(seg.Offset & math.MaxInt64), kind: backed})
	all.add(extent{start: start + inFile, end: start + seg.FileSize, kind: lost})
	all.add(extent{start: start + seg.FileSize, end: start + seg.MemSize, kind: hole})
}

// Info is what the headers say.
func (s *Source) Info() *dumpfmt.Info { return s.info }

// Close closes the file.
func (s *Source) Close() error { return s.file.Close() }

// find returns the extents that touch the page.
func (s *Source) find(pfn uint64) []extent {
	if pfn >= s.info.MaxPFN {
		return nil
	}
	start := pfn << s.shift
	last := start + (s.info.PageSize - 1)
	i := sort.Search(len(s.extents), func(i int) bool { return s.extents[i].end > start })
	j := i
	for j < len(s.extents) && s.extents[j].start <= last {
		j++
	}
	return s.extents[i:j]
}

// State of one page.
func (s *Source) State(pfn uint64) dumpfmt.PageState { return state(s.find(pfn)) }

// state: a page with a lost byte is unreadable; one with a byte in the file is present, as filters leave out whole pages.
func state(parts []extent) dumpfmt.PageState {
	st := dumpfmt.Absent
	for _, e := range parts {
		switch {
		case e.kind == lost:
			return dumpfmt.Unreadable
		case e.kind == backed:
			st = dumpfmt.Present
		case st == dumpfmt.Absent:
			st = dumpfmt.ZeroOrExcluded
		}
	}
	return st
}

var errBehindEnd = errors.New("the file ends before it (truncated dump)")

// ReadPage reads one page. Parts of it that no segment covers, and holes, are zero.
func (s *Source) ReadPage(dst []byte, pfn uint64) error {
	parts := s.find(pfn)
	start := pfn << s.shift
	switch st := state(parts); st {
	case dumpfmt.Absent:
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(start), PFN: pfn, State: st, Level: -1}
	case dumpfmt.Unreadable:
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(start), PFN: pfn, State: st, Level: -1, Err: errBehindEnd}
	}
	if len(parts) != 1 || parts[0].kind != backed || parts[0].start > start || parts[0].end-start < s.info.PageSize {
		clear(dst)
	}
	for _, e := range parts {
		if e.kind != backed {
			continue
		}
		lo, hi := max(e.start, start), min(e.end, start+s.info.PageSize)
		if start+s.info.PageSize < start {
			hi = e.end
		}
		if _, err := s.file.ReadFull(dst[lo-start:hi-start], e.offset+int64(lo-e.start)); err != nil {
			return &dumpfmt.PageError{Addr: dumpfmt.Phys(lo), PFN: pfn, State: dumpfmt.Unreadable, Level: -1,
				Err: fmt.Errorf("reading %s at byte %#x: %w", s.file.Name, e.offset+int64(lo-e.start), err)}
		}
	}
	return nil
}

// ValidBytes returns the part of the page between its first and last byte that a segment covers.
func (s *Source) ValidBytes(pfn uint64) (lo, hi uint64) {
	parts := s.find(pfn)
	if len(parts) == 0 {
		return 0, 0
	}
	start := pfn << s.shift
	lo = max(parts[0].start, start) - start
	hi = min(parts[len(parts)-1].end-start, s.info.PageSize)
	return lo, hi
}
