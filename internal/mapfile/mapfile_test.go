package mapfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShrunk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	sum := 0
	err = Guard(path, func() error {
		for _, b := range f.Bytes() {
			sum += int(b)
		}
		return nil
	})
	var fault *FaultError
	if !errors.As(err, &fault) {
		t.Errorf("reading a file that shrank: %v; want a FaultError", err)
	}
}

func TestGuard(t *testing.T) {
	var none []byte
	if err := Guard("f", func() error { _ = none[len(none)]; return nil }); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("a panic became %v", err)
	}
	if err := Guard("f", func() error { return os.ErrExist }); err != os.ErrExist {
		t.Errorf("an error became %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil {
		t.Error("a directory was mapped")
	}
	path := filepath.Join(dir, "empty")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil || len(f.Bytes()) != 0 || f.Close() != nil {
		t.Errorf("an empty file: %v", err)
	}
}
