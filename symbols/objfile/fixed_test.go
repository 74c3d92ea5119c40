package objfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Sections of a relocatable file that have no relocations can be read before it has a place; dwz's common files are such.
func TestFixed(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc to compile with")
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.o")
	if err := os.WriteFile(in, []byte("int f(void) { return 1; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(cc, "-g", "-c", "-o", out, in).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	f, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, fixed := range map[string]bool{".debug_abbrev": true, ".debug_info": false, ".nowhere": true} {
		if f.Fixed(name) != fixed {
			t.Errorf("%s: fixed: %v", name, !fixed)
		}
		if _, err := f.Section(name); (err == nil) != fixed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
