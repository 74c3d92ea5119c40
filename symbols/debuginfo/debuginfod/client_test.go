package debuginfod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const id = "0123456789abcdef0123456789abcdef01234567"

var content = bytes.Repeat([]byte("debug information "), 40_000)

// server counts requests and notes their ranges.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	ranges []string
	paths  []string
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ranges
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.paths = append(s.paths, r.URL.EscapedPath())
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func file(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(content))
}

func client(t *testing.T, change func(*Config), urls ...string) *Client {
	cfg := Config{URLs: urls, Cache: filepath.Join(t.TempDir(), "cache"), Timeout: 20 * time.Second}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

func entries(t *testing.T, c *Client) []string {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(c.cfg.Cache, id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out
}

func TestFind(t *testing.T) {
	s := serve(t, file)
	var done, total int64
	c := client(t, func(cfg *Config) {
		cfg.Progress = func(_ string, d, of int64) { done, total = d, of }
	}, s.URL+"/")
	if c.Cached(Debuginfo, id) != "" {
		t.Error("an empty cache has the file")
	}
	verifications := 0
	verify := func(path string) error {
		verifications++
		_, err := os.Stat(path)
		return err
	}
	for range 2 {
		path, err := c.Find(context.Background(), Debuginfo, id, verify)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(b, content) || path != filepath.Join(c.cfg.Cache, id, "debuginfo") || path != c.Cached(Debuginfo, id) {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	if len(s.requests()) != 1 || verifications != 2 || s.paths[0] != "/buildid/"+id+"/debuginfo" {
		t.Errorf("%d requests, %d verifications: %q", len(s.requests()), verifications, s.paths)
	}
	if done != int64(len(content)) || total != done {
		t.Errorf("progress %d of %d; want %d", done, total, len(content))
	}
	if e := entries(t, c); len(e) != 1 {
		t.Errorf("the cache holds %q", e)
	}
	for _, bad := range []string{"", "../../etc", "0123", "0123456G", "ABCDEF0123"} {
		if _, err := c.Find(context.Background(), Debuginfo, bad, nil); err == nil || !strings.Contains(err.Error(), "no build-id") {
			t.Errorf("build-id %q: %v", bad, err)
		}
	}
	if _, err := client(t, nil).Find(context.Background(), Debuginfo, id, nil); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("without a server: %v", err)
	}
}

func TestSource(t *testing.T) {
	s := serve(t, file)
	c := client(t, nil, s.URL)
	path, err := c.Source(context.Background(), id, "/build/linux 6/../mm/#a.c")
	if err != nil || filepath.Base(path) != "source##build##linux 6##..##mm###_a.c" || s.paths[0] != "/buildid/"+id+"/source/build/linux%206/../mm/%23a.c" {
		t.Errorf("%s, %v: asked for %q", path, err, s.paths)
	}
	if _, err := c.Source(context.Background(), id, "mm/a.c"); err == nil {
		t.Error("a relative path was asked for")
	}
}

func TestAbsent(t *testing.T) {
	no := serve(t, http.NotFound)
	c := client(t, nil, no.URL)
	for i := range 2 {
		_, err := c.Find(context.Background(), Debuginfo, id, nil)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), id) {
			t.Errorf("time %d: %v", i, err)
		}
	}
	if n := len(no.requests()); n != 1 {
		t.Errorf("asked %d times; want 1, as the first answer holds for a while", n)
	}
	if err := os.WriteFile(filepath.Join(c.cfg.Cache, "cache_miss_s"), []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); !errors.Is(err, fs.ErrNotExist) || len(no.requests()) != 2 {
		t.Errorf("after the miss expired: %v, %d requests", err, len(no.requests()))
	}
	// A server that fails is no proof of absence, and the next one is asked.
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of disk", http.StatusInternalServerError)
	})
	c = client(t, nil, no.URL, broken.URL)
	_, err := c.Find(context.Background(), Debuginfo, id, nil)
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "500 Internal Server Error (out of disk)") || !strings.Contains(err.Error(), "404") {
		t.Errorf("a failing server: %v", err)
	}
	if e := entries(t, c); len(e) != 0 {
		t.Errorf("the cache holds %q", e)
	}
	good := serve(t, file)
	c.cfg.URLs = append(c.cfg.URLs, good.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err != nil {
		t.Errorf("the third server has it: %v", err)
	}
}

// TestHalf: a connection that breaks is taken up where it broke, if the server can, and from the start if it can't.
func TestHalf(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		first := true
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
				w.Header().Set("Last-Modified", time.Unix(1_700_000_000, 0).UTC().Format(http.TimeFormat))
				w.Write(content[:len(content)/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			if !ranges {
				r.Header.Del("Range")
			}
			file(w, r)
		})
		c := client(t, nil, s.URL)
		_, err := c.Find(context.Background(), Debuginfo, id, nil)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("closed the connection after %d of %d bytes", len(content)/2, len(content))) {
			t.Errorf("closed half-way: %v", err)
		}
		if c.Cached(Debuginfo, id) != "" {
			t.Error("half a file has the final name")
		}
		path, err := c.Find(context.Background(), Debuginfo, id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, content) {
			t.Errorf("ranges %v: %d bytes, %v", ranges, len(b), err)
		}
		want := fmt.Sprintf("bytes=%d-", len(content)/2)
		if got := s.requests()[1]; got != want {
			t.Errorf("asked for %q; want %q", got, want)
		}
		if e := entries(t, c); len(e) != 1 {
			t.Errorf("the cache holds %q", e)
		}
	}
}

// TestChanged: a file that is another one by now is not patched together.
func TestChanged(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", at, bytes.NewReader(content))
	})
	c := client(t, nil, s.URL)
	dir := filepath.Join(c.cfg.Cache, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"debuginfo.part": "another file's beginning", "debuginfo.part.json": fmt.Sprintf(`{"url":%q,"validator":"Mon, 01 Jan 2001 00:00:00 GMT","total":%d}`,
		s.URL+"/buildid/"+id+"/debuginfo", len(content))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path, err := c.Find(context.Background(), Debuginfo, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); !bytes.Equal(b, content) || s.requests()[0] == "" {
		t.Errorf("%d bytes; asked for %q", len(b), s.requests())
	}
}

func TestRetry(t *testing.T) {
	n := 0
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		file(w, r)
	})
	c := client(t, func(cfg *Config) { cfg.Retries = 2 }, s.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	s := serve(t, file)
	c := client(t, func(cfg *Config) { cfg.Retries = 3 }, s.URL)
	other := errors.New("its build-id is 99, not 01")
	_, err := c.Find(context.Background(), Debuginfo, id, func(string) error { return other })
	if !errors.Is(err, other) || !strings.Contains(err.Error(), "refused: its build-id is 99") || len(s.requests()) != 1 {
		t.Errorf("another build: %v, %d requests", err, len(s.requests()))
	}
	if e := entries(t, c); len(e) != 0 {
		t.Errorf("the cache holds %q", e)
	}
	// One that is in the cache and not what its name says is fetched again.
	path := filepath.Join(c.cfg.Cache, id, "debuginfo")
	if err := os.WriteFile(path, []byte("bad"), 0o400); err != nil {
		t.Fatal(err)
	}
	_, err = c.Find(context.Background(), Debuginfo, id, func(p string) error {
		if b, err := os.ReadFile(p); err != nil || string(b) == "bad" {
			return errors.Join(other, err)
		}
		return nil
	})
	if b, _ := os.ReadFile(path); err != nil || !bytes.Equal(b, content) {
		t.Errorf("a bad file in the cache: %v, %d bytes", err, len(b))
	}
}

func TestBounds(t *testing.T) {
	s := serve(t, file)
	c := client(t, func(cfg *Config) { cfg.MaxSize = 1000 }, s.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err == nil || !strings.Contains(err.Error(), "more than 1000 (DEBUGINFOD_MAXSIZE)") {
		t.Errorf("MAXSIZE: %v", err)
	}
	endless := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(content); err != nil {
				return
			}
		}
	})
	c = client(t, func(cfg *Config) { cfg.MaxSize = 10 << 20 }, endless.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err == nil || !strings.Contains(err.Error(), "more than 10485760") {
		t.Errorf("MAXSIZE without a length: %v", err)
	}
	if e := entries(t, c); len(e) != 0 {
		t.Errorf("the cache holds %q", e)
	}
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("slow"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c = client(t, func(cfg *Config) { cfg.Timeout = 50 * time.Millisecond }, slow.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err == nil || !strings.Contains(err.Error(), "too slow") {
		t.Errorf("TIMEOUT: %v", err)
	}
	c = client(t, func(cfg *Config) { cfg.MaxTime = 50 * time.Millisecond }, slow.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err == nil || !strings.Contains(err.Error(), "DEBUGINFOD_MAXTIME") {
		t.Errorf("MAXTIME: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	c = client(t, nil, slow.URL, s.URL)
	if _, err := c.Find(ctx, Debuginfo, id, nil); !errors.Is(err, context.Canceled) || c.Cached(Debuginfo, id) != "" {
		t.Errorf("cancelled: %v, cached %q", err, c.Cached(Debuginfo, id))
	}
	c = client(t, nil, "http://127.0.0.1:1", "ftp://x")
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "only http") {
		t.Errorf("no server there: %v", err)
	}
}

func TestNowhere(t *testing.T) {
	s := serve(t, file)
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, func(cfg *Config) { cfg.Cache = filepath.Join(blocked, "cache") }, s.URL)
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); err == nil || !strings.Contains(err.Error(), blocked) {
		t.Errorf("a cache that can't be made: %v", err)
	}
}

func TestTwice(t *testing.T) {
	s := serve(t, file)
	c := client(t, nil, s.URL)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := New(c.cfg).Find(context.Background(), Debuginfo, id, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, content) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	wg.Wait()
	if e := entries(t, c); len(e) != 1 {
		t.Errorf("the cache holds %q", e)
	}
}

func TestClean(t *testing.T) {
	s := serve(t, file)
	c := client(t, nil, s.URL)
	old := filepath.Join(c.cfg.Cache, strings.Repeat("ab", 20))
	other := filepath.Join(c.cfg.Cache, "notes")
	stamp := filepath.Join(c.cfg.Cache, "cache_clean_interval_s")
	ago := time.Now().Add(-30 * 24 * time.Hour)
	for _, dir := range []string{old, other} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "debuginfo"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, "debuginfo"), ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	for i, gone := range []bool{false, true} {
		if _, err := c.Source(context.Background(), id, fmt.Sprint("/", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) != gone {
			t.Errorf("time %d: the old directory: %v", i, err)
		}
		if err := os.Chtimes(stamp, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(other, "debuginfo")); err != nil {
		t.Errorf("what is nothing of the cache's: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home, "DEBUGINFOD_URLS": " https://a/ ima:enforcing  http://b ", "DEBUGINFOD_TIMEOUT": "5", "DEBUGINFOD_MAXTIME": "60", "DEBUGINFOD_MAXSIZE": "1000",
		"DEBUGINFOD_RETRY_LIMIT": "7"}
	get := func(k string) string { return env[k] }
	c, err := FromEnvironment(get)
	if err != nil || len(c.URLs) != 2 || c.URLs[1] != "http://b" || c.Timeout != 5*time.Second || c.MaxTime != time.Minute || c.MaxSize != 1000 || c.Retries != 7 {
		t.Errorf("FromEnvironment() = %+v, %v", c, err)
	}
	if want := filepath.Join(home, ".cache", "debuginfod_client"); c.Cache != want {
		t.Errorf("cache %s; want %s", c.Cache, want)
	}
	env["XDG_CACHE_HOME"] = "/xdg"
	if c, _ := FromEnvironment(get); c.Cache != "/xdg/debuginfod_client" {
		t.Errorf("cache %s", c.Cache)
	}
	if err := os.Mkdir(filepath.Join(home, ".debuginfod_client_cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	if c, _ := FromEnvironment(get); c.Cache != filepath.Join(home, ".debuginfod_client_cache") {
		t.Errorf("cache %s", c.Cache)
	}
	env["DEBUGINFOD_CACHE_PATH"] = "/d"
	if c, _ := FromEnvironment(get); c.Cache != "/d" {
		t.Errorf("cache %s", c.Cache)
	}
	env["DEBUGINFOD_TIMEOUT"] = "soon"
	if c, err := FromEnvironment(get); err == nil || c.Timeout != defaultTimeout {
		t.Errorf("a bad timeout: %v, %v", c.Timeout, err)
	}
}
