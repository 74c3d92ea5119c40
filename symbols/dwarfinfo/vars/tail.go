package vars

import (
	"debug/dwarf"

	"kdx/symbols"
)

// tailFrame is the frame that a function had which jumped to its last callee: it is gone from the stack, and with it all but
// the registers that the function had to restore before.
type tailFrame struct {
	symbols.FrameState // of the function that was left on the stack: the caller
	fn                 *function
	site               *site
	caller             symbols.FrameState
}

func (t *tailFrame) PC() uint64 { return t.fn.finder.shift + t.site.ret - 1 }

func (t *tailFrame) Reg(n int) (uint64, error) {
	if n == stackPointer {
		return 0, lost("the frame of %s, which jumped to its last callee, is gone", nameOf(t.fn.entry))
	}
	return t.FrameState.Reg(n)
}

// stackPointer is x86-64's DWARF number, the architecture whose code Call and Jump of frames read.
const stackPointer = 7

func (t *tailFrame) CFA() (uint64, bool) { return 0, false }

func (t *tailFrame) Caller() symbols.FrameState { return t.caller }

// maxTailCalls bounds the functions that a search for jumps visits.
const maxTailCalls = 64

// tailCall finds how a call of target got to the function entered: by jumps at the ends of functions. There must be one way
// only, and every jump on the way of which it is not known where it leads is another.
func (c *context) tailCall(caller symbols.FrameState, target, entered uint64) (*tailFrame, error) {
	s := tailSearch{c: c, caller: caller, entered: entered, seen: make(map[uint64]bool)}
	if !s.from(target, caller) || s.found == nil {
		return nil, lost("lost since the function was entered, which its caller did by way of another function")
	}
	return s.found, nil
}

type tailSearch struct {
	c       *context
	caller  symbols.FrameState
	entered uint64
	seen    map[uint64]bool
	found   *tailFrame
}

// from follows the jumps of the function at target, which was entered from the frame before. It returns false if they
// don't all lead to known functions, or there are several ways.
func (s *tailSearch) from(target uint64, before symbols.FrameState) bool {
	if s.seen[target] || len(s.seen) >= maxTailCalls {
		return false
	}
	s.seen[target] = true
	in := s.c.fn.finder.codeAt(target)
	if in == nil {
		return false
	}
	fn, err := in.functionAt(target - in.shift)
	if err != nil || fn.low != target-in.shift || !fn.knowsJumps() {
		return false
	}
	for i := range fn.sites {
		if !fn.sites[i].tail {
			continue
		}
		to, ok := s.caller.Jump(fn.sites[i].ret + in.shift)
		if !ok {
			return false
		}
		t := &tailFrame{FrameState: s.caller, fn: fn, site: &fn.sites[i], caller: before}
		if to == s.entered {
			if s.found != nil {
				return false
			}
			s.found = t
			continue
		}
		if !s.from(to, t) {
			return false
		}
	}
	return true
}

// knowsJumps reports whether every jump of fn to another function is described.
func (fn *function) knowsJumps() bool {
	for _, a := range []dwarf.Attr{dwarf.AttrCallAllCalls, dwarf.AttrCallAllTailCalls, attrGNUAllCallSites, attrGNUAllTailCallSites} {
		if fn.entry.Flag(a) {
			return true
		}
	}
	return false
}
