package main

import (
	"os"
	"strings"
	"testing"
)

// TestAllowed: a difference between BTF and DWARF is allowed only if docs/commands.md tells of it.
func TestAllowed(t *testing.T) {
	text, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range allowed {
		if !strings.Contains(string(text), x.why) {
			t.Errorf("docs/commands.md does not say %q of %s", x.why, x.lines)
		}
	}
}

func TestDiffers(t *testing.T) {
	for _, tt := range []struct {
		line, dump, other string
		equal             bool
	}{
		{"ps", "a\n", "a\n", true},
		{"ps", "a\n", "b\n", false},
		{"sys", "   KERNEL: kallsyms\nCPUS: 2\n", "   KERNEL: vmlinux\nCPUS: 2\n", true},
		{"sys", "   KERNEL: kallsyms\nCPUS: 2\n", "   KERNEL: vmlinux\nCPUS: 3\n", false},
		{"sym -l", "18 (A) a\n20 (d) b\n21 (d) .LC0\n", "18 (a) a\n19 (d) more\n20 (d) b\n", true},
		{"sym -l", "18 (A) a\n20 (d) b\n", "18 (a) a\n", false},
		{"bt -F", "ffff800000000000: panic+317 table+9 \n", "ffff800000000000: panic+317 ffffffff81000000 \n", true},
		{"bt -F", "ffff800000000000: panic+317 12 \n", "ffff800000000000: panic+317 13 \n", false},
		{"p modules", "  next = 0xffffffff81000000 <table+9>,\n", "  next = 0xffffffff81000000,\n", true},
		{"p modules", "  next = 0xffffffff81000000 <table+9>,\n", "  next = 0xffffffff81000008,\n", false},
	} {
		if how := differs(tt.line, tt.dump, tt.other); (how == "") != tt.equal {
			t.Errorf("differs(%s, %q, %q) = %q", tt.line, tt.dump, tt.other, how)
		}
	}
}
