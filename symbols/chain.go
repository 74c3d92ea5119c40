package symbols

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"kdx/symbols/demangle"
)

// Chain asks finders in order and takes the first answer. It implements SymbolFinder, TypeFinder and RowFinder itself.
// Finders are added while a kernel is being opened; afterwards a Chain is safe for many goroutines. NewChain makes one.
type Chain struct {
	log    *slog.Logger
	faults *faults

	syms  []SymbolFinder
	types []TypeFinder
	rows  []RowFinder
	lines []SourceFinder
	vars  []VariableFinder
}

// faults are the failures of finders so far, by finder.
type faults struct {
	mu     sync.Mutex
	broken map[string]error
}

// NewChain makes an empty chain. log is told once of each failure; nil is silent.
func NewChain(log *slog.Logger) *Chain {
	return &Chain{log: log, faults: &faults{broken: make(map[string]error)}}
}

// Sharing makes another chain that notes failures together with c: what either has reported is not reported again.
func (c *Chain) Sharing() *Chain { return &Chain{log: c.log, faults: c.faults} }

// Name is "chain".
func (c *Chain) Name() string { return "chain" }

// AddSymbols appends a finder of symbols.
func (c *Chain) AddSymbols(f SymbolFinder) { c.syms = append(c.syms, f) }

// AddTypes appends a finder of types.
func (c *Chain) AddTypes(f TypeFinder) { c.types = append(c.types, f) }

// AddRows appends a finder of unwind rows.
func (c *Chain) AddRows(f RowFinder) { c.rows = append(c.rows, f) }

// AddSources appends a finder of source lines.
func (c *Chain) AddSources(f SourceFinder) { c.lines = append(c.lines, f) }

// AddVariables appends a finder of functions' variables.
func (c *Chain) AddVariables(f VariableFinder) { c.vars = append(c.vars, f) }

// Finders names the finders in order, for `help -n` and messages.
func (c *Chain) Finders() (syms, types, rows []string) {
	return names(c.syms), names(c.types), names(c.rows)
}

// Broken returns what went wrong in finders so far, by finder.
func (c *Chain) Broken() map[string]error {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	return maps.Clone(c.faults.broken)
}

// report notes a finder's failure and returns it; absence is no failure. One that only follows from another's is not
// logged: without kallsyms, say, the BTF's place is not known.
func (c *Chain) report(finder string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	named := err
	if !strings.HasPrefix(err.Error(), finder+": ") {
		named = fmt.Errorf("%s: %w", finder, err)
	}
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if _, said := c.faults.broken[finder]; said {
		return named
	}
	follows := false
	for _, earlier := range c.faults.broken {
		follows = follows || errors.Is(err, earlier)
	}
	c.faults.broken[finder] = err
	if c.log != nil && !follows {
		c.log.Warn(named.Error())
	}
	return named
}

func names[F interface{ Name() string }](finders []F) []string {
	var out []string
	for _, f := range finders {
		if n := f.Name(); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// ask tries the finders in order. If none answers, the error is the first failure, or ErrNotFound naming what was sought.
func ask[F interface{ Name() string }, A any](c *Chain, finders []F, what string, f func(F) (A, error)) (A, error) {
	var zero A
	var failure error
	var none *NoTableError
	for _, finder := range finders {
		a, err := f(finder)
		if err == nil {
			return a, nil
		}
		if none == nil {
			errors.As(err, &none)
		}
		if err = c.report(finder.Name(), err); err != nil && failure == nil {
			failure = err
		}
	}
	if failure != nil {
		return zero, failure
	}
	if none != nil {
		return zero, fmt.Errorf("%s: %w", what, none)
	}
	return zero, fmt.Errorf("%s: %w", what, ErrNotFound)
}

// NoTableError is an ErrNotFound for everything: there is no such table.
type NoTableError struct{ Why string }

func (e *NoTableError) Error() string { return ErrNotFound.Error() + " (" + e.Why + ")" }

// Is makes it an ErrNotFound.
func (e *NoTableError) Is(target error) bool { return target == ErrNotFound }

// Absent reports whether err says that the kernel has no such name: somebody who knows its names was asked.
func Absent(err error) bool {
	var none *NoTableError
	return errors.Is(err, ErrNotFound) && !errors.As(err, &none)
}

// SymbolsNamed returns the symbols of that name from the first finder that knows it. Functions of Rust are also known by their
// names in the source: "core::str::slice_error_fail".
func (c *Chain) SymbolsNamed(name string) ([]Symbol, error) {
	found, err := ask(c, c.syms, "symbol "+name, func(f SymbolFinder) ([]Symbol, error) { return f.SymbolsNamed(name) })
	if err == nil || !strings.Contains(name, "::") {
		return found, err
	}
	seen := map[Symbol]bool{}
	for s := range c.All() {
		if strings.HasPrefix(s.Name, "_") && !seen[s] && demangle.Name(s.Name) == name {
			seen[s] = true
			found = append(found, s)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// SymbolAt returns the symbol that covers addr.
func (c *Chain) SymbolAt(addr uint64) (Symbol, error) {
	var failure error
	for _, f := range c.syms {
		s, err := f.SymbolAt(addr)
		if err == nil {
			return s, nil
		}
		if err = c.report(f.Name(), err); err != nil && failure == nil {
			failure = err
		}
	}
	if failure != nil {
		return Symbol{}, failure
	}
	return Symbol{}, ErrNotFound
}

// All yields the symbols of all finders, one finder after another, each in address order.
func (c *Chain) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for _, f := range c.syms {
			for s := range f.All() {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// Missing is what All leaves out because it can't be read, one error for each finder that could not be opened or whose
// table has holes.
func (c *Chain) Missing() []error { return missing(c.syms) }

// MissingTypes is what TypeNames and SearchTypes leave out because it can't be read, as Missing.
func (c *Chain) MissingTypes() []error { return missing(c.types) }

func missing[F any](finders []F) []error {
	var out []error
	for _, f := range finders {
		if m, ok := any(f).(incomplete); ok {
			if err := m.Missing(); err != nil && !errors.Is(err, ErrNotFound) {
				out = append(out, err)
			}
		}
	}
	return out
}

// incomplete is a finder that may lack a part of its table.
type incomplete interface{ Missing() error }

// TypeNamed finds a type by kind and name.
func (c *Chain) TypeNamed(kind Kind, name string) (*Type, error) {
	return ask(c, c.types, kind.String()+" "+name, func(f TypeFinder) (*Type, error) { return f.TypeNamed(kind, name) })
}

// VariableType is the type of a global variable.
func (c *Chain) VariableType(name string) (*Type, error) {
	return ask(c, c.types, "type of variable "+name, func(f TypeFinder) (*Type, error) { return f.VariableType(name) })
}

// FunctionType is a function's prototype.
func (c *Chain) FunctionType(name string) (*Type, error) {
	return ask(c, c.types, "prototype of "+name, func(f TypeFinder) (*Type, error) { return f.FunctionType(name) })
}

// Enumerator finds an enumeration constant.
func (c *Chain) Enumerator(name string) (int64, *Type, error) {
	type found struct {
		v int64
		t *Type
	}
	a, err := ask(c, c.types, "enumerator "+name, func(f TypeFinder) (found, error) {
		v, t, err := f.Enumerator(name)
		return found{v, t}, err
	})
	return a.v, a.t, err
}

// TypeNames yields the type names of all finders.
func (c *Chain) TypeNames() iter.Seq2[Kind, string] {
	return func(yield func(Kind, string) bool) {
		for _, f := range c.types {
			for k, n := range f.TypeNames() {
				if !yield(k, n) {
					return
				}
			}
		}
	}
}

// enumeratorLister is a finder of types that lists the names of enumeration constants that begin with prefix.
type enumeratorLister interface {
	EnumeratorNames(prefix string) iter.Seq[string]
}

// EnumeratorNames yields the names of enumeration constants that begin with prefix, of all finders that list them; names may
// repeat.
func (c *Chain) EnumeratorNames(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range c.types {
			e, ok := f.(enumeratorLister)
			if !ok {
				continue
			}
			for name := range e.EnumeratorNames(prefix) {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// RowAt returns the unwind row for pc.
func (c *Chain) RowAt(pc uint64) (Row, error) { return c.row(pc, false) }

// CompleteRowAt returns the first row for pc that knows all registers, see Row.Complete.
func (c *Chain) CompleteRowAt(pc uint64) (Row, error) { return c.row(pc, true) }

func (c *Chain) row(pc uint64, complete bool) (Row, error) {
	var failure error
	var none *NoTableError
	for _, f := range c.rows {
		r, err := f.RowAt(pc)
		if err == nil && complete && !r.Complete {
			continue
		}
		if err == nil {
			return r, nil
		}
		if none == nil {
			errors.As(err, &none)
		}
		if err = c.report(f.Name(), err); err != nil && failure == nil {
			failure = err
		}
	}
	if failure != nil {
		return Row{}, failure
	}
	if none != nil {
		return Row{}, none
	}
	return Row{}, ErrNotFound
}

// errNoSources is the answer of a Chain without a SourceFinder.
var errNoSources = &NoTableError{Why: "no file with debug information is open"}

// PlacesAt returns where the instruction at pc comes from, see SourceFinder.
func (c *Chain) PlacesAt(pc uint64) ([]Place, error) {
	if len(c.lines) == 0 {
		return nil, errNoSources
	}
	return ask(c, c.lines, fmt.Sprintf("source of %#x", pc), func(f SourceFinder) ([]Place, error) { return f.PlacesAt(pc) })
}

// SourcesReady reports whether source lines can be told at once. Where debug information has yet to be found, only those who were
// asked for lines should ask; finders for whom it is open have a method Ready.
func (c *Chain) SourcesReady() bool {
	for _, f := range c.lines {
		if r, ok := f.(interface{ Ready() bool }); ok && r.Ready() {
			return true
		}
	}
	return false
}

// LineCode returns the code of a source line, as all finders know it; see SourceFinder. Modules have files of the same names
// as the kernel.
func (c *Chain) LineCode(file string, line int) ([]LineCode, error) {
	if len(c.lines) == 0 {
		return nil, errNoSources
	}
	what := fmt.Sprintf("code of %s:%d", file, line)
	var out []LineCode
	_, failure := ask(c, c.lines, what, func(f SourceFinder) (struct{}, error) {
		found, err := f.LineCode(file, line)
		if err == nil {
			out = append(out, found...)
			err = ErrNotFound // the others are asked, too
		}
		return struct{}{}, err
	})
	if len(out) == 0 {
		return nil, failure
	}
	slices.SortStableFunc(out, func(a, b LineCode) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Addr, b.Addr))
	})
	return out, nil
}

// ScopesAt returns the variables of the functions that the instruction at pc is in, see VariableFinder.
func (c *Chain) ScopesAt(pc uint64) ([]Scope, error) {
	return ask(c, c.vars, fmt.Sprintf("variables at %#x", pc), func(f VariableFinder) ([]Scope, error) { return f.ScopesAt(pc) })
}
