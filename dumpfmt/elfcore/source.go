package elfcore

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"sync"

	"kdx/dumpfmt"
)

// Source is an open ELF core dump.
type Source struct {
	file    *dumpfmt.File
	info    *dumpfmt.Info
	extents []extent
	shift   uint
	windows sync.Pool // of *[]byte, for ReadRange
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
	t, err := h.survey(f, info)
	if err != nil {
		return nil, err
	}
	for _, n := range t.notes {
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
	if err := s.layout(h, t); err != nil {
		return nil, err
	}
	return s, nil
}

// maxNotes bounds the segments of notes; dumps have one.
const maxNotes = 64

// table is what a first look at the program headers tells. They are read twice rather than kept: a filtered dump of a
// large machine has half a million.
type table struct {
	notes   []programHeader
	loads   int
	extents int  // that they will make, unless the file is truncated
	anyPhys bool // some segment's physical address isn't 0
}

func pieces(p programHeader) int {
	if p.filesz > 0 && p.memsz > p.filesz {
		return 2
	}
	return 1
}

func (h *header) survey(f *dumpfmt.File, info *dumpfmt.Info) (table, error) {
	var t table
	read, err := h.programHeaders(f, func(p programHeader) {
		switch {
		case p.typ == ptLoad:
			t.loads++
			t.extents += pieces(p)
			t.anyPhys = t.anyPhys || p.paddr != 0
		case p.typ == ptNote && len(t.notes) < maxNotes:
			t.notes = append(t.notes, p)
		}
	})
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return t, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.phStart + read*h.phSize), Msg: "reading program headers", Err: err}
	}
	if read < h.phCount {
		info.Truncated = true
		info.Warn("the file ends inside its program headers: %d of %d could be read", read, h.phCount)
	}
	if !f.Came(int64(h.phStart), int64(h.phCount*h.phSize)) {
		info.Truncated = true
		info.Warn("the flattened stream ended before all %d program headers came: their memory is taken for none", h.phCount)
	}
	if t.loads > 0 {
		return t, nil
	}
	msg := "no memory segments (PT_LOAD) in this ELF file"
	if info.Truncated {
		msg = "the file ends before any memory segment"
	}
	return t, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.phStart), Msg: msg}
}

// layout turns the segments into extents and fills what Info says of memory.
func (s *Source) layout(h *header, t table) error {
	info := s.info
	// Old /proc/kcore (before Linux 4.11) and user-space cores have 0 in all p_paddr. One segment at 0 is legitimate.
	unknown := !t.anyPhys && t.loads > 1
	if unknown {
		info.Warn("all %d segments have physical address 0: the file does not say where memory was", t.loads)
	}
	info.Segments = make([]dumpfmt.Segment, 0, t.loads)
	all := make([]extent, 0, t.extents)
	_, err := h.programHeaders(s.file, func(p programHeader) {
		if p.typ != ptLoad {
			return
		}
		seg := dumpfmt.Segment{Offset: p.offset, FileSize: p.filesz, MemSize: max(p.memsz, p.filesz), Virt: p.vaddr}
		if p.paddr != h.noPhys && !unknown {
			seg.Phys, seg.HasPhys = dumpfmt.Phys(p.paddr), true
		}
		if uint64(seg.Phys)+seg.MemSize < uint64(seg.Phys) {
			info.Warn("a segment at %#x with %#x bytes goes beyond the end of the address space and was left out", p.paddr, seg.MemSize)
			return
		}
		info.Segments = append(info.Segments, seg)
		all = s.place(all, seg, tail(p.flags))
	})
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &dumpfmt.FormatError{File: s.file.Name, Offset: int64(h.phStart), Msg: "reading program headers", Err: err}
	}
	s.extents = flatten(all)
	s.ranges()
	if h.incomplete {
		info.Warn("the dump says that it is incomplete (disk full, or a size limit): its last pages were never written")
	}
	if info.Truncated {
		info.Incomplete = true
		info.Warn("%s is truncated: memory of the dump lies behind its end at byte %#x", s.file.Name, s.file.Size)
	}
	return nil
}

func (s *Source) ranges() {
	info := s.info
	for _, e := range s.extents {
		info.Filtered = info.Filtered || e.kind >= excluded
		if n := len(info.Ranges); n > 0 && uint64(info.Ranges[n-1].End) == e.start {
			info.Ranges[n-1].End = dumpfmt.Phys(e.end)
		} else {
			info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: dumpfmt.Phys(e.start), End: dumpfmt.Phys(e.end)})
		}
		info.MaxPFN = (e.end-1)>>s.shift + 1
	}
}

// place adds a segment's extents: bytes in the file, bytes behind its end, hole.
func (s *Source) place(all []extent, seg dumpfmt.Segment, tail kind) []extent {
	size := uint64(s.file.Size)
	inFile := uint64(0)
	if seg.Offset < size {
		inFile = min(seg.FileSize, size-seg.Offset)
	}
	if inFile < seg.FileSize {
		s.info.Truncated = true
	}
	if !seg.HasPhys {
		return all
	}
	start := uint64(seg.Phys)
	all = s.placeBytes(all, extent{start: start, end: start + inFile, offset: int64(seg.Offset & math.MaxInt64), kind: backed})
	for _, e := range [...]extent{
		{start: start + inFile, end: start + seg.FileSize, kind: lost},
		{start: start + seg.FileSize, end: start + seg.MemSize, kind: tail},
	} {
		if e.start < e.end {
			all = append(all, e)
		}
	}
	return all
}

// maxPieces bounds into how many extents segments fall that lie over gaps: they may lie over one another. What is beyond is lost.
const maxPieces = 1 << 20

// placeBytes adds the extent of bytes that should be in the file. In one that was a flattened stream, and was cut short, some may
// never have come; they are lost as if they lay behind its end.
func (s *Source) placeBytes(all []extent, e extent) []extent {
	for e.start < e.end {
		size := int64(e.end - e.start)
		came := min(size, s.file.NextLost(e.offset)-e.offset)
		if came > 0 {
			all = append(all, extent{start: e.start, end: e.start + uint64(came), offset: e.offset, kind: backed})
			e = e.from(e.start + uint64(came))
			continue
		}
		s.info.Truncated = true
		gone := min(size, max(1, s.file.NextData(e.offset)-e.offset))
		if len(all) >= maxPieces {
			gone = size
		}
		all = append(all, extent{start: e.start, end: e.start + uint64(gone), kind: lost})
		e = e.from(e.start + uint64(gone))
	}
	return all
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
		if e.kind == lost {
			return dumpfmt.Unreadable
		}
		if k := stateOf[e.kind]; st == dumpfmt.Absent || k < st {
			st = k
		}
	}
	return st
}

// stateOf an extent; of a page with several, the first of Present, Zero, Excluded, ZeroOrExcluded counts.
var stateOf = [kinds]dumpfmt.PageState{backed: dumpfmt.Present, zeroed: dumpfmt.Zero, lost: dumpfmt.Unreadable,
	excluded: dumpfmt.Excluded, hole: dumpfmt.ZeroOrExcluded}

var errBehindEnd = errors.New("the file ends before it (truncated dump)")

// ReadPage reads one page. Parts of it that no segment covers, and holes, are zero.
func (s *Source) ReadPage(dst []byte, pfn uint64) error {
	parts := s.find(pfn)
	start := pfn << s.shift
	switch st := state(parts); st {
	case dumpfmt.Absent, dumpfmt.Excluded:
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
