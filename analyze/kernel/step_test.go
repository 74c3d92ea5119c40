package kernel

import (
	"context"
	"errors"
	"testing"
)

// TestStepOver: once cancelled, every step fails, so that a walk which goes on behind errors ends.
func TestStepOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	v := &View{ctx: ctx}
	if err := v.Step(); err != nil {
		t.Fatal(err)
	}
	cancel()
	n := 0
	for v.Step() == nil {
		if n++; n > 2*checkEvery {
			t.Fatal("a cancelled View goes on")
		}
	}
	for range 3 {
		if err := v.Step(); !errors.Is(err, context.Canceled) {
			t.Errorf("Step = %v; want %v", err, context.Canceled)
		}
	}
	v = &View{ctx: t.Context(), steps: defaultBudget}
	for n = 0; v.Step() == nil && n <= checkEvery; n++ {
	}
	if err := v.Step(); !errors.Is(err, ErrBudget) {
		t.Errorf("Step = %v; want %v", err, ErrBudget)
	}
}
