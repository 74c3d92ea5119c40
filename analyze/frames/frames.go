package frames

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Frame is a frame of a stack.
type Frame struct {
	*unwind.Frame
	Level int

	v     *kernel.View
	state *state
	cpu   int
	call  *syscall
}

// Of are the frames of a trace, which was made with all registers that could be recovered. cpu is the task's.
func Of(v *kernel.View, t *unwind.Trace, cpu int) []*Frame {
	call := syscallOf(v, t)
	out := make([]*Frame, len(t.Frames))
	for i := range t.Frames {
		out[i] = &Frame{Frame: &t.Frames[i], Level: i, v: v, state: &state{v, t.Frames, i}, cpu: cpu, call: call}
	}
	return out
}

// Scopes are the functions that the frame is in, with their variables: the innermost inlined one first.
func (f *Frame) Scopes() ([]symbols.Scope, error) {
	scopes, err := f.v.Debug().ScopesAt(f.Lookup())
	return f.call.extend(scopes), err
}

// Value is that of a variable in a frame.
type Value struct {
	kernel.Value
	// AtEntry: it is what the function was called with; the present value is lost.
	AtEntry bool
	// Pointee is what a pointer points to that is no number, as its target lies nowhere. Value then holds the error that says so.
	Pointee *Value
}

// Lost is why the value is not known, "" if it is.
func (x *Value) Lost() string {
	var gone *symbols.LostError
	switch err := x.Err(); {
	case err == nil:
		return ""
	case errors.As(err, &gone):
		return gone.Why
	default:
		return err.Error()
	}
}

// maxValue bounds what is put together of pieces; what lies in memory is read by whoever shows it.
const maxValue = 1 << 16

// Value finds the value of x, which is of one of the frame's Scopes.
func (f *Frame) Value(x *symbols.Variable) Value { return f.value(x, 0) }

func (f *Frame) value(x *symbols.Variable, depth int) Value {
	loc, err := x.Locate(f.state)
	if err != nil {
		return Value{Value: f.v.Failed(err)}
	}
	if len(loc.Pieces) == 1 && loc.Pieces[0].Kind == symbols.PieceImplicitPointer {
		return f.implicit(x, &loc.Pieces[0], depth)
	}
	return Value{Value: f.at(x.Type, loc), AtEntry: loc.AtEntry}
}

func (f *Frame) lost(format string, args ...any) kernel.Value {
	return f.v.Failed(&symbols.LostError{Why: fmt.Sprintf(format, args...)})
}

// at is the value of type t at loc.
func (f *Frame) at(t *symbols.Type, loc symbols.Location) kernel.Value {
	size := t.Strip().Size
	if len(loc.Pieces) == 1 {
		p := &loc.Pieces[0]
		whole := p.BitOffset == 0 && (p.BitSize == 0 || p.BitSize >= size*8)
		switch {
		case p.Kind == symbols.PieceLost:
			return f.lost("%s", p.Why)
		case p.Kind == symbols.PieceMemory && whole:
			return f.v.Object(t, f.perCPU(vmem.Addr(p.Addr)))
		}
	}
	if size == 0 {
		return f.lost("its type has no size")
	}
	if size > maxValue {
		return f.lost("a value of %d bytes in pieces", size)
	}
	raw := make([]byte, size)
	have := uint64(0) // bits
	for i := range loc.Pieces {
		p := &loc.Pieces[i]
		n := p.BitSize
		if n == 0 || n > size*8-have {
			n = size*8 - have
		}
		if err := f.copyPiece(raw, have, p, n); err != nil {
			if len(loc.Pieces) > 1 {
				return f.lost("partly lost: bytes %d to %d: %v", have/8, (have+n-1)/8, err)
			}
			return f.v.Failed(err)
		}
		if have += n; have == size*8 {
			return f.v.NewValue(t, raw)
		}
	}
	return f.lost("the debug information says where %d of its %d bytes are", have/8, size)
}

// perCPU is where the copy of a per-CPU variable is that the task's CPU uses.
func (f *Frame) perCPU(addr vmem.Addr) vmem.Addr {
	if !f.v.IsPerCPU(addr) {
		return addr
	}
	off, err := f.v.PerCPUOffset(f.cpu)
	if err != nil {
		return addr
	}
	return addr + vmem.Addr(off)
}

// copyPiece copies n bits of a piece to bit at of raw.
func (f *Frame) copyPiece(raw []byte, at uint64, p *symbols.Piece, n uint64) error {
	var from []byte
	bytes := (p.BitOffset + n + 7) / 8
	switch p.Kind {
	case symbols.PieceMemory:
		if bytes > 2*maxValue {
			return &symbols.LostError{Why: "it claims to lie far from where it is"}
		}
		from = make([]byte, bytes)
		if _, err := f.v.ReadMemory(from, p.Addr); err != nil {
			return err
		}
	case symbols.PieceValue:
		from = p.Bytes
		if f.bigEndian() && p.BitOffset == 0 && uint64(len(from)) > bytes {
			from = from[uint64(len(from))-bytes:] // the least significant part
		}
		if uint64(len(from)) < bytes {
			return &symbols.LostError{Why: fmt.Sprintf("%d of its %d bytes are known", len(from), bytes)}
		}
	case symbols.PieceImplicitPointer:
		return &symbols.LostError{Why: "a pointer to what lies nowhere"}
	default:
		return &symbols.LostError{Why: p.Why}
	}
	if at%8 == 0 && p.BitOffset%8 == 0 && n%8 == 0 {
		copy(raw[at/8:(at+n)/8], from[p.BitOffset/8:])
		return nil
	}
	for i := range n {
		b := from[(p.BitOffset+i)/8] >> f.bit(p.BitOffset+i) & 1
		raw[(at+i)/8] |= b << f.bit(at+i)
	}
	return nil
}

func (f *Frame) bigEndian() bool { return f.v.ByteOrder().Uint16([]byte{0, 1}) == 1 }

// bit is the place of bit n in its byte: big-endian targets count from the most significant.
func (f *Frame) bit(n uint64) uint64 {
	if f.bigEndian() {
		return 7 - n%8
	}
	return n % 8
}

// maxPointers bounds implicit pointers to implicit pointers, which a damaged file can close to a ring.
const maxPointers = 8

// implicit is a pointer to what the compiled code keeps in registers or knows beforehand.
func (f *Frame) implicit(x *symbols.Variable, p *symbols.Piece, depth int) Value {
	out := Value{Value: f.lost("a pointer to a variable that lies nowhere")}
	t := x.Type.Strip()
	if p.Pointee == nil || depth == maxPointers || t.Kind != symbols.Pointer {
		return out
	}
	to := f.value(p.Pointee, depth+1)
	if to.Err() == nil {
		to.Value = f.part(to.Value, t.Elem(), p.Offset)
	}
	out.Pointee = &to
	return out
}

// part is what lies off bytes into x, as a t.
func (f *Frame) part(x kernel.Value, t *symbols.Type, off int64) kernel.Value {
	if addr, ok := x.Addr(); ok {
		return f.v.Object(t, addr+vmem.Addr(off))
	}
	raw, err := x.Bytes()
	if err != nil {
		return f.v.Failed(err)
	}
	if off < 0 || off > int64(len(raw)) {
		return f.lost("a pointer to byte %d of a value of %d", off, len(raw))
	}
	return f.v.NewValue(t, raw[off:])
}
