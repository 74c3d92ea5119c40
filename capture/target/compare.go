package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// compareBuffer is how much is read back of a disk at a time.
const compareBuffer = 256 << 10

// DifferError says that a file does not hold what was written to it.
type DifferError struct{ What string }

func (e *DifferError) Error() string { return e.What }

// compare reads a file from front to back, buffer bytes at a time, sums it up and holds it against what was written.
func compare(ctx context.Context, w *Written, r io.Reader, l *ledger, name string, buffer int64) error {
	h := sha256.New()
	var got sum
	buf := make([]byte, min(buffer, max(1, l.end)))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf)
		h.Write(buf[:n])
		got.add(buf[:n], w.Size)
		w.Size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading %s back at byte %d: %w", name, w.Size, err)
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
