package kallsyms

import "testing"

// TestExpandGivesUp: where most names are damaged the rest is not tried, but what decoded before can be asked for.
func TestExpandGivesUp(t *testing.T) {
	var tokens tokenSet
	for _, c := range []byte("Tab") {
		tokens[c].set([]byte{c})
	}
	var data []byte
	var recs []record
	for i := range 1000 {
		name := "Tab"
		if i >= 10 {
			name = "T\x01" // an empty token
		}
		recs = append(recs, record{uint32(len(data)), uint32(len(name))})
		data = append(data, name...)
	}
	names := expand(data, recs, len(recs), false, &tokens)
	good := 0
	for i, l := range names.letters {
		if l == 0 {
			continue
		}
		good++
		if got := names.name(i); got != "ab" {
			t.Errorf("name(%d) = %q; want ab", i, got)
		}
	}
	if good != 10 || names.bad != 990 {
		t.Errorf("%d names decode and %d don't; want 10 and 990", good, names.bad)
	}
}
