// Package decls knows the types of the kernel's well-known global variables. BTF has the types of per-CPU variables at
// most, so that otherwise a kernel without DWARF could not say what init_task is.
package decls

import (
	"errors"
	"iter"
	"sync"

	"kdx/symbols"
	"kdx/symbols/cdecl"
)

// Finder gives globals their types. It implements symbols.TypeFinder, and is safe for many goroutines if its Types are.
type Finder struct {
	lookup cdecl.Lookup

	mu    sync.Mutex
	known map[string]*symbols.Type
}

var _ symbols.TypeFinder = (*Finder)(nil)

// New makes a finder for the kernel whose types l finds. It must stand in a chain behind finders that know better.
func New(l cdecl.Lookup) *Finder {
	return &Finder{lookup: l, known: make(map[string]*symbols.Type)}
}

// Name is "declarations".
func (f *Finder) Name() string { return "declarations" }

// VariableType is the type of a global variable. ErrNotFound if it is not in the table, or if this kernel lacks the
// types that it is made of in all kernels known.
func (f *Finder) VariableType(name string) (*symbols.Type, error) {
	alternatives, ok := table()[name]
	if !ok {
		return nil, symbols.ErrNotFound
	}
	f.mu.Lock()
	t := f.known[name]
	f.mu.Unlock()
	if t != nil {
		return t, nil
	}
	for _, d := range alternatives {
		if !f.holds(d) {
			continue
		}
		_, t, err := cdecl.ParseDecl(f.lookup, d.text)
		if errors.Is(err, symbols.ErrNotFound) || errors.Is(err, cdecl.ErrNotType) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.known[name] = t
		f.mu.Unlock()
		return t, nil
	}
	return nil, symbols.ErrNotFound
}

// holds reports whether the declaration's condition is true of this kernel.
func (f *Finder) holds(d declaration) bool {
	if d.when == "" {
		return true
	}
	if f.lookup.Types == nil {
		return false
	}
	t, err := f.lookup.Types.TypeNamed(symbols.Struct, d.when)
	if err != nil {
		return false
	}
	_, ok := t.Member(d.member)
	return ok
}

// TypeNamed finds nothing: the types are other finders'.
func (f *Finder) TypeNamed(symbols.Kind, string) (*symbols.Type, error) {
	return nil, symbols.ErrNotFound
}

// Enumerator finds nothing.
func (f *Finder) Enumerator(string) (int64, *symbols.Type, error) {
	return 0, nil, symbols.ErrNotFound
}

// FunctionType finds nothing.
func (f *Finder) FunctionType(string) (*symbols.Type, error) { return nil, symbols.ErrNotFound }

// TypeNames yields nothing.
func (f *Finder) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(func(symbols.Kind, string) bool) {}
}
