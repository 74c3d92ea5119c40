package frames

import (
	"encoding/binary"

	"kdx/analyze/kernel"
	"kdx/analyze/unwind"
	"kdx/symbols"
)

// state is a frame as locations of variables see it.
type state struct {
	v      *kernel.View
	frames []unwind.Frame
	at     int
}

func (s *state) frame() *unwind.Frame { return &s.frames[s.at] }

// ReadMemory reads the kernel's memory.
func (s *state) ReadMemory(p []byte, addr uint64) (int, error) { return s.v.ReadMemory(p, addr) }

// PC is inside the call, for frames that called.
func (s *state) PC() uint64 {
	f := s.frame()
	return f.Lookup()
}

// Reg is a register as the function had it.
func (s *state) Reg(n int) (uint64, error) {
	f := s.frame()
	if u, ok := f.Regs.Get(n); ok {
		return u, nil
	}
	name := unwind.RegName(n)
	switch {
	case f.Exact:
		return 0, &symbols.LostError{Why: "register " + name + " was not saved"}
	case callKeeps(n):
		return 0, &symbols.LostError{Why: "register " + name + " could not be recovered"}
	}
	return 0, &symbols.LostError{Why: "register " + name + " is not preserved across calls"}
}

// callKeeps reports whether functions of x86-64 give the register back as they found it (System V ABI, 3.2.1).
func callKeeps(n int) bool {
	switch n {
	case unwind.RBX, unwind.RBP, unwind.RSP, unwind.R12, unwind.R13, unwind.R14, unwind.R15, unwind.RIP:
		return true
	}
	return false
}

// CFA is the caller's stack pointer.
func (s *state) CFA() (uint64, bool) {
	f := s.frame()
	return f.CFA, f.CFA != 0 && f.Saved == nil
}

// Caller is the next frame, if this one was called and it is certain by whom.
func (s *state) Caller() symbols.FrameState {
	if s.at+1 >= len(s.frames) || s.frame().Saved != nil {
		return nil
	}
	next := &s.frames[s.at+1]
	if next.Exact || next.Sure != unwind.Sure {
		return nil
	}
	return &state{s.v, s.frames, s.at + 1}
}

// Call is what the frame called.
func (s *state) Call() (ret, target uint64, ok bool) {
	f := s.frame()
	if f.Exact {
		return 0, 0, false
	}
	var b [5]byte // call rel32
	if _, err := s.v.ReadMemory(b[:], f.PC-5); err != nil || b[0] != 0xe8 {
		return f.PC, 0, true
	}
	return f.PC, f.PC + uint64(int64(int32(binary.LittleEndian.Uint32(b[1:])))), true
}

// Jump decodes jmp and jcc that end before end. Where the bytes could be more than one of them, they say nothing.
func (s *state) Jump(end uint64) (uint64, bool) {
	var b [6]byte
	if _, err := s.v.ReadMemory(b[:], end-6); err != nil {
		return 0, false
	}
	long := b[1] == 0xe9 || b[0] == 0x0f && b[1]&0xf0 == 0x80
	short := b[4] == 0xeb || b[4]&0xf0 == 0x70
	switch {
	case long && !short:
		return end + uint64(int64(int32(binary.LittleEndian.Uint32(b[2:])))), true
	case short && !long:
		return end + uint64(int64(int8(b[5]))), true
	}
	return 0, false
}

var _ symbols.FrameState = (*state)(nil)
