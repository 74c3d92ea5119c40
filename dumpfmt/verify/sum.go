package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// chunkPages is how many pfns, from a multiple of it on, make one hash of the sum. It is part of the sum's definition.
const chunkPages = 2048

// header begins the bytes that the sum is of. The page size follows.
const header = "kdx pages 1\n"

// sum is the sum of a dump's pages, made of the sums of its chunks in ascending order.
type sum struct{ h hash.Hash }

func newSum(pageSize uint64) sum {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64([]byte(header), pageSize))
	return sum{h}
}

// add a chunk; one that holds no pages does not count.
func (s sum) add(c *chunkSum) {
	if c.pages > 0 {
		s.h.Write(c.sum[:])
	}
}

func (s sum) bytes() []byte { return s.h.Sum(nil) }

type chunkSum struct {
	pages uint64
	sum   [sha256.Size]byte
}

// chunkHash makes the sum of a chunk.
type chunkHash struct {
	h     hash.Hash
	pages uint64
	room  [8 + sha256.Size]byte
}

func newChunkHash() *chunkHash { return &chunkHash{h: sha256.New()} }

func (c *chunkHash) reset() {
	c.h.Reset()
	c.pages = 0
}

// add a page, in ascending order of pfn, by its hash.
func (c *chunkHash) add(pfn uint64, page [sha256.Size]byte) {
	binary.LittleEndian.PutUint64(c.room[:], pfn)
	copy(c.room[8:], page[:])
	c.h.Write(c.room[:])
	c.pages++
}

func (c *chunkHash) done() chunkSum {
	out := chunkSum{pages: c.pages}
	c.h.Sum(out.sum[:0])
	return out
}
