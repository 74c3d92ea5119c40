package xencore

import (
	"encoding/binary"

	"kdx/dumpfmt/internal/x86cpu"
	"kdx/internal/elfnote"
)

// A CPU of an x86-64 domain in .xen_prstatus, bytes: room of the FPU, flags, general registers, the trap table …
const (
	contextSize = 5168
	ctxRegs     = 512 + 8
	ctxRIP      = ctxRegs + 15*8 + 8
	ctxCS       = ctxRIP + 8
	ctxFlags    = ctxCS + 8
	ctxRSP      = ctxFlags + 8
	ctxSS       = ctxRSP + 8 // and ES, DS, FS, GS, in 8 bytes each
	ctxControl  = 4984       // CR0 to CR7
	ctxBases    = 5144       // FS, GS of the kernel, GS of the user
)

// parseContext decodes a CPU. Of a paravirtualised domain CR3 is a machine's page, not one of the dump, and is left out.
func parseContext(b []byte, translated bool) x86cpu.State {
	le := binary.LittleEndian
	var s x86cpu.State
	for i, r := range []*uint64{&s.R15, &s.R14, &s.R13, &s.R12, &s.RBP, &s.RBX, &s.R11, &s.R10, &s.R9, &s.R8, &s.RAX, &s.RCX, &s.RDX, &s.RSI, &s.RDI} {
		*r = le.Uint64(b[ctxRegs+8*i:])
	}
	s.RIP, s.RFLAGS, s.RSP = le.Uint64(b[ctxRIP:]), le.Uint64(b[ctxFlags:]), le.Uint64(b[ctxRSP:])
	s.CS.Selector = uint32(le.Uint16(b[ctxCS:]))
	for i, seg := range []*elfnote.Segment{&s.SS, &s.ES, &s.DS, &s.FS, &s.GS} {
		seg.Selector = uint32(le.Uint16(b[ctxSS+8*i:]))
	}
	s.FS.Base = le.Uint64(b[ctxBases:])
	kernelGS, userGS := le.Uint64(b[ctxBases+8:]), le.Uint64(b[ctxBases+16:])
	const userMode = 3
	if s.CS.Selector&userMode == userMode {
		kernelGS, userGS = userGS, kernelGS
	}
	s.GS.Base, s.KernelGSBase, s.HasKernelGSBase = kernelGS, userGS, true
	if translated {
		for i := range s.CR {
			s.CR[i] = le.Uint64(b[ctxControl+8*i:])
		}
	}
	return s
}
