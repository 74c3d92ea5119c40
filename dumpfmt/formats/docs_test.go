package formats

import (
	"os"
	"strings"
	"testing"
)

// TestDocs: every format of the table is in docs/formats.md, by the name that kdx info gives it.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	read, _, _ := strings.Cut(string(b), "## Written")
	for _, row := range table {
		name, _, _ := strings.Cut(row.name, " ")
		if !strings.Contains(read, "| `"+name+"` |") {
			t.Errorf("docs/formats.md has no row of %q", row.name)
		}
	}
}
