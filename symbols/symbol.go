package symbols

import "iter"

// Symbol is a name at an address of the running kernel (KASLR applied). For a per-CPU variable of x86-64 the address is
// an offset into the per-CPU area, which is how kallsyms lists it.
type Symbol struct {
	Name   string
	Addr   uint64
	Size   uint64 // bytes; 0 if the table has none
	Letter byte   // as nm(1) prints: T text, D data, R read-only, B bss, A absolute, lower case for local
	Module string // "" for the kernel itself
}

// IsText reports whether the symbol names code.
func (s Symbol) IsText() bool {
	switch s.Letter {
	case 'T', 't', 'W', 'w':
		return true
	}
	return false
}

// SymbolFinder knows symbols. Methods are safe for many goroutines.
type SymbolFinder interface {
	Name() string
	// SymbolsNamed returns all symbols of that name, in address order; ErrNotFound if there is none.
	SymbolsNamed(name string) ([]Symbol, error)
	// SymbolAt returns the symbol that covers addr: the last one at or below it in the same section or, without sizes,
	// in the same region. Of aliases at one address the first in the table. ErrNotFound outside the finder's ranges.
	SymbolAt(addr uint64) (Symbol, error)
	// All yields the symbols in address order.
	All() iter.Seq[Symbol]
}

// TypeFinder knows types by name.
type TypeFinder interface {
	Name() string
	// TypeNamed finds a type by tag or name. kind is Struct, Union, Enum (tags), Typedef, or Int, Bool, Float (base
	// types). ErrNotFound if there is none that is complete.
	TypeNamed(kind Kind, name string) (*Type, error)
	// VariableType is the type of a global variable.
	VariableType(name string) (*Type, error)
	// Enumerator finds an enumeration constant: its value and its enum.
	Enumerator(name string) (int64, *Type, error)
	// FunctionType is the prototype of a function (Kind Func).
	FunctionType(name string) (*Type, error)
	// TypeNames yields the names of all named types with their kinds, in no special order; names may repeat.
	TypeNames() iter.Seq2[Kind, string]
}

// RowFinder knows how to unwind from an address.
type RowFinder interface {
	Name() string
	// RowAt returns the unwind row for the instruction at pc. For return addresses the caller passes pc-1.
	RowAt(pc uint64) (Row, error)
}
