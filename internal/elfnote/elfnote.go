// Package elfnote reads the note records of ELF files and of the dump formats that embed them.
//
// A record is three words of the file's byte order (name size, descriptor size, type), the name and the descriptor, both
// padded to 4 bytes. 64-bit kernels and QEMU pad to 4 too, whatever p_align says.
package elfnote

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Record is one note: where its descriptor lies, not the descriptor itself, which can be a device dump of many MB.
type Record struct {
	Name   string
	Type   uint32
	Offset int64 // of the descriptor, in bytes from the start of the notes
	Size   int64 // of the descriptor, in bytes, without padding
}

const (
	headerSize = 12
	// maxName is far above any name in use (the longest is VMCOREINFO_XEN): more means that these aren't notes.
	maxName = 256
	window  = 64 << 10
	// maxZeros bounds what is skipped in a sparse file whose header lies.
	maxZeros = 4 << 20
)

// Scan calls yield for each note in the first size bytes of r, until it returns false. All-zero words between records are
// skipped: the kernel ends a CPU's notes with them. The error says where the records stop making sense; what was yielded
// before it is good.
func Scan(r io.ReaderAt, size int64, order binary.ByteOrder, yield func(Record) bool) error {
	w := reader{r: r, size: size}
	zeros := int64(0)
	for pos := int64(0); pos+headerSize <= size; {
		h, err := w.bytes(pos, headerSize)
		if err != nil {
			return err
		}
		nameSize, descSize, typ := int64(order.Uint32(h)), int64(order.Uint32(h[4:])), order.Uint32(h[8:])
		if nameSize == 0 && descSize == 0 && typ == 0 {
			pos += headerSize
			if zeros += headerSize; zeros > maxZeros {
				return fmt.Errorf("only zeros in front of byte %#x of the notes", pos)
			}
			continue
		}
		zeros = 0
		if nameSize > maxName {
			return fmt.Errorf("note at byte %#x has a name of %d bytes, so this is no note", pos, nameSize)
		}
		desc := pos + headerSize + pad(nameSize)
		if desc+descSize > size {
			return fmt.Errorf("note at byte %#x ends at %#x, behind the notes' end at %#x", pos, desc+descSize, size)
		}
		name, err := w.bytes(pos+headerSize, nameSize)
		if err != nil {
			return err
		}
		rec := Record{Name: cString(name), Type: typ, Offset: desc, Size: descSize}
		if !yield(rec) {
			return nil
		}
		pos = desc + pad(descSize)
	}
	return nil
}

func pad(n int64) int64 { return (n + 3) &^ 3 }

// cString cuts at the first NUL; writers differ on whether the name's size counts one.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// reader keeps one window of the notes, so that thousands of small records take few reads.
type reader struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	off  int64
}

func (w *reader) bytes(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, min(window, w.size))
		}
		w.buf = w.buf[:min(int64(cap(w.buf)), w.size-off)]
		w.off = off
		m, err := w.r.ReadAt(w.buf, off)
		w.buf = w.buf[:m]
		if int64(m) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("reading a note at byte %#x: %w", off, err)
		}
	}
	return w.buf[off-w.off:][:n], nil
}

// Append adds one record to b in the form that Scan reads.
func Append(b []byte, order binary.ByteOrder, name string, typ uint32, desc []byte) []byte {
	var head [headerSize]byte
	order.PutUint32(head[:], uint32(len(name)+1))
	order.PutUint32(head[4:], uint32(len(desc)))
	order.PutUint32(head[8:], typ)
	b = append(b, head[:]...)
	b = append(append(b, name...), 0)
	b = append(b, make([]byte, pad(int64(len(name)+1))-int64(len(name)+1))...)
	b = append(b, desc...)
	return append(b, make([]byte, pad(int64(len(desc)))-int64(len(desc)))...)
}
