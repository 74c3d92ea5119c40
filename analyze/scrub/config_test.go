package scrub

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func number(n uint64) *uint64 { return &n }

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig(strings.NewReader(`# the manual's example, and a nested loop
erase early

[mymodule]
erase array_var
erase mystruct1.buffer size 25 # trailing
erase mystruct1.addr1 nullify
erase mystruct1.addr2 size 1K
erase mystruct2.addr
	size mystruct2.addr_size
for a in mystruct1 via next
	erase a.private
	for b in a.list within s2:link
		erase b.key size 2m
	endfor
endfor
for c in head within s1
endfor
[vmlinux]
`))
	if err != nil {
		t.Fatal(err)
	}
	size := Place{"mystruct2", []string{"addr_size"}}
	want := []Section{
		{Module: "vmlinux", Line: 2, Commands: []Command{{Line: 2, Erase: &Erase{Place: Place{"early", []string{}}}}}},
		{Module: "mymodule", Line: 4, Commands: []Command{
			{Line: 5, Erase: &Erase{Place: Place{"array_var", []string{}}}},
			{Line: 6, Erase: &Erase{Place: Place{"mystruct1", []string{"buffer"}}, Size: number(25)}},
			{Line: 7, Erase: &Erase{Place: Place{"mystruct1", []string{"addr1"}}, Nullify: true}},
			{Line: 8, Erase: &Erase{Place: Place{"mystruct1", []string{"addr2"}}, Size: number(1024)}},
			{Line: 9, Erase: &Erase{Place: Place{"mystruct2", []string{"addr"}}, SizeOf: &size}},
			{Line: 11, Loop: &Loop{Var: "a", List: Place{"mystruct1", []string{}}, Via: "next", Body: []Command{
				{Line: 12, Erase: &Erase{Place: Place{"a", []string{"private"}}}},
				{Line: 13, Loop: &Loop{Var: "b", List: Place{"a", []string{"list"}}, Struct: "s2", Member: "link", Body: []Command{
					{Line: 14, Erase: &Erase{Place: Place{"b", []string{"key"}}, Size: number(2 << 20)}},
				}}},
			}}},
			{Line: 17, Loop: &Loop{Var: "c", List: Place{"head", []string{}}, Struct: "s1", Member: "list"}},
		}},
	}
	if d := cmp.Diff(want, got.Config); d != "" {
		t.Errorf("ParseConfig (-want +got):\n%s", d)
	}
}

func TestParseConfigErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"erase", `line 1: a symbol should follow "erase", but the file ends`},
		{"erase erase", `line 1: a symbol should follow "erase", not "erase"`},
		{"\nremove x", `line 2: "remove" is no command`},
		{"erase a..b", `"a..b" is no symbol with members`},
		{"erase a->b", `"a->b" is no symbol with members`},
		{"erase a size", `a number of bytes or a symbol should follow "size"`},
		{"erase a size -5", `"-5" is no size`},
		{"erase a size 0", `"0" is no size`},
		{"erase a size 5G", `"5G" is no size`},
		{"erase a size 99999999999999999M", `is no size`},
		{"for x y", "for x: the word in should follow"},
		{"for x in y\nerase x", "line 1: this loop has no endfor"},
		{"for x in y\n[m]\nendfor", "line 1: this loop has no endfor"},
		{"for x in y within s:", `within takes STRUCT:MEMBER, not "s:"`},
		{"for 1 in y", `"1" can't be the name of a loop's variable`},
		{"endfor", "line 1: endfor without for"},
		{"[mod", `line 1: "[mod" is no section`},
		{"[]", `line 1: "[]" is no section`},
		{strings.Repeat("for x in y ", 20), "loops are nested more than 16 deep"},
	} {
		if _, err := ParseConfig(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseConfig(%.40q) = %v; want %q", tt.text, err, tt.want)
		}
	}
}

func TestParseRedact(t *testing.T) {
	for _, tt := range []struct {
		text, label string
		want        Rule
	}{
		{"symbol:init_uts_ns.name", "symbol:init_uts_ns.name", Rule{Kind: Symbol, Place: Place{"init_uts_ns", []string{"name"}}}},
		{"member:cred.uid", "member:cred.uid", Rule{Kind: Member, Place: Place{"cred", []string{"uid"}}}},
		{"member:cred.uid@cred_jar", "member:cred.uid@cred_jar", Rule{Kind: Member, Place: Place{"cred", []string{"uid"}}, Cache: "cred_jar"}},
		{"cache:kmalloc-64", "cache:kmalloc-64", Rule{Kind: Cache, Cache: "kmalloc-64"}},
		{"process:12", "process:12", Rule{Kind: Process, PID: 12}},
		{"process:my:name", "process (rule 3)", Rule{Kind: Process, Name: "my:name"}},
		{"compressed-swap", "compressed-swap", Rule{Kind: CompressedSwap}},
		{"freed", "freed", Rule{Kind: Freed}},
	} {
		got, err := ParseRedact(tt.text)
		if err != nil || !cmp.Equal(got, tt.want, cmp.AllowUnexported(Rule{}, pattern{})) || got.label(3) != tt.label {
			t.Errorf("ParseRedact(%q) = %+v, %v (%s); want %+v (%s)", tt.text, got, err, got.label(3), tt.want, tt.label)
		}
	}
}

func TestParseRedactErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "a rule is symbol:"},
		{"symbol", `"" is no symbol`},
		{"symbol:", "nothing follows the colon"},
		{"symbol:a b", `"a b" is no symbol`},
		{"member:cred", "is not of the form STRUCT.MEMBER"},
		{"member:cred.uid@", "is not of the form STRUCT.MEMBER"},
		{"process:0", "a PID is greater than 0"},
		{"process:-1", "a PID is greater than 0"},
		{"proces:x", "did you mean process?"},
		{"regex:(", "the expression is wrong: missing closing )"},
		{"regex:^x", "memory has no beginning"},
		{"regex:x*", "matches nothing at all"},
		{"compressed-swap:x", "it takes no argument"},
		{"freed:", "nothing follows the colon"},
	} {
		if _, err := ParseRedact(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseRedact(%q) = %v; want %q", tt.text, err, tt.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("erase a.b size 1K\n[m]\nfor x in y via z\nerase x nullify\nendfor\n")
	f.Add("for x in a.next within s:l\nfor y in x.q\nerase y size x.n\nendfor\nendfor")
	f.Add("[vmlinux] erase # x")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseConfig(strings.NewReader(text))
		if err != nil && (rules.Config != nil || !strings.HasPrefix(err.Error(), "erase configuration: ")) {
			t.Errorf("ParseConfig = %+v, %v", rules, err)
		}
	})
}

func FuzzParseRedact(f *testing.F) {
	for _, s := range []string{"symbol:a.b", "member:s.m@c", "cache:x", "process:1", "process:x", "regex:(?i)pass(word|phrase)=\\S{4,}", "regex:(?m)^x$", "compressed-swap"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRedact(text)
		if err != nil {
			return
		}
		if r.Kind == Regex {
			if strings.Contains(r.label(1), text[len("regex:"):]) && len(text) > len("regex:")+8 {
				t.Errorf("the label %q shows the expression", r.label(1))
			}
			data := []byte("xx password=hunter2\x00" + text)
			for _, last := range []bool{true, false} {
				_ = r.expr.search(data, last, func() []byte { return data }, func(h hit) {
					if h.from < 0 || h.from >= h.to || h.to > len(data) {
						t.Fatalf("a hit of [%d, %d) in %d bytes", h.from, h.to, len(data))
					}
				})
			}
		}
	})
}
