package printk

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Cleared is the number (Record.Seq) of the first message behind the last dmesg --clear; 0 if nobody cleared the log.
func Cleared(v *kernel.View) (uint64, error) {
	if !has(v, "prb") || !has(v, "clear_seq") {
		return 0, errors.New("the kernel does not say where its log was cleared: it does since 5.10")
	}
	r := &reader{v: v}
	addr := r.symbol("clear_seq")
	if r.err != nil {
		return 0, r.err
	}
	// Since 5.13 there are two copies, of which the lowest bit of a sequence count in front of them names the valid one.
	val, latched := offsetOf(v, "latched_seq.val")
	if latched {
		latch := r.uint32(addr)
		addr += val + 8*uint64(latch&1)
	}
	var b [8]byte
	if r.err == nil {
		r.err = v.Read(b[:], vmem.Addr(addr))
	}
	if r.err != nil {
		return 0, fmt.Errorf("where the log was cleared: %w", r.err)
	}
	return v.ByteOrder().Uint64(b[:]), nil
}
