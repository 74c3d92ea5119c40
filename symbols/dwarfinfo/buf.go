package dwarfinfo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// buf reads from a section between off and end; what goes beyond gives zeros and sets err.
type buf struct {
	order   binary.ByteOrder
	data    []byte
	off     uint64
	end     uint64
	size    int // of addresses
	dwarf64 bool
	err     error
}

var errEnd = errors.New("the data end early")

func (d *Data) buf(data []byte, off, end uint64, addrSize int) buf {
	b := buf{order: d.Order, data: data, off: off, end: min(end, uint64(len(data))), size: addrSize}
	if off > b.end {
		b.err = errEnd
	}
	return b
}

func (b *buf) take(n uint64) []byte {
	if b.err != nil || n > b.end-b.off {
		if b.err == nil {
			b.err = errEnd
		}
		return nil
	}
	p := b.data[b.off : b.off+n : b.off+n]
	b.off += n
	return p
}

func (b *buf) u8() uint8 {
	if p := b.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (b *buf) u16() uint16 {
	if p := b.take(2); p != nil {
		return b.order.Uint16(p)
	}
	return 0
}

func (b *buf) u24() uint32 {
	p := b.take(3)
	if p == nil {
		return 0
	}
	if b.order == binary.ByteOrder(binary.BigEndian) {
		return uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2])
	}
	return uint32(p[2])<<16 | uint32(p[1])<<8 | uint32(p[0])
}

func (b *buf) u32() uint32 {
	if p := b.take(4); p != nil {
		return b.order.Uint32(p)
	}
	return 0
}

func (b *buf) u64() uint64 {
	if p := b.take(8); p != nil {
		return b.order.Uint64(p)
	}
	return 0
}

func (b *buf) uint(n int) uint64 {
	switch n {
	case 1:
		return uint64(b.u8())
	case 2:
		return uint64(b.u16())
	case 3:
		return uint64(b.u24())
	case 4:
		return uint64(b.u32())
	case 8:
		return b.u64()
	}
	b.err = fmt.Errorf("a number of %d bytes", n)
	return 0
}

// offset is a section offset, whose size depends on the format.
func (b *buf) offset() uint64 {
	if b.dwarf64 {
		return b.u64()
	}
	return uint64(b.u32())
}

func (b *buf) addr() uint64 { return b.uint(b.size) }

func (b *buf) uleb() uint64 {
	if b.err == nil && b.off < b.end && b.data[b.off] < 0x80 { // as most are
		b.off++
		return uint64(b.data[b.off-1])
	}
	var v uint64
	for shift := 0; ; shift += 7 {
		c := b.u8()
		if shift < 64 {
			v |= uint64(c&0x7f) << shift
		}
		if c&0x80 == 0 || b.err != nil {
			return v
		}
		if shift > 126 {
			b.err = errors.New("a LEB128 number without end")
			return 0
		}
	}
}

func (b *buf) sleb() int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		c := b.u8()
		if shift < 64 {
			v |= int64(c&0x7f) << shift
		}
		if b.err != nil {
			return 0
		}
		if c&0x80 == 0 {
			if c&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v
		}
		if shift > 126 {
			b.err = errors.New("a LEB128 number without end")
			return 0
		}
	}
}

// cstring is a NUL-terminated string's bytes, without the NUL.
func (b *buf) cstring() []byte {
	if b.err != nil {
		return nil
	}
	n := bytes.IndexByte(b.data[b.off:b.end], 0)
	if n < 0 {
		b.err = errEnd
		return nil
	}
	p := b.data[b.off : b.off+uint64(n)]
	b.off += uint64(n) + 1
	return p
}
