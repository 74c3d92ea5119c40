package index

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func cacheFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.data"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the cache has %v (%v); want one file", files, err)
	}
	return files[0]
}

func TestCache(t *testing.T) {
	d := compileC(t, source)
	dir := filepath.Join(t.TempDir(), "kdx", "index")
	var log bytes.Buffer
	opt := Options{CacheDir: dir, BuildID: "ab", Log: slog.New(slog.NewTextHandler(&log, nil))}
	check := func(what string, cached bool, says string) {
		t.Helper()
		log.Reset()
		x := open(t, d, opt)
		x.Wait()
		if x.Cached() != cached {
			t.Errorf("%s: from the cache: %v; want %v\n%s", what, x.Cached(), cached, log.String())
		}
		if hits := x.Find(Struct, "node"); len(hits) != 1 || hits[0].Size != 16 {
			t.Errorf("%s: %+v", what, hits)
		}
		if log.Len() > 0 != (says != "") || !strings.Contains(log.String(), says) {
			t.Errorf("%s: the log says %q; want %q", what, log.String(), says)
		}
	}
	check("empty", false, "")
	check("written", true, "")
	b, err := os.ReadFile(cacheFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += len(b)/7 + 1 {
		damaged := bytes.Clone(b)
		damaged[i] ^= 0x10
		if err := os.WriteFile(cacheFile(t, dir), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		check("a byte is wrong", false, "made anew")
		check("after a byte was wrong", true, "")
	}
	if err := os.Truncate(cacheFile(t, dir), int64(len(b)/2)); err != nil {
		t.Fatal(err)
	}
	check("truncated", false, "made anew")
	now := time.Now().Add(time.Hour)
	if err := os.Chtimes(d.File.Path, now, now); err != nil {
		t.Fatal(err)
	}
	check("the file was touched", false, "")
	opt.BuildID = "cd"
	check("another build", false, "")
}

// A cache that shrinks while it is mapped knows nothing more.
func TestCacheShrinks(t *testing.T) {
	d := compileC(t, source)
	opt := Options{CacheDir: filepath.Join(t.TempDir(), "index")}
	open(t, d, opt).Wait()
	x := open(t, d, opt)
	if !x.Cached() {
		t.Fatal("not from the cache")
	}
	if err := os.Truncate(cacheFile(t, opt.CacheDir), 0); err != nil {
		t.Fatal(err)
	}
	if hits := x.Find(Struct, "node"); hits != nil {
		t.Errorf("%+v", hits)
	}
	if n := x.NamesWithPrefix("n"); n != nil {
		t.Errorf("%q", n)
	}
}

func TestUnwritable(t *testing.T) {
	d := compileC(t, source)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	x := open(t, d, Options{CacheDir: filepath.Join(file, "x"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	x.Wait()
	if len(x.Find(Struct, "node")) != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log: %q", log.String())
	}
}

// Two that build at once don't disturb each other.
func TestTogether(t *testing.T) {
	d := compileC(t, source)
	opt := Options{CacheDir: filepath.Join(t.TempDir(), "index")}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			x, err := Open(t.Context(), d, opt)
			if err != nil {
				t.Error(err)
				return
			}
			if len(x.Find(Struct, "node")) != 1 {
				t.Error("no node")
			}
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !open(t, d, opt).Cached() {
		t.Error("nothing was kept")
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	opt := Options{CacheDir: filepath.Join(t.TempDir(), "index")}
	if _, err := Open(ctx, compileC(t, source), opt); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	files, err := os.ReadDir(opt.CacheDir)
	if err != nil || len(files) != 1 || files[0].Name() != "lock" {
		t.Errorf("left behind: %v, %v", files, err)
	}
}
