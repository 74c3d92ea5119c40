package qemusave

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"kdx/dumpfmt/internal/window"
)

// cursor reads a stream, which is big endian.
type cursor struct{ window.Reader }

const cursorWindow = 256 << 10

func (c *cursor) u8() (byte, error) {
	b, err := c.Take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (c *cursor) u16() (uint16, error) {
	b, err := c.Take(2)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(b), nil
}

func (c *cursor) u32() (uint32, error) {
	b, err := c.Take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (c *cursor) u64() (uint64, error) {
	b, err := c.Take(8)
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
	b, err := c.Take(int(n))
	return string(b), err
}

// skip goes n bytes forward. What lies behind the end of the file is an error.
func (c *cursor) skip(n uint64) error {
	if n > uint64(c.File.Size) || c.Pos+int64(n) > c.File.Size {
		return io.ErrUnexpectedEOF
	}
	c.Pos += int64(n)
	return nil
}

// search goes behind the next place of the bytes that ok takes. It looks at most limit bytes ahead.
func (c *cursor) search(what []byte, limit int64, ok func() bool) error {
	end := min(c.File.Size, c.Pos+limit)
	for c.Pos+int64(len(what)) <= end {
		n := min(int64(cursorWindow), end-c.Pos)
		b, err := c.Peek(int(n))
		if err != nil {
			return err
		}
		i := bytes.Index(b, what)
		if i < 0 {
			c.Pos += n - int64(len(what)) + 1
			continue
		}
		at := c.Pos + int64(i)
		if c.Pos = at + int64(len(what)); ok() {
			return nil
		}
		c.Pos = at + 1
	}
	return fmt.Errorf("what should end it was not found in %d bytes", limit)
}
