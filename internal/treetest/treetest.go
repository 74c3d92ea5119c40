// Package treetest makes trees of files in which tests of hosts and machines look around.
package treetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Put writes a file below root, with the directories above it, and returns its path.
func Put[T string | []byte](t testing.TB, root, name string, data T) string {
	t.Helper()
	path := above(t, root, name)
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// PutAll writes files by their names.
func PutAll[T string | []byte](t testing.TB, root string, files map[string]T) {
	t.Helper()
	for name, data := range files {
		Put(t, root, name, data)
	}
}

// Link makes a symbolic link below root, with the directories above it.
func Link(t testing.TB, root, name, target string) {
	t.Helper()
	if err := os.Symlink(target, above(t, root, name)); err != nil {
		t.Fatal(err)
	}
}

func above(t testing.TB, root, name string) string {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
