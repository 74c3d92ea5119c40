package commands

import (
	"slices"
	"strings"
	"testing"

	"kdx/analyze/view"
)

// TestCrashWords: what crash's users type that kdx has no use for is answered plainly.
func TestCrashWords(t *testing.T) {
	s := testState()
	for _, tt := range []struct{ name, words, want, fails string }{
		{"help", "-k", "", "sys and mach show the kernel"},
		{"help", "-L", "", "crash's own"},
		{"help", "-q", "", "unknown flag -q"},
		{"help", "-n", "", "no dump is open"},
		{"bt", "-o", "", "there is no -o: crash's older way"},
		{"kmem", "-c", "", "there is no -c: the page cache hash"},
		{"set", "hash off", "", "safe from loops"},
		{"set", "gdb on", "", "knows its words"},
		{"extend", "", "sockq", ""},
		{"extend", "trace.so", "", "can't be loaded"},
		{"rustfilt", "_RNvC6_123foo3bar schedule", "123foo::bar\nschedule\n", ""},
		{"rustfilt", "", "", "give a symbol"},
		{"gdb", "", "", "give a command"},
		{"gdb", "printf 1", "", "has no printf"},
		{"gdb", "info sharedlibrary", "", "of info, kdx knows"},
		{"gdb", "x/4q 0", "", "formats are"},
		{"gdb", "x", "", "wants an address"},
	} {
		got, err := ask(s, tt.name, strings.Fields(tt.words)...)
		switch {
		case tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)):
			t.Errorf("%s %s: %v; want %q", tt.name, tt.words, err, tt.fails)
		case tt.fails == "" && (err != nil || !strings.Contains(got, tt.want)):
			t.Errorf("%s %s: %q, %v; want %q", tt.name, tt.words, got, err, tt.want)
		}
	}
}

// TestGDB: each of gdb's words goes to the right command.
func TestGDB(t *testing.T) {
	for line, want := range map[string]string{
		"p/x jiffies": "p: /x jiffies", "print jiffies": "p: jiffies", "jiffies + 1": "p: jiffies + 1", "ptype/o struct x": "whatis: struct x",
		"x/4gx &a": "rd: -64 (&a) 4", "x/2dw ffff": "rd: -d -32 ffff 2", "x a + 1": "rd: -64 (a + 1) 1", "x/3i f": "dis: f 3", "x/s f": "rd: -a f",
		"info line f": "sym: f", "info locals": "locals: ", "bt full": "bt: -v", "disassemble /r f": "dis: f", "list f": "source: f", "frame 2": "frame: 2",
	} {
		var got string
		s := testState()
		s.Command = func(name string) *Command {
			return &Command{Name: name, Raw: true, Run: func(c *Call) (view.Result, error) {
				got = name + ": " + strings.Join(c.Args, " ")
				return nil, nil
			}}
		}
		c := &Call{State: s, Cmd: gdbCommand(), Args: strings.Fields(line)}
		if _, err := runGDB(c); err != nil || got != want {
			t.Errorf("gdb %s: %q, %v; want %q", line, got, err, want)
		}
	}
	if !slices.Contains(gdbCommand().Aliases, "g") {
		t.Error("g is no gdb")
	}
}
