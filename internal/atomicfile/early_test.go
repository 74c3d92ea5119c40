package atomicfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 10 seconds", what)
		}
	}
}

// TestEarly: large files begin to be written before the end, whether by Write or by WriteAt.
func TestEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	began := make(chan bool, 1)
	f.early.begin = func(file *os.File) error {
		began <- true
		return beginWriting(file)
	}
	half := bytes.Repeat([]byte("half"), earlyStep/8)
	if _, err := f.Write(half); err != nil {
		t.Fatal(err)
	}
	select {
	case <-began:
		t.Error("it began too early")
	case <-time.After(10 * time.Millisecond):
	}
	if _, err := f.WriteAt(half, int64(len(half))); err != nil {
		t.Fatal(err)
	}
	<-began
	f.StartSync()
	f.StartSync()
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, append(half, half...)) {
		t.Errorf("the file has %d bytes, or others; error = %v", len(b), err)
	}
}

// TestLostBytes: what could not be written is told once by the system, in whichever of its calls. Commit must say it, and leave nothing.
func TestLostBytes(t *testing.T) {
	once := func(err error) func(*os.File) error {
		return func(*os.File) error {
			defer func() { err = nil }()
			return err
		}
	}
	never := func(*os.File) error { return nil }
	for _, test := range []struct {
		name        string
		begin, sync func(*os.File) error
		start       bool
		want        error
	}{
		{"when it began", once(syscall.EIO), never, false, syscall.EIO},
		{"no room when it began", once(syscall.ENOSPC), never, true, syscall.ENOSPC},
		{"in the sync beside", never, once(syscall.EIO), true, syscall.EIO},
		{"at the end", never, once(syscall.EDQUOT), false, syscall.EDQUOT},
		{"no such call", once(syscall.ENOSYS), never, true, nil},
		{"no such thing for this file", once(syscall.EINVAL), never, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := Create(filepath.Join(dir, "out"), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f.early.begin, f.early.sync = test.begin, test.sync
			if _, err := f.WriteAt(make([]byte, earlyStep), 0); err != nil {
				t.Fatal(err)
			}
			wait(t, "beginning to write", func() bool {
				f.early.mu.Lock()
				defer f.early.mu.Unlock()
				return !f.early.running
			})
			if test.start {
				f.StartSync()
			}
			if err := f.Commit(); !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("Commit() = %v; want %v", err, test.want)
			}
			want := 0
			if test.want == nil {
				want = 1
			}
			if n := names(t, dir); len(n) != want {
				t.Errorf("left behind: %q", n)
			}
		})
	}
}
