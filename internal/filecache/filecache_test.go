package filecache

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func put(t *testing.T, c *Cache, key, text string) string {
	t.Helper()
	e, err := c.Create(key)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	f, err := e.Commit()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Name()
}

func get(c *Cache, key string) (string, error) {
	f, err := c.Get(key)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func TestCache(t *testing.T) {
	c, err := At(filepath.Join(t.TempDir(), "a", "b"), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(c, "one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty cache: %v", err)
	}
	path := put(t, c, "one", "text of one")
	if s, err := get(c, "one"); s != "text of one" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
	put(t, c, "one", "another one")
	if s, err := get(c, "one"); s != "another one" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
	// Written again with the same bytes: verified by its checksum, then by its stamp.
	if err := os.WriteFile(path, []byte("another one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s, err := get(c, "one"); s != "another one" || err != nil {
			t.Errorf("got %q, %v", s, err)
		}
	}
	for name, damage := range map[string]func() error{
		"other bytes": func() error { return os.WriteFile(path, []byte("Another one"), 0o600) },
		"cut":         func() error { return os.Truncate(path, 4) },
		"other key": func() error {
			m := c.base("one") + metaSuffix
			b, err := os.ReadFile(m)
			if err != nil {
				return err
			}
			return os.WriteFile(m, []byte(strings.Replace(string(b), `"one"`, `"two"`, 1)), 0o600)
		},
	} {
		put(t, c, "one", "another one")
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if s, err := get(c, "one"); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %q, %v", name, s, err)
		}
		if _, err := get(c, "one"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, a second time: %v", name, err)
		}
	}
	put(t, c, "one", "another one")
	if err := os.WriteFile(c.base("one")+metaSuffix, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(c, "one"); err == nil {
		t.Error("a damaged meta file was believed")
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := At(dir, 250)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 100)
	put(t, c, "a", text)
	put(t, c, "b", text)
	now := time.Now()
	for key, age := range map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour} {
		if err := os.Chtimes(c.base(key)+metaSuffix, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := get(c, "b"); err != nil { // now a is the older one
		t.Fatal(err)
	}
	stale := filepath.Join(dir, ".x.1.tmp")
	fresh := filepath.Join(dir, ".x.2.tmp")
	for _, p := range []string{stale, fresh} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(stale, now, now.Add(-2*leftover)); err != nil {
		t.Fatal(err)
	}
	put(t, c, "c", text)
	if _, err := get(c, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the least used is still there: %v", err)
	}
	for _, key := range []string{"b", "c"} {
		if _, err := get(c, key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("an old temporary file was left")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("another's temporary file: %v", err)
	}
	e, err := c.Create("large")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Write(make([]byte, 251)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(); err == nil || !strings.Contains(err.Error(), "may hold") {
		t.Errorf("a file larger than the cache: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := At(open, 1); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a directory that all may write to: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := At(filepath.Join(file, "x"), 1); err == nil {
		t.Error("a file was taken for a directory")
	}
	t.Setenv("XDG_CACHE_HOME", dir)
	if err := os.Mkdir(filepath.Join(dir, "kdx"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := User("unpacked", 1)
	if err != nil || c.Dir() != filepath.Join(dir, "kdx", "unpacked") || c.Max() != 1 {
		t.Errorf("User() = %+v, %v", c, err)
	}
	if os.Geteuid() == 0 {
		other := filepath.Join(dir, "other")
		if err := os.Mkdir(other, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(other, 1234, 1234); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{other, filepath.Join(other, "new")} {
			if _, err := At(p, 1); err == nil || !strings.Contains(err.Error(), "of user 1234") {
				t.Errorf("another user's %s: %v", p, err)
			}
		}
		return
	}
	readOnly := filepath.Join(dir, "readonly")
	if err := os.Mkdir(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := At(filepath.Join(readOnly, "x"), 1); err == nil {
		t.Error("a directory was made in one that is read-only")
	}
}

// TestTwice: many make and read the same files at once, as several processes do.
func TestTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := At(dir, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 20 {
				key := strings.Repeat("k", i%3)
				want := "text of " + key
				s, err := get(c, key)
				if err == nil && s != want {
					t.Errorf("%q holds %q", key, s)
				}
				e, err := c.Create(key)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := e.Write([]byte(want)); err != nil {
					t.Error(err)
				}
				if f, err := e.Commit(); err == nil {
					f.Close()
				} else if !errors.Is(err, fs.ErrNotExist) { // another's look took it for damaged
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
