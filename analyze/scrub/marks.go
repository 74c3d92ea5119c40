package scrub

import (
	"fmt"
	"slices"
	"sync"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// marks are the bytes that must go, by page. add is safe for many goroutines, apply is after freeze.
type marks struct {
	pageSize uint64

	mu      sync.Mutex
	parts   map[uint64][]part
	count   int
	whole   dumpfmt.PageSet
	touched dumpfmt.PageSet
	full    bool // there were more parts than are remembered
}

// part is a stretch of a page, which has at most 64 KiB.
type part struct {
	from, last uint16
	fill       byte
}

// maxParts bounds what is remembered byte by byte, of all pages. What more expressions match goes by whole pages.
const maxParts = 8 << 20

var errFull = fmt.Errorf("more than %d separate stretches of memory would have to go: name less at once", maxParts)

func newMarks(pageSize uint64) *marks {
	return &marks{pageSize: pageSize, parts: make(map[uint64][]part)}
}

// add marks the bytes [from, to) of a page.
func (m *marks) add(pfn, from, to uint64, fill byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked(pfn, from, to, fill)
}

// addNew is add for what an expression matches. It reports whether one of the bytes was not erased before.
func (m *marks) addNew(pfn, from, to uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.whole.Has(pfn) {
		return false
	}
	for _, p := range m.parts[pfn] {
		if p.fill == Fill && uint64(p.from) <= from && to <= uint64(p.last)+1 {
			return false
		}
	}
	if m.count == maxParts {
		m.touched.Add(pfn)
		m.all(pfn)
		return true
	}
	m.locked(pfn, from, to, Fill)
	return true
}

func (m *marks) locked(pfn, from, to uint64, fill byte) {
	if from >= to || m.whole.Has(pfn) {
		return
	}
	m.touched.Add(pfn)
	if from == 0 && to == m.pageSize && fill == Fill {
		m.all(pfn)
		return
	}
	p := m.parts[pfn]
	const crowd = 64
	if len(p) >= crowd && len(p) == cap(p) {
		old := len(p)
		p = merge(p)
		m.count -= old - len(p)
	}
	if m.count == maxParts {
		m.full = true
		return
	}
	m.parts[pfn] = append(p, part{uint16(from), uint16(to - 1), fill})
	m.count++
}

func (m *marks) all(pfn uint64) {
	m.whole.Add(pfn)
	m.count -= len(m.parts[pfn])
	delete(m.parts, pfn)
}

// page marks a page as a whole, and reports whether it was not so before.
func (m *marks) page(pfn uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.whole.Has(pfn) {
		return false
	}
	m.touched.Add(pfn)
	m.all(pfn)
	return true
}

// phys marks a range of physical memory.
func (m *marks) phys(addr dumpfmt.Phys, size uint64, fill byte) {
	for at := uint64(addr); size > 0; {
		off := at % m.pageSize
		n := min(size, m.pageSize-off)
		m.add(at/m.pageSize, off, off+n, fill)
		at += n
		size -= n
	}
}

// virt marks a range of virtual memory, of which each page may lie anywhere.
func (m *marks) virt(s vmem.Space, va, size uint64, fill byte) error {
	if va+size < va {
		return fmt.Errorf("%d bytes at %#x reach beyond the end of the address space", size, va)
	}
	for size > 0 {
		f, err := s.Translate(va)
		if err != nil {
			return err
		}
		n := min(size, f.Left)
		m.phys(f.Phys, n, fill)
		va += n
		size -= n
	}
	return nil
}

// freeze ends the marking. The error is that there was too much.
func (m *marks) freeze() error {
	if m.full {
		return errFull
	}
	for pfn, p := range m.parts {
		m.parts[pfn] = merge(p)
	}
	return nil
}

// merge sorts parts and joins those that touch. Where they overlap, the bytes that erase go before those that nullify.
func merge(p []part) []part {
	slices.SortFunc(p, func(a, b part) int {
		if a.from != b.from {
			return int(a.from) - int(b.from)
		}
		return int(b.fill) - int(a.fill)
	})
	out := p[:0]
	for _, x := range p {
		if n := len(out); n > 0 && out[n-1].fill == x.fill && int(x.from) <= int(out[n-1].last)+1 {
			out[n-1].last = max(out[n-1].last, x.last)
			continue
		}
		out = append(out, x)
	}
	return out
}

// apply overwrites the marked bytes of a page.
func (m *marks) apply(pfn uint64, page []byte) bool {
	if !m.touched.Has(pfn) {
		return false
	}
	if m.whole.Has(pfn) {
		fill(page, Fill)
		return true
	}
	for _, zeros := range [...]bool{true, false} { // what is erased covers what is nullified
		for _, p := range m.parts[pfn] {
			if to := min(int(p.last)+1, len(page)); (p.fill == 0) == zeros && int(p.from) < to {
				fill(page[p.from:to], p.fill)
			}
		}
	}
	return true
}

// over overwrites what is marked of data, which was read from va.
func (m *marks) over(s vmem.Space, va uint64, data []byte) error {
	page := make([]byte, m.pageSize)
	for len(data) > 0 {
		f, err := s.Translate(va)
		if err != nil {
			return err
		}
		off := uint64(f.Phys) % m.pageSize
		n := min(uint64(len(data)), m.pageSize-off)
		copy(page[off:], data[:n])
		m.apply(uint64(f.Phys)/m.pageSize, page)
		copy(data, page[off:off+n])
		data = data[n:]
		va += n
	}
	return nil
}

func fill(p []byte, c byte) {
	for i := range p {
		p[i] = c
	}
}
