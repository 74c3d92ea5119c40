package repl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func show(l *line) string {
	var parts []string
	if l.json {
		parts = append(parts, "json")
	}
	for _, w := range l.words {
		if w.text == w.raw {
			parts = append(parts, "<"+w.text+">")
		} else {
			parts = append(parts, "<"+w.text+"~"+w.raw+">")
		}
	}
	for _, p := range []struct{ name, v string }{{"in", l.input}, {"out", l.output}, {"pipe", l.pipe}} {
		if p.v != "" {
			parts = append(parts, p.name+":"+p.v)
		}
	}
	if l.extend {
		parts = append(parts, "extend")
	}
	if l.isShell {
		parts = append(parts, "shell:"+l.shell)
	}
	return strings.Join(parts, " ")
}

func TestParseLine(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"   ", ""},
		{"# ps", ""},
		{"// ps", ""},
		{"ps # all", "<ps>"},
		{"ps -k // all", "<ps> <-k>"},
		{"bt a#b", "<bt> <a#b>"},
		{"ps -k  -u", "<ps> <-k> <-u>"},
		{"json ps -k", "json <ps> <-k>"},
		{"'json' ps", "<json~'json'> <ps>"},
		{"ps 'a b'", "<ps> <a b~'a b'>"},
		{`ps "a \"b\" \\ \n"`, `<ps> <a "b" \ \n~"a \"b\" \\ \n">`},
		{`ps a' 'b`, `<ps> <a b~a' 'b>`},
		{`ps ""`, `<ps> <~"">`},
		{`p '\''`, `<p> <'~'\''>`},
		{`ps a\ b \| \\`, `<ps> <a b~a\ b> <|~\|> <\~\\>`},
		{`ps \d+\.x`, `<ps> <\d+\.x>`},
		{"ps | grep a | sort > f", "<ps> pipe:grep a | sort > f"},
		{"ps|grep a", "<ps> pipe:grep a"},
		{"ps | grep 'a", "<ps> pipe:grep 'a"},
		{"ps | grep (", "<ps> pipe:grep ("},
		{"ps > f", "<ps> out:f"},
		{"ps>f", "<ps> out:f"},
		{"ps >> 'a b' # c", "<ps> out:a b extend"},
		{"rd < f", "<rd> in:f"},
		{"rd -8 < f > g", "<rd> <-8> in:f out:g"},
		{"rd < f | wc", "<rd> in:f pipe:wc"},
		{"< f", "in:f"},
		{"p a->b", "<p> <a->b>"},
		{"p a || b", "<p> <a> <||> <b>"},
		{"p a << 2 >= b <= c", "<p> <a> <<<> <2> <>=> <b> <<=> <c>"},
		{"p (a > b | c < d)", "<p> <(a> <>> <b> <|> <c> <<> <d)>"},
		{"p a[b|1] | cat", "<p> <a[b|1]> pipe:cat"},
		{"p a<b", "<p> <a<b>"},
		{"p 'a' \"b|c\"", "<p> <a~'a'> <b|c~\"b|c\">"},
		{"!", "shell:"},
		{"!ls | wc", "shell:ls | wc"},
		{"! ls", "shell:ls"},
		{"eval 1 ) | cat", "<eval> <1> <)> pipe:cat"},
	} {
		l, err := parseLine(tt.in)
		if err != nil {
			t.Errorf("parseLine(%q): %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, show(l)); diff != "" {
			t.Errorf("parseLine(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestParseLineErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"json", "modifier"},
		{"ps |", "no shell command after |"},
		{"ps >", "after > comes one file name"},
		{"p a > b c", "after > comes one file name"},
		{"ps > a > b", "one place"},
		{"ps > a | b", "one place"},
		{"rd < a < b", "two inputs"},
		{"> f", "no command whose output"},
		{"| f", "no command whose output"},
		{"ps 'a", "quote ' is not closed"},
		{`ps "a\"`, `quote " is not closed`},
		{"p (a", "not closed"},
	} {
		_, err := parseLine(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("parseLine(%q) = %v; want an error with %q", tt.in, err, tt.want)
			continue
		}
		if got := statusOf(err); got != Usage {
			t.Errorf("statusOf(%v) = %v; want %v", err, got, Usage)
		}
	}
}

func TestExpandAliases(t *testing.T) {
	aliases := map[string]string{"last": "ps -l", "a": "b x", "b": "a y", "top": "last | head"}
	for _, tt := range []struct{ in, want string }{
		{"last", "ps -l"},
		{"  last -u", "  ps -l -u"},
		{"last|head", "ps -l|head"},
		{"json last", "json ps -l"},
		{"top -3", "ps -l | head -3"},
		{"a 1", "a y x 1"}, // each alias once
		{"ps last", "ps last"},
		{"json", "json"},
		{"", ""},
	} {
		if got := expandAliases(tt.in, aliases); got != tt.want {
			t.Errorf("expandAliases(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"", "ps -k | grep x > f", "json p 'a' \"b\" \\| (a>b)", "< f", "!!", "rd < a >> b", `p '\''`, "a\x00\xff[", "ps # c", "((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseLine(s)
		if (l == nil) == (err == nil) {
			t.Fatalf("parseLine(%q) = %v, %v", s, l, err)
		}
		if err != nil {
			return
		}
		total := len(l.pipe) + len(l.output) + len(l.input) + len(l.shell)
		for _, w := range l.words {
			if len(w.text) > len(w.raw) {
				t.Errorf("parseLine(%q): word %q is longer than its source %q", s, w.text, w.raw)
			}
			total += len(w.raw)
		}
		if total > len(s) {
			t.Errorf("parseLine(%q) has %d bytes of words; the line has %d", s, total, len(s))
		}
		expandAliases(s, map[string]string{"ps": "ps -x", "a": "b", "b": "a"})
	})
}
