package scrub

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// hits are what search finds, sorted and joined.
func hits(t *testing.T, p *pattern, data []byte) []hit {
	t.Helper()
	low := make([]byte, len(data))
	for i, c := range data {
		low[i] = lower[c]
	}
	var out []hit
	if err := p.search(data, true, func() []byte { return low }, func(h hit) { out = append(out, h) }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b hit) int { return a.from - b.from })
	joined := out[:0]
	for _, h := range out {
		if n := len(joined); n > 0 && h.from < joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, h.to)
			continue
		}
		joined = append(joined, h)
	}
	return joined
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		expr, text string
		want       []string
	}{
		{"secret", "a secret, secrets", []string{"secret", "secret"}},
		{"(?i)SeCret", "a SECRET sEcRet\x00", []string{"SECRET", "sEcRet"}},
		{"password=.*", "password=a b\x00password=c\nx password=", []string{"password=a b", "password=c", "password="}},
		{"password=.*?;", "password=a;b;", []string{"password=a;"}},
		{"foo|barbaz", "xfoobarbazbarbafoo", []string{"foo", "barbaz", "foo"}},
		{`\d{4}-\d{4}`, "1234-5678 1-2345-67890", []string{"1234-5678", "2345-6789"}},
		{`\b\d{4}\b`, "1234 12345 x1234 1234", []string{"1234", "1234"}},
		{`(?m)^key: \w+$`, "key: a\nxkey: b\nkey: c d\nkey: e\n", []string{"key: a", "key: e"}},
		{`[a-z]+@example\.(org|com)`, "mail bob@example.org or eve@example.com, not x@example.net", []string{"bob@example.org", "eve@example.com"}},
		{"日本", "x日本y", []string{"日本"}},
		{"a\x00b", "a\x00b", []string{"a\x00b"}},
		{"(?i)kiss", "Kiss KISS \u212aiss", []string{"Kiss", "KISS", "\u212aiss"}},
	} {
		p, err := compilePattern(tt.expr)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		var got []string
		for _, h := range hits(t, p, []byte(tt.text)) {
			got = append(got, tt.text[h.from:h.to])
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q in %q finds %q; want %q", tt.expr, tt.text, got, tt.want)
		}
	}
}

// TestPrefilter holds the search for required strings against a plain search.
func TestPrefilter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"secret", "SECRET", "key=", "value", "abc", "\x00", "\n", " ", "12", "token:", "Token", "xyz", "k", "s"}
	for _, expr := range []string{"secret", "(?i)secret", "key=[a-z]{1,20}", "[a-z]{0,5}key=", "(token:|key=)\\S{1,9}", "(?i)tok(en)+:?", "a?bc.{0,40}xyz", "\\w{3,8}\\d\\d", "(?i)[ks]{2,4}"} {
		p, err := compilePattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		plain := *p
		plain.need, plain.first = nil, nil
		for range 200 {
			var data []byte
			for range rnd.IntN(400) {
				data = append(data, pieces[rnd.IntN(len(pieces))]...)
			}
			got, want := covered(hits(t, p, data), len(data)), covered(hits(t, &plain, data), len(data))
			whole := make([]byte, len(data))
			for _, m := range p.re.FindAllIndex(data, -1) {
				fill(whole[m[0]:m[1]], 1)
			}
			for i := range whole {
				if whole[i] > got[i] || whole[i] > want[i] {
					t.Fatalf("%q: byte %d of %q is not found", expr, i, data)
				}
			}
		}
	}
}

func covered(hs []hit, n int) []byte {
	out := make([]byte, n)
	for _, h := range hs {
		fill(out[h.from:h.to], 1)
	}
	return out
}

func TestRequired(t *testing.T) {
	for _, tt := range []struct {
		expr   string
		need   string
		fold   bool
		before int
	}{
		{"secret", "secret", false, 0},
		{"[a-c]{1,3}secret", "secret", false, 12},
		{"(?i)task", "ta", true, 0},
		{"(?i)skate", "ate", true, 8},
		{"key|token", "key token", false, 0},
		{"(ab)+c?", "ab", false, 0},
		{`\d{16}`, "", false, 0},
		{"a|bc", "", false, 0},
		{"x.*secret", "secret", false, longest},
	} {
		p, err := compilePattern(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(bytes.Join(p.need, []byte(" "))); got != tt.need || p.fold != tt.fold || p.before != tt.before {
			t.Errorf("%q: needs %q, fold %v, before %d; want %q, %v, %d", tt.expr, got, p.fold, p.before, tt.need, tt.fold, tt.before)
		}
	}
}

func TestTooLong(t *testing.T) {
	p, err := compilePattern("secret[^;]*")
	if err != nil {
		t.Fatal(err)
	}
	data := append([]byte("secret"), bytes.Repeat([]byte{'x'}, longest+100)...)
	same := func() []byte { return data }
	if err := p.search(data, false, same, func(hit) {}); err == nil || !strings.Contains(err.Error(), "bound it") {
		t.Errorf("a match without end: %v", err)
	}
	var got hit
	if err := p.search(data, true, same, func(h hit) { got = h }); err != nil || got.to != len(data) {
		t.Errorf("a long match at the end of memory: %v, %v", got, err)
	}
}
