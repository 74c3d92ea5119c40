package sadump

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/dumpfmt"
)

// Source is an open dump.
type Source struct {
	info     *dumpfmt.Info
	ram      bitmap
	dumpable bitmap
	shift    uint
	disks    []disk
	complete bool // no disk is missing
}

// disk is where pages are: pages of it are in the file from offset on.
type disk struct {
	file   *dumpfmt.File
	offset int64
	pages  uint64
}

// Open opens a dump: a partition or its copy, a backup, or the disks of a set in any order. It takes over the files only if it
// succeeds.
func Open(files []*dumpfmt.File) (dumpfmt.Source, error) {
	at, err := mediaBlock(files)
	if err != nil {
		return nil, err
	}
	var parts []partition
	for _, f := range files {
		p, err := readPartition(f, at)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	parts, files = sortDisks(parts, files)
	dumpAt := at + parts[0].block
	set := at == 0 && parts[0].disk > 0
	volumes := 1
	if set {
		n, size, err := checkSet(parts, files)
		if err != nil {
			return nil, err
		}
		volumes, dumpAt = n, dumpAt+size
	} else if len(files) > 1 {
		return nil, fmt.Errorf("%s is a dump in one file, but %d files were named", files[0].Name, len(files))
	}
	h, err := readDump(files[0], dumpAt, parts[0].block)
	if err != nil {
		return nil, err
	}
	s, err := newSource(files, h, parts[0].block)
	if err != nil {
		return nil, err
	}
	s.placeDisks(parts, files, h, set, volumes)
	s.checkEnd()
	return s, nil
}

// mediaBlock is the size of a backup's media header; 0 for other dumps.
func mediaBlock(files []*dumpfmt.File) (int64, error) {
	f := files[0]
	var head [defaultSize + 8]byte
	n, err := f.ReadFull(head[:], 0)
	switch {
	case isPart(head[:n]):
		return 0, nil
	case n < len(head):
		return 0, &dumpfmt.FormatError{File: f.Name, Msg: "reading SADUMP's headers", Err: err}
	case !isPart(head[defaultSize:]):
		return 0, &dumpfmt.FormatError{File: f.Name, Msg: "no header of SADUMP"}
	}
	if n := head[mediaNumber]; n != 1 {
		return 0, fmt.Errorf("%s is part %d of a backup in several parts; the first is wanted", f.Name, n)
	}
	p, err := readPartition(f, defaultSize)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(p.id[:], head[mediaID:mediaID+guidSize]) || !bytes.Equal(p.setID[:], head[mediaSetID:mediaSetID+guidSize]) {
		return 0, &dumpfmt.FormatError{File: f.Name, Msg: "the media header and the partition header are of different dumps"}
	}
	return defaultSize, nil
}

// checkSet holds the disks of a set against the first one's list. It returns how many there should be and the size of the
// list in bytes.
func checkSet(parts []partition, files []*dumpfmt.File) (int, int64, error) {
	le := binary.LittleEndian
	first := parts[0]
	if first.disk != 1 {
		return 0, 0, fmt.Errorf("%s is disk %d of a set; disk 1, which says what is where, must be named, too", files[0].Name, first.disk)
	}
	b := make([]byte, setVolume+(maxDisks-1)*setEntry)
	if _, err := files[0].ReadFull(b, first.block); err != nil {
		return 0, 0, &dumpfmt.FormatError{File: files[0].Name, Offset: first.block, Msg: "reading the header of the disk set", Err: err}
	}
	blocks, n := int64(le.Uint32(b)), le.Uint32(b[setDisks:])
	if blocks == 0 || blocks > maxDisks || n == 0 || n > maxDisks {
		return 0, 0, &dumpfmt.FormatError{File: files[0].Name, Offset: first.block, Msg: fmt.Sprintf("a set of %d disks, with a header of %d blocks, can't be", n, blocks)}
	}
	for i, p := range parts[1:] {
		switch {
		case p.block != first.block || p.id != first.id || p.setID != first.setID:
			return 0, 0, fmt.Errorf("%s and %s are not disks of one set", files[0].Name, files[i+1].Name)
		case p.disk == parts[i].disk:
			return 0, 0, fmt.Errorf("%s and %s are both disk %d of the set", files[i].Name, files[i+1].Name, p.disk)
		case p.disk > n:
			return 0, 0, fmt.Errorf("%s is disk %d of the set, which has %d", files[i+1].Name, p.disk, n)
		case !bytes.Equal(p.volume[:], b[setVolume+int(p.disk-2)*setEntry:][:guidSize]):
			return 0, 0, fmt.Errorf("%s says that it is disk %d of the set, but %s lists another one", files[i+1].Name, p.disk, files[0].Name)
		}
	}
	return int(n), blocks * first.block, nil
}

func newSource(files []*dumpfmt.File, h dumpHeader, block int64) (*Source, error) {
	f := files[0]
	info := &dumpfmt.Info{Format: "sadump", HeaderVersion: int(h.version), PageSize: uint64(block), ByteOrder: binary.LittleEndian, WordSize: 8,
		Machine: dumpfmt.MachineX86_64, DumpLevel: -1, Timestamp: h.time}
	for _, f := range files {
		info.Files = append(info.Files, f.Name)
		info.Warnings = append(info.Warnings, f.Warnings...)
		info.Flattened = info.Flattened || f.Flattened
		info.Incomplete = info.Incomplete || f.Incomplete
	}
	s := &Source{info: info}
	for 1<<s.shift < block {
		s.shift++
	}
	if h.version > 1 {
		info.Warn("version %d of the dump header is not known; it is read as version 1", h.version)
	}
	if h.compress != 0 {
		info.Warn("the dump header says that memory is in form %d, which is not documented: pages are read as they are", h.compress)
	}
	var err error
	if s.ram, err = readBitmap(f, h.bitmapAt, h.pages); err == nil {
		s.dumpable, err = readBitmap(f, h.bitmapAt+h.bitmap*block, h.pages)
	}
	if err != nil {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: h.bitmapAt, Msg: "reading SADUMP's bitmaps of memory", Err: err}
	}
	s.dumpable.count()
	s.ram.runs(h.pages, func(from, to uint64) {
		info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: dumpfmt.Phys(from << s.shift), End: dumpfmt.Phys(to << s.shift)})
		info.MaxPFN = to
	})
	info.Filtered = !s.ram.within(&s.dumpable)
	h.cpus86(f, info)
	return s, nil
}

// placeDisks finds where pages are. What a disk does not use is at its end.
func (s *Source) placeDisks(parts []partition, files []*dumpfmt.File, h dumpHeader, set bool, volumes int) {
	s.complete = true
	for i, f := range files {
		if !set {
			s.disks = append(s.disks, disk{f, h.endAt, 1<<63 - 1})
			return
		}
		// Without a disk there is no telling what is on those behind it.
		if parts[i].disk != uint32(i+1) {
			break
		}
		d := disk{file: f, offset: parts[i].block}
		if i == 0 {
			d.offset = h.endAt
		}
		if used := parts[i].used; used > uint64(d.offset) {
			d.pages = (used - uint64(d.offset)) >> s.shift
		}
		s.disks = append(s.disks, d)
	}
	if len(s.disks) == volumes {
		return
	}
	s.complete = false
	s.info.Incomplete = true
	s.info.Warn("disk %d of the set's %d was not named: what is on it, and on those behind it, is missing", len(s.disks)+1, volumes)
	// Only those that were not used are kept open for nothing, until Close.
	for _, f := range files[len(s.disks):] {
		s.disks = append(s.disks, disk{file: f})
	}
}

// checkEnd says whether the last page is in its file.
func (s *Source) checkEnd() {
	last, found := s.dumpable.last(&s.ram)
	if !found || !s.complete {
		return
	}
	if _, _, ok := s.where(last); !ok {
		s.info.Truncated, s.info.Incomplete = true, true
		s.info.Warn("%s is truncated: pages of the dump lie behind its end", s.disks[len(s.disks)-1].file.Name)
	}
}

// where is the file and offset of a page that is in the dump; ok is false if it isn't in the files.
func (s *Source) where(pfn uint64) (f *dumpfmt.File, off int64, ok bool) {
	n := s.dumpable.rank(pfn)
	for _, d := range s.disks {
		if n >= d.pages {
			n -= d.pages
			continue
		}
		off = d.offset + int64(n<<s.shift)
		return d.file, off, n < 1<<48 && off+1<<s.shift <= d.file.Size
	}
	return nil, 0, false
}

// Info is what the headers say.
func (s *Source) Info() *dumpfmt.Info { return s.info }

// Close closes the files.
func (s *Source) Close() error {
	var errs []error
	for _, d := range s.disks {
		errs = append(errs, d.file.Close())
	}
	return errors.Join(errs...)
}

// State of one page.
func (s *Source) State(pfn uint64) dumpfmt.PageState {
	switch {
	case pfn >= s.info.MaxPFN || !s.ram.has(pfn):
		return dumpfmt.Absent
	case !s.dumpable.has(pfn):
		return dumpfmt.Excluded
	}
	if _, _, ok := s.where(pfn); !ok {
		return dumpfmt.Unreadable
	}
	return dumpfmt.Present
}

// ReadPage reads one page.
func (s *Source) ReadPage(dst []byte, pfn uint64) error {
	pe := &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn << s.shift), PFN: pfn, State: s.State(pfn), Level: -1}
	switch pe.State {
	case dumpfmt.Absent, dumpfmt.Excluded:
		return pe
	case dumpfmt.Unreadable:
		pe.Err = errors.New("the dump ends before it, or it is on a disk that was not named")
		return pe
	}
	f, off, _ := s.where(pfn)
	if _, err := f.ReadFull(dst[:s.info.PageSize], off); err != nil {
		pe.State, pe.Err = dumpfmt.Unreadable, fmt.Errorf("reading %s at byte %#x: %w", f.Name, off, err)
		return pe
	}
	return nil
}

// Count counts pages by what the bitmaps say.
func (s *Source) Count(ctx context.Context) (dumpfmt.Counts, error) {
	var c dumpfmt.Counts
	for _, r := range s.info.Ranges {
		for pfn := uint64(r.Start) >> s.shift; pfn < uint64(r.End)>>s.shift; pfn++ {
			if pfn%(1<<16) == 0 && ctx.Err() != nil {
				return c, ctx.Err()
			}
			c.Add(s.State(pfn), 1)
		}
	}
	return c, nil
}
