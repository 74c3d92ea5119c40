package own

import (
	"iter"

	"kdx/analyze/resolved"
	"kdx/symbols"
	"kdx/symbols/btf"
)

// fits reports whether types that were taken along are of the dump's kernel.
func (f *Finders) fits(t *resolved.Types) bool {
	if t == nil {
		return false
	}
	if err := t.Fits(f.K.VMCoreInfo()); err != nil {
		f.K.Log().Info(err.Error())
		return false
	}
	return true
}

// carried asks the types that were taken along first, and the dump's own for all others.
type carried struct {
	*btf.Finder
	rest symbols.TypeFinder
}

// TypeNamed finds a type by kind and name.
func (c carried) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	t, err := c.Finder.TypeNamed(kind, name)
	if err != nil {
		return c.rest.TypeNamed(kind, name)
	}
	return t, nil
}

// VariableType is the type of a global variable.
func (c carried) VariableType(name string) (*symbols.Type, error) { return c.rest.VariableType(name) }

// FunctionType is the prototype of a function.
func (c carried) FunctionType(name string) (*symbols.Type, error) { return c.rest.FunctionType(name) }

// Enumerator finds an enumeration constant.
func (c carried) Enumerator(name string) (int64, *symbols.Type, error) {
	v, t, err := c.Finder.Enumerator(name)
	if err != nil {
		return c.rest.Enumerator(name)
	}
	return v, t, nil
}

// TypeNames yields the names of the dump's own types.
func (c carried) TypeNames() iter.Seq2[symbols.Kind, string] { return c.rest.TypeNames() }
