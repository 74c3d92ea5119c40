package qemusave

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"kdx/dumpfmt"
)

// cursor reads a file forward through a window. The stream is big endian.
type cursor struct {
	f     *dumpfmt.File
	pos   int64
	buf   []byte
	start int64 // of buf in the file
}

const cursorWindow = 256 << 10

func (c *cursor) peek(n int) ([]byte, error) {
	if c.pos < c.start || c.pos+int64(n) > c.start+int64(len(c.buf)) {
		if c.buf == nil {
			c.buf = make([]byte, cursorWindow)
		}
		c.buf = c.buf[:cap(c.buf)]
		got, err := c.f.ReadFull(c.buf, c.pos)
		c.start, c.buf = c.pos, c.buf[:got]
		if got < n {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return c.buf[c.pos-c.start:][:n], nil
}

func (c *cursor) take(n int) ([]byte, error) {
	b, err := c.peek(n)
	if err == nil {
		c.pos += int64(n)
	}
	return b, err
}

func (c *cursor) u8() (byte, error) {
	b, err := c.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (c *cursor) u16() (uint16, error) {
	b, err := c.take(2)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(b), nil
}

func (c *cursor) u32() (uint32, error) {
	b, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (c *cursor) u64() (uint64, error) {
	b, err := c.take(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// name reads a string behind its length of 8 bits.
func (c *cursor) name() (string, error) {
	n, err := c.u8()
	if err != nil {
		return "", err
	}
	b, err := c.take(int(n))
	return string(b), err
}

// skip goes n bytes forward. What lies behind the end of the file is an error.
func (c *cursor) skip(n uint64) error {
	if n > uint64(c.f.Size) || c.pos+int64(n) > c.f.Size {
		return io.ErrUnexpectedEOF
	}
	c.pos += int64(n)
	return nil
}

// search goes behind the next place of the bytes that ok takes. It looks at most limit bytes ahead.
func (c *cursor) search(what []byte, limit int64, ok func() bool) error {
	end := min(c.f.Size, c.pos+limit)
	for c.pos+int64(len(what)) <= end {
		n := min(int64(cursorWindow), end-c.pos)
		b, err := c.peek(int(n))
		if err != nil {
			return err
		}
		i := bytes.Index(b, what)
		if i < 0 {
			c.pos += n - int64(len(what)) + 1
			continue
		}
		at := c.pos + int64(i)
		if c.pos = at + int64(len(what)); ok() {
			return nil
		}
		c.pos = at + 1
	}
	return fmt.Errorf("what should end it was not found in %d bytes", limit)
}
