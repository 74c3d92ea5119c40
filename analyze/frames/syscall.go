package frames

import (
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/unwind"
	"kdx/symbols"
)

// syscall is what user mode called the kernel with. Its registers stay as they are until the call returns (execve aside, which
// makes new ones), so that they tell what the functions of the call were passed when these no longer have it.
type syscall struct {
	regs *unwind.PtRegs
	at   uint64 // where they are
}

// syscallOf is the system call that a trace of x86-64 is in; nil if it is in none.
func syscallOf(v *kernel.View, t *unwind.Trace) *syscall {
	if len(t.Frames) == 0 {
		return nil
	}
	f := &t.Frames[len(t.Frames)-1]
	if f.Saved == nil || f.Saved.Partial || !f.Saved.User() || int64(f.Saved.OrigRAX) < 0 {
		return nil
	}
	s, err := v.Symbols().SymbolAt(f.Lookup())
	if err != nil || !strings.HasPrefix(s.Name, "entry_SYSCALL_64") {
		return nil
	}
	return &syscall{f.Saved, f.SavedAt}
}

// extend lets the parameters of a system call's functions fall back on the call's registers.
func (c *syscall) extend(scopes []symbols.Scope) []symbols.Scope {
	if c == nil {
		return scopes
	}
	out := make([]symbols.Scope, len(scopes))
	for i, s := range scopes {
		out[i] = s
		out[i].Vars = nil
		n := 0
		for _, x := range s.Vars {
			if x.Param {
				if u, ok := c.argument(s.Function, &x, n); ok {
					x.Locate = orElse(x.Locate, u)
				}
				n++
			}
			out[i].Vars = append(out[i].Vars, x)
		}
	}
	return out
}

// argument is what function was passed as parameter number n, if it is one of the call's: __x64_sys_NAME and x64_sys_call (since 6.9)
// get the registers, __se_sys_NAME and __do_sys_NAME what is in them (arch/x86/include/asm/syscall_wrapper.h, since 4.17).
func (c *syscall) argument(function string, x *symbols.Variable, n int) (uint64, bool) {
	name, wrapped := strings.CutPrefix(function, "__do_sys_")
	if !wrapped {
		name, wrapped = strings.CutPrefix(function, "__se_sys_")
	}
	inner := wrapped || strings.HasPrefix(function, "__x64_sys_") || function == "x64_sys_call" || function == "do_syscall_x64"
	switch {
	case !inner && function != "do_syscall_64":
		return 0, false
	case pointsToRegs(x.Type):
		return c.at, true
	case !wrapped:
		// do_syscall_64 itself is called before a tracer may put another number there.
		return c.regs.OrigRAX, inner && x.Name == "nr"
	case strings.HasPrefix(name, "exec"):
		return 0, false
	}
	args := []uint64{c.regs.RDI, c.regs.RSI, c.regs.RDX, c.regs.R10, c.regs.R8, c.regs.R9}
	if n >= len(args) {
		return 0, false
	}
	return args[n], true
}

func pointsToRegs(t *symbols.Type) bool {
	t = t.Strip()
	return t.Kind == symbols.Pointer && t.Elem().Strip().Name == "pt_regs"
}

// orElse is u where locate finds that the value is lost.
func orElse(locate func(symbols.FrameState) (symbols.Location, error), u uint64) func(symbols.FrameState) (symbols.Location, error) {
	return func(s symbols.FrameState) (symbols.Location, error) {
		loc, err := locate(s)
		if err != nil || len(loc.Pieces) != 1 || loc.Pieces[0].Kind != symbols.PieceLost {
			return loc, err
		}
		b := make([]byte, 8)
		for i := range b {
			b[i] = byte(u >> (8 * i)) // x86-64
		}
		return symbols.Location{Pieces: []symbols.Piece{{Kind: symbols.PieceValue, Bytes: b}}, AtEntry: true}, nil
	}
}
