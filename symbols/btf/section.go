package btf

import (
	"fmt"
	"io"
	"slices"

	"kdx/symbols"
)

// bytesMemory is data that is in memory already, at address 0 and on.
type bytesMemory []byte

// ReadMemory copies.
func (m bytesMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	if addr >= uint64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, m[addr:])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// section is a part of BTF in target memory.
type section struct {
	mem  symbols.Memory
	addr uint64
	size uint32
}

// read fills p from offset off, or says how much of the section is there.
func (s *section) read(p []byte, off uint32) error {
	got, err := s.mem.ReadMemory(p, s.addr+uint64(off))
	if err != nil {
		return fmt.Errorf("%d of %d bytes are there: %w", int(off)+max(got, 0), s.size, err)
	}
	if got < len(p) {
		return fmt.Errorf("%d of %d bytes are there", int(off)+got, s.size)
	}
	return nil
}

// windowSize is how much of a section is read at once, bytes. Windows begin and end where pages of target memory do.
const windowSize = 64 << 10

// window is a stretch of a section that is gone through from front to back.
type window struct {
	*section
	buf  []byte
	from uint32 // offset of buf[0]
}

func newWindow(s *section) *window { return &window{section: s, buf: make([]byte, 0, windowSize)} }

// at is what the section has from off on: at least n bytes, fewer only at its end. The slice is good until the next call.
func (w *window) at(off uint32, n int) ([]byte, error) {
	off = min(off, w.size)
	end := w.from + uint32(len(w.buf))
	if off >= w.from && off <= end && (int(end-off) >= n || end == w.size) {
		return w.buf[off-w.from:], nil
	}
	lead := min(uint32(w.addr+uint64(off))&(pageSize-1), off) // from the start of its page
	w.from = off - lead
	want := min(int(w.size-w.from), max(windowSize, int(lead)+n))
	w.buf = slices.Grow(w.buf[:0], want)[:want]
	if err := w.read(w.buf, w.from); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[lead:], nil
}

// pageSize is that of most machines. Where it is another, pages are read in parts.
const pageSize = 4096
