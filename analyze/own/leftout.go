package own

import (
	"iter"

	"kdx/symbols"
)

// LeftOut stands for a finder that the caller did without, and says so where it would have been asked: it implements finders of
// symbols, types and rows.
type LeftOut string

func (l LeftOut) err() error { return &symbols.NoTableError{Why: string(l)} }

// Name is empty: it is no finder that anybody would list.
func (l LeftOut) Name() string { return "" }

// SymbolsNamed finds nothing.
func (l LeftOut) SymbolsNamed(string) ([]symbols.Symbol, error) { return nil, l.err() }

// SymbolAt finds nothing.
func (l LeftOut) SymbolAt(uint64) (symbols.Symbol, error) { return symbols.Symbol{}, l.err() }

// All yields nothing.
func (l LeftOut) All() iter.Seq[symbols.Symbol] { return func(func(symbols.Symbol) bool) {} }

// TypeNamed finds nothing.
func (l LeftOut) TypeNamed(symbols.Kind, string) (*symbols.Type, error) { return nil, l.err() }

// VariableType finds nothing.
func (l LeftOut) VariableType(string) (*symbols.Type, error) { return nil, l.err() }

// Enumerator finds nothing.
func (l LeftOut) Enumerator(string) (int64, *symbols.Type, error) { return 0, nil, l.err() }

// FunctionType finds nothing.
func (l LeftOut) FunctionType(string) (*symbols.Type, error) { return nil, l.err() }

// TypeNames yields nothing.
func (l LeftOut) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(func(symbols.Kind, string) bool) {}
}

// RowAt finds nothing.
func (l LeftOut) RowAt(uint64) (symbols.Row, error) { return symbols.Row{}, l.err() }
