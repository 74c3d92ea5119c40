package symbols

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// LazySymbols is a finder that is opened by the first question put to it, so that commands which ask nothing pay
// nothing. A failure to open is the answer to every question.
func LazySymbols(name string, open func() (SymbolFinder, error)) SymbolFinder {
	return &lazySymbols{name, Once(guard(name, open))}
}

// Once calls open when its result is first asked for, and keeps the result. What was cancelled is tried again.
func Once[T any](open func() (T, error)) func() (T, error) {
	var mu sync.Mutex
	var done bool
	var value T
	var failure error
	return func() (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return value, failure
		}
		v, err := open()
		if errors.Is(err, context.Canceled) {
			return v, err
		}
		done, value, failure = true, v, err
		return v, err
	}
}

// guard makes an error of a panic: decoders, some of them not ours, run on damaged tables, and one broken finder must not
// cost what the others know.
func guard[T any](name string, open func() (T, error)) func() (T, error) {
	return func() (f T, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%s: a mistake in kdx, please report it: %v", name, p)
			}
		}()
		return open()
	}
}

type lazySymbols struct {
	name string
	open func() (SymbolFinder, error)
}

func (l *lazySymbols) Name() string { return l.name }

func (l *lazySymbols) SymbolsNamed(name string) ([]Symbol, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.SymbolsNamed(name)
}

func (l *lazySymbols) SymbolAt(addr uint64) (Symbol, error) {
	f, err := l.open()
	if err != nil {
		return Symbol{}, err
	}
	return f.SymbolAt(addr)
}

func (l *lazySymbols) All() iter.Seq[Symbol] {
	f, err := l.open()
	if err != nil {
		return func(func(Symbol) bool) {}
	}
	return f.All()
}

// Missing is why the finder can't be opened, or what it lacks.
func (l *lazySymbols) Missing() error { return lacks(l.open) }

func lacks[F any](open func() (F, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	if m, ok := any(f).(incomplete); ok {
		return m.Missing()
	}
	return nil
}

// LazyTypes is LazySymbols for types.
func LazyTypes(name string, open func() (TypeFinder, error)) TypeFinder {
	return &lazyTypes{name, Once(guard(name, open))}
}

type lazyTypes struct {
	name string
	open func() (TypeFinder, error)
}

func (l *lazyTypes) Name() string { return l.name }

func (l *lazyTypes) TypeNamed(kind Kind, name string) (*Type, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.TypeNamed(kind, name)
}

func (l *lazyTypes) VariableType(name string) (*Type, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.VariableType(name)
}

func (l *lazyTypes) Enumerator(name string) (int64, *Type, error) {
	f, err := l.open()
	if err != nil {
		return 0, nil, err
	}
	return f.Enumerator(name)
}

func (l *lazyTypes) FunctionType(name string) (*Type, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.FunctionType(name)
}

// Missing is why the finder can't be opened, or what it lacks.
func (l *lazyTypes) Missing() error { return lacks(l.open) }

func (l *lazyTypes) TypeNames() iter.Seq2[Kind, string] {
	f, err := l.open()
	if err != nil {
		return func(func(Kind, string) bool) {}
	}
	return f.TypeNames()
}

// EnumeratorNames yields those of the finder, if it lists them.
func (l *lazyTypes) EnumeratorNames(prefix string) iter.Seq[string] {
	f, err := l.open()
	if e, ok := f.(enumeratorLister); ok && err == nil {
		return e.EnumeratorNames(prefix)
	}
	return func(func(string) bool) {}
}

// SearchTypes asks the finder, if it can search by itself.
func (l *lazyTypes) SearchTypes(s TypeSearch) ([]FoundType, bool) {
	f, err := l.open()
	if t, ok := f.(typeSearcher); ok && err == nil {
		return t.SearchTypes(s)
	}
	return nil, false
}

// LazyRows is LazySymbols for unwind rows.
func LazyRows(name string, open func() (RowFinder, error)) RowFinder {
	return &lazyRows{name, Once(guard(name, open))}
}

type lazyRows struct {
	name string
	open func() (RowFinder, error)
}

func (l *lazyRows) Name() string { return l.name }

func (l *lazyRows) RowAt(pc uint64) (Row, error) {
	f, err := l.open()
	if err != nil {
		return Row{}, err
	}
	return f.RowAt(pc)
}

// LazySources is LazySymbols for source lines.
func LazySources(name string, open func() (SourceFinder, error)) SourceFinder {
	return &lazySources{name, Once(guard(name, open))}
}

type lazySources struct {
	name string
	open func() (SourceFinder, error)
}

func (l *lazySources) Name() string { return l.name }

func (l *lazySources) PlacesAt(pc uint64) ([]Place, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.PlacesAt(pc)
}

func (l *lazySources) LineCode(file string, line int) ([]LineCode, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.LineCode(file, line)
}

// LazyVariables is LazySymbols for variables of functions.
func LazyVariables(name string, open func() (VariableFinder, error)) VariableFinder {
	return &lazyVariables{name, Once(guard(name, open))}
}

type lazyVariables struct {
	name string
	open func() (VariableFinder, error)
}

func (l *lazyVariables) Name() string { return l.name }

func (l *lazyVariables) ScopesAt(pc uint64) ([]Scope, error) {
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	return f.ScopesAt(pc)
}
