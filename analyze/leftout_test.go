package analyze

import (
	"errors"
	"strings"
	"testing"

	"kdx/analyze/own"
	"kdx/symbols"
)

// table is a finder of one symbol.
type table struct {
	own.LeftOut
	name    string
	missing error
}

func (t table) Name() string   { return "table" }
func (t table) Missing() error { return t.missing }
func (t table) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	if name != t.name {
		return nil, symbols.ErrNotFound
	}
	return []symbols.Symbol{{Name: name, Addr: 1}}, nil
}

// TestForcedVmlinux: another kernel's symbols answer only where the dump's own can't all be read.
func TestForcedVmlinux(t *testing.T) {
	other := table{name: "renamed_since"}
	_, err := insteadOf(table{name: "init_task"}, other).SymbolsNamed("renamed_since")
	if !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("SymbolsNamed with the dump's own symbols there = %v; want %v", err, symbols.ErrNotFound)
	}
	got, err := insteadOf(table{missing: errors.New("excluded")}, other).SymbolsNamed("renamed_since")
	if err != nil || len(got) != 1 {
		t.Errorf("SymbolsNamed without the dump's own symbols = %v, %v; want the vmlinux's", got, err)
	}
}

// TestLeftOut: who asks for what a flag left out is told of the flag.
func TestLeftOut(t *testing.T) {
	for _, opt := range []Options{{NoBTF: true}, {NoKallsyms: true}} {
		k := openDump(t, "6.1", opt)
		_, err := k.Struct("task_struct")
		if !errors.Is(err, symbols.ErrNotFound) || !strings.Contains(err.Error(), "(--no-") {
			t.Errorf("%+v: Struct(task_struct) = %v; want the flag that left it out", opt, err)
		}
	}
}
