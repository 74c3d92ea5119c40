package commands

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kdx/analyze/view"
)

func testState() *State {
	s := &State{Aliases: BuiltinAliases(), Scroll: true}
	s.All = All
	s.Command = func(name string) *Command {
		for _, c := range All() {
			if c.Name == name {
				return c
			}
			for _, a := range c.Aliases {
				if a == name {
					return c
				}
			}
		}
		return nil
	}
	return s
}

// ask runs a command line without a dump.
func ask(s *State, name string, words ...string) (string, error) {
	cmd := s.Command(name)
	c := &Call{State: s, Cmd: cmd, Args: words}
	if !cmd.Raw {
		var err error
		if c.Flags, c.Args, err = ParseFlags(cmd, words); err != nil {
			return "", err
		}
	}
	r, err := cmd.Run(c)
	if err != nil || r == nil {
		return "", err
	}
	var b bytes.Buffer
	err = r.Text(&b, view.Options{})
	return b.String(), err
}

// TestTable holds what help, documentation and completion need of every command.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	aliases := BuiltinAliases()
	for _, c := range All() {
		for _, n := range append([]string{c.Name}, c.Aliases...) {
			if seen[n] {
				t.Errorf("%s stands in the table twice", n)
			}
			seen[n] = true
			if aliases[n] != "" {
				t.Errorf("%s is a command and an alias", n)
			}
		}
		switch {
		case c.Run == nil || c.Summary == "" || c.Group == "" || len(c.Usage) == 0:
			t.Errorf("%s lacks Run, Summary, Group or Usage", c.Name)
		case strings.HasSuffix(c.Summary, "."):
			t.Errorf("%s: the summary %q ends in a full stop", c.Name, c.Summary)
		case len(c.Examples) < 2:
			t.Errorf("%s has %d examples; want two", c.Name, len(c.Examples))
		}
		switch c.Complete {
		case "", "symbol", "type", "command", "task", "variable":
		default:
			t.Errorf("%s completes %q, which nobody knows", c.Name, c.Complete)
		}
		switch c.Needs {
		case "", NeedsNothing, NeedsSymbols, NeedsTypes, NeedsDWARF:
		default:
			t.Errorf("%s needs %q", c.Name, c.Needs)
		}
		flags := map[string]bool{}
		for _, f := range c.Flags {
			if flags[f.Name] || f.Help == "" {
				t.Errorf("%s: flag %s stands twice or has no help", c.Name, f.Name)
			}
			flags[f.Name] = true
		}
		for _, e := range c.Examples {
			if !strings.Contains(e.Line, c.Name) && !containsAlias(c, e.Line) || e.Text == "" {
				t.Errorf("%s: example %q (%q) does not show it", c.Name, e.Line, e.Text)
			}
		}
	}
	for a, text := range aliases {
		name, _, _ := strings.Cut(text, " ")
		if !seen[name] {
			t.Errorf("alias %s stands for %q, which is no command", a, text)
		}
	}
}

func containsAlias(c *Command, line string) bool {
	for _, a := range c.Aliases {
		if strings.Contains(line, a) {
			return true
		}
	}
	return false
}

func TestHelp(t *testing.T) {
	s := testState()
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{nil, "help COMMAND shows"},
		{[]string{"set"}, "set VARIABLE [VALUE]"},
		{[]string{"q"}, "exit (q, quit)"},
		{[]string{"man"}, "help: the commands"},
		{[]string{"input"}, "COMMAND < FILE"},
		{[]string{"output"}, "SHELL PIPELINE"},
		{[]string{"all"}, "alias: other names"},
	} {
		got, err := ask(s, "help", tt.words...)
		if err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("help %q = %v, %q; want %q in it", tt.words, err, got, tt.want)
		}
	}
	if _, err := ask(s, "help", "exot"); err == nil || !strings.Contains(err.Error(), "did you mean exit?") {
		t.Errorf("help exot: %v", err)
	}
}

func TestHelpWidth(t *testing.T) {
	for _, width := range []int{40, 80, 200} {
		for _, c := range All() {
			var b bytes.Buffer
			NewHelpPage(c).Text(&b, view.Options{Width: width})
			for line := range strings.SplitSeq(b.String(), "\n") {
				if n := len([]rune(line)); n > width && strings.Contains(strings.TrimSpace(line), " ") && width >= 80 {
					t.Errorf("help %s on %d columns has a line of %d: %q", c.Name, width, n, line)
				}
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 20, "- short\n"},
		{"one two three four", 10, "- one two\n  three\n  four\n"},
		{"averyverylongword and", 10, "- averyverylongword and\n"},
		{"a    b", 20, "- a    b\n"},
	} {
		var b strings.Builder
		wrap(&b, tt.text, "- ", "  ", tt.width)
		if tt.text != "averyverylongword and" && b.String() != tt.want {
			t.Errorf("wrap(%q, %d) = %q; want %q", tt.text, tt.width, b.String(), tt.want)
		}
	}
}

func TestAlias(t *testing.T) {
	s := testState()
	for _, tt := range []struct {
		words     []string
		want, err string
	}{
		{[]string{"px"}, "ORIGIN   ALIAS  COMMAND\nbuiltin  px     p -x\n", ""},
		{[]string{"kt", "ps", "-k"}, "", ""},
		{[]string{"kt"}, "ORIGIN   ALIAS  COMMAND\nruntime  kt     ps -k\n", ""},
		{[]string{"kt", ""}, "", ""},
		{[]string{"kt"}, "", "no alias kt"},
		{[]string{"kt", ""}, "", "no alias kt"},
		{[]string{"set", "x"}, "", "set is a command"},
		{[]string{"q", "x"}, "", "q is a command"},
		{[]string{"a|b", "x"}, "", "can't be the name"},
		{[]string{"json", "x"}, "", "can't be the name"},
	} {
		got, err := ask(s, "alias", tt.words...)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("alias %q = %q, %v; want %q, %q", tt.words, got, err, tt.want, tt.err)
		}
	}
	all, err := ask(s, "alias")
	if err != nil || !strings.Contains(all, "\nbuiltin  last     ps -l\n") || !strings.Contains(all, "\nbuiltin  dmesg    log\n") {
		t.Errorf("alias = %q, %v", all, err)
	}
}

func TestSetVariables(t *testing.T) {
	s := testState()
	for _, tt := range []struct {
		words     []string
		want, err string
	}{
		{[]string{"-v"}, "        scroll: on\n         radix: 10\n          edit: emacs\n           src: \n", ""},
		{[]string{"scroll", "off"}, "", ""},
		{[]string{"scroll"}, "        scroll: off\n", ""},
		{[]string{"radix", "16"}, "", ""},
		{[]string{"radix"}, "         radix: 16\n", ""},
		{[]string{"radix", "8"}, "", "neither 10 nor 16"},
		{[]string{"scroll", "maybe"}, "", "neither on nor off"},
		{[]string{"scroll", "on", "off"}, "", "one value"},
		{[]string{"edit", "vi"}, "", ""},
		{[]string{"zero_excluded", "on"}, "", "--zero-excluded"},
		{[]string{"scrol"}, "", "did you mean scroll?"},
		{nil, "", "no dump is open"},
		{[]string{"-p"}, "", "no dump is open"},
	} {
		got, err := ask(s, "set", tt.words...)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("set %q = %q, %v; want %q, %q", tt.words, got, err, tt.want, tt.err)
		}
	}
	if s.Scroll || !s.Hex || !s.Vi {
		t.Errorf("state: scroll %v, hex %v, vi %v", s.Scroll, s.Hex, s.Vi)
	}
}

func TestExit(t *testing.T) {
	if _, err := ask(testState(), "q"); !errors.Is(err, ErrExit) {
		t.Errorf("q: %v", err)
	}
	if _, err := ask(testState(), "q", "1"); err == nil || errors.Is(err, ErrExit) {
		t.Errorf("q 1: %v", err)
	}
}

func TestParseFlags(t *testing.T) {
	c := &Command{Name: "t", Flags: []Flag{{Name: "a"}, {Name: "s"}, {Name: "c", Arg: "N"}, {Name: "8"}, {Name: "sp", Arg: "SP"}, {Name: "SS"}}}
	for _, tt := range []struct {
		words []string
		set   []flagValue
		args  []string
		err   string
	}{
		{[]string{"x", "-a", "y"}, []flagValue{{"a", ""}}, []string{"x", "y"}, ""},
		{[]string{"-as"}, []flagValue{{"a", ""}, {"s", ""}}, nil, ""},
		{[]string{"-asc1,2", "z"}, []flagValue{{"a", ""}, {"s", ""}, {"c", "1,2"}}, []string{"z"}, ""},
		{[]string{"-ac", "3"}, []flagValue{{"a", ""}, {"c", "3"}}, nil, ""},
		{[]string{"-c=3", "--sp", "f0", "--sp=f1"}, []flagValue{{"c", "3"}, {"sp", "f0"}, {"sp", "f1"}}, nil, ""},
		{[]string{"-c", "-1"}, []flagValue{{"c", "-1"}}, nil, ""},
		{[]string{"-8", "-5", "-"}, []flagValue{{"8", ""}}, []string{"-5", "-"}, ""},
		{[]string{"-SS"}, []flagValue{{"SS", ""}}, nil, ""},
		{[]string{"--", "-a"}, nil, []string{"-a"}, ""},
		{[]string{"-q"}, nil, nil, "unknown flag -q"},
		{[]string{"-aq"}, nil, nil, "unknown flag -q"},
		{[]string{"--quiet"}, nil, nil, "unknown flag --quiet"},
		{[]string{"-c"}, nil, nil, "-c wants N"},
		{[]string{"-ac"}, nil, nil, "-c wants N"},
		{[]string{"-a=1"}, nil, nil, "takes no argument"},
	} {
		f, args, err := ParseFlags(c, tt.words)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParseFlags(%q): %v; want %q", tt.words, err, tt.err)
			}
			continue
		}
		if err != nil || cmp.Diff(tt.args, args) != "" || cmp.Diff(tt.set, f.set, cmp.AllowUnexported(flagValue{})) != "" {
			t.Errorf("ParseFlags(%q) = %v, %q, %v; want %v, %q", tt.words, f.set, args, err, tt.set, tt.args)
		}
	}
}

func FuzzParseFlags(f *testing.F) {
	f.Add("-xs -c1 -- a")
	f.Add("--sp= -\xff -é")
	c := &Command{Name: "t", Flags: []Flag{{Name: "x"}, {Name: "s"}, {Name: "c", Arg: "N"}, {Name: "sp", Arg: "SP"}}}
	f.Fuzz(func(t *testing.T, s string) {
		words := strings.Split(s, " ")
		fl, args, err := ParseFlags(c, words)
		if err == nil && len(args) > len(words) {
			t.Errorf("ParseFlags(%q) has more arguments than words: %q, %v", words, args, fl)
		}
	})
}
