package config

import (
	"strings"
	"testing"
	"time"
)

// TestHostile: text that is made to be slow or deep ends soon.
func TestHostile(t *testing.T) {
	for _, text := range []string{
		"A=" + strings.Repeat("$(", maxFile/2-2), strings.Repeat("(", maxFile), "A=" + strings.Repeat("${B:-", maxFile/5-1), "A=" + strings.Repeat("`", maxFile-3),
		strings.Repeat("A=$A\n", maxSettings), strings.Repeat("if a; then\n", maxFile/12), "A=" + strings.Repeat("\"$(", maxFile/3-1), strings.Repeat("A=1\n", maxFile/4),
		strings.Repeat("ssh a\n", maxSettings), "A=" + strings.Repeat("$((", maxFile/3-1), "A=" + strings.Repeat("'\"", maxFile/2-2),
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
		t.Logf("%.20q %v %v", text, time.Since(start), err)
	}
}
