package symbols

import (
	"fmt"
	"iter"
	"sync"
)

// LazySymbols is a finder that is opened by the first question put to it, so that commands which ask nothing pay
// nothing. A failure to open is the answer to every question.
func LazySymbols(name string, open func() (SymbolFinder, error)) SymbolFinder {
	return &lazySymbols{name, sync.OnceValues(guard(name, open))}
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
func (l *lazySymbols) Missing() error {
	f, err := l.open()
	if err != nil {
		return err
	}
	if m, ok := f.(incomplete); ok {
		return m.Missing()
	}
	return nil
}

// LazyTypes is LazySymbols for types.
func LazyTypes(name string, open func() (TypeFinder, error)) TypeFinder {
	return &lazyTypes{name, sync.OnceValues(guard(name, open))}
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

func (l *lazyTypes) TypeNames() iter.Seq2[Kind, string] {
	f, err := l.open()
	if err != nil {
		return func(func(Kind, string) bool) {}
	}
	return f.TypeNames()
}

// LazyRows is LazySymbols for unwind rows.
func LazyRows(name string, open func() (RowFinder, error)) RowFinder {
	return &lazyRows{name, sync.OnceValues(guard(name, open))}
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
