package commands

import (
	"strings"
	"testing"

	"kdx/symbols"
)

// moduleLines know the lines of the kernel, and of a module's code at pc only that its debug file is missing.
type moduleLines struct {
	madeLines
	module uint64
}

func (m moduleLines) PlacesAt(pc uint64) ([]symbols.Place, error) {
	if pc == m.module {
		return nil, &symbols.NoTableError{Why: "no debug file of module nbd is on this machine"}
	}
	return m.madeLines.PlacesAt(pc)
}

// TestPlacesBehindModule: frames of a module without its debug file take nothing from those of the kernel behind them.
func TestPlacesBehindModule(t *testing.T) {
	x := newSourceTarget(t, false)
	module := uint64(x.base) + 32
	x.k.Debug().AddSources(moduleLines{madeLines{uint64(x.base)}, module})
	v := x.k.View(t.Context())
	p := (&Call{View: v, State: x.state}).places()
	for range 3 {
		if got := p.at(module); got != nil {
			t.Errorf("the module has %v", got)
		}
		if got := p.at(uint64(x.base)); len(got) != 1 || got[0].Line != 8 {
			t.Errorf("the kernel's frame has %v", got)
		}
	}
	gaps, _ := v.Gaps()
	if len(gaps) != 1 || !strings.Contains(gaps[0].Err.Error(), "module nbd") {
		t.Errorf("gaps %v; want the module's, once", gaps)
	}
}
