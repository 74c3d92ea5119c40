package symbols

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

type fakeSymbols struct {
	name string
	syms []Symbol
	err  error
}

func (f *fakeSymbols) Name() string { return f.name }

func (f *fakeSymbols) SymbolsNamed(name string) ([]Symbol, error) {
	var out []Symbol
	for _, s := range f.syms {
		if s.Name == name {
			out = append(out, s)
		}
	}
	switch {
	case f.err != nil:
		return nil, f.err
	case out == nil:
		return nil, ErrNotFound
	}
	return out, nil
}

func (f *fakeSymbols) SymbolAt(addr uint64) (Symbol, error) {
	for _, s := range f.syms {
		if addr-s.Addr < s.Size {
			return s, nil
		}
	}
	if f.err != nil {
		return Symbol{}, f.err
	}
	return Symbol{}, ErrNotFound
}

func (f *fakeSymbols) All() iter.Seq[Symbol] { return slices.Values(f.syms) }

func TestChainOrder(t *testing.T) {
	c := NewChain(nil)
	c.AddSymbols(&fakeSymbols{name: "first", syms: []Symbol{{Name: "a", Addr: 0x10, Size: 4}}})
	c.AddSymbols(&fakeSymbols{name: "second", syms: []Symbol{{Name: "a", Addr: 0x20, Size: 4}, {Name: "b", Addr: 0x30, Size: 4}}})
	if got, err := c.SymbolsNamed("a"); err != nil || len(got) != 1 || got[0].Addr != 0x10 {
		t.Errorf("SymbolsNamed(a) = %v, %v; want the first finder's", got, err)
	}
	if got, err := c.SymbolAt(0x31); err != nil || got.Name != "b" {
		t.Errorf("SymbolAt(0x31) = %v, %v; want b", got, err)
	}
	if _, err := c.SymbolsNamed("c"); !errors.Is(err, ErrNotFound) {
		t.Errorf("SymbolsNamed(c): %v; want ErrNotFound", err)
	}
	if got := len(slices.Collect(c.All())); got != 3 {
		t.Errorf("All yields %d; want 3", got)
	}
}

// A broken finder is noted once, and the next one answers.
func TestChainBroken(t *testing.T) {
	broken := errors.New("page excluded")
	c := NewChain(nil)
	c.AddSymbols(&fakeSymbols{name: "kallsyms", err: broken})
	c.AddSymbols(&fakeSymbols{name: "vmlinux", syms: []Symbol{{Name: "a"}}})
	if got, err := c.SymbolsNamed("a"); err != nil || len(got) != 1 {
		t.Errorf("SymbolsNamed(a) = %v, %v; want vmlinux's", got, err)
	}
	if _, err := c.SymbolsNamed("b"); !errors.Is(err, broken) || errors.Is(err, ErrNotFound) {
		t.Errorf("SymbolsNamed(b): %v; want the failure", err)
	}
	if got := c.Broken(); len(got) != 1 || !errors.Is(got["kallsyms"], broken) {
		t.Errorf("Broken() = %v; want kallsyms", got)
	}
}

func TestLazySymbolsFails(t *testing.T) {
	opened := 0
	f := LazySymbols("x", func() (SymbolFinder, error) { opened++; return nil, errors.New("no") })
	for range 2 {
		if _, err := f.SymbolAt(1); err == nil {
			t.Error("SymbolAt of a finder that does not open: no error")
		}
	}
	if opened != 1 {
		t.Errorf("opened %d times; want 1", opened)
	}
}

// TestFollows: a failure is logged once, by whichever chain meets it first, and one that only follows from it is not.
func TestFollows(t *testing.T) {
	var log bytes.Buffer
	root := errors.New("page 7 excluded")
	one := NewChain(slog.New(slog.NewTextHandler(&log, nil)))
	two := one.Sharing()
	one.AddSymbols(&fakeSymbols{name: "kallsyms", err: root})
	two.AddSymbols(&fakeSymbols{name: "kallsyms", err: root})
	two.AddSymbols(&fakeSymbols{name: "modules", err: fmt.Errorf("modules: %w", root)})
	for _, c := range []*Chain{one, two, one} {
		if _, err := c.SymbolsNamed("x"); !errors.Is(err, root) {
			t.Errorf("SymbolsNamed = %v; want what went wrong", err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "kallsyms: page 7 excluded") {
		t.Errorf("%d lines were logged: %s; want one, of kallsyms", n, log.String())
	}
	if b := one.Broken(); len(b) != 2 || b["modules"] == nil {
		t.Errorf("Broken = %v; want both finders", b)
	}
}

// TestRustNames: functions of Rust are found by the names that they have in the source.
func TestRustNames(t *testing.T) {
	const own = "_RNvNtCsbZfwWpAStWS_4core3str16slice_error_fail"
	c := NewChain(nil)
	c.AddSymbols(listed{{Name: "panic", Addr: 1}, {Name: own, Addr: 2}})
	found, err := c.SymbolsNamed("core::str::slice_error_fail")
	if err != nil || len(found) != 1 || found[0].Name != own {
		t.Errorf("SymbolsNamed = %v, %v; want %s", found, err, own)
	}
	if found, err := c.SymbolsNamed("core::str::slice_error"); !Absent(err) {
		t.Errorf("SymbolsNamed of no function = %v, %v; want that it is not found", found, err)
	}
}

// listed is a finder of a few symbols.
type listed []Symbol

func (l listed) Name() string { return "list" }
func (l listed) SymbolsNamed(name string) ([]Symbol, error) {
	for _, s := range l {
		if s.Name == name {
			return []Symbol{s}, nil
		}
	}
	return nil, ErrNotFound
}
func (l listed) SymbolAt(uint64) (Symbol, error) { return Symbol{}, ErrNotFound }
func (l listed) All() iter.Seq[Symbol]           { return slices.Values(l) }
