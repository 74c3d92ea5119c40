package vars

import (
	"debug/dwarf"
	"errors"
	"fmt"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/locexpr"
)

// context is a function in a frame. It answers what expressions ask.
type context struct {
	fn     *function
	frame  symbols.FrameState
	pc     uint64 // as linked
	budget *int
	depth  int  // of values that depend on those of callers
	inBase bool // the frame base is being computed
}

func newContext(fn *function, s symbols.FrameState) *context {
	budget := locexpr.MaxSteps
	return &context{fn: fn, frame: s, pc: s.PC() - fn.finder.shift, budget: &budget}
}

func (c *context) unit() *dwarfinfo.Unit { return c.fn.entry.Unit }

func (c *context) evaluator() *locexpr.Evaluator {
	return &locexpr.Evaluator{Unit: c.unit(), Frame: c.frame, Context: c, Budget: c.budget}
}

func lost(format string, args ...any) error {
	return &symbols.LostError{Why: fmt.Sprintf(format, args...)}
}

func lostLocation(why string) symbols.Location {
	return symbols.Location{Pieces: []symbols.Piece{{Why: why}}}
}

// locate is where the variable of entry e is. For a parameter of the function itself, the value that it was called with is
// taken where the present one is lost.
func (c *context) locate(e *dwarfinfo.Entry, param bool) (symbols.Location, error) {
	loc, field, err := c.present(e)
	if err != nil || !param || field == nil || !allLost(loc) {
		return loc, err
	}
	return c.atEntry(field, loc)
}

func allLost(l symbols.Location) bool {
	for i := range l.Pieces {
		if l.Pieces[i].Kind != symbols.PieceLost {
			return false
		}
	}
	return true
}

// present is where the variable is at the frame's PC, and the attribute that says so if it is a list of locations.
func (c *context) present(e *dwarfinfo.Entry) (loc symbols.Location, list *dwarfinfo.Field, err error) {
	loc = lostLocation(symbols.OptimisedOut)
	origins(e, func(e *dwarfinfo.Entry) bool {
		if f := e.Field(dwarf.AttrConstValue); f != nil {
			loc = symbols.Location{Pieces: []symbols.Piece{{Kind: symbols.PieceValue, Bytes: constant(e, f)}}}
			return false
		}
		f := e.Field(dwarf.AttrLocation)
		if f == nil {
			return true
		}
		expr, always, atErr := locexpr.At(e.Unit, f, c.pc)
		if !always {
			list = f
		}
		if err = atErr; err == nil && len(expr) > 0 {
			ev := c.evaluator()
			ev.Unit = e.Unit
			loc, err = ev.Location(expr)
		}
		return false
	})
	return loc, list, err
}

// constant are the bytes of DW_AT_const_value. A number has eight, of which a smaller type takes the least significant.
func constant(e *dwarfinfo.Entry, f *dwarfinfo.Field) []byte {
	if f.Block != nil || f.Form == dwarfinfo.FormString {
		b := append([]byte(nil), f.Block...)
		if f.Form == dwarfinfo.FormString {
			b = append(b, 0)
		}
		return b
	}
	if s := e.Str(dwarf.AttrConstValue); s != "" {
		return append([]byte(s), 0)
	}
	b := make([]byte, 8)
	e.Unit.Data.Order.PutUint64(b, f.Val)
	return b
}

// FrameBase is the function's DW_AT_frame_base.
func (c *context) FrameBase() (uint64, error) {
	f := c.fn.entry.Field(dwarf.AttrFrameBase)
	if f == nil {
		return 0, errors.New("its function has no frame base")
	}
	if c.inBase {
		return 0, errors.New("a frame base that depends on itself")
	}
	expr, _, err := locexpr.At(c.unit(), f, c.pc)
	if err != nil {
		return 0, err
	}
	base := *c
	base.inBase = true
	return base.evaluator().Value(expr)
}

// VariableValue is the number that a variable holds.
func (c *context) VariableValue(ref dwarfinfo.Ref) (uint64, error) {
	e, err := c.entry(ref)
	if err != nil {
		return 0, err
	}
	loc, _, err := c.present(e)
	if err != nil {
		return 0, err
	}
	size := uint64(0)
	if t, ok := e.RefTo(dwarf.AttrType); ok {
		size = c.fn.finder.types.TypeAt(t).Strip().Size
	}
	if len(loc.Pieces) != 1 || loc.Pieces[0].BitSize != 0 || size == 0 || size > 8 {
		return 0, errors.New("an expression asks for the value of what is no number")
	}
	p := loc.Pieces[0]
	b := p.Bytes
	switch p.Kind {
	case symbols.PieceMemory:
		b = make([]byte, size)
		if _, err := c.frame.ReadMemory(b, p.Addr); err != nil {
			return 0, fmt.Errorf("memory at %#x: %w", p.Addr, err)
		}
	case symbols.PieceValue:
	default:
		return 0, &symbols.LostError{Why: symbols.OptimisedOut}
	}
	return c.number(b, size), nil
}

// number is the size bytes of b that are the least significant, as an unsigned number.
func (c *context) number(b []byte, size uint64) uint64 {
	order := c.unit().Data.Order
	big := order.Uint16([]byte{0, 1}) == 1
	var u uint64
	for i := range min(size, uint64(len(b))) {
		if big {
			u |= uint64(b[uint64(len(b))-1-i]) << (8 * i)
		} else {
			u |= uint64(b[i]) << (8 * i)
		}
	}
	return u
}

// entry reads what an expression names.
func (c *context) entry(ref dwarfinfo.Ref) (*dwarfinfo.Entry, error) {
	if *c.budget -= 10; *c.budget < 0 || c.depth > maxOrigins {
		return nil, errors.New("an expression that does not end")
	}
	return ref.Data.Entry(ref.Off)
}

// Expression is the location of another entry at the frame's PC.
func (c *context) Expression(ref dwarfinfo.Ref) ([]byte, error) {
	e, err := c.entry(ref)
	if err != nil {
		return nil, err
	}
	f := e.Field(dwarf.AttrLocation)
	if f == nil {
		return nil, nil
	}
	expr, _, err := locexpr.At(e.Unit, f, c.pc)
	return expr, err
}

// BaseType is what typed operations need of a DW_TAG_base_type.
func (c *context) BaseType(ref dwarfinfo.Ref) (locexpr.BaseType, error) {
	e, err := c.entry(ref)
	if err != nil {
		return locexpr.BaseType{}, err
	}
	size, _ := e.Uint(dwarf.AttrByteSize)
	enc, _ := e.Uint(dwarf.AttrEncoding)
	if e.Tag != dwarf.TagBaseType || size == 0 {
		return locexpr.BaseType{}, fmt.Errorf("an expression takes the entry at %#x of .debug_info for a base type", ref.Off)
	}
	return locexpr.BaseType{Size: size, Encoding: uint8(enc)}, nil
}

// Pointee is the variable at ref.
func (c *context) Pointee(ref dwarfinfo.Ref) (*symbols.Variable, error) {
	e, err := c.entry(ref)
	if err != nil {
		return nil, err
	}
	v, _ := c.fn.finder.variable(c.fn, e, false)
	return &v, nil
}

// Relocate adds the distance to the running kernel. Per-CPU areas are linked at 0 up to 6.14, and offsets into them stay.
func (c *context) Relocate(addr uint64) uint64 {
	if c.unit().AddrSize == 8 && addr>>63 == 0 && c.fn.low>>63 == 1 {
		return addr
	}
	return addr + c.fn.finder.shift
}
