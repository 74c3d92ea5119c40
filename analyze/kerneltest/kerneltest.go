// Package kerneltest builds small kernels for tests of the packages below analyze: types from C declarations, symbols,
// and memory that a test fills word by word, with pages left out at will.
//
//	m := kerneltest.New(t, `struct list_head { struct list_head *next, *prev; };`)
//	head := m.Alloc(16)
//	m.Word(head, uint64(head))
//	v := m.View()
//
// The target is little-endian with 64-bit words and pages of 4 KiB; kernel address Base+n is physical address n.
package kerneltest

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"testing"

	"kdx/analyze/arch"
	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/symbols"
)

// Base is the kernel address of physical address 0.
const Base vmem.Addr = 0xffff888000000000

const (
	pageSize = 4096
	ramPages = 16384 // 64 MiB
)

// Machine is a kernel in the making. Fill it first, then take Views.
type Machine struct {
	tb    testing.TB
	types *typeTable
	syms  []symbols.Symbol
	vars  map[string]*symbols.Type
	pages map[uint64][]byte
	gone  map[uint64]bool
	next  vmem.Addr
	info  *dumpfmt.Info
	kern  *kernel.Kernel
}

// New makes a machine whose kernel has the types of the C declarations.
func New(tb testing.TB, decls string) *Machine {
	tb.Helper()
	m := &Machine{tb: tb, types: newTypeTable(), vars: map[string]*symbols.Type{}, pages: map[uint64][]byte{}, gone: map[uint64]bool{}, next: Base + 0x1000}
	if err := m.types.parse(decls); err != nil {
		tb.Fatal(err)
	}
	m.info = &dumpfmt.Info{Format: "test", PageSize: pageSize, ByteOrder: binary.LittleEndian, WordSize: 8, Machine: dumpfmt.MachineX86_64,
		MaxPFN: ramPages, Ranges: []dumpfmt.PhysRange{{Start: 0, End: ramPages * pageSize}}, DumpLevel: 31, VMCoreInfo: vmcoreinfo.Parse(nil)}
	return m
}

// Alloc returns n fresh zero bytes, aligned to 256.
func (m *Machine) Alloc(n uint64) vmem.Addr {
	a := m.next
	m.next = (m.next + vmem.Addr(n) + 255) &^ 255
	return a
}

// AllocPage returns a fresh page.
func (m *Machine) AllocPage() vmem.Addr {
	m.next = (m.next + pageSize - 1) &^ (pageSize - 1)
	return m.Alloc(pageSize)
}

// Write puts bytes at addr.
func (m *Machine) Write(addr vmem.Addr, p []byte) {
	m.tb.Helper()
	for i, c := range p {
		phys := uint64(addr-Base) + uint64(i)
		pfn := phys / pageSize
		if pfn >= ramPages {
			m.tb.Fatalf("kerneltest: %#x lies outside the machine's memory", uint64(addr))
		}
		if m.pages[pfn] == nil {
			m.pages[pfn] = make([]byte, pageSize)
		}
		m.pages[pfn][phys%pageSize] = c
	}
}

// Word puts a word of 8 bytes at addr.
func (m *Machine) Word(addr vmem.Addr, x uint64) { m.Put(addr, 8, x) }

// Put puts an integer of size bytes at addr.
func (m *Machine) Put(addr vmem.Addr, size int, x uint64) {
	m.tb.Helper()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], x)
	m.Write(addr, b[:size])
}

// Set puts an integer into the member of struct tag at addr.
func (m *Machine) Set(addr vmem.Addr, tag, path string, x uint64) {
	m.tb.Helper()
	mem := m.member(tag, path)
	m.Put(addr+vmem.Addr(mem.Offset()), int(mem.Type.Strip().Size), x)
}

// Offset of struct tag's member in bytes.
func (m *Machine) Offset(tag, path string) uint64 {
	m.tb.Helper()
	mem := m.member(tag, path)
	return mem.Offset()
}

func (m *Machine) member(tag, path string) symbols.Member {
	m.tb.Helper()
	t, err := m.types.TypeNamed(symbols.Struct, tag)
	if err != nil {
		m.tb.Fatal(err)
	}
	mem, ok := t.Path(path)
	if !ok {
		m.tb.Fatalf("kerneltest: struct %s has no member %s", tag, path)
	}
	return mem
}

// Var declares a symbol at addr, with a C declaration for its type ("struct list_head", "unsigned long x[4]"), or
// without one if decl is empty.
func (m *Machine) Var(name string, addr vmem.Addr, decl string) {
	m.tb.Helper()
	m.Symbol(symbols.Symbol{Name: name, Addr: uint64(addr), Letter: 'D'})
	if decl == "" {
		return
	}
	t, err := m.types.typeOf(decl)
	if err != nil {
		m.tb.Fatal(err)
	}
	m.vars[name] = t
}

// Ring links the list_heads at these addresses; the first is the head. One alone is an empty list.
func (m *Machine) Ring(at ...vmem.Addr) {
	for i, a := range at {
		next := at[(i+1)%len(at)]
		m.Word(a, uint64(next))
		m.Word(next+8, uint64(a))
	}
}

// VMCoreInfo sets the note's text.
func (m *Machine) VMCoreInfo(text string) { m.info.VMCoreInfo = vmcoreinfo.Parse([]byte(text)) }

// Symbol adds a symbol.
func (m *Machine) Symbol(s symbols.Symbol) { m.syms = append(m.syms, s) }

// Exclude leaves the page of addr out of the dump.
func (m *Machine) Exclude(addr vmem.Addr) { m.gone[uint64(addr-Base)/pageSize] = true }

// Kernel of what was declared so far; the same on each call.
func (m *Machine) Kernel() *kernel.Kernel {
	m.tb.Helper()
	if m.kern != nil {
		return m.kern
	}
	slices.SortStableFunc(m.syms, func(a, b symbols.Symbol) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	chain := symbols.NewChain(nil)
	chain.AddSymbols(finder{m})
	chain.AddTypes(m.finder())
	img := dumpfmt.NewImage(source{m}, dumpfmt.Options{})
	m.kern = kernel.New(kernel.Config{Image: img, Arch: flat{}, VMCoreInfo: m.info.VMCoreInfo, Symbols: chain})
	return m.kern
}

// View of the kernel.
func (m *Machine) View() *kernel.View { return m.ViewContext(context.Background()) }

// ViewContext is View for a command that ctx can cancel.
func (m *Machine) ViewContext(ctx context.Context) *kernel.View { return m.Kernel().View(ctx) }

type source struct{ m *Machine }

func (s source) Info() *dumpfmt.Info { return s.m.info }
func (s source) Close() error        { return nil }

func (s source) State(pfn uint64) dumpfmt.PageState {
	switch {
	case pfn >= ramPages:
		return dumpfmt.Absent
	case s.m.gone[pfn]:
		return dumpfmt.Excluded
	case s.m.pages[pfn] == nil:
		return dumpfmt.Zero
	}
	return dumpfmt.Present
}

func (s source) ReadPage(dst []byte, pfn uint64) error {
	if st := s.State(pfn); !st.Readable() {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn * pageSize), PFN: pfn, State: st, Level: 31}
	}
	clear(dst)
	copy(dst, s.m.pages[pfn])
	return nil
}

// flat is an architecture whose only mapping is the direct map.
type flat struct{}

var _ arch.Arch = flat{}

func (flat) Machine() dumpfmt.Machine                     { return dumpfmt.MachineX86_64 }
func (flat) Kernel() vmem.Space                           { return flatSpace{} }
func (flat) User(dumpfmt.Phys) vmem.Space                 { return flatSpace{} }
func (flat) Late(func(string) (uint64, error)) error      { return nil }
func (flat) WhenNeeded(func())                            {}
func (flat) DirectMap() (vmem.Addr, bool)                 { return Base, true }
func (flat) IsKernel(va uint64) bool                      { return va >= uint64(Base) }
func (flat) KASLROffset() (uint64, bool)                  { return 0, false }
func (flat) PTEFlags(level string, entry uint64) []string { return nil }
func (flat) Describe() [][2]string                        { return nil }

type flatSpace struct{}

func (flatSpace) Translate(va uint64) (vmem.Frame, error) {
	if off := va - uint64(Base); off < ramPages*pageSize {
		return vmem.Frame{Phys: dumpfmt.Phys(off), Left: ramPages*pageSize - off}, nil
	}
	return vmem.Frame{}, &vmem.FaultError{VA: va}
}

func (s flatSpace) Walk(va uint64) (vmem.Walk, error) {
	f, err := s.Translate(va)
	return vmem.Walk{Frame: f, PageSize: pageSize, Present: err == nil}, nil
}

type finder struct{ m *Machine }

func (f finder) Name() string { return "kerneltest" }

func (f finder) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	var out []symbols.Symbol
	for _, s := range f.m.syms {
		if s.Name == name {
			out = append(out, s)
		}
	}
	if out == nil {
		return nil, symbols.ErrNotFound
	}
	return out, nil
}

func (f finder) SymbolAt(addr uint64) (symbols.Symbol, error) {
	for _, s := range slices.Backward(f.m.syms) {
		if s.Addr <= addr && addr-s.Addr < max(s.Size, 1) {
			return s, nil
		}
	}
	return symbols.Symbol{}, symbols.ErrNotFound
}

func (f finder) All() iter.Seq[symbols.Symbol] { return slices.Values(f.m.syms) }

func (m *Machine) finder() symbols.TypeFinder { return typeFinder{m} }

type typeFinder struct{ m *Machine }

func (f typeFinder) Name() string { return "kerneltest" }

func (f typeFinder) TypeNamed(k symbols.Kind, name string) (*symbols.Type, error) {
	return f.m.types.TypeNamed(k, name)
}

func (f typeFinder) VariableType(name string) (*symbols.Type, error) {
	if t := f.m.vars[name]; t != nil {
		return t, nil
	}
	return nil, symbols.ErrNotFound
}

func (f typeFinder) Enumerator(name string) (int64, *symbols.Type, error) {
	for _, t := range f.m.types.enums {
		for _, e := range t.Enumerators() {
			if e.Name == name {
				return e.Value, t, nil
			}
		}
	}
	return 0, nil, symbols.ErrNotFound
}

func (f typeFinder) EnumeratorNames(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range f.m.types.enums {
			for _, e := range t.Enumerators() {
				if strings.HasPrefix(e.Name, prefix) && !yield(e.Name) {
					return
				}
			}
		}
	}
}

func (f typeFinder) FunctionType(string) (*symbols.Type, error) { return nil, symbols.ErrNotFound }

func (f typeFinder) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(yield func(symbols.Kind, string) bool) {
		for key := range f.m.types.tags {
			if !yield(key.kind, key.name) {
				return
			}
		}
	}
}
