package flattened

import (
	"encoding/binary"
	"io"
	"sync"
)

// Writer writes a dump in flattened form to a stream. It is a dumpfmt.Output.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

// NewWriter writes the flattened header. The error is w's.
func NewWriter(w io.Writer) (*Writer, error) {
	var head [headerSize]byte
	copy(head[:], signature)
	binary.BigEndian.PutUint64(head[16:], typeFlat)
	binary.BigEndian.PutUint64(head[24:], versionMax)
	if _, err := w.Write(head[:]); err != nil {
		return nil, err
	}
	return &Writer{w: w}, nil
}

// Records says that the dump becomes a stream of records.
func (w *Writer) Records() bool { return true }

// WriteAt writes one record. After an error it only repeats that error.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record(uint64(off), uint64(len(p)))
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}

func (w *Writer) record(off, size uint64) {
	if w.err != nil {
		return
	}
	var head [recordSize]byte
	binary.BigEndian.PutUint64(head[:], off)
	binary.BigEndian.PutUint64(head[8:], size)
	_, w.err = w.w.Write(head[:])
}

// Close writes the end mark; without it, readers take the dump for incomplete. It does not close the stream.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record(^uint64(0), ^uint64(0))
	return w.err
}
