package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

// Gap is something that a command could not read.
type Gap struct {
	What string // "PID 812: files"
	Err  error
}

func (g Gap) String() string {
	if g.What == "" {
		return g.Err.Error()
	}
	return g.What + ": " + g.Err.Error()
}

// ErrBudget ends a walk that took more steps than any real structure has.
var ErrBudget = errors.New("gave up: more steps than any sane structure needs; it loops or is damaged")

const (
	defaultBudget = 200_000_000 // steps of a command: enough for each page of 800 GB
	checkEvery    = 1024        // steps between looks at the context
	maxGaps       = 1000        // gaps kept; the rest are counted
)

// View is a Kernel seen by one command: it can be cancelled, has a budget of steps, and collects what could not be read.
// A View belongs to one goroutine; Fork makes another for parallel work.
type View struct {
	*Kernel
	ctx     context.Context
	gaps    []Gap
	dropped int
	steps   int
	over    error  // why no further step is taken: a walk that goes on behind an error must end soon, too
	unsure  uint64 // the image's count when the View began
}

// View starts a command.
func (k *Kernel) View(ctx context.Context) *View {
	return &View{Kernel: k, ctx: ctx, unsure: k.img.UnsureReads()}
}

// UnsureReads counts the reads since the View began that gave zeros for a page that the dump left out, or may have left
// out (see dumpfmt.Image.UnsureReads).
func (v *View) UnsureReads() uint64 { return v.img.UnsureReads() - v.unsure }

// Context of the command.
func (v *View) Context() context.Context { return v.ctx }

// Fork makes a View for another goroutine; Merge brings its gaps back.
func (v *View) Fork() *View { return v.View(v.ctx) }

// Merge takes over the gaps of a forked View.
func (v *View) Merge(f *View) {
	for _, g := range f.gaps {
		v.Gap(g.What, g.Err)
	}
	v.dropped += f.dropped
	f.gaps, f.dropped = nil, 0
}

// Gap records that what could not be read. A nil err records nothing; cancellation is no gap.
func (v *View) Gap(what string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	if len(v.gaps) >= maxGaps {
		v.dropped++
		return
	}
	v.gaps = append(v.gaps, Gap{what, err})
}

// GapOnce is Gap, but for a record that is already there.
func (v *View) GapOnce(what string, err error) {
	for _, g := range v.gaps {
		if err != nil && g.What == what && g.Err.Error() == err.Error() {
			return
		}
	}
	v.Gap(what, err)
}

// GapFirst is Gap, but only the first of that what is recorded: it stands for all.
func (v *View) GapFirst(what string, err error) {
	if !slices.ContainsFunc(v.gaps, func(g Gap) bool { return g.What == what }) {
		v.Gap(what, err)
	}
}

// GapAhead records, before all others and once, what must be known of the answer first.
func (v *View) GapAhead(what string, err error) {
	if len(v.gaps) == 0 || v.gaps[0].What != what {
		v.gaps = slices.Insert(v.gaps, 0, Gap{what, err})
	}
}

// SymbolAt is Kernel.SymbolAt; that a name which might be there can't be read is a gap.
func (v *View) SymbolAt(addr vmem.Addr) (symbols.Symbol, error) {
	s, err := v.Kernel.SymbolAt(addr)
	if err != nil && !errors.Is(err, symbols.ErrNotFound) {
		v.GapOnce("names of addresses", err)
	}
	return s, err
}

// Gaps are the records so far; dropped counts further ones that were not kept.
func (v *View) Gaps() (gaps []Gap, dropped int) { return v.gaps, v.dropped }

// Step counts one step of a walk; its error says that the command was cancelled or ran out of budget.
func (v *View) Step() error {
	v.steps++
	if v.over == nil && v.steps%checkEvery == 0 {
		if v.over = v.ctx.Err(); v.over == nil && v.steps > defaultBudget {
			v.over = ErrBudget
		}
	}
	return v.over
}

// ReadMemory reads kernel-virtual memory, see Kernel.ReadMemory; it fails once the command is cancelled.
func (v *View) ReadMemory(p []byte, addr uint64) (int, error) {
	if err := v.Step(); err != nil {
		return 0, err
	}
	return v.Kernel.ReadMemory(p, addr)
}

// ReadPhys reads physical memory. It returns the bytes before the first missing one and a *dumpfmt.PageError.
func (v *View) ReadPhys(p []byte, addr uint64) (int, error) {
	if err := v.Step(); err != nil {
		return 0, err
	}
	return v.img.ReadPhys(p, dumpfmt.Phys(addr))
}

// Read fills p from addr, whole or not at all.
func (v *View) Read(p []byte, addr vmem.Addr) error {
	_, err := v.ReadMemory(p, uint64(addr))
	return err
}

// CString reads a NUL-terminated string of at most limit bytes. It looks at no page behind that in which the string ends.
func (v *View) CString(addr vmem.Addr, limit int) (string, error) {
	var out []byte
	buf := make([]byte, min(limit, 256))
	page := v.PageSize()
	for len(out) < limit {
		left := page - (uint64(addr)+uint64(len(out)))%page
		p := buf[:min(len(buf), limit-len(out), int(left))]
		n, err := v.ReadMemory(p, uint64(addr)+uint64(len(out)))
		for i := range n {
			if p[i] == 0 {
				return string(append(out, p[:i]...)), nil
			}
		}
		out = append(out, p[:n]...)
		if err != nil {
			return string(out), err
		}
	}
	return string(out), nil
}

// Object is the typed object at addr.
func (v *View) Object(t *symbols.Type, addr vmem.Addr) Value {
	return Value{v: v, t: t, addr: addr, mem: true}
}

// ObjectOf is the object of struct tag at addr.
func (v *View) ObjectOf(tag string, addr vmem.Addr) Value {
	t, err := v.Struct(tag)
	if err != nil {
		return Value{v: v, err: err}
	}
	return v.Object(t, addr)
}

// Global is a global variable by name.
func (v *View) Global(name string) Value {
	sym, err := v.Symbol(name)
	if err != nil {
		return Value{v: v, err: err}
	}
	t, err := v.syms.VariableType(name)
	if err != nil {
		return Value{v: v, err: err}
	}
	return v.Object(t, vmem.Addr(sym.Addr))
}

// PerCPU is cpu's copy of a per-CPU variable.
func (v *View) PerCPU(name string, cpu int) Value {
	x := v.Global(name)
	if x.err != nil {
		return x
	}
	off, err := v.PerCPUOffset(cpu)
	if err != nil {
		return Value{v: v, err: fmt.Errorf("%s: %w", name, err)}
	}
	x.addr += vmem.Addr(off)
	return x
}

// UintAt reads an unsigned variable of size bytes (1, 2, 4, 8) at a symbol, for globals whose C type is a plain integer.
func (v *View) UintAt(symbol string, size uint64) (uint64, error) {
	sym, err := v.Symbol(symbol)
	if err != nil {
		return 0, err
	}
	var b [8]byte
	if size > 8 {
		return 0, fmt.Errorf("%s: %d bytes are no integer", symbol, size)
	}
	if err := v.Read(b[:size], vmem.Addr(sym.Addr)); err != nil {
		return 0, fmt.Errorf("%s: %w", symbol, err)
	}
	return v.decodeUint(b[:size]), nil
}
