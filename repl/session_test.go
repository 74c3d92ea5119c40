package repl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/repl/commands"
)

// testKernel has a variable, a struct and a typedef.
func testKernel(t *testing.T) *kernel.Kernel {
	m := kerneltest.New(t, `struct list_head { struct list_head *next, *prev; };
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID };
struct mm { unsigned long pgd; unsigned long pgtables; };
struct thing { int pid; int pi_lock; struct list_head links; struct mm *mm; union { int left; int right; }; };`)
	m.Var("the_thing", m.Alloc(64), "struct thing")
	m.Var("jiffies", m.Alloc(8), "unsigned long")
	return m.Kernel()
}

// testCommands answer with their words; no dump is needed.
func testCommands() []*commands.Command {
	say := func(name string, more ...string) *commands.Command {
		return &commands.Command{Name: name, Aliases: more, Group: "test", Summary: "say the words",
			Flags: []commands.Flag{{Name: "x", Help: "nothing"}, {Name: "c", Arg: "N", Help: "a number"}},
			Run: func(c *commands.Call) (view.Result, error) {
				out := name + ":" + strings.Join(c.Args, ",")
				if c.Flags.Has("x") {
					out += " -x"
				}
				if v := c.Flags.Value("c"); v != "" {
					out += " -c=" + v
				}
				return view.Lines{out}, nil
			}}
	}
	p := say("p")
	p.Quotes = true
	return append([]*commands.Command{say("echo", "e"), p, say("struct"), say("whatis"), say("*"), say("union"),
		{Name: "fail", Group: "test", Run: func(c *commands.Call) (view.Result, error) { return nil, errors.New("it did not work") }},
		{Name: "half", Group: "test", Run: func(c *commands.Call) (view.Result, error) { return view.Lines{"half"}, errors.New("the other half") }},
		{Name: "panic", Group: "test", Run: func(c *commands.Call) (view.Result, error) { panic("index out of range") }},
		{Name: "raw", Group: "test", Run: func(c *commands.Call) (view.Result, error) { return view.Lines{"a\x1b[2Jb"}, nil }},
		{Name: "many", Group: "test", Run: func(c *commands.Call) (view.Result, error) { return make(view.Lines, 100000), nil }},
		{Name: "gap", Group: "test", Needs: commands.NeedsNothing, Run: func(c *commands.Call) (view.Result, error) {
			c.View.Gap("PID 812: files", errors.New("page excluded"))
			return view.Lines{"what is there"}, nil
		}},
		{Name: "wait", Group: "test", Needs: commands.NeedsNothing, Run: func(c *commands.Call) (view.Result, error) {
			<-c.View.Context().Done()
			return nil, c.View.Context().Err()
		}},
	}, sessionCommands()...)
}

// sessionCommands are those of the table that need no dump.
func sessionCommands() []*commands.Command {
	var out []*commands.Command
	for _, c := range commands.All() {
		if c.Prompt {
			out = append(out, c)
		}
	}
	return out
}

type testSession struct {
	*Session
	out, err bytes.Buffer
}

func newTest(t *testing.T, change func(*Config)) *testSession {
	t.Helper()
	s := &testSession{}
	cfg := Config{Commands: testCommands(), In: strings.NewReader(""), Out: &s.out, Err: &s.err}
	if change != nil {
		change(&cfg)
	}
	s.Session = New(cfg)
	return s
}

func withKernel(t *testing.T) func(*Config) {
	return func(c *Config) { c.Kernel = testKernel(t) }
}

func TestLine(t *testing.T) {
	dir := t.TempDir()
	args := filepath.Join(dir, "args")
	os.WriteFile(args, []byte("1 2\n\n# no\n-x 'a b'\n"), 0o644)
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("echo 1\n# echo 2\nfail\necho 3"), 0o644)
	loop := filepath.Join(dir, "loop")
	os.WriteFile(loop, []byte("< "+loop+"\n"), 0o644)
	for _, tt := range []struct {
		line, out, err string
		status         Status
	}{
		{"", "", "", OK},
		{"# echo", "", "", OK},
		{"echo a -x b", "echo:a,b -x\n", "", OK},
		{"e a", "echo:a\n", "", OK},
		{"echo -xc3 -c 4 -- -x", "echo:-x -x -c=4\n", "", OK},
		{"echo -5", "echo:-5\n", "", OK},
		{"echo 'a b' | tr a-z A-Z", "ECHO:A B\n", "", OK},
		{"many | head -1 | wc -l", "1\n", "", OK},
		{"echo a | no-such-program-of-kdx 2>/dev/null", "", "kdx: echo: its output: the shell could not start", Failed},
		{"echo a | grep b", "", "", OK},
		{"echo -q", "", "kdx: echo: unknown flag -q (help echo shows its flags)\nusage: echo\n", Usage},
		{"fail", "", "kdx: fail: it did not work\n", Failed},
		{"half", "half\n", "kdx: half: the other half\n", Failed},
		{"panic", "", "kdx: panic: a mistake in kdx, please report it: index out of range (command panic )\n", Failed},
		{"gap", "what is there\n", "kdx: PID 812: files: page excluded\n", Gaps},
		{"ecoh", "", "kdx: ecoh: there is no command, variable or type of that name; did you mean echo?\n", Usage},
		{"zzzzzz", "", "(help lists the commands)", Usage},
		{"echo 'a", "", "kdx: the quote ' is not closed\n", Usage},
		{"echo < " + args, "echo:1,2\necho:a b -x\n", "", OK},
		{"echo 0 < " + args + " | wc -l", "2\n", "", OK},
		{"echo < /no/such/file", "", "no such file", Failed},
		{"< " + script, "echo:1\necho:3\n", "kdx: fail: it did not work\n", Failed},
		{"< " + loop, "", "is it a loop?", Failed},
		{"< /no/such/file", "", "no such file", Failed},
		{"!echo hi", "hi\n", "", OK},
		{"!exit 3", "", "exit status 3", Failed},
		{"!", "", "none here", Usage},
		{"jiffies", "p:jiffies\n", "", OK},
		{"the_thing.pid", "p:the_thing.pid\n", "", OK},
		{"(1+2)", "p:(1+2)\n", "", OK},
		{"&jiffies", "p:&jiffies\n", "", OK},
		{"thing.pid ffff", "struct:thing.pid,ffff\n", "", OK},
		{"*thing ffff", "*:thing,ffff\n", "", OK},
		{"p 'a' \"x y\"", "p:'a',\"x y\"\n", "", OK},
		{"json echo a", `{"kdx":1,"command":"echo","args":["a"],"result":["echo:a"],"missing":[],"error":null}` + "\n", "", OK},
		{"json fail", `{"kdx":1,"command":"fail","args":[],"result":null,"missing":[],"error":"it did not work"}` + "\n", "", Failed},
		{"json gap", `{"kdx":1,"command":"gap","args":[],"result":["what is there"],"missing":[{"what":"PID 812: files","error":"page excluded"}],"error":null}` + "\n", "", Gaps},
		{"json ecoh 1", `{"kdx":1,"command":"ecoh","args":["1"],"result":null,"missing":[],"error":"there is no command, variable or type of that name; did you mean echo?"}` + "\n", "", Usage},
		{"json exit", "", "", OK},
		{"alias x echo 1 -x", "", "", OK},
		{"hi\n", "echo:hi\n", "", OK},
		{"last 5\n", "echo:5\n", "", OK}, // an alias at the end of a line of a file
		{"r", "", "only the prompt has a history", Failed},
		{"raw", "a\x1b[2Jb\n", "", OK}, // no terminal: as it is
	} {
		s := newTest(t, withKernel(t))
		s.state.Aliases["last"] = "echo"
		s.state.Aliases["hi"] = "echo hi"
		got, _ := s.Line(t.Context(), tt.line)
		if got != tt.status {
			t.Errorf("Line(%q) = %v; want %v", tt.line, got, tt.status)
		}
		if s.out.String() != tt.out {
			t.Errorf("Line(%q) wrote %q; want %q", tt.line, s.out.String(), tt.out)
		}
		if e := s.err.String(); !strings.Contains(e, tt.err) || tt.err == "" && e != "" {
			t.Errorf("Line(%q) complained %q; want %q", tt.line, e, tt.err)
		}
	}
}

func TestRedirect(t *testing.T) {
	f := filepath.Join(t.TempDir(), "f")
	s := newTest(t, nil)
	for _, l := range []string{"echo 1 > " + f, "echo 2 >> " + f, "json echo 3 >> " + f} {
		if st, _ := s.Line(t.Context(), l); st != OK {
			t.Errorf("Line(%q) = %v, %s", l, st, s.err.String())
		}
	}
	b, err := os.ReadFile(f)
	want := "echo:1\necho:2\n" + `{"kdx":1,"command":"echo","args":["3"],"result":["echo:3"],"missing":[],"error":null}` + "\n"
	if err != nil || string(b) != want {
		t.Errorf("file has %q, %v; want %q", b, err, want)
	}
	if st, _ := s.Line(t.Context(), "echo > /no/such/dir/f"); st != Failed || !strings.Contains(s.err.String(), "/no/such/dir/f") {
		t.Errorf("Line = %v, %q", st, s.err.String())
	}
	if s.out.Len() > 0 {
		t.Errorf("stdout got %q", s.out.String())
	}
}

func TestProtectDump(t *testing.T) {
	dump := filepath.Join(t.TempDir(), "vmcore")
	os.WriteFile(dump, []byte("precious"), 0o644)
	s := newTest(t, withKernel(t))
	s.cfg.Kernel.Image().Info().Files = []string{dump}
	if st, _ := s.Line(t.Context(), "echo > "+dump); st != Failed || !strings.Contains(s.err.String(), "is the dump itself") {
		t.Errorf("Line = %v, %q", st, s.err.String())
	}
	if b, _ := os.ReadFile(dump); string(b) != "precious" {
		t.Errorf("the dump has become %q", b)
	}
}

func TestOutputOrder(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := newTest(t, func(c *Config) { c.Out, c.Err = f, f })
	for _, l := range []string{"echo 1", "!echo 2", "echo 3 | cat", "fail", "echo 4", "half"} {
		s.Line(t.Context(), l)
	}
	b, _ := os.ReadFile(f.Name())
	want := "echo:1\n2\necho:3\nkdx: fail: it did not work\necho:4\nhalf\nkdx: half: the other half\n"
	if string(b) != want {
		t.Errorf("output in order %q; want %q", b, want)
	}
}

func TestReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	s := newTest(t, func(c *Config) { c.Out = w })
	st, done := s.Script(t.Context(), []Source{{Line: "many"}, {Line: "fail"}})
	if st != OK || !done || s.err.Len() > 0 {
		t.Errorf("Script = %v, %v, %q; want a silent end", st, done, s.err.String())
	}
}

func TestScript(t *testing.T) {
	for _, tt := range []struct {
		lines  []string
		status Status
		done   bool
	}{
		{[]string{"echo"}, OK, false},
		{[]string{"gap", "echo"}, Gaps, false},
		{[]string{"gap", "fail", "echo"}, Failed, false},
		{[]string{"fail", "echo -q", "gap"}, Usage, false},
		{[]string{"exit", "fail"}, OK, true},
		{[]string{"fail", "q", "echo -q"}, Failed, true},
	} {
		s := newTest(t, withKernel(t))
		var src []Source
		for _, l := range tt.lines {
			src = append(src, Source{Line: l})
		}
		if st, done := s.Script(t.Context(), src); st != tt.status || done != tt.done {
			t.Errorf("Script(%q) = %v, %v; want %v, %v", tt.lines, st, done, tt.status, tt.done)
		}
		// The same on stdin.
		s = newTest(t, func(c *Config) {
			withKernel(t)(c)
			c.In = strings.NewReader(strings.Join(tt.lines, "\n"))
		})
		if st := s.Run(t.Context()); st != tt.status {
			t.Errorf("Run(%q) = %v; want %v", tt.lines, st, tt.status)
		}
	}
}

func TestInterrupt(t *testing.T) {
	s := newTest(t, withKernel(t))
	started := make(chan bool)
	for _, c := range s.cfg.Commands {
		if c.Name == "wait" {
			run := c.Run
			c.Run = func(c *commands.Call) (view.Result, error) { close(started); return run(c) }
		}
	}
	go func() {
		<-started
		s.interrupts.deliver()
	}()
	st, exit := s.Line(t.Context(), "wait")
	if st != Interrupted || exit || s.err.String() != "kdx: wait: interrupted\n" {
		t.Errorf("Line = %v, %v, %q", st, exit, s.err.String())
	}
	if st, _ := s.Line(t.Context(), "echo"); st != OK {
		t.Errorf("the next command: %v", st)
	}
}

func TestGiveUp(t *testing.T) {
	gave := 0
	in := interrupts{give: func() { gave++ }}
	_, cancel := in.command(context.Background())
	for range patience {
		in.deliver()
	}
	cancel(nil)
	if gave != 1 {
		t.Errorf("gave up %d times after %d Ctrl-C", gave, patience)
	}
	in.deliver()
	if gave != 1 || !in.take() || in.take() {
		t.Error("a Ctrl-C between commands is pending once")
	}
}

func TestTerminalOutput(t *testing.T) {
	screen := func(c *Config) {
		c.Terminal = Terminal{Out: true, Err: true, Size: func() (int, int) { return 80, 24 }}
	}
	s := newTest(t, screen)
	s.Line(t.Context(), "raw")
	s.Line(t.Context(), "json raw")
	s.Line(t.Context(), "raw | cat")
	want := `a\x1b[2Jb` + "\n" + `{"kdx":1,"command":"raw","args":[],"result":["a\u001b[2Jb"],"missing":[],"error":null}` + "\n" + `a\x1b[2Jb` + "\n"
	if got := s.out.String(); got != want {
		t.Errorf("terminal got %q; want %q", got, want)
	}
	s.Line(t.Context(), "echo -\x1b")
	if e := s.err.String(); strings.ContainsRune(e, 0x1b) {
		t.Errorf("stderr got %q", e)
	}
}

func TestRCFiles(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Chdir(dir)
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, mode)
	}
	write(filepath.Join(home, ".kdxrc"), "alias hi echo home\n", 0o644)
	write(filepath.Join(dir, ".kdxrc"), "echo here\n", 0o644)
	s := newTest(t, nil)
	s.RCFiles(t.Context(), ".kdxrc")
	s.Line(t.Context(), "hi")
	if got := s.out.String(); got != "echo:here\necho:home\n" || s.err.Len() > 0 {
		t.Errorf("got %q, %q", got, s.err.String())
	}
	write(filepath.Join(dir, ".kdxrc"), "echo here\n", 0o666)
	s = newTest(t, nil)
	s.RCFiles(t.Context(), ".kdxrc")
	if got := s.out.String(); got != "" || !strings.Contains(s.err.String(), "others may write to it") {
		t.Errorf("a file that others may write: %q, %q", got, s.err.String())
	}
	t.Chdir(home)
	s = newTest(t, nil)
	write(filepath.Join(home, ".kdxrc"), "echo once\n", 0o644)
	s.RCFiles(t.Context(), ".kdxrc")
	if got := s.out.String(); got != "echo:once\n" {
		t.Errorf("at home: %q", got)
	}
}

func TestJSONIsJSON(t *testing.T) {
	s := newTest(t, func(c *Config) { withKernel(t)(c); c.JSON = true })
	for _, l := range []string{"echo a", "help", "help echo", "alias", "set -v", "fail", "panic", "gap", "zzz", "help zzz"} {
		s.out.Reset()
		s.Line(t.Context(), l)
		var doc struct {
			Kdx     int
			Command string
			Args    []string
			Missing []struct{ What, Error string }
			Error   *string
		}
		d := json.NewDecoder(&s.out)
		if err := d.Decode(&doc); err != nil || doc.Kdx != EnvelopeVersion || doc.Args == nil || doc.Missing == nil {
			t.Errorf("%s: %v, %+v", l, err, doc)
		}
		if d.More() {
			t.Errorf("%s: more than one document", l)
		}
	}
}

func TestStatusRanks(t *testing.T) {
	seen := map[Status]bool{}
	for _, r := range statusTable {
		if seen[r.code] {
			t.Errorf("status %d twice", r.code)
		}
		seen[r.code] = true
	}
	for _, tt := range []struct{ a, b, want Status }{{OK, Gaps, Gaps}, {Gaps, Failed, Failed}, {Failed, Usage, Usage}, {Usage, Interrupted, Interrupted}, {Interrupted, NotDump, NotDump}} {
		if got := tt.a.Worse(tt.b); got != tt.want {
			t.Errorf("%d.Worse(%d) = %d; want %d", tt.a, tt.b, got, tt.want)
		}
		if got := tt.b.Worse(tt.a); got != tt.want {
			t.Errorf("%d.Worse(%d) = %d; want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
