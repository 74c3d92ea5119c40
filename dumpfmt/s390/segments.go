package s390

import (
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
)

// A segment has a header of a page: where its memory is, how long it is, whether it is the last, and, if it is compressed, the blocks
// that it takes in the file and where each entry begins, in blocks from the end of the header. The highest bit marks an entry that
// was stored as it is.
const (
	segStart    = 0
	segLength   = 8
	segLast     = 16
	segBlocks   = 24
	segEntries  = 48
	segOffsets  = 52
	maxEntries  = (pageSize - segOffsets) / 4
	storedPlain = 1 << 31
	maxEntry    = 16 << 20 // bytes; the dump tool uses 1 MiB
	maxSegments = 1 << 16
)

// segment is memory that is in the dump. What is between segments was zero.
type segment struct {
	start, size uint64
	offset      int64    // of its memory or entries in the file
	entries     []uint32 // nil if it is not compressed
}

func (s *segment) end() uint64 { return s.start + s.size }

// readSegments reads the headers of all segments. block is the size of blocks in bytes. If the file ends early, those before
// its end are returned with the error. ended says whether the end mark is where it should be.
func readSegments(f *dumpfmt.File, h *header, block int64) (segs []segment, ended bool, err error) {
	be := binary.BigEndian
	b := make([]byte, pageSize)
	off := h.size
	for range maxSegments {
		if _, err := f.ReadFull(b, off); err != nil {
			return segs, false, fmt.Errorf("reading the header of a segment at byte %#x: %w", off, err)
		}
		s := segment{start: be.Uint64(b[segStart:]), size: be.Uint64(b[segLength:]), offset: off + pageSize}
		after := uint64(0)
		if n := len(segs); n > 0 {
			after = segs[n-1].end()
		}
		if s.start < after || s.start > h.memory || s.size > h.memory-s.start || s.start%pageSize != 0 || s.size%pageSize != 0 {
			return segs, false, fmt.Errorf("a segment at byte %#x has memory at %#x, %#x bytes, which can't be", off, s.start, s.size)
		}
		stored := int64(s.size)
		if blocks := be.Uint32(b[segBlocks:]); blocks != 0 {
			n := be.Uint32(b[segEntries:])
			if n > maxEntries || h.entry == 0 || h.entry > maxEntry || h.entry%pageSize != 0 || uint64(n) < (s.size+h.entry-1)/h.entry {
				return segs, false, fmt.Errorf("a segment at byte %#x has %d entries of %#x bytes for %#x bytes of memory", off, n, h.entry, s.size)
			}
			stored = int64(blocks) * block
			for i := range n {
				s.entries = append(s.entries, be.Uint32(b[segOffsets+4*i:]))
			}
		}
		if s.size > 0 {
			segs = append(segs, s)
		}
		off = s.offset + stored
		if be.Uint64(b[segLast:]) != 0 {
			return segs, hasEnd(f, off), nil
		}
	}
	return segs, false, fmt.Errorf("more than %d segments", maxSegments)
}

// blockSizes of disks: those of a DASD's, usually the first, and of FBA devices. The dump does not say it.
var blockSizes = []int64{4096, 512, 1024, 2048}

// segments finds the size of blocks with which the segments lead to the end mark.
func segments(f *dumpfmt.File, h *header, info *dumpfmt.Info) ([]segment, int64) {
	var best []segment
	var bestErr error
	size := blockSizes[0]
	for _, block := range blockSizes {
		segs, ended, err := readSegments(f, h, block)
		if ended {
			return segs, block
		}
		if best == nil && bestErr == nil || len(segs) > len(best) {
			best, bestErr, size = segs, err, block
		}
	}
	info.Incomplete = true
	if bestErr == nil {
		info.Warn("the end mark of the dump is missing: it was not finished")
	} else {
		info.Warn("the dump ends early: %v", bestErr)
	}
	return best, size
}
