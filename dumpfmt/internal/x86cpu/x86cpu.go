// Package x86cpu turns the states of x86 CPUs that hypervisors and firmware write down, each in its own form, into the
// notes in which other dumps carry them: NT_PRSTATUS and QEMU's own. So analysis finds page tables through CR3 and stacks
// through RSP, and a conversion keeps them.
package x86cpu

import (
	"bytes"
	"encoding/binary"

	"kdx/dumpfmt"
	"kdx/internal/elfnote"
)

// State is an x86-64 CPU. Parts that the dump does not have are 0.
type State struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RIP, RFLAGS                            uint64
	CS, DS, ES, FS, GS, SS                 elfnote.Segment
	LDT, TR, GDT, IDT                      elfnote.Segment
	CR                                     [5]uint64
	KernelGSBase                           uint64
	HasKernelGSBase                        bool
}

const (
	prstatusSize = 336
	prstatusPID  = 32
	prstatusReg  = 112
	qemuSize     = 432
	qemuSizeGS   = 440
)

// Notes are the states as ELF notes: first an NT_PRSTATUS each, then QEMU's note each. The process id is the CPU's number
// and one, as in QEMU's dumps.
func Notes(states []State) []byte {
	var b []byte
	le := binary.LittleEndian
	for i := range states {
		const ntPRStatus = 1
		b = elfnote.Append(b, le, "CORE", ntPRStatus, states[i].prstatus(uint32(i+1)))
	}
	for i := range states {
		b = elfnote.Append(b, le, "QEMU", 0, states[i].qemu())
	}
	return b
}

// Add gives the states to info as notes.
func Add(info *dumpfmt.Info, states []State) {
	if len(states) == 0 {
		return
	}
	b := Notes(states)
	info.ReadNotes(&dumpfmt.File{Name: info.Files[0], Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}, 0, int64(len(b)))
}

func (s *State) prstatus(pid uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, prstatusReg, prstatusSize)
	le.PutUint32(b[prstatusPID:], pid)
	for _, v := range []uint64{s.R15, s.R14, s.R13, s.R12, s.RBP, s.RBX, s.R11, s.R10, s.R9, s.R8, s.RAX, s.RCX, s.RDX, s.RSI, s.RDI,
		0, s.RIP, uint64(s.CS.Selector), s.RFLAGS, s.RSP, uint64(s.SS.Selector), s.FS.Base, s.GS.Base,
		uint64(s.DS.Selector), uint64(s.ES.Selector), uint64(s.FS.Selector), uint64(s.GS.Selector)} {
		b = le.AppendUint64(b, v)
	}
	return b[:prstatusSize]
}

func (s *State) qemu() []byte {
	le := binary.LittleEndian
	size := qemuSize
	if s.HasKernelGSBase {
		size = qemuSizeGS
	}
	b := make([]byte, 0, size)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, uint32(size))
	for _, v := range []uint64{s.RAX, s.RBX, s.RCX, s.RDX, s.RSI, s.RDI, s.RSP, s.RBP, s.R8, s.R9, s.R10, s.R11, s.R12, s.R13, s.R14, s.R15, s.RIP, s.RFLAGS} {
		b = le.AppendUint64(b, v)
	}
	for _, g := range []elfnote.Segment{s.CS, s.DS, s.ES, s.FS, s.GS, s.SS, s.LDT, s.TR, s.GDT, s.IDT} {
		b = le.AppendUint32(b, g.Selector)
		b = le.AppendUint32(b, g.Limit)
		b = le.AppendUint32(b, g.Flags)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint64(b, g.Base)
	}
	for _, v := range s.CR {
		b = le.AppendUint64(b, v)
	}
	if s.HasKernelGSBase {
		b = le.AppendUint64(b, s.KernelGSBase)
	}
	return b
}
