package symbols

// Scope is a function as seen from an instruction in it: its parameters and those local variables whose blocks hold the
// instruction.
type Scope struct {
	Function string
	Inlined  bool // its body was put into the next Scope's function
	// Vars are the parameters in order, then the variables, those of the innermost block first.
	Vars []Variable
}

// Variable is a parameter or local variable.
type Variable struct {
	Name  string
	Type  *Type
	Param bool
	// Locate finds it in a frame whose PC lies in the Scope. A Location of lost pieces is an answer; an error says what
	// could not be read or decoded.
	Locate func(FrameState) (Location, error)
}

// FrameState is what the location of a variable may depend on. Registers are DWARF numbers of the architecture.
type FrameState interface {
	Memory
	// PC is the address that lists of locations are asked for: inside the call for frames that called.
	PC() uint64
	// Reg is a register's value in this frame; the error, a *LostError, says why it is not known.
	Reg(n int) (uint64, error)
	// CFA is the canonical frame address: the caller's stack pointer.
	CFA() (uint64, bool)
	// Caller is the frame of the function that called this one (not one that it is inlined into); nil if it is not known,
	// or nothing called it: it was entered by an interrupt or exception.
	Caller() FrameState
	// Call is the address to which what this frame called returns, and the function that the instruction before it calls:
	// 0 if the code does not say, as in a call through a pointer. ok is false for a frame that was interrupted.
	Call() (ret, target uint64, ok bool)
	// Jump is the address to which the instruction that ends before end jumps; ok is false if it is no jump or its code does
	// not say.
	Jump(end uint64) (target uint64, ok bool)
}

// LostError says why a value is not known although nothing is wrong with the dump: "register rdi is not preserved across
// calls".
type LostError struct{ Why string }

func (e *LostError) Error() string { return e.Why }

// OptimisedOut is the Why of values that the compiled code does not have at that point.
const OptimisedOut = "optimised out"

// Location is where a value is, in pieces from its first byte on.
type Location struct {
	Pieces []Piece
	// AtEntry: it is the value that a parameter had when its function was entered. The one it has now is lost.
	AtEntry bool
}

// Piece is a part of a value.
type Piece struct {
	Kind PieceKind
	// Addr is where the piece is in memory (PieceMemory).
	Addr uint64
	// Bytes are the value itself in the target's byte order (PieceValue). They may be more than the piece, as of a register
	// of which a variable takes the least significant part.
	Bytes []byte
	// BitOffset, within the memory or Bytes, and BitSize; BitSize 0 is the whole value.
	BitOffset, BitSize uint64
	// Why a piece is lost, for people: OptimisedOut, "register rdi is not preserved across calls".
	Why string
	// Pointee is what an implicit pointer points to, and Offset where in it in bytes (PieceImplicitPointer).
	Pointee *Variable
	Offset  int64
}

// PieceKind says what a Piece is.
type PieceKind uint8

const (
	PieceLost            PieceKind = iota // neither memory nor any register has it
	PieceMemory                           // it lies in memory
	PieceValue                            // it is known, but lies nowhere
	PieceImplicitPointer                  // a pointer to what lies nowhere; Pointee has its value
)

// VariableFinder knows the variables of functions. Addresses are of the running kernel. Methods are safe for many goroutines.
type VariableFinder interface {
	Name() string
	// ScopesAt returns the functions that the instruction at pc is in: the innermost inlined one first, the function
	// that has code of its own last. ErrNotFound where nothing is known.
	ScopesAt(pc uint64) ([]Scope, error)
}
