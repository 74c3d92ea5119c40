package flattened

import (
	"context"
	"io"
)

// input reads a stream ahead, in large pieces.
type input struct {
	ctx      context.Context
	cancel   context.CancelFunc
	full     chan chunk
	empty    chan []byte
	progress func(done int64)

	cur   chunk
	left  []byte // of cur
	pos   int64  // in the stream, of left
	fixer [headerSize]byte
}

type chunk struct {
	buf []byte
	err error // behind buf
}

const (
	chunkSize = 1 << 20
	chunks    = 3
)

func newInput(ctx context.Context, r io.Reader, progress func(done int64)) *input {
	in := &input{full: make(chan chunk, chunks), empty: make(chan []byte, chunks), progress: progress}
	in.ctx, in.cancel = context.WithCancel(ctx)
	for range chunks {
		in.empty <- make([]byte, chunkSize)
	}
	go in.read(r)
	return in
}

func (in *input) stop() { in.cancel() }

func (in *input) read(r io.Reader) {
	for {
		select {
		case <-in.ctx.Done():
			return
		case buf := <-in.empty:
			n, err := fill(r, buf[:chunkSize])
			in.full <- chunk{buf[:n], err}
			if err != nil {
				return
			}
		}
	}
}

// fill reads until the buffer is full. Its error is what ended the stream, io.EOF too.
func fill(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// some returns at least one and at most n bytes, valid until the next call.
func (in *input) some(n int64) ([]byte, error) {
	for len(in.left) == 0 {
		if err := in.turn(); err != nil {
			return nil, err
		}
	}
	b := in.left[:min(n, int64(len(in.left)))]
	in.left = in.left[len(b):]
	in.pos += int64(len(b))
	return b, nil
}

// turn goes to the next chunk.
func (in *input) turn() error {
	if in.cur.err != nil {
		return in.cur.err
	}
	if in.cur.buf != nil {
		in.empty <- in.cur.buf
		in.cur.buf = nil
	}
	if in.progress != nil {
		in.progress(in.pos)
	}
	select {
	case in.cur = <-in.full:
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
	in.left = in.cur.buf
	return nil
}

// fixed returns the next n bytes, valid until the next call.
func (in *input) fixed(n int) ([]byte, error) {
	b, err := in.some(int64(n))
	if err != nil || len(b) == n {
		return b, err
	}
	at := copy(in.fixer[:n], b)
	for at < n {
		b, err := in.some(int64(n - at))
		if err != nil {
			return nil, err
		}
		at += copy(in.fixer[at:n], b)
	}
	return in.fixer[:n], nil
}
