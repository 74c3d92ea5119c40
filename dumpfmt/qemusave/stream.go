// Package qemusave reads the migration stream of QEMU, which "virsh dump" (without --memory-only) writes, too, and "virsh save"
// behind a header and the machine's XML. Of the devices only RAM and x86 CPUs are read.
//
//	QEVM | configuration: machine | section "ram": blocks, pages … | sections of devices | end
//
// Pages come in the order in which they were sent, some more than once: an index of them is made on opening, which reads the whole
// file once.
package qemusave

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"kdx/dumpfmt"
)

const (
	magic         = 0x5145564d // "QEVM"
	streamVersion = 3          // since QEMU 0.9.1
)

// Marks that begin a part of the stream.
const (
	markEOF           = 0
	markStart         = 1
	markPart          = 2
	markEnd           = 3
	markFull          = 4
	markSubsection    = 5
	markDescription   = 6
	markConfiguration = 7
	markCommand       = 8
	markFooter        = 0x7e
)

// Flags of a page's header: its low bits, the rest is the page's address in its block.
const (
	flagZero       = 0x02
	flagMemSize    = 0x04
	flagPage       = 0x08
	flagEOS        = 0x10
	flagContinue   = 0x20
	flagXBZRLE     = 0x40
	flagHook       = 0x80
	flagCompressed = 0x100 // until QEMU 9.0
	flagMultifd    = 0x200
	flagMask       = 0xfff
	pageHeader     = 8
	ramVersion     = 4 // since QEMU 0.14
	maxBlocks      = 1024
	maxConfig      = 64 << 10
	searchLimit    = 64 << 20 // for the end of a section that is not understood
	maxMemory      = 1 << 46  // 64 TiB
	mappedHeader   = 4 + 3*8
	mappedVersion  = 1
	minPageBits    = 12
	maxPageBits    = 18
)

// block is a RAM block of QEMU: the machine's memory, but also video memory and ROMs.
type block struct {
	name string
	size uint64
	base uint64 // first page in the index, if it is the machine's memory
	main bool
	// capability mapped-ram:
	bitmap, pages int64
}

// stream is what reading it gave.
type stream struct {
	ctx      context.Context
	c        cursor
	info     *dumpfmt.Info
	progress func(done, total int64)
	pageSize uint64
	machine  string // "pc-q35-7.2"; "" if the stream doesn't say
	mapped   bool   // capability mapped-ram
	ignore   bool   // capability x-ignore-shared
	blocks   []*block
	byName   map[string]*block
	last     *block // of the page before, also in the part before
	ramID    uint32
	hasRAM   bool
	placed   bool // the machine's memory is among the blocks
	done     bool // RAM was read to its end
	index    pageIndex
	report   int64 // where progress is told next
}

// errCut is wrapped by errors of streams that end too early; their pages can be read up to there.
var errCut = errors.New("the stream ends early")

func (s *stream) fail(off int64, err error, format string, args ...any) error {
	return &dumpfmt.FormatError{File: s.c.File.Name, Offset: off, Msg: fmt.Sprintf(format, args...), Err: err}
}

// read reads everything up to the end of RAM. If the file ends early the error wraps errCut.
func (s *stream) read() error {
	at := s.c.Pos
	head, err := s.c.Take(8)
	if err != nil {
		return s.fail(at, err, "reading the header of QEMU's migration stream")
	}
	if binary.BigEndian.Uint32(head) != magic {
		return s.fail(at, nil, "QEMU's migration stream should begin here, but these bytes are % x", head[:4])
	}
	if v := binary.BigEndian.Uint32(head[4:]); v != streamVersion {
		return s.fail(at, nil, "a migration stream of version %d; only %d is known", v, streamVersion)
	}
	for !s.done {
		at = s.c.Pos
		end, err := s.part()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w at byte %#x of %s", errCut, at, s.c.File.Name)
		}
		var fe *dumpfmt.FormatError
		if err != nil && s.ctx.Err() == nil && !errors.As(err, &fe) {
			err = s.fail(at, nil, "%v", err)
		}
		if err != nil {
			return err
		}
		if end {
			break
		}
	}
	return nil
}

// part reads one part; end is true behind the last.
func (s *stream) part() (end bool, err error) {
	mark, err := s.c.u8()
	if err != nil {
		return false, err
	}
	switch mark {
	case markEOF:
		return true, nil
	case markConfiguration:
		return false, s.configuration()
	case markStart, markFull:
		return false, s.section()
	case markPart, markEnd:
		return false, s.more(mark == markEnd)
	case markFooter:
		_, err := s.c.u32()
		return false, err
	case markCommand:
		if _, err := s.c.u16(); err != nil {
			return false, err
		}
		n, err := s.c.u16()
		if err != nil {
			return false, err
		}
		return false, s.c.skip(uint64(n))
	}
	return false, s.fail(s.c.Pos-1, nil, "a part of the migration stream should begin here, but no part begins with %#x", mark)
}

// configuration names the machine and what the stream needs to be read.
func (s *stream) configuration() error {
	n, err := s.c.u32()
	if err != nil {
		return err
	}
	if n > maxConfig {
		return fmt.Errorf("a machine's name of %d bytes can't be", n)
	}
	b, err := s.c.Take(int(n))
	if err != nil {
		return err
	}
	s.machine = string(b)
	for {
		next, err := s.c.Peek(1)
		if err != nil || next[0] != markSubsection {
			return err
		}
		if err := s.subsection(); err != nil {
			return err
		}
	}
}

func (s *stream) subsection() error {
	if _, err := s.c.u8(); err != nil {
		return err
	}
	name, err := s.c.name()
	if err != nil {
		return err
	}
	if _, err := s.c.u32(); err != nil {
		return err
	}
	switch name {
	case "configuration/target-page-bits":
		bits, err := s.c.u32()
		if err != nil {
			return err
		}
		if bits < minPageBits || bits > maxPageBits {
			return fmt.Errorf("pages of 2^%d bytes can't be", bits)
		}
		s.pageSize = 1 << bits
		s.index.pageSize = s.pageSize
		return nil
	case "configuration/uuid":
		return s.c.skip(16)
	case "configuration/capabilities":
		return s.capabilities()
	}
	return fmt.Errorf("the configuration has a part %q, which is not known", name)
}

func (s *stream) capabilities() error {
	n, err := s.c.u32()
	if err != nil {
		return err
	}
	if n > maxConfig {
		return fmt.Errorf("%d capabilities can't be", n)
	}
	for range n {
		name, err := s.c.name()
		if err != nil {
			return err
		}
		switch name {
		case "mapped-ram":
			s.mapped = true
		case "x-ignore-shared":
			s.ignore = true
		}
	}
	return nil
}

// section begins a section. Of those before the end of RAM only RAM is understood.
func (s *stream) section() error {
	id, err := s.c.u32()
	if err != nil {
		return err
	}
	name, err := s.c.name()
	if err != nil {
		return err
	}
	if _, err := s.c.u32(); err != nil { // instance
		return err
	}
	version, err := s.c.u32()
	if err != nil {
		return err
	}
	if name != "ram" {
		return s.unknown(id, name)
	}
	if version != ramVersion {
		return fmt.Errorf("section \"ram\" has version %d; only %d is known (QEMU 0.14 and later)", version, ramVersion)
	}
	s.ramID, s.hasRAM = id, true
	return s.ram()
}

func (s *stream) more(end bool) error {
	id, err := s.c.u32()
	if err != nil {
		return err
	}
	if !s.hasRAM || id != s.ramID {
		return s.unknown(id, "?")
	}
	if err := s.ram(); err != nil {
		return err
	}
	s.done = end
	return nil
}

// unknown skips a section whose length nobody says: its footer repeats its number, and another part begins behind it.
func (s *stream) unknown(id uint32, name string) error {
	footer := binary.BigEndian.AppendUint32([]byte{markFooter}, id)
	err := s.c.search(footer, searchLimit, func() bool {
		b, err := s.c.Peek(1)
		return err != nil || b[0] <= markCommand && b[0] != markSubsection
	})
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("section %q is not known, and %w", name, err)
	}
	return err
}

// ram reads headers of pages up to the end of the part.
func (s *stream) ram() error {
	for {
		at := s.c.Pos
		if at >= s.report {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			s.progress(at, s.c.File.Size)
			s.report = at + 16<<20
		}
		header, err := s.c.u64()
		if err != nil {
			return err
		}
		flags, addr := header&flagMask, header&^flagMask
		switch {
		case flags&flagEOS != 0:
			return nil
		case flags&flagMemSize != 0:
			if err := s.readBlocks(addr); err != nil {
				return err
			}
			continue
		case flags&(flagXBZRLE|flagHook) != 0:
			return s.fail(at, nil, "pages are sent as differences (XBZRLE) or through RDMA, which no file holds")
		case flags&flagMultifd != 0:
			continue
		case flags&(flagZero|flagPage|flagCompressed) == 0:
			return s.fail(at, nil, "a page's header should stand here, but its flags are %#x", flags)
		}
		if flags&flagContinue == 0 {
			name, err := s.c.name()
			if err != nil {
				return err
			}
			if s.last = s.byName[name]; s.last == nil {
				return s.fail(at, nil, "a page of RAM block %q, which was not announced", name)
			}
		}
		if s.last == nil {
			return s.fail(at, nil, "a page that doesn't say of which RAM block it is")
		}
		if err := s.page(s.last, addr, flags); err != nil {
			return err
		}
	}
}

// page takes one page.
func (s *stream) page(b *block, addr, flags uint64) error {
	if addr%s.pageSize != 0 || addr >= b.size {
		return s.fail(s.c.Pos, nil, "a page at %#x of RAM block %q, which has %#x bytes", addr, b.name, b.size)
	}
	r := run{page: b.base + addr/s.pageSize, n: 1}
	switch {
	case flags&flagZero != 0:
		fill, err := s.c.u8()
		if err != nil {
			return err
		}
		if fill != 0 {
			r.form = filled | form(fill)<<kindBits
		}
	case flags&flagPage != 0:
		r.form, r.off = streamed, s.c.Pos
		if err := s.c.skip(s.pageSize); err != nil {
			return err
		}
	default:
		n, err := s.c.u32()
		if err != nil {
			return err
		}
		if uint64(n) > 2*s.pageSize {
			return s.fail(s.c.Pos-4, nil, "a compressed page of %d bytes", n)
		}
		r.form, r.off = packed|form(n)<<kindBits, s.c.Pos
		if err := s.c.skip(uint64(n)); err != nil {
			return err
		}
	}
	if b.main {
		s.index.add(r)
	}
	return nil
}

// readBlocks reads the list of RAM blocks, whose sizes make total bytes.
func (s *stream) readBlocks(total uint64) error {
	if s.blocks != nil {
		return errors.New("a second list of RAM blocks")
	}
	s.byName = make(map[string]*block)
	for left := total; left > 0; {
		if len(s.blocks) == maxBlocks {
			return fmt.Errorf("more than %d RAM blocks", maxBlocks)
		}
		name, err := s.c.name()
		if err != nil {
			return err
		}
		b := &block{name: name}
		if b.size, err = s.c.u64(); err != nil {
			return err
		}
		if b.size == 0 || b.size > left || s.byName[name] != nil {
			return fmt.Errorf("RAM block %q of %#x bytes, where %#x are left, can't be", name, b.size, left)
		}
		left -= b.size
		s.blocks, s.byName[name] = append(s.blocks, b), b
		if s.ignore {
			if _, err := s.c.u64(); err != nil { // where it is in memory
				return err
			}
		}
		if s.mapped {
			if err := s.readMapped(b); err != nil {
				return err
			}
		}
	}
	return s.place()
}

// readMapped reads where a block's pages are, and goes on behind them.
func (s *stream) readMapped(b *block) error {
	at := s.c.Pos
	head, err := s.c.Take(mappedHeader)
	if err != nil {
		return err
	}
	be := binary.BigEndian
	if v := be.Uint32(head); v > mappedVersion {
		return s.fail(at, nil, "memory in the form mapped-ram of version %d; only %d is known", v, mappedVersion)
	}
	size, bitmap, pages := be.Uint64(head[4:]), be.Uint64(head[12:]), be.Uint64(head[20:])
	if bitmap == 0 && pages == 0 {
		return nil // ignored, as it is shared with other programs
	}
	if size != s.pageSize || bitmap > uint64(s.c.File.Size) || pages > uint64(s.c.File.Size) || int64(pages) < s.c.Pos || b.size > maxMemory {
		return s.fail(at, nil, "RAM block %q: pages of %d bytes at byte %#x, their bitmap at %#x, can't be", b.name, size, pages, bitmap)
	}
	b.bitmap, b.pages = int64(bitmap), int64(pages)
	if s.c.Pos = b.pages + int64(b.size); s.c.Pos > s.c.File.Size {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// place finds the blocks that are the machine's memory.
func (s *stream) place() error {
	main := mainBlocks(s.blocks)
	if len(main) == 0 {
		var names []string
		for _, b := range s.blocks {
			names = append(names, b.name)
		}
		return fmt.Errorf("no RAM block is known to be the machine's memory: %.300s", strings.Join(names, ", "))
	}
	s.placed = true
	next := uint64(0)
	for _, b := range main {
		b.main, b.base = true, next
		next += b.size / s.pageSize
		if b.size%s.pageSize != 0 || next*s.pageSize > maxMemory {
			return fmt.Errorf("RAM block %q of %#x bytes can't be", b.name, b.size)
		}
		if s.mapped {
			if err := s.readBitmap(b); err != nil {
				return err
			}
		}
	}
	for _, b := range s.blocks {
		if !b.main && b.size >= 64<<20 && !strings.Contains(b.name, "vram") && !strings.Contains(b.name, "vga") {
			s.info.Warn("RAM block %q of %d MiB was left out: the stream doesn't say where in memory it is", b.name, b.size>>20)
		}
	}
	return nil
}

// readBitmap takes the pages of a block that have a fixed place in the file: those with a bit; the others are zero.
func (s *stream) readBitmap(b *block) error {
	if b.pages == 0 {
		return nil
	}
	pages := b.size / s.pageSize
	end := b.bitmap + int64(pages+63)/64*8
	buf := make([]byte, min(64<<10, int64(pages+63)/64*8))
	first := uint64(0)
	for off := b.bitmap; off < end; {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		part := buf[:min(int64(len(buf)), end-off)]
		if _, err := s.c.File.ReadFull(part, off); err != nil {
			return err
		}
		off += int64(len(part))
		for len(part) > 0 {
			n := 1
			for part[0] == 0 && n < len(part) && part[n] == 0 {
				n++
			}
			s.addBits(b, first, uint64(n)*8, part[0])
			first += uint64(n) * 8
			part = part[n:]
		}
	}
	return nil
}

// addBits adds n pages from the first on, whose bits are those of v, over and over. Bits that are alike make one run.
func (s *stream) addBits(b *block, first, n uint64, v byte) {
	add := func(page, n uint64, there bool) {
		last := b.size / s.pageSize
		if page >= last {
			return
		}
		r := run{page: b.base + page, n: uint32(min(n, last-page))}
		if there {
			r.form, r.off = mapped, b.pages+int64(page*s.pageSize)
		}
		s.index.add(r)
	}
	if v == 0 || v == 0xff {
		add(first, n, v != 0)
		return
	}
	for bit := range n {
		add(first+bit, 1, v>>(bit%8)&1 != 0)
	}
}
