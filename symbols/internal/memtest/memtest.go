// Package memtest is target memory for tests.
package memtest

import (
	"errors"
	"fmt"
)

// ErrMissing is wrapped by the error for an address that nothing is at.
var ErrMissing = errors.New("page is missing")

// Memory holds pieces of memory. It implements symbols.Memory.
type Memory struct {
	pieces []piece
	holes  []piece
}

type piece struct {
	addr uint64
	data []byte
	size uint64
}

// Put places data at addr.
func (m *Memory) Put(addr uint64, data []byte) *Memory {
	m.pieces = append(m.pieces, piece{addr, data, uint64(len(data))})
	return m
}

// Hole makes size bytes at addr missing.
func (m *Memory) Hole(addr, size uint64) *Memory {
	m.holes = append(m.holes, piece{addr: addr, size: size})
	return m
}

// ReadMemory implements symbols.Memory.
func (m *Memory) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	for n < len(p) {
		got := m.copy(p[n:], addr+uint64(n))
		if got == 0 {
			return n, fmt.Errorf("%#x: %w", addr+uint64(n), ErrMissing)
		}
		n += got
	}
	return n, nil
}

func (m *Memory) copy(p []byte, addr uint64) int {
	limit := uint64(len(p))
	for _, h := range m.holes {
		if addr-h.addr < h.size {
			return 0
		}
		if h.addr > addr {
			limit = min(limit, h.addr-addr)
		}
	}
	for _, q := range m.pieces {
		if addr-q.addr < q.size {
			return copy(p[:limit], q.data[addr-q.addr:])
		}
	}
	return 0
}
