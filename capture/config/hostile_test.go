package config

import (
	"strings"
	"testing"
	"time"
)

// TestHostile: text that is made to be slow or deep ends soon.
func TestHostile(t *testing.T) {
	deep := func(head, s string) string { return head + strings.Repeat(s, (maxShell-len(head))/len(s)) }
	for _, text := range []string{
		deep("A=", "$("), deep("", "("), deep("A=", "${B:-"), deep("A=", "`"), deep("", "if a; then "), deep("A=", "\"$("), deep("A=", "$(("), deep("A=$((", "("), deep("A=$((", "-"), deep("A=$((", "!"),
		deep("A=$((", "a="), deep("A=$((", "1?"), deep("A=$((", "1**"), deep("A[", "("), deep("A=${a:", "("), deep("", "{ "), deep("", "! "), deep("[[ ", "( "), deep("[[ ", "! "), deep("A=$[", "("), deep("", "time "),
		deep("", "if "), deep("A=", "'\""), deep("A=((", "(") + "\n#", strings.Repeat("A=$A\n", maxSettings), strings.Repeat("A=1\n", maxFile/4), strings.Repeat("ssh a\n", maxSettings),
	} {
		start := time.Now()
		f, err := parseForeign("f", []byte(text))
		if err == nil {
			for _, d := range distributions {
				im := &importer{root: "/nonexistent", d: d, parsed: &Parsed{Config: Default(), Origins: map[string][]Origin{}}, values: map[string]string{}}
				im.read(f)
				if d.finish != nil {
					d.finish(im)
				}
				_ = im.result([]string{"f"})
			}
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%.20q… took %v", text, d)
		}
	}
}
