package debuginfod

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func (c *Client) find(ctx context.Context, i item, verify Verify) (string, error) {
	if err := i.check(); err != nil {
		return "", err
	}
	if !c.Configured() {
		return "", ErrNotConfigured
	}
	if c.cfg.Cache == "" {
		return "", errors.New("debuginfod: there is no directory to keep files in (neither HOME nor DEBUGINFOD_CACHE_PATH is set)")
	}
	path := i.path(c.cfg.Cache)
	if fi, err := os.Stat(path); err == nil {
		if fi.Size() == 0 { // servers said that they don't have it
			age := time.Since(fi.ModTime())
			if age < c.control("cache_miss_s", missAge) {
				return "", &NotFoundError{What: i.String(), Asked: age}
			}
			os.Remove(path)
		} else if err := verified(verify, path); err != nil {
			c.cfg.Log.Warn("a file in debuginfod's cache is not what its name says; it is fetched again", "err", err)
		} else {
			c.used(path)
			return path, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("debuginfod's cache: %w", err)
	}
	if c.cfg.MaxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.cfg.MaxTime, fmt.Errorf("it took longer than %v (DEBUGINFOD_MAXTIME)", c.cfg.MaxTime))
		defer cancel()
	}
	failed := &NotFoundError{What: i.String()}
	for _, server := range c.cfg.URLs {
		err := c.ask(ctx, server, i, path, verify)
		if err == nil {
			c.clean()
			return path, nil
		}
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return "", fmt.Errorf("fetching the %s from %s: %w", i, server, context.Canceled)
		}
		c.cfg.Log.Debug("debuginfod", "server", server, "want", i.String(), "err", err)
		failed.Servers = append(failed.Servers, err)
		if local := (*localError)(nil); errors.As(err, &local) {
			break // a full disk is as full for the next server
		}
	}
	if failed.Is(os.ErrNotExist) {
		remember(path)
	}
	return "", failed
}

// ask tries one server, several times if it fails in a way that may pass.
func (c *Client) ask(ctx context.Context, server string, i item, path string, verify Verify) *ServerError {
	url := i.url(server)
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return &ServerError{URL: server, Err: errors.New("only http and https are known")}
	}
	var err *ServerError
	for try := range c.cfg.Retries + 1 {
		d := download{c: c, url: url, path: path, verify: verify}
		status, failure := d.run(ctx)
		if failure == nil {
			return nil
		}
		err = &ServerError{server, status, failure}
		var local *localError
		if status == http.StatusNotFound || status == http.StatusForbidden || errors.Is(failure, errFinal) || errors.As(failure, &local) || ctx.Err() != nil {
			return err
		}
		if try == c.cfg.Retries {
			break
		}
		c.cfg.Log.Debug("debuginfod: asking again", "url", url, "err", failure)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
		}
	}
	return err
}

func verified(v Verify, path string) error {
	if v == nil {
		return nil
	}
	return v(path)
}

// remember leaves an empty file, which says that no server has it. If that fails they are only asked again.
func remember(path string) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		f.Close()
	}
}

// Defaults of the cache's control files, as elfutils' client has them.
const (
	missAge       = 10 * time.Minute
	unusedAge     = 7 * 24 * time.Hour
	cleanInterval = 24 * time.Hour
)

// control reads one of the files with a number of seconds by which the cache is governed.
func (c *Client) control(name string, otherwise time.Duration) time.Duration {
	b, err := os.ReadFile(filepath.Join(c.cfg.Cache, name))
	if err != nil {
		return otherwise
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n < 0 {
		return otherwise
	}
	return time.Duration(min(n, maxSeconds)) * time.Second
}

// used marks a file as used now; the cleaner goes by the time of access, which some file systems don't keep.
func (c *Client) used(path string) {
	if fi, err := os.Stat(path); err == nil {
		_ = os.Chtimes(path, time.Now(), fi.ModTime())
	}
}

// clean removes what nobody used for long, at most once in the interval, for all clients of the cache.
func (c *Client) clean() {
	const name = "cache_clean_interval_s"
	stamp := filepath.Join(c.cfg.Cache, name)
	fi, err := os.Stat(stamp)
	if err != nil {
		_ = os.WriteFile(stamp, []byte(strconv.Itoa(int(cleanInterval.Seconds()))), 0o600)
		return
	}
	if time.Since(fi.ModTime()) < c.control(name, cleanInterval) {
		return
	}
	_ = os.Chtimes(stamp, time.Now(), time.Now())
	age := c.control("max_unused_age_s", unusedAge)
	dirs, err := os.ReadDir(c.cfg.Cache)
	if err != nil {
		return
	}
	for _, d := range dirs {
		if (item{id: d.Name()}).check() != nil || !d.IsDir() {
			continue
		}
		dir := filepath.Join(c.cfg.Cache, d.Name())
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			fi, err := f.Info()
			if err == nil && fi.Mode().IsRegular() && time.Since(lastUse(fi)) > age {
				os.Remove(filepath.Join(dir, f.Name()))
			}
		}
		os.Remove(dir) // which succeeds if it is empty
	}
}
