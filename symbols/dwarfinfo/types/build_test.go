package types

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
	"kdx/symbols/objfile"
)

// compile makes an ELF file of C or another language's source, with its debug information.
func compile(t *testing.T, file, source string, command ...string) *dwarfinfo.Data {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skip(command[0] + " is not here, which makes the DWARF of this test")
	}
	dir := t.TempDir()
	src, out := filepath.Join(dir, file), filepath.Join(dir, "out")
	if err := os.WriteFile(src, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], append(command[1:], "-o", out, src)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, b)
	}
	return open(t, out)
}

func open(t *testing.T, path string) *dwarfinfo.Data {
	t.Helper()
	f, err := objfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := dwarfinfo.Open(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newFinder(d *dwarfinfo.Data) *Finder {
	return New(d, func() (Index, error) { return index.Open(context.Background(), d, index.Options{}) }, "test")
}
