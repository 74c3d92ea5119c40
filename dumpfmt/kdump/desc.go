package kdump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// Flags of a page descriptor. One is set in practice; none means that the page is stored as it is.
const (
	flagZlib   = 0x1
	flagLZO    = 0x2
	flagSnappy = 0x4
	flagZstd   = 0x20
)

const descSize = 24

// desc is a page descriptor.
type desc struct {
	offset uint64
	size   uint32
	flags  uint32
}

func (d desc) codec() (codec.Codec, error) {
	switch {
	case d.flags&flagZlib != 0:
		return codec.Zlib, nil
	case d.flags&flagLZO != 0:
		return codec.LZO, nil
	case d.flags&flagSnappy != 0:
		return codec.Snappy, nil
	case d.flags&flagZstd != 0:
		return codec.Zstd, nil
	case d.flags == 0:
		return codec.Raw, nil
	}
	return 0, fmt.Errorf("its descriptor names no compression that kdx knows (flags %#x)", d.flags)
}

func parseDesc(order binary.ByteOrder, b []byte) desc {
	return desc{offset: order.Uint64(b), size: order.Uint32(b[8:]), flags: order.Uint32(b[12:])}
}

// part is one file of a dump: the only one, or a member of a split set.
type part struct {
	file       *dumpfmt.File
	start, end uint64 // pfns
	first      uint64 // rank of start
	count      uint64 // descriptors
	descAt     int64
	zeroAt     uint64 // where the shared page of zeros lies; 0 if there is none
	descs      descCache
}

// descCache keeps blocks of descriptors as they stand in the file.
type descCache struct {
	slots [descSlots]atomic.Pointer[descBlock]
}

type descBlock struct {
	index uint64
	raw   []byte
}

const (
	descsPerBlock = 256
	descSlots     = 512 // 3 MiB
)

// desc returns the nth descriptor of the part.
func (p *part) desc(order binary.ByteOrder, n uint64) (desc, error) {
	i := n / descsPerBlock
	slot := &p.descs.slots[i%descSlots]
	blk := slot.Load()
	if blk == nil || blk.index != i {
		want := min(descsPerBlock, p.count-i*descsPerBlock) * descSize
		at := p.descAt + int64(i*descsPerBlock*descSize)
		raw := make([]byte, want)
		got, err := p.file.ReadFull(raw, at)
		if err != nil && uint64(got) < (n%descsPerBlock+1)*descSize {
			return desc{}, p.descError(n, err)
		}
		blk = &descBlock{index: i, raw: raw[:got]}
		slot.Store(blk)
	}
	if !p.descCame(n) {
		return desc{}, errDescLost
	}
	in := n % descsPerBlock * descSize
	if in+descSize > uint64(len(blk.raw)) {
		return desc{}, p.descError(n, io.ErrUnexpectedEOF)
	}
	return parseDesc(order, blk.raw[in:]), nil
}

// descCame is false if a flattened stream ended before all of the descriptor came.
func (p *part) descCame(n uint64) bool { return p.file.Came(p.descAt+int64(n*descSize), descSize) }

func (p *part) descError(n uint64, err error) error {
	at := p.descAt + int64(n*descSize)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("its descriptor should be at byte %#x, but %s ends at %#x (truncated dump)", at, p.file.Name, p.file.Size)
	}
	return fmt.Errorf("reading its descriptor in %s at byte %#x: %w", p.file.Name, at, err)
}

// check says what is wrong with a descriptor, before any byte of the page is read.
func (p *part) check(d desc, pageSize uint64) error {
	switch {
	case d.offset == 0 && d.size == 0 && d.flags == 0:
		return errNotWritten
	case d.offset == 0:
		return fmt.Errorf("its descriptor says byte 0 of %s (incomplete dump)", p.file.Name)
	case d.size == 0:
		return fmt.Errorf("its descriptor says that it has 0 bytes at %#x of %s", d.offset, p.file.Name)
	case uint64(d.size) > pageSize:
		return fmt.Errorf("its descriptor says that it has %d bytes in the file, more than a page", d.size)
	case d.offset > uint64(p.file.Size) || uint64(d.size) > uint64(p.file.Size)-d.offset:
		return fmt.Errorf("it should be at byte %#x, but %s ends at %#x (truncated dump)", d.offset, p.file.Name, p.file.Size)
	case !p.file.Came(int64(d.offset), int64(d.size)):
		return fmt.Errorf("it should be at byte %#x, but the flattened stream ended before these bytes came (truncated dump)", d.offset)
	}
	return nil
}
