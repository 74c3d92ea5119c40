package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"unsafe"
)

// compareBuffer is how much is read back of a disk at a time.
const compareBuffer = 256 << 10

// DifferError says that a file does not hold what was written to it.
type DifferError struct{ What string }

func (e *DifferError) Error() string { return e.What }

// compare reads a file from front to back, buffer bytes at a time, sums it up and holds it against what was written. While a part is summed
// up, the next one is read.
func compare(ctx context.Context, w *Written, r io.Reader, l *ledger, name string, buffer int64) error {
	h := sha256.New()
	var got sum
	size := min(buffer, max(1, l.end)+directAlign-1&^(directAlign-1))
	for p := range ahead(r, int(size)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		h.Write(p.data)
		got.add(p.data, w.Size)
		w.Size += int64(len(p.data))
		if p.err != nil {
			return fmt.Errorf("reading %s back at byte %d: %w", name, w.Size, p.err)
		}
	}
	w.SHA256 = hex.EncodeToString(h.Sum(nil))
	if w.Size != l.end {
		return &DifferError{fmt.Sprintf("%s has %d bytes, but %d were written", name, w.Size, l.end)}
	}
	if got != l.want() {
		return &DifferError{fmt.Sprintf("%s does not read back as it was written: the disk, its controller or memory is at fault", name)}
	}
	return nil
}

// part of a file. err is what ended the reading; nil at the end of the file.
type part struct {
	data []byte
	err  error
}

// ahead yields the parts of a file, size bytes each but the last, and reads one ahead in two buffers.
func ahead(r io.Reader, size int) iter.Seq[part] {
	return func(yield func(part) bool) {
		parts, free, stop := make(chan part), make(chan []byte, 2), make(chan struct{})
		for range cap(free) {
			free <- aligned(size)
		}
		var reading sync.WaitGroup
		reading.Go(func() {
			defer close(parts)
			for buf := range free {
				n, err := io.ReadFull(r, buf)
				last := err != nil
				if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
					err = nil
				}
				select {
				case parts <- part{buf[:n], err}:
				case <-stop:
					return
				}
				if last {
					return
				}
			}
		})
		defer reading.Wait()
		defer close(free)
		defer close(stop)
		for p := range parts {
			if !yield(p) {
				return
			}
			free <- p.data[:cap(p.data)]
		}
	}
}

// directAlign is what offsets, lengths and addresses of direct reads are multiples of, bytes. Disks have blocks of 512 or 4096.
const directAlign = 4096

// aligned is a buffer that direct reads can fill.
func aligned(size int) []byte {
	b := make([]byte, size+directAlign)
	skip := -uintptr(unsafe.Pointer(&b[0])) & (directAlign - 1)
	return b[skip : skip+uintptr(size) : skip+uintptr(size)]
}
