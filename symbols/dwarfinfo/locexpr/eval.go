package locexpr

import (
	"errors"
	"fmt"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/internal/numbers"
)

// Context answers what an expression asks beyond registers and memory. Errors that are *symbols.LostError say that a value
// is not known; others that something is damaged.
type Context interface {
	// FrameBase is what DW_OP_fbreg counts from.
	FrameBase() (uint64, error)
	// EntryValue is the value that expr had when the frame's function was entered.
	EntryValue(expr []byte) (uint64, error)
	// Parameter is the value that the caller gave for a parameter, which may exist in the source only.
	Parameter(dwarfinfo.Ref) (uint64, error)
	// Expression is the location of the entry, for DW_OP_call*; nil if it has none at this PC.
	Expression(dwarfinfo.Ref) ([]byte, error)
	// VariableValue is the value of the variable.
	VariableValue(dwarfinfo.Ref) (uint64, error)
	// BaseType is the type of typed operations.
	BaseType(dwarfinfo.Ref) (BaseType, error)
	// Pointee is the variable that an implicit pointer points to.
	Pointee(dwarfinfo.Ref) (*symbols.Variable, error)
	// Relocate makes an address as linked one of the running kernel.
	Relocate(addr uint64) uint64
}

// Evaluator evaluates expressions of a unit in a frame.
type Evaluator struct {
	Unit    *dwarfinfo.Unit
	Frame   symbols.FrameState
	Context Context
	// Budget is how many more steps may be made. Evaluations that ask for one another share it.
	Budget *int
}

// MaxSteps is a Budget for one value.
const MaxSteps = 10000

const (
	maxStack  = 1024
	maxCalls  = 16
	maxPieces = 1024
)

var (
	errSteps     = errors.New("an expression that does not end")
	errUnderflow = errors.New("an expression takes more from its stack than is there")
	errOverflow  = errors.New("an expression fills its stack")
	errCalls     = errors.New("expressions that call each other without end")
	errBranch    = errors.New("an expression branches to where no operation begins")
	errNotLast   = errors.New("an expression goes on behind its result")
	errNoObject  = errors.New("an expression asks for an object, and there is none")
	errTLS       = errors.New("thread-local storage, which kernels don't have")
	errSpaces    = errors.New("another address space, which kernels don't have")
	errPieces    = errors.New("an expression with more pieces than a value can have")
	errSize      = errors.New("a size that no number has")
)

// lost makes the error for a value that is not known.
func lost(format string, args ...any) error {
	return &symbols.LostError{Why: fmt.Sprintf(format, args...)}
}

// kind of result that the last operations describe.
type kind uint8

const (
	kindEmpty    kind = iota // nothing was said: the value does not exist
	kindStack                // an address on top of the stack
	kindRegister             // in register a
	kindValue                // on top of the stack
	kindBytes
	kindPointer // implicit, to what a names, at offset b
)

// machine runs one expression.
type machine struct {
	*Evaluator
	stack  []value
	kind   kind
	last   instr
	pieces []symbols.Piece
	why    error // what the piece at hand depends on is lost
	calls  int
}

// Location is where the expression says that a value is. An expression that is empty, and pieces that are, are lost. The
// error says what is damaged, or could not be read.
func (e *Evaluator) Location(expr []byte) (symbols.Location, error) {
	m := machine{Evaluator: e}
	err := m.run(expr, true)
	var gone *symbols.LostError
	switch {
	case errors.As(err, &gone):
		return symbols.Location{Pieces: []symbols.Piece{{Why: gone.Why}}}, nil
	case err != nil:
		return symbols.Location{}, err
	case len(m.pieces) > 0:
		return symbols.Location{Pieces: m.pieces}, nil
	}
	p, err := m.piece()
	if errors.As(err, &gone) {
		p, err = symbols.Piece{Why: gone.Why}, nil
	}
	if err != nil {
		return symbols.Location{}, err
	}
	return symbols.Location{Pieces: []symbols.Piece{p}}, nil
}

// Value is the number that the expression computes: what is on top of its stack, or a register's value.
func (e *Evaluator) Value(expr []byte) (uint64, error) {
	m := machine{Evaluator: e}
	if err := m.run(expr, false); err != nil {
		return 0, err
	}
	switch m.kind {
	case kindRegister:
		return e.Frame.Reg(int(min(m.last.a, 1<<16)))
	case kindEmpty:
		return 0, lost(symbols.OptimisedOut)
	case kindStack, kindValue:
		v, err := m.pop()
		return v.u, err
	}
	return 0, errors.New("an expression whose result is no number")
}

func (m *machine) addrSize() uint64 { return uint64(m.Unit.AddrSize) }

// run runs an expression. If composed, pieces may be lost while others are known: what a lost piece does is left out.
func (m *machine) run(expr []byte, composed bool) error {
	code, err := decode(expr, sizesOf(m.Unit))
	if err != nil {
		return err
	}
	for i := 0; i < len(code); {
		if *m.Budget--; *m.Budget < 0 {
			return errSteps
		}
		in := &code[i]
		i++
		if in.op == opPiece || in.op == opBitPiece {
			if err := m.endPiece(in); err != nil {
				return err
			}
			continue
		}
		if m.why != nil {
			continue
		}
		if m.kind > kindStack && in.op != opGNUUninit && in.op != opNop {
			return errNotLast
		}
		if in.op == opBra || in.op == opSkip {
			i, err = m.branch(in, code, i, len(expr))
		} else {
			err = m.step(in)
		}
		if err != nil && composed && hasPiece(code[i:]) {
			m.why, err = err, nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func hasPiece(code []instr) bool {
	for i := range code {
		if code[i].op == opPiece || code[i].op == opBitPiece {
			return true
		}
	}
	return false
}

func (m *machine) branch(in *instr, code []instr, next, end int) (int, error) {
	if in.op == opBra {
		v, err := m.pop()
		if err != nil {
			return next, err
		}
		if v.u == 0 {
			return next, nil
		}
	}
	i, ok := index(code, in.a, end)
	if !ok {
		return next, errBranch
	}
	return i, nil
}

// endPiece takes what was said since the last piece as one.
func (m *machine) endPiece(in *instr) error {
	var p symbols.Piece
	err := m.why
	if err == nil {
		p, err = m.piece()
	}
	var gone *symbols.LostError
	switch {
	case errors.As(err, &gone):
		p = symbols.Piece{Why: gone.Why}
	case err != nil && m.why != nil:
		p = symbols.Piece{Why: err.Error()}
	case err != nil:
		return err
	}
	if in.op == opPiece {
		if in.a > 1<<32 {
			return errSize
		}
		p.BitSize = in.a * 8
	} else {
		if in.a > 1<<35 || in.b > 1<<35 {
			return errSize
		}
		p.BitSize, p.BitOffset = in.a, p.BitOffset+in.b
	}
	if len(m.pieces) == maxPieces {
		return errPieces
	}
	if p.BitSize > 0 {
		m.pieces = append(m.pieces, p)
	}
	m.kind, m.why, m.stack = kindEmpty, nil, m.stack[:0]
	return nil
}

// piece is what the operations since the last one say.
func (m *machine) piece() (symbols.Piece, error) {
	order := m.Unit.Data.Order
	switch m.kind {
	case kindRegister:
		u, err := m.Frame.Reg(int(min(m.last.a, 1<<16)))
		if err != nil {
			return symbols.Piece{}, err
		}
		return symbols.Piece{Kind: symbols.PieceValue, Bytes: value{u: u}.bytes(order, m.addrSize())}, nil
	case kindValue:
		v, err := m.pop()
		if err != nil {
			return symbols.Piece{}, err
		}
		return symbols.Piece{Kind: symbols.PieceValue, Bytes: v.bytes(order, m.addrSize())}, nil
	case kindBytes:
		return symbols.Piece{Kind: symbols.PieceValue, Bytes: append([]byte(nil), m.last.block...)}, nil
	case kindPointer:
		pointee, err := m.Context.Pointee(dwarfinfo.Ref{Data: m.Unit.Data, Off: m.last.a})
		if err != nil {
			return symbols.Piece{}, err
		}
		return symbols.Piece{Kind: symbols.PieceImplicitPointer, Pointee: pointee, Offset: int64(m.last.b)}, nil
	case kindStack:
		v, err := m.pop()
		if err != nil {
			return symbols.Piece{}, err
		}
		return symbols.Piece{Kind: symbols.PieceMemory, Addr: v.u}, nil
	}
	return symbols.Piece{Why: symbols.OptimisedOut}, nil
}

func (m *machine) push(u uint64) error { return m.pushValue(value{u: truncate(u, m.addrSize())}) }

func (m *machine) pushValue(v value) error {
	if len(m.stack) == maxStack {
		return errOverflow
	}
	m.stack = append(m.stack, v)
	m.kind = kindStack
	return nil
}

func (m *machine) pop() (value, error) {
	if len(m.stack) == 0 {
		return value{}, errUnderflow
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

// from is the value i below the top.
func (m *machine) from(i uint64) (value, error) {
	if i >= uint64(len(m.stack)) {
		return value{}, errUnderflow
	}
	return m.stack[uint64(len(m.stack))-1-i], nil
}

// read reads a number of size bytes at addr.
func (m *machine) read(addr, size uint64) (uint64, error) {
	switch size {
	case 1, 2, 4, 8:
	default:
		return 0, errSize
	}
	var b [8]byte
	if _, err := m.Frame.ReadMemory(b[:size], addr); err != nil {
		return 0, fmt.Errorf("memory at %#x: %w", addr, err)
	}
	r := numbers.Reader{Order: m.Unit.Data.Order, Data: b[:size]}
	return r.Uint(int(size)), nil
}
