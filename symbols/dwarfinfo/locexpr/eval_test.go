package locexpr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// frame is a frame with some registers and memory.
type frame struct {
	regs map[int]uint64
	mem  map[uint64][]byte
	cfa  uint64
}

func (f *frame) ReadMemory(p []byte, addr uint64) (int, error) {
	for at, b := range f.mem {
		if off := addr - at; addr >= at && off <= uint64(len(b)) && uint64(len(p)) <= uint64(len(b))-off {
			return copy(p, b[addr-at:]), nil
		}
	}
	return 0, errors.New("not there")
}
func (f *frame) PC() uint64 { return 0x1000 }
func (f *frame) Reg(n int) (uint64, error) {
	if u, ok := f.regs[n]; ok {
		return u, nil
	}
	return 0, &symbols.LostError{Why: fmt.Sprintf("register %d is lost", n)}
}
func (f *frame) CFA() (uint64, bool)                  { return f.cfa, f.cfa != 0 }
func (f *frame) Caller() symbols.FrameState           { return nil }
func (f *frame) Call() (uint64, uint64, bool)         { return 0, 0, false }
func (f *frame) Jump(uint64) (target uint64, ok bool) { return 0, false }

// context answers with fixed values; types are at offsets that say what they are.
type context struct {
	e    *Evaluator
	call []byte
}

func (c *context) FrameBase() (uint64, error) { return c.e.Value([]byte{opCallFrameCFA}) }
func (c *context) EntryValue(expr []byte) (uint64, error) {
	if n, ok := Register(expr, c.e.Unit); ok && n == 5 {
		return 0x55, nil
	}
	return 0, &symbols.LostError{Why: "the caller does not say"}
}
func (c *context) Parameter(r dwarfinfo.Ref) (uint64, error)     { return r.Off, nil }
func (c *context) Expression(dwarfinfo.Ref) ([]byte, error)      { return c.call, nil }
func (c *context) VariableValue(r dwarfinfo.Ref) (uint64, error) { return r.Off, nil }
func (c *context) Pointee(dwarfinfo.Ref) (*symbols.Variable, error) {
	return &symbols.Variable{Name: "x"}, nil
}
func (c *context) Relocate(a uint64) uint64 { return a + 0x1000000 }
func (c *context) BaseType(r dwarfinfo.Ref) (BaseType, error) {
	switch r.Off {
	case 1:
		return BaseType{4, ateSigned}, nil
	case 2:
		return BaseType{4, 7}, nil
	case 3:
		return BaseType{8, ateFloat}, nil
	case 4:
		return BaseType{4, ateFloat}, nil
	case 5:
		return BaseType{16, 7}, nil
	}
	return BaseType{1, ateSignedChar}, nil
}

// unit is an empty one of DWARF 5.
var unit = func() *dwarfinfo.Unit {
	d := &dwarfinfo.Data{Order: binary.LittleEndian, Name: "test", Abbrev: []byte{1, 0x11, 0, 0, 0, 0}, Info: []byte{9, 0, 0, 0, 5, 0, 1, 8, 0, 0, 0, 0, 1}}
	if err := d.Init(); err != nil {
		panic(err)
	}
	return d.Units()[0]
}()

func evaluator(call []byte) (*Evaluator, *frame) {
	f := &frame{regs: map[int]uint64{0: 0x1122334455667788, 3: 0x2000, 5: 0xffffffffffffffff, 14: 16},
		mem: map[uint64][]byte{0x2000: {1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xff}}, cfa: 0x3000}
	budget := MaxSteps
	e := &Evaluator{Unit: unit, Frame: f, Budget: &budget}
	e.Context = &context{e, call}
	return e, f
}

func show(l symbols.Location) string {
	s := ""
	for _, p := range l.Pieces {
		switch p.Kind {
		case symbols.PieceLost:
			s += "lost(" + p.Why + ")"
		case symbols.PieceMemory:
			s += fmt.Sprintf("@%x", p.Addr)
		case symbols.PieceValue:
			s += fmt.Sprintf("%x", p.Bytes)
		case symbols.PieceImplicitPointer:
			s += fmt.Sprintf("&%s%+d", p.Pointee.Name, p.Offset)
		}
		if p.BitSize != 0 {
			s += fmt.Sprintf(":%d", p.BitSize)
		}
		if p.BitOffset != 0 {
			s += fmt.Sprintf(">>%d", p.BitOffset)
		}
		s += " "
	}
	return s
}

func TestLocation(t *testing.T) {
	vfsRead := []byte{0x7e, 0, 0x0c, 0, 0xf0, 0xff, 0x7f, 0x7e, 0, 0x23, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01,
		0x11, 0x80, 0xe0, 0xff, 0xff, 0x87, 0x80, 0x80, 0x80, 0x80, 0x7f, 0x2c, 0x28, 1, 0, 0x16, 0x13, 0x9f}
	for _, x := range []struct {
		what string
		expr []byte
		want string
	}{
		{"nothing", nil, "lost(optimised out) "},
		{"register", []byte{0x50}, "8877665544332211 "},
		{"lost register", []byte{0x51}, "lost(register 1 is lost) "},
		{"memory at a register", []byte{0x73, 0x7f}, "@1fff "},
		{"on the stack", []byte{opFbreg, 0x70}, "@2ff0 "},
		{"address", []byte{opAddr, 0, 0x10, 0, 0, 0, 0, 0, 0}, "@1001000 "},
		{"literal", []byte{opLit0 + 7, opStackValue}, "0700000000000000 "},
		{"negative", []byte{opConst1s, 0xff, opStackValue}, "ffffffffffffffff "},
		{"deref", []byte{0x73, 0, opDeref, opStackValue}, "0102030405060708 "},
		{"deref_size", []byte{0x73, 0, opDerefSize, 2, opStackValue}, "0102000000000000 "},
		{"min(count, MAX_RW_COUNT) of vfs_read", vfsRead, "1000000000000000 "},
		{"skip", []byte{opLit0 + 1, opSkip, 1, 0, opLit0 + 2, opStackValue}, "0100000000000000 "},
		{"rot", []byte{opLit0 + 1, opLit0 + 2, opLit0 + 3, opRot, opDrop, opStackValue}, "0100000000000000 "},
		{"pick", []byte{opLit0 + 1, opLit0 + 2, opLit0 + 3, opPick, 2, opStackValue}, "0100000000000000 "},
		{"div", []byte{opConst1s, 0xf8, opLit0 + 3, opDiv, opStackValue}, "feffffffffffffff "},
		{"mod", []byte{opConst1u, 8, opLit0 + 3, opMod, opStackValue}, "0200000000000000 "},
		{"shra", []byte{opConst1s, 0xf8, opLit0 + 1, opShra, opStackValue}, "fcffffffffffffff "},
		{"shl by 64", []byte{opLit0 + 1, opConst1u, 64, opShl, opStackValue}, "0000000000000000 "},
		{"pieces", []byte{0x50, opPiece, 4, 0x73, 0, opPiece, 4, opPiece, 8}, "8877665544332211:32 @2000:32 lost(optimised out):64 "},
		{"a lost piece", []byte{0x51, opPiece, 8, 0x50, opPiece, 8}, "lost(register 1 is lost):64 8877665544332211:64 "},
		{"a piece that can't be computed", []byte{0x71, 0, opDeref, opStackValue, opPiece, 8, opLit0, opStackValue, opPiece, 8},
			"lost(register 1 is lost):64 0000000000000000:64 "},
		{"bits", []byte{0x50, opBitPiece, 3, 5}, "8877665544332211:3>>5 "},
		{"implicit", []byte{opImplicitValue, 2, 0xaa, 0xbb}, "aabb "},
		{"implicit pointer", []byte{opImplicitPointer, 9, 0, 0, 0, 0x7c}, "&x-4 "},
		{"entry value", []byte{opEntryValue, 1, 0x55, opStackValue}, "5500000000000000 "},
		{"GNU's entry value", []byte{opGNUEntryValue, 1, 0x55, opStackValue}, "5500000000000000 "},
		{"entry value that the caller does not say", []byte{opEntryValue, 1, 0x54, opStackValue}, "lost(the caller does not say) "},
		{"parameter_ref", []byte{opGNUParameterRef, 9, 0, 0, 0, opStackValue}, "0900000000000000 "},
		{"variable_value", []byte{opGNUVariableValue, 9, 0, 0, 0, opStackValue}, "0900000000000000 "},
		{"call", []byte{opLit0 + 2, opCall4, 0, 0, 0, 0, opStackValue}, "0500000000000000 "},
		{"typed: int from a register", []byte{opRegvalType, 5, 1, opConvert, 0, opStackValue}, "ffffffffffffffff "},
		{"typed: unsigned from a register", []byte{opRegvalType, 5, 2, opConvert, 0, opStackValue}, "ffffffff00000000 "},
		{"typed: to double", []byte{opConstType, 1, 4, 2, 0, 0, 0, opConvert, 3, opStackValue}, "0000000000000040 "},
		{"typed: float bits", []byte{opConstType, 4, 4, 0, 0, 0, 0x40, opReinterpret, 2, opStackValue}, "00000040 "},
		{"typed: memory", []byte{0x73, 8, opDerefType, 4, 1, opConvert, 0, opStackValue}, "ffffffffffffffff "},
		{"typed: unsigned division", []byte{opConstType, 2, 4, 0xff, 0xff, 0xff, 0xff, opConstType, 2, 4, 2, 0, 0, 0, opDiv, opStackValue}, "ffffff7f "},
		{"uninitialised", []byte{0x50, opGNUUninit}, "8877665544332211 "},
	} {
		e, _ := evaluator([]byte{opLit0 + 3, opPlus})
		l, err := e.Location(x.expr)
		if got := show(l); err != nil || got != x.want {
			t.Errorf("%s: %s, %v; want %s", x.what, got, err, x.want)
		}
	}
}

func TestDamaged(t *testing.T) {
	for _, x := range []struct {
		what string
		expr []byte
	}{
		{"underflow", []byte{opPlus}},
		{"underflow of drop", []byte{opDrop}},
		{"underflow of pick", []byte{opLit0, opPick, 200}},
		{"a loop", []byte{opSkip, 0xfd, 0xff}},
		{"a loop that fills the stack", []byte{opLit0, opSkip, 0xfc, 0xff}},
		{"a call of itself", []byte{opCall4, 0, 0, 0, 0}},
		{"a branch into an operand", []byte{opSkip, 1, 0, opConst1u, opLit0}},
		{"a branch behind the end", []byte{opSkip, 0, 0x70}},
		{"an unknown operation", []byte{0x01}},
		{"an operand that ends early", []byte{opAddr, 1, 2}},
		{"a division by zero", []byte{opLit0, opLit0, opDiv}},
		{"something behind a register", []byte{0x50, opLit0}},
		{"unreadable memory", []byte{opLit0, opDeref}},
		{"a number of 3 bytes", []byte{0x73, 0, opDerefSize, 3}},
		{"types mixed", []byte{opLit0, opConstType, 1, 4, 0, 0, 0, 0, opPlus}},
		{"a type of 16 bytes", []byte{opRegvalType, 5, 5}},
		{"a number where 16 bytes lie", []byte{opConstType, 5, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"thread-local storage", []byte{opLit0, opFormTLS}},
		{"a huge piece", []byte{0x50, opPiece, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}},
		{"an object", []byte{opPushObject}},
	} {
		e, _ := evaluator([]byte{opCall4, 0, 0, 0, 0})
		if l, err := e.Location(x.expr); err == nil {
			t.Errorf("%s: %s", x.what, show(l))
		}
	}
}

func TestDivide(t *testing.T) {
	const least = uint64(1) << 63
	if got := divide(opDiv, least, ^uint64(0), 8, true); got != least {
		t.Errorf("the smallest number through -1: %#x", got)
	}
	if got := divide(opMod, least, ^uint64(0), 8, true); got != 0 {
		t.Errorf("its remainder: %#x", got)
	}
}

func FuzzExpr(f *testing.F) {
	f.Add([]byte{opEntryValue, 1, 0x55, opStackValue}, false)
	f.Add([]byte{opSkip, 0xfd, 0xff}, true)
	f.Add([]byte{0x50, opPiece, 4, 0x73, 0, opPiece, 4, opPiece, 8}, false)
	f.Add([]byte{opConstType, 1, 4, 2, 0, 0, 0, opConvert, 3, opStackValue}, true)
	f.Add([]byte{opDup, opCall4, 0, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, expr []byte, call bool) {
		called := expr
		if !call {
			called = nil
		}
		e, _ := evaluator(called)
		l, err := e.Location(expr)
		if err == nil && len(l.Pieces) == 0 {
			t.Error("neither a location nor an error")
		}
		if len(l.Pieces) > maxPieces {
			t.Errorf("%d pieces", len(l.Pieces))
		}
		budget := MaxSteps
		e.Budget = &budget
		_, _ = e.Value(expr)
		Registers(expr, e.Unit)
	})
}
