package initrd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"kdx/internal/unpack"
)

// Segment is a part of an initrd: distributions put an archive without compression, with microcode, before the packed one.
type Segment struct {
	// Format is how it is packed, "" if it is not.
	Format unpack.Format `json:"format"`
	// Unpacked is its size in bytes; Files how many entries it has.
	Unpacked int64 `json:"unpacked"`
	Files    int   `json:"files"`
}

const (
	maxUnpacked = 4 << 30
	maxEntries  = 1 << 20
)

// Entry is a file in an initrd.
type Entry struct {
	Path    string `json:"path"`
	Mode    uint32 `json:"mode"` // as st_mode
	Size    int64  `json:"size"`
	Segment int    `json:"segment"`
	// Link is what a symbolic link points to.
	Link string `json:"link,omitempty"`
	// Hard names another entry that has the data.
	Hard string `json:"hard,omitempty"`
}

// walk reads an initrd, which is what the kernel takes for one: archives one behind the other, zeros between them, each packed or not. do
// gets every entry with its data. What is read before an error stays valid.
func walk(ctx context.Context, r io.Reader, do func(seg int, h header, data io.Reader) error) ([]Segment, error) {
	w := &walker{ctx: ctx, do: do, in: bufio.NewReaderSize(r, 64<<10)}
	for {
		more, err := skipZeros(w.in)
		if err == nil && !more && len(w.segments) == 0 {
			err = errors.New("it is no initrd: it is empty, or nothing but zeros")
		}
		if err != nil || !more {
			return w.segments, err
		}
		head, err := w.in.Peek(unpack.HeadSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return w.segments, err
		}
		if isCPIO(head) {
			w.segments = append(w.segments, Segment{})
			if err := w.archive(&reader{r: w.in}); err != nil {
				return w.segments, err
			}
			continue
		}
		format := unpack.Detect(head)
		if format == unpack.None {
			if len(w.segments) == 0 {
				return nil, fmt.Errorf("it is no initrd: it begins with % x, which is neither an archive of cpio nor packed in a way that kdx knows", head)
			}
			return w.segments, fmt.Errorf("behind part %d stands % x, which is neither an archive of cpio nor packed in a way that kdx knows", len(w.segments), head)
		}
		return w.segments, w.packed(format)
	}
}

func isCPIO(head []byte) bool {
	return bytes.HasPrefix(head, []byte(magicNew)) || bytes.HasPrefix(head, []byte(magicCRC))
}

type walker struct {
	ctx      context.Context
	do       func(seg int, h header, data io.Reader) error
	in       *bufio.Reader
	segments []Segment
	entries  int
}

// packed reads what is packed, to the end of the file: its archives may be several, too.
func (w *walker) packed(format unpack.Format) error {
	z, err := unpack.NewReader(w.in, format, maxUnpacked)
	if err != nil {
		return fmt.Errorf("part %d (%s): %w", len(w.segments)+1, format, err)
	}
	defer z.Close()
	in := bufio.NewReaderSize(z, 64<<10)
	first := true
	for {
		more, err := skipZeros(in)
		if err != nil && !first {
			return fmt.Errorf("behind part %d: %w", len(w.segments), err)
		}
		if err != nil {
			return fmt.Errorf("part %d (%s): %w", len(w.segments)+1, format, err)
		}
		if !more && !first {
			return nil
		}
		w.segments = append(w.segments, Segment{Format: format})
		if err := w.archive(&reader{r: in}); err != nil {
			return err
		}
		first = false
	}
}

// archive reads one archive to its trailer.
func (w *walker) archive(r *reader) error {
	n := len(w.segments)
	s := &w.segments[n-1]
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		h, err := r.next()
		s.Unpacked = r.n
		if errors.Is(err, errTrailer) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
		s.Files++
		if w.entries++; w.entries > maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		if err := w.do(n-1, h, r); err != nil {
			return err
		}
	}
}

// skipZeros says whether anything follows but zeros.
func skipZeros(r *bufio.Reader) (bool, error) {
	for {
		b, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if b != 0 {
			return true, r.UnreadByte()
		}
	}
}
