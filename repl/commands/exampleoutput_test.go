package commands

import (
	"strings"
	"testing"
)

func TestWriteExamples(t *testing.T) {
	long := strings.Repeat("row  \n", ExampleLines+1)
	wide := strings.Repeat("é", 200)
	got := WriteExamples([]string{"a", "b", "c", "d"}, map[string]string{"a": "\n one \n", "b": long, "c": "\n", "d": wide})
	want := "== a\n one\n== b\n" + strings.Repeat("row\n", ExampleLines) + "...\n== d\n" + strings.Repeat("é", 116) + " ...\n"
	if got != want {
		t.Errorf("WriteExamples = %q; want %q", got, want)
	}
}
