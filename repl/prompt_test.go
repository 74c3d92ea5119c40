package repl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scriptedEditor types lines.
type scriptedEditor struct {
	lines      []string
	remembered []string
	vi         []bool
}

func (e *scriptedEditor) ReadLine() (string, error) {
	if len(e.lines) == 0 {
		return "", io.EOF
	}
	l := e.lines[0]
	e.lines = e.lines[1:]
	if l == "^C" {
		return "", ErrInterrupt
	}
	return l, nil
}
func (e *scriptedEditor) Remember(l string) { e.remembered = append(e.remembered, l) }
func (e *scriptedEditor) SetVi(on bool)     { e.vi = append(e.vi, on) }
func (e *scriptedEditor) Close() error      { return nil }

func typeLines(t *testing.T, lines ...string) (*testSession, *scriptedEditor, Status) {
	t.Helper()
	ed := &scriptedEditor{lines: lines}
	s := newTest(t, func(c *Config) {
		withKernel(t)(c)
		c.Terminal = Terminal{In: true}
		c.Editor = func(*Session) (Editor, error) { return ed, nil }
	})
	return s, ed, s.Run(t.Context())
}

func TestPrompt(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s, ed, st := typeLines(t, "echo 1", "", "^C", "echo 1", "r", "echo 2", "!1", "r e", "!!", "!9", "r zz", "h", "set edit vi", "fail", "exit", "echo 3")
	if st != OK {
		t.Errorf("an interactive session ends with %v", st)
	}
	want := "echo:1\necho:1\necho 1\necho:1\necho:2\necho 1\necho:1\necho 1\necho:1\necho 1\necho:1\n    1  echo 1\n    2  echo 2\n    3  echo 1\n"
	if diff := cmp.Diff(want, s.out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if e := s.err.String(); e != "kdx: the history has lines 1 to 3 (h lists them)\nkdx: no line of the history begins with \"zz\" (h lists them)\nkdx: fail: it did not work\n" {
		t.Errorf("stderr: %q", e)
	}
	if want := []string{"echo 1", "echo 2", "echo 1", "set edit vi", "fail", "exit"}; !slices.Equal(ed.remembered, want) {
		t.Errorf("remembered %q; want %q", ed.remembered, want)
	}
	if !ed.vi[len(ed.vi)-1] {
		t.Error("set edit vi did not reach the editor")
	}
	// The next session has it again.
	_, ed, _ = typeLines(t)
	if want := []string{"echo 1", "echo 2", "echo 1", "set edit vi", "fail", "exit"}; !slices.Equal(ed.remembered, want) {
		t.Errorf("history of the next session %q; want %q", ed.remembered, want)
	}
}

func TestHistoryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "history")
	h := historyFile{path}
	if lines, err := h.load(); lines != nil || err != nil {
		t.Errorf("load of nothing = %v, %v", lines, err)
	}
	var wg sync.WaitGroup
	for w := range 4 { // several kdx at once
		wg.Go(func() {
			for i := range 1500 {
				if err := h.add(fmt.Sprintf("line %d of %d", i, w)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines, err := h.load()
	if err != nil || len(lines) != historyLimit {
		t.Errorf("load = %d lines, %v; want %d", len(lines), err, historyLimit)
	}
	for _, l := range lines {
		var i, w int
		if n, _ := fmt.Sscanf(l, "line %d of %d", &i, &w); n != 2 {
			t.Fatalf("line %q is damaged", l)
		}
	}
	b, _ := os.ReadFile(path)
	if n := bytes.Count(b, []byte("\n")); n > 2*historyLimit {
		t.Errorf("the file has %d lines", n)
	}
	// Long lines are bounded by bytes.
	for range 40 {
		if err := h.add(strings.Repeat("x", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if fi, _ := os.Stat(path); fi.Size() > 2*historyBytes {
		t.Errorf("the file has %d bytes", fi.Size())
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v; what was typed is private", fi.Mode())
	}
}

func TestHistoryPath(t *testing.T) {
	t.Setenv("HOME", "/h")
	t.Setenv("XDG_STATE_HOME", "/s")
	if got := historyPath(); got != "/s/kdx/history" {
		t.Errorf("historyPath() = %q", got)
	}
	for _, v := range []string{"", "relative"} {
		t.Setenv("XDG_STATE_HOME", v)
		if got := historyPath(); got != "/h/.local/state/kdx/history" {
			t.Errorf("historyPath() with %q = %q", v, got)
		}
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "file1"), nil, 0o644)
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	s := newTest(t, withKernel(t))
	for _, c := range s.cfg.Commands {
		switch c.Name {
		case "p":
			c.Complete = "variable"
		case "struct":
			c.Complete = "type"
		case "echo":
			c.Complete = "symbol"
		}
	}
	for _, tt := range []struct {
		line, have string
		want       []string
	}{
		{"ec", "ec", []string{"echo "}},
		{"json ec", "ec", []string{"echo "}},
		{"al", "al", []string{"alias "}},
		{"la", "la", []string{"last "}},
		{"jif", "jif", []string{"jiffies "}},
		{"thing.pi", "thing.pi", []string{"thing.pi_lock", "thing.pid"}},
		{"help ec", "ec", []string{"echo "}},
		{"echo -", "-", []string{"-c", "-x"}},
		{"echo the", "the", []string{"the_thing "}},
		{"echo zzz", "zzz", nil},
		{"struct th", "th", []string{"the_thing", "thing"}},
		{"struct thing.pi", "thing.pi", []string{"thing.pi_lock", "thing.pid"}},
		{"struct thing.pid,le", "thing.pid,le", []string{"thing.pid,left "}},
		{"struct thing.mm.pg", "thing.mm.pg", []string{"thing.mm.pgd", "thing.mm.pgtables"}},
		{"struct thing.nothing.x", "thing.nothing.x", nil},
		{"p the_thing.mm->pgt", "the_thing.mm->pgt", []string{"the_thing.mm->pgtables "}},
		{"p (the_thing.links.ne", "(the_thing.links.ne", []string{"(the_thing.links.next "}},
		{"p &the_th", "&the_th", []string{"&the_thing "}},
		{"p 1+jif", "1+jif", []string{"1+jiffies "}},
		{"p 1+PIDTYPE_", "1+PIDTYPE_", []string{"1+PIDTYPE_PID", "1+PIDTYPE_TGID"}},
		{"set scr", "scr", []string{"scroll "}},
		{"echo > " + dir + "/", dir + "/", []string{dir + "/file1", dir + "/sub/"}},
		{"echo > " + dir + "/s", dir + "/s", []string{dir + "/sub/"}},
		{"< " + dir + "/f", dir + "/f", []string{dir + "/file1 "}},
		{"echo | gr", "gr", nil},
		{"!l", "l", nil},
		{"echo 'a", "'a", nil},
	} {
		have, got := s.complete(tt.line)
		if have != tt.have || !slices.Equal(got, tt.want) {
			t.Errorf("complete(%q) = %q, %q; want %q, %q", tt.line, have, got, tt.have, tt.want)
		}
		for _, g := range got {
			if !strings.HasPrefix(g, have) {
				t.Errorf("complete(%q): %q does not begin with %q", tt.line, g, have)
			}
		}
	}
}

func FuzzComplete(f *testing.F) {
	for _, s := range []string{"p the_thing->", "struct thing.a,b.", "echo > /", "json ", "p (", "thing[3].", "p a->b->", "->", ".", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "<>") {
			return // would list the machine's files
		}
		s := newTest(t, withKernel(t))
		have, names := s.complete(line)
		if !strings.HasSuffix(line, have) {
			t.Errorf("complete(%q): %q is not its end", line, have)
		}
		for _, n := range names {
			if !strings.HasPrefix(n, have) {
				t.Errorf("complete(%q): %q does not begin with %q", line, n, have)
			}
		}
	})
}

func TestFitting(t *testing.T) {
	screen := Terminal{Size: func() (int, int) { return 20, 10 }}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("name%02d", i)
	}
	if got := fitting(many, 2, screen); !slices.Equal(got, []string{"name"}) {
		t.Errorf("fitting = %q; want what they have in common", got)
	}
	if got := fitting(many, 4, screen); len(got) != 2*7 {
		t.Errorf("fitting = %d names; want a screen of them", len(got))
	}
	if got := fitting([]string{strings.Repeat("x", 30) + "a", strings.Repeat("x", 30) + "b"}, 30, screen); got != nil {
		t.Errorf("fitting = %q; want none that is wider than the screen", got)
	}
	if got := fitting(nil, 0, screen); len(got) != 0 {
		t.Errorf("fitting(nil) = %q", got)
	}
}

type fakeProgram struct {
	bytes.Buffer
	waited bool
}

func (f *fakeProgram) Close() error { return nil }

func TestPager(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		paged      bool
	}{
		{"short", strings.Repeat("x\n", 8), false},
		{"long", strings.Repeat("x\n", 9), true},
		{"wrapped", strings.Repeat("x", 20*9+1), true},
		{"tabs", strings.Repeat("\tx\n", 8), false},
		{"nothing", "", false},
	} {
		var out bytes.Buffer
		prog := &fakeProgram{}
		p := &pager{out: &out, width: 20, height: 10, start: func() (io.WriteCloser, func() error, error) {
			return prog, func() error { prog.waited = true; return nil }, nil
		}}
		io.WriteString(p, tt.text)
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got, other := out.String(), prog.String()
		if tt.paged {
			got, other = other, got
		}
		if got != tt.text || other != "" || prog.waited != tt.paged {
			t.Errorf("%s: paged %v, %d bytes, %d bytes elsewhere", tt.name, prog.waited, len(got), len(other))
		}
	}
}

func TestPagerMissing(t *testing.T) {
	var out bytes.Buffer
	p := &pager{out: &out, width: 20, height: 3, start: func() (io.WriteCloser, func() error, error) { return nil, nil, errors.New("none") }}
	io.WriteString(p, "a\nb\nc\n")
	io.WriteString(p, "d\n")
	if err := p.Close(); err != nil || out.String() != "a\nb\nc\nd\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, true)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	p.Begin("ps")
	p.show()
	if out.Len() > 0 {
		t.Errorf("at once: %q", out.String())
	}
	p.Report("reading tasks", 50, 200)
	now = now.Add(3 * time.Second)
	p.show()
	if want := "\rps: reading tasks 25% (3 s; Ctrl-C stops it)\x1b[K"; out.String() != want {
		t.Errorf("after 3 s: %q; want %q", out.String(), want)
	}
	out.Reset()
	p.Silence()
	p.show()
	if want := "\r\x1b[K"; out.String() != want {
		t.Errorf("silenced: %q; want %q", out.String(), want)
	}
	p.End()
	out.Reset()
	p.Begin("x")
	p.Report(strings.Repeat("long\x1b ", 50), 0, 0)
	now = now.Add(3 * time.Second)
	p.show()
	if s := out.String(); len([]rune(s)) > 79+4 || strings.Count(s, "\x1b") != 1 {
		t.Errorf("a long one: %q", s)
	}
	p.End()
	q := NewProgress(&out, false)
	out.Reset()
	q.Begin("x")
	q.Hide()
	q.End()
	(*Progress)(nil).Begin("x")
	if out.Len() > 0 {
		t.Errorf("no terminal: %q", out.String())
	}
}
