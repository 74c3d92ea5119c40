package commands

import (
	"errors"
	"testing"

	"kdx/analyze/printk"
)

func TestDemangled(t *testing.T) {
	broken := errors.New("page 7 excluded")
	in := func(yield func(printk.Record, error) bool) {
		_ = yield(printk.Record{Seq: 1, Text: []byte("at _RNvC6_123foo3bar+0x4/0x8")}, nil) && yield(printk.Record{}, broken)
	}
	n := 0
	for r, err := range demangled(in) {
		if n++; n == 1 && (string(r.Text) != "at 123foo::bar+0x4/0x8" || r.Seq != 1) || n == 2 && err != broken {
			t.Errorf("record %d is %q, %v", n, r.Text, err)
		}
	}
	if n != 2 {
		t.Errorf("%d records; want 2", n)
	}
}
