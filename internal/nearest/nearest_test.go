package nearest

import (
	"slices"
	"testing"
)

func TestBest(t *testing.T) {
	names := []string{"task_struct", "task_group", "list_head", "hlist_head", "plist_head", "page", "pag", "ps", "p"}
	for _, tt := range []struct {
		word string
		want []string
	}{
		{"task_structt", []string{"task_struct"}},
		{"tsak_struct", []string{"task_struct"}},
		{"list_haed", []string{"list_head", "hlist_head", "plist_head"}},
		{"pagee", []string{"page"}},
		{"zzzzzz", nil},
		{"x", nil},
		{"", nil},
		{"page", []string{"pag"}}, // never the word itself
	} {
		f := New(tt.word)
		for _, n := range names {
			f.Add(n)
		}
		if got := f.Best(3); !slices.Equal(got, tt.want) {
			t.Errorf("Best(%q) = %q; want %q", tt.word, got, tt.want)
		}
	}
}

func TestOf(t *testing.T) {
	if got := Of("strcut", []string{"struct", "sym", "set"}); got != "struct" {
		t.Errorf("Of(strcut) = %q; want struct", got)
	}
}
