package lines

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// cursor reads numbers from bytes; beyond their end it gives zeros and sets err.
type cursor struct {
	order   binary.ByteOrder
	data    []byte
	off     int
	dwarf64 bool
	err     error
}

var errEnd = errors.New("the data end early")

func (c *cursor) take(n uint64) []byte {
	if c.err != nil || n > uint64(len(c.data)-c.off) {
		if c.err == nil {
			c.err = errEnd
		}
		return nil
	}
	p := c.data[c.off : c.off+int(n)]
	c.off += int(n)
	return p
}

// uint reads a number of 1, 2, 4 or 8 bytes.
func (c *cursor) uint(size uint64) uint64 {
	p := c.take(size)
	if p == nil {
		return 0
	}
	switch size {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(c.order.Uint16(p))
	case 4:
		return uint64(c.order.Uint32(p))
	case 8:
		return c.order.Uint64(p)
	}
	c.err = fmt.Errorf("a number of %d bytes", size)
	return 0
}

func (c *cursor) u8() uint8 { return uint8(c.uint(1)) }

// offset is a section offset, or a length: its size depends on the format.
func (c *cursor) offset() uint64 {
	if c.dwarf64 {
		return c.uint(8)
	}
	return c.uint(4)
}

func (c *cursor) uleb() uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := c.u8()
		if shift < 64 {
			v |= uint64(b&0x7f) << shift
		}
		if b&0x80 == 0 || c.err != nil {
			return v
		}
		if shift > 126 {
			c.err = errors.New("a LEB128 number without end")
			return 0
		}
	}
}

func (c *cursor) sleb() int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := c.u8()
		if shift < 64 {
			v |= int64(b&0x7f) << shift
		}
		if c.err != nil {
			return 0
		}
		if b&0x80 == 0 {
			if b&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v
		}
		if shift > 126 {
			c.err = errors.New("a LEB128 number without end")
			return 0
		}
	}
}

// cstring is a NUL-terminated string, without the NUL.
func (c *cursor) cstring() []byte {
	if c.err != nil {
		return nil
	}
	n := bytes.IndexByte(c.data[c.off:], 0)
	if n < 0 {
		c.err = errEnd
		return nil
	}
	p := c.data[c.off : c.off+n]
	c.off += n + 1
	return p
}

// stringAt is the NUL-terminated string at off of a string section.
func stringAt(section []byte, off uint64) ([]byte, error) {
	if off >= uint64(len(section)) {
		return nil, fmt.Errorf("a string at %#x lies outside its section of %#x bytes", off, len(section))
	}
	n := bytes.IndexByte(section[off:], 0)
	if n < 0 {
		return nil, errEnd
	}
	return section[off : off+uint64(n)], nil
}
