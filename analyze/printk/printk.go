// Package printk reads the kernel's log out of its memory. Two forms are known, both described by VMCOREINFO, so that
// neither symbols nor types are needed:
//
//   - since 5.10 a lockless ring: descriptors (state, position of the text) and infos (time, length, caller) in arrays of
//     the same length, texts in a byte ring (kernel/printk/printk_ringbuffer.c);
//   - 3.5 to 5.9 records one after another in log_buf, each with its header (kernel/printk/printk.c).
package printk

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Record is one message.
type Record struct {
	Seq      uint64
	TimeNsec uint64 // local_clock() when it was logged: ns since boot
	Facility uint8
	Level    uint8
	// Caller is the thread id, or the CPU number if CallerCPU, that logged it; only kernels with CONFIG_PRINTK_CALLER
	// know it (HasCaller).
	Caller    uint32
	CallerCPU bool
	HasCaller bool
	Text      []byte
	Subsystem string // device that the message is about, "" for most
	Device    string
}

// ErrNoLog: VMCOREINFO describes no log buffer that kdx knows.
var ErrNoLog = errors.New("VMCOREINFO describes neither the ring buffer of 5.10 and later nor the record log before it")

const callerCPUBit = 1 << 31 // printk_caller_id(): set for CPU numbers

// Records yields the log from the oldest message on. An error item is a message that could not be read; the walk goes on.
func Records(v *kernel.View) iter.Seq2[Record, error] {
	switch {
	case has(v, "prb"):
		return ring(v)
	case has(v, "log_first_idx"):
		return recordLog(v)
	}
	return func(yield func(Record, error) bool) { yield(Record{}, ErrNoLog) }
}

func has(v *kernel.View, symbol string) bool {
	_, ok := v.VMCoreInfo().Symbol(symbol)
	return ok
}

// reader collects the offsets that a layout needs and remembers the first that is missing.
type reader struct {
	v   *kernel.View
	err error
}

func (r *reader) offset(name string) uint64 {
	n, ok := r.v.VMCoreInfo().Offset(name)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("VMCOREINFO lacks OFFSET(%s)", name)
	}
	return n
}

func (r *reader) size(name string) uint64 {
	n, ok := r.v.VMCoreInfo().Size(name)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("VMCOREINFO lacks SIZE(%s)", name)
	}
	return n
}

func (r *reader) word(addr uint64) uint64 {
	if r.err != nil {
		return 0
	}
	n, err := r.v.Word(vmem.Addr(addr))
	if err != nil {
		r.err = fmt.Errorf("log buffer: %w", err)
	}
	return n
}

func (r *reader) uint32(addr uint64) uint32 {
	var b [4]byte
	if r.err != nil {
		return 0
	}
	if err := r.v.Read(b[:], vmem.Addr(addr)); err != nil {
		r.err = fmt.Errorf("log buffer: %w", err)
	}
	return r.v.ByteOrder().Uint32(b[:])
}

func (r *reader) symbol(name string) uint64 {
	a, ok := r.v.VMCoreInfo().Symbol(name)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("VMCOREINFO lacks SYMBOL(%s)", name)
	}
	return a
}
