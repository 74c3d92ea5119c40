package flattened

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/kdump"
)

// ErrTruncated is wrapped by Rearrange's error if the stream ends before its end mark.
var ErrTruncated = errors.New("the flattened dump ends without its end mark")

// Rearrange unfolds a flattened dump from a stream into out: each record goes where it belongs as it comes, without an index of
// them. It returns the size of the unfolded dump. progress, if not nil, is called now and then with the bytes that were read.
//
// A stream that ends too early or has a record that can't be is an error, as is what r or out say; out then holds what came
// before, is marked as an incomplete dump, and says of pages that did not come that they are missing: holes of a file would read as
// zeros. If ctx ends, a read of r that hangs is left behind.
func Rearrange(ctx context.Context, r io.Reader, out File, progress func(done int64)) (int64, error) {
	u := unfolder{in: newInput(ctx, r, progress), out: out}
	defer u.in.stop()
	err := u.run()
	for i := range u.pending {
		err = errors.Join(err, u.flush(&u.pending[i]))
	}
	if err == nil {
		return u.size, nil
	}
	if merr := u.forgetLost(context.WithoutCancel(ctx)); merr != nil {
		err = errors.Join(err, fmt.Errorf("marking the dump as incomplete: %w", merr))
	}
	return u.size, err
}

// File takes a dump that is put in order. What never came is looked for in it.
type File interface {
	dumpfmt.Output
	io.ReaderAt
}

// partial is a file of which some bytes never came, as formats see it.
type partial struct {
	io.ReaderAt
	*covered
}

func (p partial) NextGap(off, size int64) int64  { return p.nextGap(off, size) }
func (p partial) NextData(off, size int64) int64 { return p.nextData(off, size) }

// forgetLost makes the output say what it lacks.
func (u *unfolder) forgetLost(ctx context.Context) error {
	f := &dumpfmt.File{Name: "the dump that was put in order", Size: u.covered.end(), ReaderAt: partial{u.out, &u.covered}, Incomplete: true}
	var head [64]byte
	n, err := f.ReadFull(head[:], 0)
	switch {
	case kdump.Probe(head[:n]):
		return kdump.ForgetLost(ctx, f, u.out)
	case elfcore.Probe(head[:n]):
		return elfcore.ForgetLost(f, u.out)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	}
	return err
}

// unfolder writes records to their places. Small ones that follow one another are collected: writers alternate between
// tables and pages.
type unfolder struct {
	in      *input
	out     File
	size    int64
	pending [4]extent
	clock   uint64
	covered covered // of out
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
		return u.put(b, at)
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
	err := u.put(e.buf, e.at)
	e.buf = e.buf[:0]
	return err
}

func (u *unfolder) put(b []byte, at int64) error {
	n, err := u.out.WriteAt(b, at)
	u.covered.add(at, int64(n))
	return err
}
