package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/internal/treetest"
	"kdx/symbols"
)

// madeLines are the lines of a function fn of 16 bytes at base, whose middle is an inlined function of a header.
type madeLines struct{ base uint64 }

func (m madeLines) Name() string { return "made" }
func (m madeLines) Ready() bool  { return true }

func (m madeLines) PlacesAt(pc uint64) ([]symbols.Place, error) {
	own := symbols.Place{Function: "fn", File: "kernel/fn.c", Path: "/build/kernel/fn.c", BuildID: "abcd", Line: 8}
	switch off := pc - m.base; {
	case off < 4:
		return []symbols.Place{own}, nil
	case off < 12:
		own.Line = 9
		return []symbols.Place{{Function: "helper", File: "include/linux/helper.h", Line: 3, Inlined: true}, own}, nil
	case off < 16:
		own.Line = 10
		return []symbols.Place{own}, nil
	}
	return nil, symbols.ErrNotFound
}

func (m madeLines) LineCode(file string, line int) ([]symbols.LineCode, error) {
	switch {
	case file == "fn.c" || file == "kernel/fn.c" && line <= 8:
		return []symbols.LineCode{{File: "kernel/fn.c", Line: 8, Addr: m.base, End: m.base + 4}}, nil
	case file == "both.c":
		return []symbols.LineCode{{File: "a/both.c", Line: 1, Addr: m.base, End: m.base + 4}, {File: "b/both.c", Line: 1, Addr: m.base + 12, End: m.base + 16}}, nil
	}
	return nil, symbols.ErrNotFound
}

type sourceTarget struct {
	k     *kernel.Kernel
	state *State
	base  vmem.Addr
}

func newSourceTarget(t *testing.T, lines bool) *sourceTarget {
	m := kerneltest.New(t, "struct list_head { struct list_head *next, *prev; };")
	base := m.Alloc(64)
	m.Write(base, bytes.Repeat([]byte{0x90}, 16)) // nops
	m.Symbol(symbols.Symbol{Name: "fn", Addr: uint64(base), Size: 16, Letter: 'T'})
	m.Symbol(symbols.Symbol{Name: "end", Addr: uint64(base) + 16, Size: 1, Letter: 'D'})
	m.Symbol(symbols.Symbol{Name: "plain", Addr: uint64(base) + 32, Size: 8, Letter: 'T'}) // compiled without debug information
	calls := m.Alloc(16)
	m.Word(calls, uint64(base))
	m.Word(calls+8, uint64(base)+32)
	m.Symbol(symbols.Symbol{Name: "sys_call_table", Addr: uint64(calls), Size: 16, Letter: 'D'})
	x := &sourceTarget{k: m.Kernel(), base: base}
	if lines {
		x.k.Debug().AddSources(madeLines{uint64(base)})
	}
	x.state = &State{Kernel: x.k}
	return x
}

func (x *sourceTarget) run(line string) (string, []kernel.Gap, error) {
	words := strings.Fields(line)
	c := map[string]*Command{"sym": symCommand(), "dis": disCommand(), "source": sourceCommand(), "sys": sysCommand()}[words[0]]
	v := x.k.View(context.Background())
	f, args, err := ParseFlags(c, words[1:])
	if err != nil {
		return "", nil, err
	}
	r, err := c.Run(&Call{View: v, State: x.state, Cmd: c, Flags: f, Args: args})
	gaps, _ := v.Gaps()
	if err != nil {
		return "", gaps, err
	}
	var b strings.Builder
	err = r.Text(&b, view.Options{})
	return b.String(), gaps, err
}

const fnText = "one\ntwo\nthree\nfour\nfive\nsix\nint fn(void)\n{\n\thelper();\n\treturn 0;\n}\ntwelve\n"

func TestSource(t *testing.T) {
	x := newSourceTarget(t, true)
	dir := t.TempDir()
	treetest.PutAll(t, dir, map[string]string{"kernel/fn.c": fnText, "include/linux/helper.h": "a\nb\nc\nd\n"})
	x.state.Src = dir
	at := func(off uint64) string { return fmt.Sprintf("%x", uint64(x.base)+off) }
	from := "\n(" + dir + "/kernel/fn.c)\n"
	for _, tt := range []struct{ line, want string }{
		{"sym fn", at(0) + " (T) fn kernel/fn.c: 8\n"},
		{"sym " + at(5), at(5) + " (T) fn+5 include/linux/helper.h: 3 (in helper)\n    kernel/fn.c: 9 (in fn)\n"},
		{"sym fn.c:2", at(0) + " (T) fn kernel/fn.c: 8\n"},
		{"sym end", at(16) + " (D) end\n"},
		{"dis -l " + at(3) + " 2", "kernel/fn.c: 8\n0x" + at(3) + " <fn+3>:\tnop\ninclude/linux/helper.h: 3 (inlined helper)\n0x" + at(4) + " <fn+4>:\tnop\n"},
		{"dis fn.c:8", "0x" + at(0) + " <fn>:\tnop\n0x" + at(1) + " <fn+1>:\tnop\n0x" + at(2) + " <fn+2>:\tnop\n0x" + at(3) + " <fn+3>:\tnop\n"},
		{"dis fn.c:8 1", "0x" + at(0) + " <fn>:\tnop\n"},
		{"dis -s fn", "FILE: kernel/fn.c\nLINE: 8\n\n  3\tthree\n  4\tfour\n  5\tfive\n  6\tsix\n  7\tint fn(void)\n* 8\t{\n  9\t\thelper();\n  10\t\treturn 0;\n  11\t}\n" + from},
		{"dis -s " + at(5) + " 1", "FILE: kernel/fn.c\nLINE: 9\nINLINED: helper at include/linux/helper.h: 3\n\n  4\tfour\n  5\tfive\n  6\tsix\n  7\tint fn(void)\n  8\t{\n* 9\t\thelper();\n  10\t\treturn 0;\n" + from},
		{"source fn 3", "  7\tint fn(void)\n* 8\t{\n  9\t\thelper();\n" + from},
		{"source", "  10\t\treturn 0;\n  11\t}\n  12\ttwelve\n" + from},
		{"source fn.c:11 2", "  10\t\treturn 0;\n* 11\t}\n" + from},
		{"source " + at(5) + " 2", "INLINED: helper at include/linux/helper.h: 3\n\n  2\tb\n* 3\tc\n\n(" + dir + "/include/linux/helper.h)\n"},
	} {
		got, gaps, err := x.run(tt.line)
		if err != nil || got != tt.want || len(gaps) > 0 {
			t.Errorf("%s:\n%s(%v, %v)\nwant\n%s", tt.line, got, err, gaps, tt.want)
		}
	}
	for _, tt := range []struct{ line, want string }{
		{"dis both.c:1", "both.c stands for a/both.c, b/both.c: name more of the path"},
		{"sym none.c:1", "no code comes from none.c:1"},
		{"source none.c:1", "neither none.c"},
		{"source fn.c:99", "has 12 lines, not 99: it is of another version"},
		{"source " + at(16), "no line for end"},
		{"source", "listing is at its end"},
	} {
		if tt.line == "source" {
			x.state.listing = listing{symbols.Place{File: "kernel/fn.c", BuildID: "abcd"}, 13}
		}
		if got, _, err := x.run(tt.line); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v; want an error with %q", tt.line, got, err, tt.want)
		}
	}
}

// TestNoLines: without debug information commands say so, and those that have another answer give it.
func TestNoLines(t *testing.T) {
	x := newSourceTarget(t, false)
	if got, gaps, err := x.run("sym fn"); err != nil || len(gaps) > 0 || !strings.HasSuffix(got, " (T) fn\n") {
		t.Errorf("sym: %q, %v, %v", got, gaps, err)
	}
	if got, gaps, err := x.run("dis -l fn 4"); err != nil || len(gaps) != 1 || !strings.Contains(got, "nop") {
		t.Errorf("dis -l: %q, %v, %v; want one gap", got, gaps, err)
	}
	for _, line := range []string{"sym fn.c:8", "dis fn.c:8", "dis -s fn", "source fn", "source fn.c:8"} {
		var none *symbols.NoTableError
		if _, _, err := x.run(line); !errors.As(err, &none) {
			t.Errorf("%s: %v; want that there is no debug information", line, err)
		}
	}
}

type served struct{ fails bool }

func (s served) Source(_ context.Context, p symbols.Place) ([]byte, string, error) {
	if s.fails {
		return nil, "", errors.New("the server has no " + p.Path)
	}
	return []byte(fnText), "a server", nil
}

func TestServed(t *testing.T) {
	x := newSourceTarget(t, true)
	x.state.Sources = served{}
	if got, _, err := x.run("source fn 1"); err != nil || got != "  7\tint fn(void)\n\n(a server)\n" {
		t.Errorf("source: %q, %v", got, err)
	}
	x = newSourceTarget(t, true)
	x.state.Src, x.state.Sources = t.TempDir(), served{true}
	_, _, err := x.run("source fn")
	for _, want := range []string{"kernel/fn.c was not found", x.state.Src + " has neither", "the server has no /build/kernel/fn.c", "--src DIR"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("source: %v; want %q", err, want)
		}
	}
	if got, gaps, err := x.run("dis -s fn"); err != nil || got != "FILE: kernel/fn.c\nLINE: 8\n" || len(gaps) != 1 {
		t.Errorf("dis -s: %q, %v, %v", got, gaps, err)
	}
}

// TestSourceTree: the longest end of a path is found, and nothing outside the tree.
func TestSourceTree(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "tree")
	treetest.PutAll(t, top, map[string]string{"tree/kernel/sched/core.c": "sched", "tree/core.c": "other", "secret.c": "secret"})
	if err := os.Symlink("../secret.c", filepath.Join(dir, "link.c")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ dir, file, want string }{
		{dir, "kernel/sched/core.c", "sched"},
		{dir, "/build/linux-6.1/kernel/sched/core.c", "sched"},
		{filepath.Join(dir, "kernel"), "kernel/sched/core.c", "sched"},
		{filepath.Join(dir, "kernel/sched"), "kernel/sched/core.c", "sched"},
		{dir, "drivers/core.c", ""}, // any core.c would do
		{dir, "../secret.c", ""},
		{dir, "x/../../secret.c", ""},
		{dir, "link.c", ""},
		{dir, "kernel", ""},
		{filepath.Join(top, "none"), "core.c", ""},
	} {
		text, from, err := readTree(tt.dir, tt.file)
		if string(text) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s in %s: %q from %s, %v; want %q", tt.file, tt.dir, text, from, err, tt.want)
		}
	}
}

// TestSyscallLines: where system calls begin is told of those that debug information knows; without it there is no column.
func TestSyscallLines(t *testing.T) {
	for _, tt := range []struct {
		line  string
		lines bool
		want  string
	}{
		{"sys -c", true, "NUM  SYSTEM CALL                FILE AND LINE NUMBER\n  0  fn                         kernel/fn.c: 8\n  1  plain                      -\n"},
		{"sys -c plain", true, "NUM  SYSTEM CALL\n  1  plain\n"},
		{"sys -c", false, "NUM  SYSTEM CALL\n  0  fn\n  1  plain\n"},
	} {
		x := newSourceTarget(t, tt.lines)
		if got, gaps, err := x.run(tt.line); err != nil || len(gaps) > 0 || got != tt.want {
			t.Errorf("%s: %q, %v, %v; want %q", tt.line, got, gaps, err, tt.want)
		}
	}
}

// TestSymbolsCancelled: a list of all symbols ends when its command is cancelled.
func TestSymbolsCancelled(t *testing.T) {
	x := newSourceTarget(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := symCommand()
	f, args, err := ParseFlags(c, []string{"-l"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Run(&Call{View: x.k.View(ctx), State: x.state, Cmd: c, Flags: f, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range r.(view.SymbolLines) {
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("%d symbols, of which the first cancelled it", n)
	}
}
