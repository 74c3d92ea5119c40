package qemusave

import (
	"encoding/binary"

	"kdx/dumpfmt/internal/x86cpu"
	"kdx/internal/elfnote"
)

// A section of an x86 CPU begins with its general registers, whose order and sizes have not changed since version 5 of the section
// (QEMU 0.10); what follows them has. Sections don't say how long they are, so those of CPUs are found by their head: mark, number,
// name, instance, version.
const (
	cpuMinVersion = 5
	cpuMaxVersion = 64
	cpuState      = 16*8 + 2*8 + 4 + 4*2 // general registers, RIP, flags, QEMU's own, start of the FPU's
	fpuWide       = 8 * 10
	fpuNarrow     = 8 * 8
	cpuSegments   = 10 * segmentSize
	segmentSize   = 4 + 8 + 4 + 4
	cpuSysenter   = 4 + 8 + 8
	cpuControl    = 4 * 8
	cpuMiddle     = 8*8 + 4 + 4 + 16*16 + 5*8 // debug registers, A20, MXCSR, XMM, EFER STAR LSTAR CSTAR FMASK
	cpuWhole      = cpuState + fpuWide + cpuSegments + cpuSysenter + cpuControl + cpuMiddle + 8
	maxCPUs       = 4096
	tailLimit     = 1 << 30 // of sections behind RAM
)

// cpus finds the CPUs behind RAM.
func (s *stream) cpus() []x86cpu.State {
	var out []x86cpu.State
	name := []byte("\x03cpu")
	end := min(s.c.File.Size, s.c.Pos+tailLimit)
	for s.c.Pos < end && len(out) < maxCPUs {
		// The name is found behind what stands before it.
		if err := s.c.search(name, end-s.c.Pos, func() bool { return true }); err != nil {
			break
		}
		at := s.c.Pos
		if state, ok := s.cpuAt(at, uint32(len(out))); ok {
			out = append(out, state)
		} else {
			s.c.Pos = at
		}
	}
	return out
}

// cpuAt reads the section whose name ends here, if it is that of the nth CPU.
func (s *stream) cpuAt(at int64, n uint32) (x86cpu.State, bool) {
	const head = 1 + 4 + 4 // mark, number, name with its length
	if at < head {
		return x86cpu.State{}, false
	}
	s.c.Pos = at - head
	b, err := s.c.Take(head + 8 + cpuWhole)
	if err != nil || b[0] != markFull {
		return x86cpu.State{}, false
	}
	be := binary.BigEndian
	instance, version := be.Uint32(b[head:]), be.Uint32(b[head+4:])
	if instance != n || version < cpuMinVersion || version > cpuMaxVersion {
		return x86cpu.State{}, false
	}
	return parseCPU(b[head+8:])
}

// parseCPU decodes the start of a CPU's section. ok is false for what can't be a CPU.
func parseCPU(b []byte) (s x86cpu.State, ok bool) {
	be := binary.BigEndian
	next := func() uint64 {
		v := be.Uint64(b)
		b = b[8:]
		return v
	}
	for _, r := range []*uint64{&s.RAX, &s.RCX, &s.RDX, &s.RBX, &s.RSP, &s.RBP, &s.RSI, &s.RDI, &s.R8, &s.R9, &s.R10, &s.R11, &s.R12, &s.R13, &s.R14, &s.R15,
		&s.RIP, &s.RFLAGS} {
		*r = next()
	}
	format := be.Uint16(b[4+6:])
	b = b[4+8:]
	if format == 0 {
		b = b[fpuWide:]
	} else {
		b = b[fpuNarrow:]
	}
	for _, g := range []*elfnote.Segment{&s.ES, &s.CS, &s.SS, &s.DS, &s.FS, &s.GS, &s.LDT, &s.TR, &s.GDT, &s.IDT} {
		*g = elfnote.Segment{Selector: be.Uint32(b), Base: be.Uint64(b[4:]), Limit: be.Uint32(b[12:]), Flags: be.Uint32(b[16:])}
		b = b[segmentSize:]
	}
	b = b[cpuSysenter:]
	for _, i := range []int{0, 2, 3, 4} {
		s.CR[i] = next()
	}
	b = b[cpuMiddle:]
	s.KernelGSBase, s.HasKernelGSBase = be.Uint64(b), true
	const (
		extension = 1 << 4 // CR0.ET: always set, also before a CPU was started
		always    = 1 << 1 // of RFLAGS
		physBits  = 52     // the most that x86 has; above are flags
	)
	return s, s.CR[0]&extension != 0 && s.RFLAGS&always != 0 && s.CR[3]&(1<<61-1)>>physBits == 0 && s.CS.Selector>>16 == 0 && s.TR.Selector>>16 == 0
}
