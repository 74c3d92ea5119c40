package elfnote

import (
	"encoding/binary"
	"fmt"
)

// Segment is a descriptor-table segment of QEMU's CPU state.
type Segment struct {
	Selector, Limit, Flags uint32
	Base                   uint64
}

// QEMUState is QEMU's own note of an x86 CPU (name QEMU, type 0), always little endian.
type QEMUState struct {
	Regs                                      []Register
	CS, DS, ES, FS, GS, SS, LDT, TR, GDT, IDT Segment
	CR                                        [5]uint64
	KernelGSBase                              uint64
	HasKernelGSBase                           bool // QEMU 5.2 and later write it; their note is 440 bytes
}

const (
	qemuFixed = 432
	qemuGS    = 440
)

var qemuRegs = fields("rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags")

// ParseQEMU decodes the descriptor of a QEMU note. Its own size field says how much of it counts.
func ParseQEMU(desc []byte) (*QEMUState, error) {
	if len(desc) < qemuFixed {
		return nil, fmt.Errorf("note of QEMU's CPU state has %d bytes; it needs %d", len(desc), qemuFixed)
	}
	le := binary.LittleEndian
	if v := le.Uint32(desc); v != 1 {
		return nil, fmt.Errorf("note of QEMU's CPU state has version %d; only 1 is known", v)
	}
	size := int(min(int64(le.Uint32(desc[4:])), int64(len(desc))))
	if size < qemuFixed {
		return nil, fmt.Errorf("note of QEMU's CPU state says that it has %d bytes; it needs %d", size, qemuFixed)
	}
	s := &QEMUState{}
	at := 8
	for _, name := range qemuRegs {
		s.Regs = append(s.Regs, Register{name, le.Uint64(desc[at:])})
		at += 8
	}
	for _, seg := range []*Segment{&s.CS, &s.DS, &s.ES, &s.FS, &s.GS, &s.SS, &s.LDT, &s.TR, &s.GDT, &s.IDT} {
		*seg = Segment{le.Uint32(desc[at:]), le.Uint32(desc[at+4:]), le.Uint32(desc[at+8:]), le.Uint64(desc[at+16:])}
		at += 24
	}
	for i := range s.CR {
		s.CR[i] = le.Uint64(desc[at:])
		at += 8
	}
	if size >= qemuGS {
		s.KernelGSBase, s.HasKernelGSBase = le.Uint64(desc[at:]), true
	}
	return s, nil
}
