// Package printk reads the kernel's log out of its memory. Two forms are known, both described by VMCOREINFO, so that
// neither symbols nor types are needed unless kdx had to derive it:
//
//   - since 5.10 a lockless ring: descriptors (state, position of the text) and infos (time, length, caller) in arrays of
//     the same length, texts in a byte ring (kernel/printk/printk_ringbuffer.c);
//   - 3.5 to 5.9 records one after another in log_buf, each with its header (kernel/printk/printk.c).
package printk

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"kdx/analyze/arch"
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

// ErrNoLog: neither VMCOREINFO nor the kernel's symbols know a log buffer that kdx knows.
var ErrNoLog = errors.New("neither VMCOREINFO nor the kernel's symbols have the ring buffer of 5.10 and later or the record log before it")

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

// has reports whether VMCOREINFO names the symbol; where it had to be derived, the kernel's symbols serve.
func has(v *kernel.View, symbol string) bool {
	_, ok := v.VMCoreInfo().Symbol(symbol)
	return ok || derived(v) && v.HasSymbol(symbol)
}

// derived reports whether kdx made VMCOREINFO itself: then offsets come from types.
func derived(v *kernel.View) bool {
	_, ok := v.VMCoreInfo().Get(arch.PageTableKey)
	return ok
}

// offsetOf is OFFSET(tag.path).
func offsetOf(v *kernel.View, name string) (uint64, bool) {
	if n, ok := v.VMCoreInfo().Offset(name); ok || !derived(v) {
		return n, ok
	}
	tag, path, _ := strings.Cut(name, ".")
	return v.OffsetOf(tag, path)
}

// sizeOf is SIZE(tag).
func sizeOf(v *kernel.View, name string) (uint64, bool) {
	if n, ok := v.VMCoreInfo().Size(name); ok || !derived(v) {
		return n, ok
	}
	t, err := v.Struct(name)
	if err != nil {
		return 0, false
	}
	return t.Size, true
}

// lengthOf is LENGTH(printk_info_MEMBER), an array in struct dev_printk_info.
func lengthOf(v *kernel.View, member string) (uint64, bool) {
	if n, ok := v.VMCoreInfo().Length("printk_info_" + member); ok || !derived(v) {
		return n, ok
	}
	t, err := v.Struct("dev_printk_info")
	if err != nil {
		return 0, false
	}
	m, ok := t.Path(member)
	if !ok {
		return 0, false
	}
	return m.Type.Strip().Size, true
}

// reader collects the offsets that a layout needs and remembers the first that is missing.
type reader struct {
	v   *kernel.View
	err error
}

func (r *reader) offset(name string) uint64 {
	n, ok := offsetOf(r.v, name)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%s lacks OFFSET(%s)", describer(r.v), name)
	}
	return n
}

func (r *reader) size(name string) uint64 {
	n, ok := sizeOf(r.v, name)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%s lacks SIZE(%s)", describer(r.v), name)
	}
	return n
}

func describer(v *kernel.View) string {
	if derived(v) {
		return "the dump has no VMCOREINFO, and what stands for it"
	}
	return "VMCOREINFO"
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
	if a, ok := r.v.VMCoreInfo().Symbol(name); ok {
		return a
	}
	if derived(r.v) {
		if s, err := r.v.Symbol(name); err == nil {
			return s.Addr
		}
	}
	if r.err == nil {
		r.err = fmt.Errorf("%s lacks SYMBOL(%s)", describer(r.v), name)
	}
	return 0
}
