// Package debuginfod fetches debug information, executables and sources by build-id from debuginfod servers. It shares
// the cache of elfutils' own client (debuginfod-client-config(7)), so that what gdb or perf fetched is not fetched again.
package debuginfod

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config of a client. FromEnvironment fills it as elfutils' client reads the environment.
type Config struct {
	URLs  []string // of servers, asked in this order
	Cache string   // directory
	// Timeout is how long a server may take to send another 100 KB; 0 for ever.
	Timeout time.Duration
	// MaxTime and MaxSize (bytes) bound a download; 0 for no bound.
	MaxTime time.Duration
	MaxSize int64
	// Retries is how often a server is asked again that failed, but did not say no.
	Retries int
	Log     *slog.Logger
	// Progress is told of a download's bytes; total is 0 while it is not known. May be nil.
	Progress func(url string, done, total int64)
}

const (
	defaultTimeout = 90 * time.Second
	defaultRetries = 2
)

// FromEnvironment reads DEBUGINFOD_URLS and its companions; getenv is os.Getenv. Without URLs the client that is made
// of it asks nobody. The error is of a variable that can't be understood.
func FromEnvironment(getenv func(string) string) (Config, error) {
	c := Config{Timeout: defaultTimeout, Retries: defaultRetries, Cache: cachePath(getenv)}
	for _, u := range strings.Fields(getenv("DEBUGINFOD_URLS")) {
		if strings.HasPrefix(u, "ima:") { // policies for signatures of RPMs, which don't cover what a build-id proves
			continue
		}
		c.URLs = append(c.URLs, u)
	}
	var bad []error
	number := func(name string, into func(int64)) {
		s := getenv(name)
		if s == "" {
			return
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			bad = append(bad, fmt.Errorf("%s=%q is no count", name, s))
			return
		}
		into(n)
	}
	number("DEBUGINFOD_TIMEOUT", func(n int64) { c.Timeout = time.Duration(min(n, maxSeconds)) * time.Second })
	number("DEBUGINFOD_MAXTIME", func(n int64) { c.MaxTime = time.Duration(min(n, maxSeconds)) * time.Second })
	number("DEBUGINFOD_MAXSIZE", func(n int64) { c.MaxSize = n })
	number("DEBUGINFOD_RETRY_LIMIT", func(n int64) { c.Retries = int(min(n, 100)) })
	return c, errors.Join(bad...)
}

const maxSeconds = 1 << 31

// cachePath is where elfutils' client keeps its files. The first of them is where its first releases did.
func cachePath(getenv func(string) string) string {
	if p := getenv("DEBUGINFOD_CACHE_PATH"); p != "" {
		return p
	}
	home := getenv("HOME")
	if home != "" {
		old := filepath.Join(home, ".debuginfod_client_cache")
		if fi, err := os.Stat(old); err == nil && fi.IsDir() {
			return old
		}
	}
	if p := getenv("XDG_CACHE_HOME"); p != "" {
		return filepath.Join(p, "debuginfod_client")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".cache", "debuginfod_client")
}

// Client asks the servers of its configuration. It is safe for many goroutines.
type Client struct {
	cfg  Config
	http *http.Client
}

// New makes a client.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // sizes and ranges are of the file itself
	return &Client{cfg, &http.Client{Transport: t}}
}

// Configured reports whether there is a server to ask.
func (c *Client) Configured() bool { return len(c.cfg.URLs) > 0 }

// URLs are the servers.
func (c *Client) URLs() []string { return c.cfg.URLs }

// Kind is what a server is asked for.
type Kind string

// The kinds. Debuginfo is the file with DWARF, Executable the one that was loaded.
const (
	Debuginfo  Kind = "debuginfo"
	Executable Kind = "executable"
	source     Kind = "source"
)

// ErrNotConfigured: DEBUGINFOD_URLS names no server.
var ErrNotConfigured = errors.New("no debuginfod server is configured (DEBUGINFOD_URLS)")

// ServerError is why one server did not give the file.
type ServerError struct {
	URL    string
	Status int // of HTTP; 0 if there was no answer
	Err    error
}

func (e *ServerError) Error() string { return e.URL + ": " + e.Err.Error() }
func (e *ServerError) Unwrap() error { return e.Err }

// absent: the server answered that it does not have the file.
func (e *ServerError) absent() bool { return e.Status == http.StatusNotFound }

// NotFoundError: no server gave the file.
type NotFoundError struct {
	What    string         // "debuginfo of build-id 0123…"
	Servers []*ServerError // in the order in which they were asked; empty if none was, as they all said no a moment ago
	Asked   time.Duration  // how long ago that was
}

func (e *NotFoundError) Error() string {
	if len(e.Servers) == 0 {
		return fmt.Sprintf("no debuginfod server has the %s, as they said %v ago", e.What, e.Asked.Round(time.Second))
	}
	var all []string
	for _, s := range e.Servers {
		all = append(all, s.Error())
	}
	return fmt.Sprintf("no debuginfod server gave the %s: %s", e.What, strings.Join(all, "; "))
}

// Is lets errors.Is(err, fs.ErrNotExist) hold if every server said that it does not have the file.
func (e *NotFoundError) Is(target error) bool {
	if target != fs.ErrNotExist {
		return false
	}
	for _, s := range e.Servers {
		if !s.absent() {
			return false
		}
	}
	return true
}

func (e *NotFoundError) Unwrap() []error {
	var all []error
	for _, s := range e.Servers {
		all = append(all, s)
	}
	return all
}

// Verify looks at a file that came, and says why it is not what was asked for.
type Verify func(path string) error

// Find returns the path of a file in the cache, which is fetched if it is not there yet. verify may be nil.
func (c *Client) Find(ctx context.Context, kind Kind, buildID string, verify Verify) (string, error) {
	return c.find(ctx, item{kind: kind, id: buildID}, verify)
}

// Source is Find for a source file, by its absolute path as DWARF gives it.
func (c *Client) Source(ctx context.Context, buildID, path string) (string, error) {
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("debuginfod serves sources by absolute path, which %q is not", path)
	}
	return c.find(ctx, item{source, buildID, path}, nil)
}

// Cached is the path of a file that is in the cache already; "" if it is not.
func (c *Client) Cached(kind Kind, buildID string) string {
	i := item{kind: kind, id: buildID}
	if i.check() != nil || c.cfg.Cache == "" {
		return ""
	}
	p := i.path(c.cfg.Cache)
	if fi, err := os.Stat(p); err != nil || fi.Size() == 0 || !fi.Mode().IsRegular() {
		return ""
	}
	return p
}

// item is what is asked for.
type item struct {
	kind   Kind
	id     string
	source string
}

func (i item) check() error {
	b, err := hex.DecodeString(i.id)
	if err != nil || len(b) < 4 || len(b) > 64 || strings.ToLower(i.id) != i.id {
		return fmt.Errorf("%q is no build-id", i.id)
	}
	return nil
}

func (i item) String() string {
	if i.kind == source {
		return "source " + i.source + " of build-id " + i.id
	}
	return string(i.kind) + " of build-id " + i.id
}

// path in the cache. Sources have their path escaped as elfutils 0.188 does.
func (i item) path(cache string) string {
	name := string(i.kind)
	if i.kind == source {
		name += strings.NewReplacer("/", "##", "#", "#_").Replace(i.source)
		const maxName = 240
		if len(name) > maxName {
			name = name[:maxName]
		}
	}
	return filepath.Join(cache, i.id, name)
}

func (i item) url(server string) string {
	u := strings.TrimRight(server, "/") + "/buildid/" + i.id + "/" + string(i.kind)
	if i.kind == source {
		for part := range strings.SplitSeq(strings.TrimPrefix(i.source, "/"), "/") {
			u += "/" + escape(part)
		}
	}
	return u
}

// escape leaves dots alone, whatever they stand between: servers compare the path with what DWARF says.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("-._~+", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
