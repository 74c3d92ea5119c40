package kdump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/codec"
)

// Open opens a kdump-compressed dump or a diskdump: one file, or the files of a split set in any order. It takes over the
// files only if it succeeds. The error is a *dumpfmt.FormatError or what reading a file said.
func Open(ctx context.Context, files []*dumpfmt.File) (*Source, error) {
	if len(files) == 0 {
		return nil, errors.New("no file of the dump was named")
	}
	headers := make([]*header, len(files))
	for i, f := range files {
		h, err := readHeader(f)
		if err != nil {
			return nil, err
		}
		headers[i] = h
	}
	s := &Source{h: headers[0], decoder: codec.NewDecoder()}
	if err := s.makeParts(files, headers); err != nil {
		return nil, err
	}
	s.h = headers[slices.Index(files, s.parts[0].file)]
	s.fillInfo(files, headers)
	if err := s.readBitmaps(ctx); err != nil {
		return nil, err
	}
	if err := s.placeParts(); err != nil {
		return nil, err
	}
	s.checkEnds()
	s.info.Incomplete = s.info.Incomplete || s.info.Truncated
	return s, nil
}

// makeParts sorts the files by the pages they hold and checks that they belong together.
func (s *Source) makeParts(files []*dumpfmt.File, headers []*header) error {
	for i, h := range headers {
		if len(headers) > 1 && !h.split {
			return fmt.Errorf("%s is a whole dump and no part of a split set, but %d files were named", files[i].Name, len(files))
		}
		if err := same(files[0], headers[0], files[i], h); err != nil {
			return err
		}
		p := &part{file: files[i], start: h.start, end: min(h.end, h.maxMapnr), descAt: h.descAt()}
		if p.start > p.end {
			return &dumpfmt.FormatError{File: files[i].Name, Offset: int64(h.blockSize),
				Msg: fmt.Sprintf("part of a split set from page %#x to page %#x", h.start, h.end)}
		}
		s.parts = append(s.parts, p)
	}
	slices.SortStableFunc(s.parts, func(a, b *part) int {
		if a.start < b.start {
			return -1
		}
		return int(min(a.start-b.start, 1))
	})
	for i, p := range s.parts[1:] {
		if prev := s.parts[i]; p.start < prev.end {
			return fmt.Errorf("%s and %s both hold page %#x: are they parts of the same split set, each named once?", prev.file.Name, p.file.Name, p.start)
		}
	}
	return nil
}

// same checks that two files are parts of one dump.
func same(fa *dumpfmt.File, a *header, fb *dumpfmt.File, b *header) error {
	what := ""
	switch {
	case a.blockSize != b.blockSize:
		what = "page size"
	case a.maxMapnr != b.maxMapnr || a.bitmapBlocks != b.bitmapBlocks:
		what = "count of pages"
	case a.uts != b.uts:
		what = "kernel"
	case a.order != b.order || a.word != b.word:
		what = "word size or byte order"
	default:
		return nil
	}
	return fmt.Errorf("%s and %s are parts of different dumps: they differ in the %s", fa.Name, fb.Name, what)
}

func (s *Source) fillInfo(files []*dumpfmt.File, headers []*header) {
	h := s.h
	m, _ := machine(h.uts.Machine, h.order, h.word)
	info := &dumpfmt.Info{
		Format: "kdump", PageSize: h.blockSize, ByteOrder: h.order, WordSize: h.word, Machine: m, MaxPFN: h.maxMapnr,
		HeaderVersion: h.version, DumpLevel: h.level, Timestamp: h.timestamp, UTS: h.uts,
	}
	s.info = info
	if h.diskdump {
		info.Format = "diskdump"
	}
	if h.level > 31 || h.level < -1 {
		info.Warn("the header says dump level %d; levels go from 0 to 31", h.level)
		info.DumpLevel = -1
	}
	if h.version > maxVersion {
		info.Warn("header version %d is newer than kdx knows; it is read as version %d", h.version, maxVersion)
	}
	if h.version >= 1 && !h.diskdump && (m == dumpfmt.MachineX86_64 || m == dumpfmt.MachineI386) {
		base := int64(h.physBase)
		info.PhysBase = &base
	}
	for i, f := range files {
		info.Flattened = info.Flattened || f.Flattened
		info.Incomplete = info.Incomplete || f.Incomplete || headers[i].status&statusIncomplete != 0
		info.Warnings = append(info.Warnings, f.Warnings...)
		info.Codecs = headerCodecs(info.Codecs, headers[i].status)
	}
	for _, p := range s.parts {
		info.Files = append(info.Files, p.file.Name)
	}
	s.notes(s.parts[0].file)
	if h.split {
		s.fillSplit()
	}
}

// headerCodecs adds the compressions that the header's status names. diskdump has other things there.
func headerCodecs(have []string, status uint32) []string {
	for _, c := range []struct {
		flag uint32
		name codec.Codec
	}{{flagZlib, codec.Zlib}, {flagLZO, codec.LZO}, {flagSnappy, codec.Snappy}, {flagZstd, codec.Zstd}} {
		if status&c.flag != 0 && !slices.Contains(have, c.name.String()) {
			have = append(have, c.name.String())
		}
	}
	return have
}

// maxVMCoreInfo is far above the page that the kernel writes.
const maxVMCoreInfo = 1 << 20

func (s *Source) notes(f *dumpfmt.File) {
	h, info := s.h, s.info
	if h.note.size != 0 {
		info.ReadNotes(f, h.note.off, h.note.size)
	}
	if info.VMCoreInfo == nil {
		// Version 3 has no other way; and a VMCOREINFO behind damaged notes is still good.
		if text := s.blob(f, h.vmcoreinfo, maxVMCoreInfo, "VMCOREINFO"); text != nil {
			if int64(len(text)) < h.vmcoreinfo.size {
				text = text[:bytes.LastIndexByte(text, '\n')+1]
			}
			info.VMCoreInfo = vmcoreinfo.Parse(text)
		}
	}
	if text := s.blob(f, h.erase, dumpfmt.MaxNotes, "the record of erased data"); text != nil {
		info.EraseInfo = string(bytes.TrimRight(text, "\x00"))
	}
}

func (s *Source) blob(f *dumpfmt.File, at span, limit int64, what string) []byte {
	if at.size == 0 {
		return nil
	}
	if at.size < 0 || at.size > limit || at.off < 0 || at.off > f.Size {
		s.info.Warn("%s should be %d bytes at byte %#x, which can't be", what, at.size, at.off)
		return nil
	}
	if !f.Came(at.off, at.size) {
		s.info.Warn("%s did not come before the flattened stream ended", what)
		return nil
	}
	b := make([]byte, min(at.size, f.Size-at.off))
	n, err := f.ReadFull(b, at.off)
	if err != nil {
		s.info.Warn("reading %s at byte %#x: %v", what, at.off, err)
	}
	if int64(n) < at.size {
		s.info.Warn("only the first %d of %d bytes of %s could be read", n, at.size, what)
	}
	return b[:n]
}

func (s *Source) fillSplit() {
	last := s.parts[len(s.parts)-1]
	split := &dumpfmt.Split{Parts: len(s.parts), StartPFN: s.parts[0].start, EndPFN: last.end}
	at := uint64(0)
	missing := func(to uint64) {
		if at < to {
			split.Missing = append(split.Missing, dumpfmt.PhysRange{Start: s.phys(at), End: s.phys(to)})
		}
	}
	for _, p := range s.parts {
		missing(p.start)
		at = p.end
	}
	missing(s.h.maxMapnr)
	s.info.Split = split
	if len(split.Missing) > 0 {
		s.info.Warn("parts of the split set are missing: name all its files to read every page")
	}
}

func (s *Source) phys(pfn uint64) dumpfmt.Phys { return dumpfmt.Phys(pfn * s.h.blockSize) }

// readBitmaps counts both bitmaps, side by side.
func (s *Source) readBitmaps(ctx context.Context) error {
	h, f := s.h, s.parts[0].file
	if have := h.bitmapBlocks * h.blockSize * 8; h.maxMapnr > have {
		s.info.Warn("the header says %#x pages, but its bitmaps have room for %#x", h.maxMapnr, have)
		h.maxMapnr = have
		s.info.MaxPFN = have
	}
	half := int64(h.bitmapBlocks / 2 * h.blockSize)
	if h.single() {
		half = 0
	}
	s.dumped = newBitmap(f, h.bitmapAt()+half, h.maxMapnr)
	s.ram = newBitmap(f, h.bitmapAt(), h.maxMapnr)
	var ranges rangeCollector
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.ram.index(ctx, ranges.add) })
	g.Go(func() error { return s.dumped.index(ctx, nil) })
	if err := g.Wait(); err != nil {
		return err
	}
	if s.dumped.bits < h.maxMapnr {
		s.info.Truncated = true
		s.info.Warn("%s ends inside its bitmaps, in front of all pages: none can be read", f.Name)
	}
	if from, to := h.bitmapAt(), h.descAt(); f.NextLost(from) < min(to, f.Size) {
		s.info.Warn("the flattened stream ended before all of the bitmaps came, or they have holes: pages may be missing, or be taken for no memory")
	}
	s.sure = s.dumped.bits
	if at := f.NextLost(s.dumped.off); f.Incomplete && at < s.dumped.off+int64(s.dumped.bits+7)/8 {
		s.sure = uint64(at-s.dumped.off) * 8
	}
	var err error
	if s.sureRank, err = s.dumped.rank(s.sure); err != nil {
		return err
	}
	s.info.Ranges = ranges.ranges(h.blockSize)
	if ranges.joined {
		s.info.Warn("the memory map has more than %d pieces; small gaps in it are not listed", maxRanges)
	}
	s.info.Filtered = s.dumped.count() < s.ram.count()
	return nil
}

// placeParts finds each part's share of the descriptors, and its page of zeros.
func (s *Source) placeParts() error {
	for _, p := range s.parts {
		var err error
		if p.first, err = s.dumped.rank(p.start); err != nil {
			return err
		}
		last, err := s.dumped.rank(p.end)
		if err != nil {
			return err
		}
		p.count = last - p.first
		s.findZero(p)
	}
	return nil
}

// findZero looks for the page of zeros that descriptors share. Writers put it in front of all other pages; behind the
// descriptors of the whole dump, also in a part.
func (s *Source) findZero(p *part) {
	at := p.descAt + int64(s.dumped.count()*descSize)
	page := make([]byte, s.h.blockSize)
	if at < 0 || at > math.MaxInt64/2 {
		return
	}
	if _, err := p.file.ReadFull(page, at); err != nil || !allZero(page) || p.file.NextLost(at) < at+int64(len(page)) {
		return
	}
	p.zeroAt = uint64(at)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// checkEnds looks at the last descriptors of each part to see whether the file was cut short.
func (s *Source) checkEnds() {
	if s.info.Incomplete {
		s.info.Warn("the dump says that it is incomplete (disk full, or a size limit): its last pages were never written")
	}
	if s.info.Truncated {
		return
	}
	for _, p := range s.parts {
		truncated, incomplete := s.cutShort(p)
		if truncated {
			s.info.Truncated = true
			s.info.Warn("%s is truncated: pages of the dump lie behind its end at byte %#x", p.file.Name, p.file.Size)
		}
		if incomplete && !s.info.Incomplete {
			s.info.Incomplete = true
			s.info.Warn("%s is incomplete: its last pages were never written", p.file.Name)
		}
	}
}

// cutShort goes back from the last descriptor to one that says where a page of its own lies.
func (s *Source) cutShort(p *part) (truncated, incomplete bool) {
	const look = 1 << 14
	for n := p.count; n > 0 && n+look > p.count; n-- {
		d, err := p.desc(s.h.order, n-1)
		if err != nil || d.offset > uint64(p.file.Size) || uint64(d.size) > uint64(p.file.Size)-d.offset {
			return true, incomplete
		}
		if d.offset != 0 && d.offset != p.zeroAt {
			break
		}
		incomplete = incomplete || d.offset == 0
	}
	return false, incomplete
}
