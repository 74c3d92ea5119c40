package flattened

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt"
	"kdx/dumpfmt/kdump"
)

// ErrTruncated is wrapped by Rearrange's error if the stream ends before its end mark.
var ErrTruncated = errors.New("the flattened dump ends without its end mark")

// Rearrange unfolds a flattened dump from a stream into out: each record goes where it belongs as it comes, without an index of
// them. It returns the size of the unfolded dump. progress, if not nil, is called now and then with the bytes that were read.
//
// A stream that ends too early or has a record that can't be is an error, as is what r or out say; out then holds what came
// before, and its header is marked as that of an incomplete dump, if it came. If ctx ends, a read of r that hangs is left
// behind.
func Rearrange(ctx context.Context, r io.Reader, out dumpfmt.Output, progress func(done int64)) (int64, error) {
	u := unfolder{in: newInput(ctx, r, progress), out: out}
	defer u.in.stop()
	err := u.run()
	for i := range u.pending {
		err = errors.Join(err, u.flush(&u.pending[i]))
	}
	if err == nil {
		return u.size, nil
	}
	if u.headed && (kdump.MarkIncomplete(u.head[:]) || markELF(u.head[:])) {
		if _, merr := out.WriteAt(u.head[:min(int64(len(u.head)), u.size)], 0); merr != nil {
			err = errors.Join(err, fmt.Errorf("marking the dump as incomplete: %w", merr))
		}
	}
	return u.size, err
}

// unfolder writes records to their places. Small ones that follow one another are collected: writers alternate between
// tables and pages.
type unfolder struct {
	in      *input
	out     dumpfmt.Output
	size    int64
	pending [4]extent
	clock   uint64
	head    [512]byte // of the unfolded file
	headed  bool      // its first byte came
}

// extent is bytes that were not written yet.
type extent struct {
	at   int64
	buf  []byte
	used uint64 // when
}

const extentSize = 512 << 10

func (e *extent) end() int64 { return e.at + int64(len(e.buf)) }

func (u *unfolder) run() error {
	head, err := u.in.fixed(headerSize)
	if err != nil {
		return u.broken("reading the header of the flattened dump", err)
	}
	if !Probe(head) {
		return errors.New("this is not a flattened dump")
	}
	if typ := binary.BigEndian.Uint64(head[16:]); typ != typeFlat {
		return fmt.Errorf("this is a flattened dump of type %d; only type %d is known", typ, typeFlat)
	}
	for {
		pos := u.in.pos
		head, err := u.in.fixed(recordSize)
		if err != nil {
			return u.broken("reading a record", err)
		}
		at, size := int64(binary.BigEndian.Uint64(head)), int64(binary.BigEndian.Uint64(head[8:]))
		if at == -1 && size == -1 {
			return nil
		}
		if at < 0 || size <= 0 || at > maxEnd || size > maxEnd {
			return fmt.Errorf("the record at byte %#x of the flattened dump says %d bytes for offset %#x, which can't be", pos, size, at)
		}
		for size > 0 {
			b, err := u.in.some(size)
			if err != nil {
				return u.broken("reading a record", err)
			}
			if err := u.write(b, at); err != nil {
				return err
			}
			at, size = at+int64(len(b)), size-int64(len(b))
		}
	}
}

func (u *unfolder) broken(what string, err error) error {
	if errors.Is(err, io.EOF) {
		err = ErrTruncated
	}
	return fmt.Errorf("%s at byte %#x: %w", what, u.in.pos, err)
}

func (u *unfolder) write(b []byte, at int64) error {
	end := at + int64(len(b))
	u.size = max(u.size, end)
	if at < int64(len(u.head)) {
		copy(u.head[at:], b)
		u.headed = u.headed || at == 0
	}
	u.clock++
	var room *extent
	for i := range u.pending {
		e := &u.pending[i]
		if len(e.buf) > 0 && e.end() == at && len(e.buf)+len(b) <= extentSize {
			room = e
			continue
		}
		if len(e.buf) > 0 && at < e.end() && e.at < end {
			if err := u.flush(e); err != nil {
				return err
			}
		}
	}
	if len(b) >= extentSize/4 {
		// Larger than what is worth a copy. What it follows goes first, so that the file grows in order.
		if room != nil {
			if err := u.flush(room); err != nil {
				return err
			}
		}
		_, err := u.out.WriteAt(b, at)
		return err
	}
	if room == nil {
		room = u.oldest()
		if err := u.flush(room); err != nil {
			return err
		}
		room.at = at
	}
	if room.buf == nil {
		room.buf = make([]byte, 0, extentSize)
	}
	room.buf = append(room.buf, b...)
	room.used = u.clock
	return nil
}

func (u *unfolder) oldest() *extent {
	best := &u.pending[0]
	for i := range u.pending {
		e := &u.pending[i]
		if len(e.buf) == 0 {
			return e
		}
		if e.used < best.used {
			best = e
		}
	}
	return best
}

func (u *unfolder) flush(e *extent) error {
	if len(e.buf) == 0 {
		return nil
	}
	_, err := u.out.WriteAt(e.buf, e.at)
	e.buf = e.buf[:0]
	return err
}

// markELF sets the flag by which makedumpfile marks ELF dumps that were cut short.
func markELF(head []byte) bool {
	const incomplete = 1
	if string(head[:4]) != "\x7fELF" {
		return false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	flags := head[48:]
	if head[4] == 1 {
		flags = head[36:]
	}
	order.PutUint32(flags, order.Uint32(flags)|incomplete)
	return true
}
