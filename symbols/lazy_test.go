package symbols

import (
	"strings"
	"testing"
)

func TestLazyPanic(t *testing.T) {
	f := LazySymbols("broken", func() (SymbolFinder, error) { panic("out of range") })
	for range 2 {
		if _, err := f.SymbolsNamed("x"); err == nil || !strings.Contains(err.Error(), "broken: a mistake in kdx") {
			t.Errorf("SymbolsNamed of a finder whose opening panics = %v; want an error that names it", err)
		}
	}
}
