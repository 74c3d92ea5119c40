package irq

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// Gate is an entry of x86's interrupt descriptor table.
type Gate struct {
	Vector  int
	Handler vmem.Addr
	Present bool
	DPL     int // privilege that may call it by an INT instruction
	IST     int // stack that it switches to, 0 for none
}

const (
	idtVectors = 256
	gateSize   = 16 // bytes, of a 64-bit gate
)

// IDT reads idt_table. The layout of gates is the processor's own.
func IDT(v *kernel.View) ([]Gate, error) {
	if v.Arch().Machine() != dumpfmt.MachineX86_64 {
		return nil, fmt.Errorf("%s has no interrupt descriptor table", v.Arch().Machine())
	}
	sym, err := v.Symbol("idt_table")
	if err != nil {
		return nil, err
	}
	b := make([]byte, idtVectors*gateSize)
	if err := v.Read(b, vmem.Addr(sym.Addr)); err != nil {
		return nil, fmt.Errorf("idt_table: %w", err)
	}
	out := make([]Gate, idtVectors)
	bo := v.ByteOrder()
	for i := range out {
		g := b[i*gateSize:]
		handler := uint64(bo.Uint16(g)) | uint64(bo.Uint16(g[6:]))<<16 | uint64(bo.Uint32(g[8:]))<<32
		bits := bo.Uint16(g[4:])
		out[i] = Gate{Vector: i, Handler: vmem.Addr(handler), Present: bits>>15 != 0, DPL: int(bits >> 13 & 3), IST: int(bits & 7)}
	}
	return out, nil
}
