// Package window reads files forward through a window: headers and records that follow each other, of files that may be as
// large as a machine's memory.
package window

import (
	"io"

	"kdx/dumpfmt"
)

// Reader reads File from Pos on, which may be moved.
type Reader struct {
	File  *dumpfmt.File
	Pos   int64
	size  int
	buf   []byte
	start int64 // of buf in the file
}

// New reads size bytes at once, which bounds what can be asked for in one piece.
func New(f *dumpfmt.File, pos int64, size int) Reader {
	return Reader{File: f, Pos: pos, size: size}
}

// Peek returns the next n bytes, valid until the next call. The error is io.ErrUnexpectedEOF where the file ends before
// them, or what reading it said.
func (r *Reader) Peek(n int) ([]byte, error) {
	if r.Pos < r.start || r.Pos+int64(n) > r.start+int64(len(r.buf)) {
		if r.buf == nil {
			r.buf = make([]byte, r.size)
		}
		r.buf = r.buf[:cap(r.buf)]
		got, err := r.File.ReadFull(r.buf, r.Pos)
		r.start, r.buf = r.Pos, r.buf[:got]
		if got < n {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return r.buf[r.Pos-r.start:][:n], nil
}

// Take is Peek, and goes behind the bytes.
func (r *Reader) Take(n int) ([]byte, error) {
	b, err := r.Peek(n)
	if err == nil {
		r.Pos += int64(n)
	}
	return b, err
}
