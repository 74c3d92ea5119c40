package vars

import (
	"bytes"
	"debug/dwarf"
	"errors"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/locexpr"
)

// Values at a function's entry come from its caller, whose debug information says what it passed in which register (call
// sites). This is believed only if it is certain that the call entered this very function.

// EntryValue is the value that expr, a register as a rule, had when the function was entered.
func (c *context) EntryValue(expr []byte) (uint64, error) {
	reg, isReg := locexpr.Register(expr, c.unit())
	return c.passed(func(caller *dwarfinfo.Unit, p *dwarfinfo.Entry) bool {
		f := p.Field(dwarf.AttrLocation)
		if f == nil {
			return false
		}
		if r, ok := locexpr.Register(f.Block, caller); ok && isReg {
			return r == reg
		}
		return bytes.Equal(f.Block, expr)
	})
}

// Parameter is the value that the caller gave for the parameter of entry ref.
func (c *context) Parameter(ref dwarfinfo.Ref) (uint64, error) {
	return c.passed(func(_ *dwarfinfo.Unit, p *dwarfinfo.Entry) bool {
		to, ok := p.RefTo(dwarf.AttrCallParameter)
		if !ok {
			to, ok = p.RefTo(dwarf.AttrAbstractOrigin) // GNU's
		}
		return ok && to == ref
	})
}

// maxCallers bounds how many callers a value may depend on.
const maxCallers = 32

// passed is the value of the parameter of the call that entered the function for which is says so.
func (c *context) passed(is func(*dwarfinfo.Unit, *dwarfinfo.Entry) bool) (uint64, error) {
	if *c.budget -= 50; *c.budget < 0 || c.depth > maxCallers {
		return 0, errors.New("values at entry that depend on each other without end")
	}
	caller, s, err := c.callSite()
	if err != nil {
		return 0, err
	}
	for _, p := range s.params {
		if !is(caller.unit(), p) {
			continue
		}
		f := p.Field(dwarf.AttrCallValue)
		if f == nil {
			f = p.Field(attrGNUCallSiteValue)
		}
		if f == nil || len(f.Block) == 0 {
			break
		}
		return caller.evaluator().Value(f.Block)
	}
	return 0, lost("lost since the function was entered, and its caller's debug information does not say what it passed")
}

// callSite is the call that entered the function, in the context of its caller.
func (c *context) callSite() (*context, *site, error) {
	caller := c.frame.Caller()
	if t, ok := caller.(*tailFrame); ok {
		return c.in(t.fn, t), t.site, nil
	}
	if caller == nil {
		return nil, nil, lost("lost since the function was entered, and its caller is not known")
	}
	ret, target, ok := caller.Call()
	if !ok {
		return nil, nil, lost("lost since the function was entered, which was not by a call")
	}
	in := c.fn.finder.codeAt(caller.PC())
	if in == nil {
		return nil, nil, lost("lost since the function was entered, and its caller has no debug information")
	}
	fn, err := in.functionAt(caller.PC() - in.shift)
	if errors.Is(err, symbols.ErrNotFound) {
		return nil, nil, lost("lost since the function was entered, and its caller has no debug information")
	}
	if err != nil {
		return nil, nil, err
	}
	s := fn.siteBefore(ret - in.shift)
	if s == nil {
		return nil, nil, lost("lost since the function was entered, and its caller's debug information does not know the call")
	}
	cc := c.in(fn, caller)
	entered := c.fn.low + c.fn.finder.shift
	if target == entered {
		return cc, s, nil
	}
	if said, ok := cc.calls(s); ok {
		target = said
	}
	switch {
	case target == entered:
		return cc, s, nil
	case target == 0 || !c.fn.finder.knows(target): // of a thunk, too
		return nil, nil, lost("lost since the function was entered, and its caller, which called through a pointer, does not say whom")
	}
	t, err := c.tailCall(caller, target, entered)
	if err != nil {
		return nil, nil, err
	}
	return c.in(t.fn, t), t.site, nil
}

// in is the context of a caller.
func (c *context) in(fn *function, frame symbols.FrameState) *context {
	return &context{fn: fn, frame: frame, pc: frame.PC() - fn.finder.shift, budget: c.budget, depth: c.depth + 1}
}

// codeAt is the finder for code at pc: f itself or one of its peers.
func (f *Finder) codeAt(pc uint64) *Finder {
	if f.d.UnitAt(pc-f.shift) != nil {
		return f
	}
	if f.peers == nil {
		return nil
	}
	return f.peers(pc)
}

// knows reports whether a function begins at addr whose jumps to others are described: no thunk of the assembler.
func (f *Finder) knows(addr uint64) bool {
	in := f.codeAt(addr)
	if in == nil {
		return false
	}
	fn, err := in.functionAt(addr - in.shift)
	return err == nil && fn.low == addr-in.shift && fn.knowsJumps()
}

// calls is the address that a call through a pointer went to, if the debug information says how to find it.
func (c *context) calls(s *site) (uint64, bool) {
	f := s.entry.Field(dwarf.AttrCallTarget)
	if f == nil {
		f = s.entry.Field(attrGNUCallSiteTarget)
	}
	if f == nil || len(f.Block) == 0 {
		return 0, false
	}
	target, err := c.evaluator().Value(f.Block)
	return target, err == nil
}

// atEntry is where the parameter was when the function was entered, if its list of locations begins with registers: the
// value that the caller passed. now is the answer without.
func (c *context) atEntry(list *dwarfinfo.Field, now symbols.Location) (symbols.Location, error) {
	expr, _, err := locexpr.At(c.unit(), list, c.fn.low)
	if err != nil || len(expr) == 0 {
		return now, err
	}
	parts, ok := locexpr.Registers(expr, c.unit())
	if !ok {
		return now, nil
	}
	loc := symbols.Location{AtEntry: true}
	for _, part := range parts {
		u, err := c.EntryValue(part.Expr)
		var gone *symbols.LostError
		p := symbols.Piece{Kind: symbols.PieceValue, BitSize: 8 * part.Size}
		switch {
		case errors.As(err, &gone):
			p.Kind, p.Why = symbols.PieceLost, gone.Why
		case err != nil:
			return now, err
		default:
			p.Bytes = make([]byte, 8)
			c.unit().Data.Order.PutUint64(p.Bytes, u)
		}
		loc.Pieces = append(loc.Pieces, p)
	}
	if allLost(loc) {
		loc.AtEntry = false
	}
	return loc, nil
}
