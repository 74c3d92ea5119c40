package vmware

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"kdx/dumpfmt"
)

// A group is a list of items, each of which begins with a tag of 16 bits: in its low 6 bits the size of the value, then in
// 2 bits the count of indices, then in 8 bits the length of the name. Name, indices (32 bits each) and value follow. Two sizes
// stand for blocks, whose own sizes follow. A tag of 0 ends the group.
const (
	sizeMask       = 0x3f
	sizeBlock      = 63
	sizeCompressed = 62
	indexShift     = 6
	indexMask      = 3
	nameShift      = 8
	blockHeader    = 8 + 8 + 2

	maxItems      = 1 << 20 // of a group; those of 8,192 CPUs have some 300,000
	cursorWindow  = 64 << 10
	maxSmallBlock = 128 // blocks that are read: registers
	noIndex       = math.MaxUint32
)

// item is one value of a group.
type item struct {
	name  string
	index [3]uint32 // noIndex where there is none
	value []byte    // of items that are no block, and of small blocks
	// of blocks:
	block      bool
	compressed bool
	offset     int64  // in the file, bytes
	size       uint64 // in the file, bytes
	memory     uint64 // when loaded, bytes
}

// uint is the value as a number: values have 1, 2, 4 or 8 bytes.
func (it *item) uint() uint64 {
	var b [8]byte
	copy(b[:], it.value)
	return binary.LittleEndian.Uint64(b[:])
}

// cursor reads a file forward through a window.
type cursor struct {
	f     *dumpfmt.File
	pos   int64
	buf   []byte
	start int64 // of buf in the file
}

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

// items calls yield for each item of the group at off. The error says where the group stops making sense; what was yielded
// before it is good.
func items(f *dumpfmt.File, off int64, yield func(*item)) error {
	c := &cursor{f: f, pos: off}
	for range maxItems {
		at := c.pos
		it, err := c.item()
		if err != nil {
			return fmt.Errorf("an item at byte %#x: %w", at, err)
		}
		if it == nil {
			return nil
		}
		yield(it)
	}
	return fmt.Errorf("more than %d items", maxItems)
}

// item reads one item; nil at the end of the group.
func (c *cursor) item() (*item, error) {
	le := binary.LittleEndian
	b, err := c.take(2)
	if err != nil {
		return nil, err
	}
	tag := le.Uint16(b)
	if tag == 0 {
		return nil, nil
	}
	it := &item{index: [3]uint32{noIndex, noIndex, noIndex}}
	if b, err = c.take(int(tag >> nameShift)); err != nil {
		return nil, err
	}
	it.name = string(b)
	for i := range int(tag >> indexShift & indexMask) {
		if b, err = c.take(4); err != nil {
			return nil, err
		}
		it.index[i] = le.Uint32(b)
	}
	size := tag & sizeMask
	if size != sizeBlock && size != sizeCompressed {
		b, err = c.take(int(size))
		it.value = append([]byte(nil), b...)
		return it, err
	}
	return it, c.block(it, size == sizeCompressed)
}

// block reads a block's sizes and, if it is small, its bytes.
func (c *cursor) block(it *item, compressed bool) error {
	le := binary.LittleEndian
	b, err := c.take(blockHeader)
	if err != nil {
		return err
	}
	it.block, it.compressed = true, compressed
	it.size, it.memory = le.Uint64(b), le.Uint64(b[8:])
	it.offset = c.pos + int64(le.Uint16(b[16:]))
	if it.size > uint64(math.MaxInt64-it.offset) {
		return fmt.Errorf("block %q has %#x bytes, which can't be", it.name, it.size)
	}
	c.pos = it.offset
	if it.size <= maxSmallBlock && !compressed {
		if b, err = c.take(int(it.size)); err != nil {
			return err
		}
		it.value = append([]byte(nil), b...)
		return nil
	}
	c.pos = it.offset + int64(it.size)
	return nil
}
