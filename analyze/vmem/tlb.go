package vmem

import (
	"sync/atomic"

	"kdx/dumpfmt"
)

// TLB remembers translations of one Space, lock-free and of fixed size: a page's slot is overwritten by the next page
// that falls on it. Safe for many goroutines. The zero value is ready.
type TLB struct {
	slots [tlbSlots]atomic.Pointer[tlbEntry]
}

const (
	tlbSlots = 2048
	tlbShift = 12
)

type tlbEntry struct {
	start, size uint64
	phys        dumpfmt.Phys
}

// Get returns the translation of va if it is remembered.
func (t *TLB) Get(va uint64) (Frame, bool) {
	e := t.slots[va>>tlbShift%tlbSlots].Load()
	if e == nil || va-e.start >= e.size {
		return Frame{}, false
	}
	off := va - e.start
	return Frame{Phys: e.phys + dumpfmt.Phys(off), Left: e.size - off}, true
}

// Put remembers that the page of size bytes around va maps to f.
func (t *TLB) Put(va, size uint64, f Frame) {
	start := va &^ (size - 1)
	t.slots[va>>tlbShift%tlbSlots].Store(&tlbEntry{start, size, f.Phys - dumpfmt.Phys(va-start)})
}

// Forget drops all translations.
func (t *TLB) Forget() {
	for i := range t.slots {
		t.slots[i].Store(nil)
	}
}
