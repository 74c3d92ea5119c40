package cfi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var errShort = errors.New("it ends early")

// cursor reads numbers one after another. What goes beyond the end gives zeros and sets err.
type cursor struct {
	data  []byte
	off   int
	order binary.ByteOrder
	err   error
}

func (c *cursor) left() int { return len(c.data) - c.off }

func (c *cursor) take(n uint64) []byte {
	if c.err != nil {
		return nil
	}
	if n > uint64(c.left()) {
		c.err = errShort
		return nil
	}
	p := c.data[c.off : c.off+int(n)]
	c.off += int(n)
	return p
}

// uint reads an unsigned number of n bytes; sint a signed one.
func (c *cursor) uint(n int) uint64 {
	p := c.take(uint64(n))
	if p == nil {
		return 0
	}
	switch n {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(c.order.Uint16(p))
	case 4:
		return uint64(c.order.Uint32(p))
	case 8:
		return c.order.Uint64(p)
	}
	c.err = fmt.Errorf("a number of %d bytes", n)
	return 0
}

func (c *cursor) sint(n int) int64 {
	v := c.uint(n)
	if n == 0 || n > 8 {
		return 0
	}
	shift := 64 - 8*n
	return int64(v<<shift) >> shift
}

var errLEB = errors.New("a LEB128 number has no end")

// maxLEB is more bytes than any number of 64 bits takes, padding included.
const maxLEB = 18

func (c *cursor) uleb() uint64 {
	var v uint64
	for i := range maxLEB {
		b := c.uint(1)
		if i < 10 {
			v |= (b & 0x7f) << (7 * i)
		}
		if b&0x80 == 0 {
			return v
		}
	}
	c.err = errLEB
	return 0
}

func (c *cursor) sleb() int64 {
	var v uint64
	for i := range maxLEB {
		b := c.uint(1)
		if i < 10 {
			v |= (b & 0x7f) << (7 * i)
		}
		if b&0x80 != 0 {
			continue
		}
		if b&0x40 != 0 && i < 9 {
			v |= ^uint64(0) << (7 * (i + 1))
		}
		return int64(v)
	}
	c.err = errLEB
	return 0
}

// block reads a length and so many bytes.
func (c *cursor) block() []byte { return c.take(c.uleb()) }

// str reads a NUL-terminated string.
func (c *cursor) str() string {
	if c.err != nil {
		return ""
	}
	n := bytes.IndexByte(c.data[c.off:], 0)
	if n < 0 {
		c.err = errShort
		return ""
	}
	s := string(c.data[c.off : c.off+n])
	c.off += n + 1
	return s
}
