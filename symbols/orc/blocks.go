package orc

import (
	"encoding/binary"
	"sync/atomic"

	"kdx/symbols"
)

const perBlock = 1024

// blocks is a table in target memory, read as needed and kept.
type blocks struct {
	mem   symbols.Memory
	addr  uint64
	n     int
	size  int // of an element, in bytes
	cache []atomic.Pointer[[]byte]
}

func newBlocks(mem symbols.Memory, addr uint64, n, size int) blocks {
	return blocks{mem, addr, n, size, make([]atomic.Pointer[[]byte], (n+perBlock-1)/perBlock)}
}

func (b *blocks) count() int { return len(b.cache) }

// span is the first element of block k, and how many it has.
func (b *blocks) span(k int) (first, n int) {
	first = k * perBlock
	return first, min(perBlock, b.n-first)
}

// at is the bytes from element i on.
func (b *blocks) at(i int) ([]byte, error) {
	k := i / perBlock
	p := b.cache[k].Load()
	if p == nil {
		first, n := b.span(k)
		buf := make([]byte, n*b.size)
		if _, err := b.mem.ReadMemory(buf, b.addr+uint64(first*b.size)); err != nil {
			return b.single(i)
		}
		p = &buf
		b.cache[k].Store(p)
	}
	return (*p)[(i-k*perBlock)*b.size:], nil
}

// single reads element i alone, as its block has a hole.
func (b *blocks) single(i int) ([]byte, error) {
	buf := make([]byte, b.size)
	_, err := b.mem.ReadMemory(buf, b.addr+uint64(i*b.size))
	return buf, err
}

// place is the address that element i of the ip table at base stands for.
func place(base uint64, i int, b []byte) uint64 {
	return base + uint64(i*ipSize) + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
}
