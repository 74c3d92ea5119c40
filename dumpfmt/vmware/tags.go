package vmware

import (
	"encoding/binary"
	"fmt"
	"math"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/window"
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

// cursor reads the items of a group.
type cursor struct{ window.Reader }

// items calls yield for each item of the group at off. The error says where the group stops making sense; what was yielded
// before it is good.
func items(f *dumpfmt.File, off int64, yield func(*item)) error {
	c := &cursor{window.New(f, off, cursorWindow)}
	for range maxItems {
		at := c.Pos
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
	b, err := c.Take(2)
	if err != nil {
		return nil, err
	}
	tag := le.Uint16(b)
	if tag == 0 {
		return nil, nil
	}
	it := &item{index: [3]uint32{noIndex, noIndex, noIndex}}
	if b, err = c.Take(int(tag >> nameShift)); err != nil {
		return nil, err
	}
	it.name = string(b)
	for i := range int(tag >> indexShift & indexMask) {
		if b, err = c.Take(4); err != nil {
			return nil, err
		}
		it.index[i] = le.Uint32(b)
	}
	size := tag & sizeMask
	if size != sizeBlock && size != sizeCompressed {
		b, err = c.Take(int(size))
		it.value = append([]byte(nil), b...)
		return it, err
	}
	return it, c.block(it, size == sizeCompressed)
}

// block reads a block's sizes and, if it is small, its bytes.
func (c *cursor) block(it *item, compressed bool) error {
	le := binary.LittleEndian
	b, err := c.Take(blockHeader)
	if err != nil {
		return err
	}
	it.block, it.compressed = true, compressed
	it.size, it.memory = le.Uint64(b), le.Uint64(b[8:])
	it.offset = c.Pos + int64(le.Uint16(b[16:]))
	if it.size > uint64(math.MaxInt64-it.offset) {
		return fmt.Errorf("block %q has %#x bytes, which can't be", it.name, it.size)
	}
	c.Pos = it.offset
	if it.size <= maxSmallBlock && !compressed {
		if b, err = c.Take(int(it.size)); err != nil {
			return err
		}
		it.value = append([]byte(nil), b...)
		return nil
	}
	c.Pos = it.offset + int64(it.size)
	return nil
}
