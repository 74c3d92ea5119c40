package elfcore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt"
	"kdx/internal/elfnote"
)

// headers writes what stands in front of the pages: ELF header, program headers, section header 0, notes. The program
// headers come one by one and in no more memory than a buffer.
type headers struct {
	out     dumpfmt.Output
	class   class
	order   binary.ByteOrder
	machine uint16
	room    uint64 // program headers that there is room for
	count   uint64 // written, with the one of the notes
	at      int64  // where buf goes
	buf     []byte
	notes   int64 // where they are
	end     int64 // of them
	beyond  int64 // an offset that no byte of the file has
	// data is where the pages begin, and where segments without bytes are said to lie. At 0, gdb would find this file again in
	// each of them; in front of the notes' end, crash would take that for the end of the headers.
	data   int64
	sparse bool // the output is a file
}

const headBuffer = 256 << 10

// newHeaders writes the notes, and takes disk space for the program headers. Nothing is written twice: in flattened form, crash
// does not know which of two records counts.
func newHeaders(out dumpfmt.Output, info *dumpfmt.Info, c class, machine uint16, loads uint64) (*headers, error) {
	if loads >= maxSegments {
		return nil, fmt.Errorf("the pages that stay are in up to %d pieces, which is more than an ELF dump can have segments: "+
			"write a kdump-compressed one, or leave fewer pages out", loads)
	}
	h := &headers{out: out, class: c, order: info.ByteOrder, machine: machine, room: loads + 1, count: 1}
	h.at = int64(c.ehdr + c.phdr)
	h.notes = int64(uint64(c.ehdr)+h.room*uint64(c.phdr)) + int64(c.shdr)
	if err := dumpfmt.Reserve(out, 0, h.notes); err != nil {
		return nil, err
	}
	return h, h.writeNotes(info)
}

// writeNotes copies the notes as they are, then what Info has apart from them.
func (h *headers) writeNotes(info *dumpfmt.Info) error {
	var b []byte
	hasText := false
	for _, n := range info.Notes {
		if n.Name == noteErase {
			continue
		}
		hasText = hasText || n.Name == noteVMCoreInfo
		b = elfnote.Append(b, h.order, n.Name, n.Type, n.Desc)
	}
	if !hasText && info.VMCoreInfo != nil {
		b = elfnote.Append(b, h.order, noteVMCoreInfo, 0, []byte(info.VMCoreInfo.Text()))
	}
	if info.EraseInfo != "" {
		b = elfnote.Append(b, h.order, noteErase, 0, []byte(info.EraseInfo))
	}
	_, err := h.out.WriteAt(b, h.notes)
	h.end = h.notes + int64(len(b))
	for _, d := range info.Devices {
		if err == nil {
			err = h.writeDevice(d)
		}
	}
	return err
}

const (
	noteVMCoreInfo = "VMCOREINFO"
	noteErase      = "ERASEINFO"
)

// writeDevice copies a driver's dump, piece by piece: they can be large.
func (h *headers) writeDevice(d dumpfmt.DeviceDump) error {
	b := elfnote.Append(nil, h.order, "LINUX", noteVMCoreDD, nil)
	h.order.PutUint32(b[4:], uint32(deviceName+d.Size))
	name := make([]byte, deviceName)
	copy(name[:deviceName-1], d.Name)
	b = append(b, name...)
	if _, err := h.out.WriteAt(b, h.end); err != nil {
		return err
	}
	at := h.end + int64(len(b))
	n, err := io.Copy(io.NewOffsetWriter(h.out, at), io.NewSectionReader(d.Data, 0, d.Size))
	if err != nil {
		return fmt.Errorf("copying the device dump %s: %w", d.Name, err)
	}
	if n < d.Size {
		return fmt.Errorf("copying the device dump %s: it ends after %d of %d bytes", d.Name, n, d.Size)
	}
	h.end = at + (d.Size+3)&^3
	return nil
}

const (
	noteVMCoreDD = 0x700
	deviceName   = 44 // bytes, VMCOREDD_MAX_NAME_BYTES
)

// add a segment to the table.
func (h *headers) add(s segment) error {
	if h.count == h.room {
		return errors.New("too much of the input is unreadable, in too many places, for the program headers of an ELF dump: write a kdump-compressed one")
	}
	flags := uint32(7)
	switch {
	case s.memsz == s.filesz:
	case s.tail == zeroed:
		flags |= tailZero
	case s.tail == excluded:
		flags |= tailExcluded
	}
	off := s.offset
	switch {
	case s.filesz == 0:
		off = h.data
	case s.gone:
		off = h.beyond
	}
	h.put(ptLoad, flags, programHeader{offset: uint64(off), vaddr: s.virt, paddr: s.phys, filesz: s.filesz, memsz: s.memsz})
	h.count++
	if len(h.buf) < headBuffer {
		return nil
	}
	return h.flush()
}

func (h *headers) flush() error {
	_, err := h.out.WriteAt(h.buf, h.at)
	h.at += int64(len(h.buf))
	h.buf = h.buf[:0]
	return err
}

func (h *headers) put(typ, flags uint32, p programHeader) {
	c, b := &h.class, make([]byte, h.class.phdr)
	h.order.PutUint32(b, typ)
	h.order.PutUint32(b[c.pFlags:], flags)
	c.putWord(h.order, b[c.pOffset:], p.offset)
	c.putWord(h.order, b[c.pVaddr:], p.vaddr)
	c.putWord(h.order, b[c.pPaddr:], p.paddr)
	c.putWord(h.order, b[c.pFilesz:], p.filesz)
	c.putWord(h.order, b[c.pMemsz:], p.memsz)
	h.buf = append(h.buf, b...)
}

func (c *class) putWord(order binary.ByteOrder, b []byte, v uint64) {
	if c.word == 8 {
		order.PutUint64(b, v)
	} else {
		order.PutUint32(b, uint32(v))
	}
}

// finish writes the rest of the table and the ELF header: the file is one from then on.
func (h *headers) finish(incomplete bool) error {
	if err := errors.Join(h.flush(), h.fill()); err != nil {
		return err
	}
	b := h.elfHeader(incomplete)
	if h.count >= xnum {
		sh := make([]byte, h.class.shdr)
		h.class.putWord(h.order, sh[h.class.shSize:], 1)
		h.order.PutUint32(sh[h.class.shInfo:], uint32(h.count))
		if _, err := h.out.WriteAt(sh, h.notes-int64(h.class.shdr)); err != nil {
			return err
		}
	}
	size := uint64(h.end - h.notes)
	h.put(ptNote, 0, programHeader{offset: uint64(h.notes), filesz: size, memsz: size})
	_, err := h.out.WriteAt(append(b, h.buf...), 0)
	return err
}

// fill writes zeros into the room that was not needed, but for files, where it stays a hole.
func (h *headers) fill() error {
	if h.sparse {
		return nil
	}
	end := h.notes - int64(h.class.shdr)
	for ; h.at < end; h.at += int64(len(zeroes)) {
		if _, err := h.out.WriteAt(zeroes[:min(int64(len(zeroes)), end-h.at)], h.at); err != nil {
			return err
		}
	}
	return nil
}

func (h *headers) elfHeader(incomplete bool) []byte {
	c, o := &h.class, h.order
	b := make([]byte, c.ehdr)
	copy(b, "\x7fELF\x02\x01\x01")
	if c.word == 4 {
		b[4] = 1
	}
	if o.Uint16([]byte{0, 1}) == 1 {
		b[5] = 2
	}
	o.PutUint16(b[16:], typeCore)
	o.PutUint16(b[18:], h.machine)
	o.PutUint32(b[20:], 1)
	c.putWord(o, b[c.phoff:], uint64(c.ehdr))
	if incomplete {
		o.PutUint32(b[c.flags:], flagIncomplete)
	}
	o.PutUint16(b[c.phentsize-2:], uint16(c.ehdr))
	o.PutUint16(b[c.phentsize:], uint16(c.phdr))
	o.PutUint16(b[c.phnum:], uint16(min(h.count, xnum)))
	if h.count >= xnum {
		c.putWord(o, b[c.shoff:], uint64(h.notes)-uint64(c.shdr))
		o.PutUint16(b[c.phnum+2:], uint16(c.shdr))
		o.PutUint16(b[c.phnum+4:], 1)
	}
	return b
}
