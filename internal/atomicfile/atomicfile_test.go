package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("before Commit the file has %q; want old", b)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close after Commit = %v; want nil", err)
	}
	b, _ := os.ReadFile(path)
	st, err := os.Stat(path)
	if string(b) != "new" || err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("after Commit the file has %q, %v, %v", b, st, err)
	}
	if n := names(t, dir); len(n) != 1 {
		t.Errorf("left behind: %q", n)
	}
	if err := f.Commit(); err == nil {
		t.Error("a second Commit gave no error")
	}
}

func TestDropped(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "out"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := names(t, dir); len(n) != 0 {
		t.Errorf("left behind: %q", n)
	}
	if _, err := Create(dir, 0o600); err == nil {
		t.Error("a directory can be replaced")
	}
	if _, err := Create(filepath.Join(dir, "no", "out"), 0o600); err == nil {
		t.Error("a directory that isn't there holds a file")
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	for _, text := range []string{"first", "second"} {
		if err := WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if b, _ := os.ReadFile(path); err != nil || string(b) != text || st.Mode().Perm() != 0o640 {
			t.Errorf("WriteFile left %q, %v, %v; want %q for 0640", b, st, err, text)
		}
	}
	if err := WriteFile(filepath.Join(dir, "none", "out"), nil, 0o600); err == nil {
		t.Error("WriteFile into a directory that is not there = nil; want an error")
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("WriteFile left %v; want one file", got)
	}
}
