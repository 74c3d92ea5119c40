package dumpfmt

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// File is the bytes of a dump as a format reads them: a file of the system, or what a flattened one unfolds to.
type File struct {
	Name       string
	Size       int64 // bytes
	ReaderAt   io.ReaderAt
	Closer     io.Closer
	Flattened  bool
	Incomplete bool // a flattened stream that ended before its end mark
	Warnings   []string
}

// OpenFile opens a file or block device for reading at offsets.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := sizeOf(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r := readerOf(f, size)
	return &File{Name: path, Size: size, ReaderAt: r, Closer: r}, nil
}

type readerAtCloser interface {
	io.ReaderAt
	io.Closer
}

func sizeOf(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.IsDir() {
		return 0, fmt.Errorf("%s is a directory, not a dump", f.Name())
	}
	if st.Mode().IsRegular() {
		return st.Size(), nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("%s can't be read at offsets (a pipe?): save it to a file first: %w", f.Name(), err)
	}
	return size, nil
}

// ReadFull fills p from the offset. What lies behind the end of the file is io.ErrUnexpectedEOF, with the count of bytes
// before it.
func (f *File) ReadFull(p []byte, off int64) (int, error) {
	if off < 0 || off > f.Size {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := f.ReaderAt.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// NextData returns the offset of the first byte at or behind off that may be other than zero. Tables of large machines lie
// in files that are mostly holes.
func (f *File) NextData(off int64) int64 {
	h, ok := f.ReaderAt.(interface {
		NextData(off, size int64) int64
	})
	if !ok {
		return off
	}
	return max(off, h.NextData(off, f.Size))
}

// NextLost returns the offset of the first byte at or behind off that never came, because a flattened stream ended too early; Size if
// there is none. Such bytes read as zeros, as does what the stream's writer left out on purpose: nobody can tell which is which.
func (f *File) NextLost(off int64) int64 {
	h, ok := f.ReaderAt.(interface {
		NextGap(off, size int64) int64
	})
	if !f.Incomplete || !ok {
		return f.Size
	}
	return h.NextGap(off, f.Size)
}

// Came reports whether no byte of [off, off+size) is lost, see NextLost.
func (f *File) Came(off, size int64) bool {
	return !f.Incomplete || f.NextLost(off) >= min(off+size, f.Size)
}

// Close the file underneath.
func (f *File) Close() error {
	if f.Closer == nil {
		return nil
	}
	return f.Closer.Close()
}

// FormatError says what in a file's headers makes no sense, and where.
type FormatError struct {
	File   string
	Offset int64 // in bytes, of the header that is wrong
	Msg    string
	Err    error // what a read said; may be nil
}

func (e *FormatError) Error() string {
	s := fmt.Sprintf("%s: at byte %#x: %s", e.File, e.Offset, e.Msg)
	switch {
	case errors.Is(e.Err, io.ErrUnexpectedEOF):
		s += ": the file ends there (was it cut short?)"
	case e.Err != nil:
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FormatError) Unwrap() error { return e.Err }
