package repl

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSafeWriter(t *testing.T) {
	for _, tt := range []struct{ in, text, json string }{
		{"plain\n\ttext", "plain\n\ttext", "plain\n\ttext"},
		{"a\x1b[31mred", `a\x1b[31mred`, `a\u001b[31mred`},
		{"\r\b\a\x7f", `\x0d\x08\x07\x7f`, `\u000d\u0008\u0007\u007f`},
		{"\u009b31m", `\xc2\x9b31m`, `\u009b31m`}, // CSI as one character
		{"\x9b31m", `\x9b31m`, `\ufffd31m`},       // and as a bare byte
		{"grün ☃ 漢", "grün ☃ 漢", "grün ☃ 漢"},
		{"a\u202eb\u2066", `a\u202eb\u2066`, `a\u202eb\u2066`},
		{"\xf0\x9f\x98", `\xf0\x9f\x98`, `\ufffd\ufffd\ufffd`}, // cut short
		{"\xed\xa0\x80", `\xed\xa0\x80`, `\ufffd\ufffd\ufffd`}, // a surrogate
	} {
		for _, mode := range []struct {
			json bool
			want string
		}{{false, tt.text}, {true, tt.json}} {
			for _, step := range []int{1, 2, 1000} {
				var b bytes.Buffer
				w := &safeWriter{w: &b, json: mode.json}
				for in := []byte(tt.in); len(in) > 0; {
					n := min(step, len(in))
					if k, err := w.Write(in[:n]); k != n || err != nil {
						t.Fatalf("Write(%q) = %d, %v", in[:n], k, err)
					}
					in = in[n:]
				}
				w.Flush()
				if b.String() != mode.want {
					t.Errorf("%q in steps of %d, JSON %v = %q; want %q", tt.in, step, mode.json, b.String(), mode.want)
				}
			}
		}
		if got := safe(tt.in); got != tt.text {
			t.Errorf("safe(%q) = %q; want %q", tt.in, got, tt.text)
		}
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range []string{"a\x1b]0;t\x07", "\xc2\x9b", "\x80", "ü\u202e"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, s string, step int) {
		if step <= 0 {
			step = 1
		}
		var b bytes.Buffer
		w := &safeWriter{w: &b}
		for in := []byte(s); len(in) > 0; {
			n := min(step, len(in))
			w.Write(in[:n])
			in = in[n:]
		}
		w.Flush()
		out := b.String()
		if !utf8.ValidString(out) {
			t.Errorf("%q became %q, which is no UTF-8", s, out)
		}
		if i := strings.IndexFunc(out, func(c rune) bool {
			return c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || turnsText(c)
		}); i >= 0 {
			t.Errorf("%q became %q, which a terminal obeys at byte %d", s, out, i)
		}
		// JSON stays the same JSON.
		enc, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		b.Reset()
		j := &safeWriter{w: &b, json: true}
		j.Write(enc)
		j.Flush()
		var want, got string
		if json.Unmarshal(enc, &want) != nil || json.Unmarshal(b.Bytes(), &got) != nil || want != got {
			t.Errorf("JSON %q became %q", enc, b.Bytes())
		}
	})
}
