package s390

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/klauspost/compress/zlib"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/linear"
	"kdx/internal/elfnote"
)

// Open opens a stand-alone dump. It takes over f only if it succeeds.
func Open(files []*dumpfmt.File) (dumpfmt.Source, error) {
	f := files[0]
	if len(files) > 1 {
		return nil, fmt.Errorf("%s is a stand-alone dump in one file, but %d files were named; put the volumes of a dump together with zgetdump first", f.Name, len(files))
	}
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	info := &dumpfmt.Info{Format: "s390", HeaderVersion: int(h.version), Files: []string{f.Name}, PageSize: pageSize, ByteOrder: binary.BigEndian,
		WordSize: h.word, Machine: h.machine, DumpLevel: -1, Timestamp: h.time(), Flattened: f.Flattened, Incomplete: f.Incomplete, Warnings: f.Warnings}
	var src dumpfmt.Source
	if h.extended {
		src, err = openExtended(f, h, info)
	} else {
		src, err = linear.New(info, files, []linear.Run{{Size: h.memory, Offset: h.size}})
		if err == nil && !info.Truncated && !hasEnd(f, h.size+int64(h.memory)) {
			info.Incomplete = true
			info.Warn("the end mark of the dump is missing: it was not finished")
		}
	}
	if err != nil {
		return nil, err
	}
	addNotes(src, info, h)
	return src, nil
}

// extended is a dump in segments.
type extended struct {
	info  *dumpfmt.Info
	file  *dumpfmt.File
	segs  []segment
	size  uint64 // of memory, bytes
	known uint64 // what lies behind it is lost
	block int64
	entry uint64

	mu    sync.Mutex
	cache [cachedEntries]cachedEntry
	next  int
}

// cachedEntry is memory of one entry, unpacked: neighbours are read together.
type cachedEntry struct {
	start uint64
	data  []byte
	ready chan struct{}
	err   error
}

const cachedEntries = 8

func openExtended(f *dumpfmt.File, h *header, info *dumpfmt.Info) (dumpfmt.Source, error) {
	x := &extended{info: info, file: f, size: h.memory, known: h.memory, entry: h.entry}
	x.segs, x.block = segments(f, h, info)
	if info.Incomplete {
		x.known = 0
		if n := len(x.segs); n > 0 {
			x.known = x.segs[n-1].end()
		}
	}
	for _, s := range x.segs {
		if s.entries != nil {
			info.Codecs = []string{"zlib"}
		}
		// Of a segment that is stored as it is the file may have a part.
		if s.entries == nil && s.offset+int64(s.size) > f.Size {
			info.Truncated = true
		}
	}
	if len(x.segs) == 0 && info.Incomplete {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: h.size, Msg: "the dump holds no memory", Err: errors.New(info.Warnings[len(info.Warnings)-1])}
	}
	info.MaxPFN = h.memory >> pageShift
	info.Ranges = []dumpfmt.PhysRange{{Start: 0, End: dumpfmt.Phys(h.memory)}}
	return x, nil
}

// Info is what the headers say.
func (x *extended) Info() *dumpfmt.Info { return x.info }

// Close closes the file.
func (x *extended) Close() error { return x.file.Close() }

func (x *extended) find(addr uint64) *segment {
	i := sort.Search(len(x.segs), func(i int) bool { return x.segs[i].end() > addr })
	if i == len(x.segs) || x.segs[i].start > addr {
		return nil
	}
	return &x.segs[i]
}

// State of one page.
func (x *extended) State(pfn uint64) dumpfmt.PageState {
	if pfn >= x.info.MaxPFN {
		return dumpfmt.Absent
	}
	addr := pfn << pageShift
	s := x.find(addr)
	switch {
	case s == nil && addr >= x.known:
		return dumpfmt.Unreadable
	case s == nil:
		return dumpfmt.Zero
	case s.entries == nil && s.offset+int64(addr-s.start)+pageSize > x.file.Size:
		return dumpfmt.Unreadable
	}
	return dumpfmt.Present
}

// ReadPage reads one page.
func (x *extended) ReadPage(dst []byte, pfn uint64) error {
	addr := pfn << pageShift
	pe := &dumpfmt.PageError{Addr: dumpfmt.Phys(addr), PFN: pfn, State: x.State(pfn), Level: -1}
	switch pe.State {
	case dumpfmt.Zero:
		clear(dst)
		return nil
	case dumpfmt.Absent:
		return pe
	case dumpfmt.Unreadable:
		pe.Err = errors.New("the file ends before it (truncated dump)")
		return pe
	}
	s := x.find(addr)
	var err error
	if s.entries == nil {
		_, err = x.file.ReadFull(dst[:pageSize], s.offset+int64(addr-s.start))
	} else {
		err = x.readPacked(dst[:pageSize], s, addr-s.start)
	}
	if err != nil {
		pe.State, pe.Err = dumpfmt.Unreadable, fmt.Errorf("reading the segment at byte %#x of %s: %w", s.offset-pageSize, x.file.Name, err)
		return pe
	}
	return nil
}

// readPacked copies a page out of its entry.
func (x *extended) readPacked(dst []byte, s *segment, at uint64) error {
	i := at / x.entry
	off := s.offset + int64(s.entries[i]&^storedPlain)*x.block
	if s.entries[i]&storedPlain != 0 {
		_, err := x.file.ReadFull(dst, off+int64(at%x.entry))
		return err
	}
	data, err := x.unpacked(s.start+i*x.entry, off, min(x.entry, s.size-i*x.entry))
	if err != nil {
		return err
	}
	copy(dst, data[at%x.entry:])
	return nil
}

// unpacked is an entry's memory. One goroutine unpacks it, others wait for it.
func (x *extended) unpacked(start uint64, off int64, size uint64) ([]byte, error) {
	x.mu.Lock()
	for i := range x.cache {
		if c := x.cache[i]; c.ready != nil && c.start == start {
			x.mu.Unlock()
			<-c.ready
			x.mu.Lock()
			// The slot may have been given away meanwhile.
			if c = x.cache[i]; c.ready != nil && c.start == start && (c.data != nil || c.err != nil) {
				x.mu.Unlock()
				return c.data, c.err
			}
			break
		}
	}
	slot := x.next
	x.next = (x.next + 1) % cachedEntries
	ready := make(chan struct{})
	x.cache[slot] = cachedEntry{start: start, ready: ready}
	x.mu.Unlock()

	data := make([]byte, size)
	err := x.unpack(data, off)
	x.mu.Lock()
	if c := &x.cache[slot]; c.ready == ready {
		if c.err = err; err == nil {
			c.data = data
		}
	}
	x.mu.Unlock()
	close(ready)
	return data, err
}

func (x *extended) unpack(dst []byte, off int64) error {
	if off > x.file.Size {
		return io.ErrUnexpectedEOF
	}
	z, err := zlib.NewReader(io.NewSectionReader(x.file.ReaderAt, off, x.file.Size-off))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = io.ReadFull(z, dst)
	return err
}

// Count counts by whole segments.
func (x *extended) Count(context.Context) (dumpfmt.Counts, error) {
	var c dumpfmt.Counts
	held := uint64(0)
	for _, s := range x.segs {
		have := s.size
		if s.entries == nil {
			have = min(s.size, uint64(max(0, x.file.Size-s.offset))>>pageShift<<pageShift)
		}
		c.Add(dumpfmt.Present, have>>pageShift)
		c.Add(dumpfmt.Unreadable, (s.size-have)>>pageShift)
		held += s.size
	}
	c.Add(dumpfmt.Zero, (x.known-held)>>pageShift)
	c.Add(dumpfmt.Unreadable, (x.size-x.known)>>pageShift)
	return c, nil
}

// A 64-bit CPU stores its registers in its lowcore, from byte 0x1200 on, when it is told to stop. The kernel leaves the address of its
// VMCOREINFO note in that at 0.
const (
	lcPage       = 1 // the page of the lowcore that has them
	lcGPRs       = 0x280
	lcPSW        = 0x300
	lcAccess     = 0x340
	lcVMCoreInfo = 0xe0c

	prstatusSize = 336
	prstatusPID  = 32
	prstatusReg  = 112
	ntPRStatus   = 1
	maxInfo      = 2 * pageSize // bytes of the note, which has a page of text
)

// addNotes reads the CPUs' registers and the kernel's VMCOREINFO out of memory and gives them to info as notes.
func addNotes(src dumpfmt.Source, info *dumpfmt.Info, h *header) {
	if h.machine != dumpfmt.MachineS390X {
		return
	}
	notes := append(registers(src, info, h), vmcoreInfo(src)...)
	if len(notes) > 0 {
		info.ReadNotes(&dumpfmt.File{Name: info.Files[0], Size: int64(len(notes)), ReaderAt: bytes.NewReader(notes)}, 0, int64(len(notes)))
	}
}

func registers(src dumpfmt.Source, info *dumpfmt.Info, h *header) []byte {
	be := binary.BigEndian
	var notes []byte
	page := make([]byte, pageSize)
	for i, lc := range h.lowcores {
		if err := src.ReadPage(page, lc>>pageShift+lcPage); err != nil {
			info.Warn("registers of CPU %d: %v", i, err)
			continue
		}
		desc := make([]byte, prstatusSize)
		be.PutUint32(desc[prstatusPID:], uint32(i+1))
		regs := desc[prstatusReg:]
		copy(regs, page[lcPSW:lcPSW+16])
		copy(regs[16:], page[lcGPRs:lcGPRs+16*8])
		copy(regs[16+16*8:], page[lcAccess:lcAccess+16*4])
		notes = elfnote.Append(notes, be, "CORE", ntPRStatus, desc)
	}
	return notes
}

// vmcoreInfo is the kernel's note; nil if memory has none.
func vmcoreInfo(src dumpfmt.Source) []byte {
	page := make([]byte, pageSize)
	if src.ReadPage(page, 0) != nil {
		return nil
	}
	addr := binary.BigEndian.Uint64(page[lcVMCoreInfo:])
	if addr == 0 {
		return nil
	}
	var b []byte
	for at := addr; len(b) < maxInfo; at = addr + uint64(len(b)) {
		if src.ReadPage(page, at>>pageShift) != nil {
			break
		}
		b = append(b, page[at%pageSize:]...)
	}
	var note []byte
	_ = elfnote.Scan(bytes.NewReader(b), int64(len(b)), binary.BigEndian, func(r elfnote.Record) bool {
		if r.Name == "VMCOREINFO" && r.Offset+r.Size <= int64(len(b)) {
			note = elfnote.Append(nil, binary.BigEndian, r.Name, r.Type, b[r.Offset:r.Offset+r.Size])
		}
		return false
	}) // what is no note there is no VMCOREINFO
	return note
}
