package sadump

import (
	"encoding/binary"
	"slices"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/x86cpu"
)

// The states of CPUs: their size in all (32 bits), two words for each CPU's APIC, then for each what the CPU saved when
// it entered system management mode, as Intel's manual describes it.
const (
	apicSize  = 16
	stateSize = 1024
	maxCPUs   = 8192
)

// cpus reads the states of CPUs that were there. An entry of zeros belongs to an APIC that nobody has.
func (h *dumpHeader) cpus86(f *dumpfmt.File, info *dumpfmt.Info) {
	if h.sub == 0 || h.cpus == 0 {
		return
	}
	if h.cpus > maxCPUs {
		info.Warn("the header says that there are %d CPUs: their registers were left out", h.cpus)
		return
	}
	le := binary.LittleEndian
	var total [4]byte
	if _, err := f.ReadFull(total[:], h.subAt); err != nil {
		info.Warn("reading the states of CPUs: %v", err)
		return
	}
	size := int64(le.Uint32(total[:]) / h.cpus)
	if size < stateSize {
		info.Warn("the state of a CPU has %d bytes, but %d are known: registers were left out", size, stateSize)
		return
	}
	var states []x86cpu.State
	b := make([]byte, stateSize)
	for i := range int64(h.cpus) {
		at := h.subAt + 4 + int64(h.cpus)*apicSize + i*size
		if _, err := f.ReadFull(b, at); err != nil {
			info.Warn("reading the state of CPU %d at byte %#x: %v", i, at, err)
			break
		}
		if s := parseState(b); s.CR[0] != 0 && s.CR[3] != 0 {
			states = append(states, s)
		}
	}
	x86cpu.Add(info, states)
}

// parseState decodes what a CPU saved, at offsets from 0x7c00 behind SMBASE and the entry's begin.
func parseState(b []byte) x86cpu.State {
	le := binary.LittleEndian
	var s x86cpu.State
	low := func(lower, upper int) uint64 { return uint64(le.Uint32(b[lower:])) | uint64(le.Uint32(b[upper:]))<<32 }
	s.GDT.Base, s.GDT.Limit = low(652, 464), le.Uint32(b[656:])
	s.IDT.Base, s.IDT.Limit = low(660, 472), le.Uint32(b[664:])
	s.LDT.Base, s.LDT.Limit = low(668, 468), le.Uint32(b[672:])
	regs := []*uint64{&s.R15, &s.R14, &s.R13, &s.R12, &s.R11, &s.R10, &s.R9, &s.R8, &s.RAX, &s.RCX, &s.RDX, &s.RBX, &s.RSP, &s.RBP, &s.RSI, &s.RDI}
	for i, r := range regs {
		*r = le.Uint64(b[796+8*i:])
	}
	for i, seg := range []*uint32{&s.ES.Selector, &s.CS.Selector, &s.SS.Selector, &s.DS.Selector, &s.FS.Selector, &s.GS.Selector, &s.LDT.Selector, &s.TR.Selector} {
		*seg = le.Uint32(b[936+4*i:])
	}
	s.RIP, s.RFLAGS = le.Uint64(b[984:]), le.Uint64(b[1000:])
	s.CR = [5]uint64{0: le.Uint64(b[1016:]), 3: le.Uint64(b[1008:]), 4: uint64(le.Uint32(b[576:]))}
	return s
}

// sortDisks puts the files of a disk set in order.
func sortDisks(parts []partition, files []*dumpfmt.File) ([]partition, []*dumpfmt.File) {
	order := make([]int, len(files))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(parts[a].disk) - int(parts[b].disk) })
	var ps []partition
	var fs []*dumpfmt.File
	for _, i := range order {
		ps, fs = append(ps, parts[i]), append(fs, files[i])
	}
	return ps, fs
}
