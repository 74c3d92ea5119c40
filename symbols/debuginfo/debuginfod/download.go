package debuginfod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// download is one attempt to get a file from one server. What came is kept in a file beside the final one, from which the
// next attempt goes on.
type download struct {
	c         *Client
	url, path string
	verify    Verify
	part      *os.File
	lasting   bool // part is the file that the next attempt finds
}

// origin stands beside a partial file: only what the same server has unchanged can be appended to it.
type origin struct {
	URL       string `json:"url"`
	Validator string `json:"validator"` // an entity tag, or the time of its last change
	Total     int64  `json:"total"`
}

const (
	partSuffix   = ".part"
	originSuffix = ".part.json"
	// slowest is what a server must send within the timeout, in bytes.
	slowest = 100 << 10
)

// errFinal marks what asking again would not change.
var errFinal = errors.New("")

// localError: it failed here, not at the server.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func final(format string, args ...any) error {
	return fmt.Errorf("%w%w", errFinal, fmt.Errorf(format, args...))
}

// run returns the status of HTTP, 0 if none came.
func (d *download) run(ctx context.Context) (int, error) {
	if err := d.open(); err != nil {
		return 0, &localError{err}
	}
	defer d.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var got atomic.Int64
	stop := d.watch(&got, cancel)
	defer stop()
	status, err := d.fetch(ctx, &got)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // rather than how the connection ended because of it
	}
	return status, err
}

// watch ends a download that is too slow.
func (d *download) watch(got *atomic.Int64, cancel context.CancelCauseFunc) (stop func()) {
	timeout := d.c.cfg.Timeout
	if timeout <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		t := time.NewTicker(timeout)
		defer t.Stop()
		last := int64(0)
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			n := got.Load()
			if n-last < slowest {
				cancel(fmt.Errorf("too slow: %d bytes in %v (DEBUGINFOD_TIMEOUT)", n-last, timeout))
				return
			}
			last = n
		}
	}()
	return func() { close(done) }
}

// open opens the partial file. If another process is writing to it, this one takes a file of its own.
func (d *download) open() error {
	f, err := os.OpenFile(d.path+partSuffix, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		mine, err1 := f.Stat()
		named, err2 := os.Stat(d.path + partSuffix)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) { // otherwise it got its final name since it was opened
			d.part, d.lasting = f, true
			return nil
		}
	}
	f.Close()
	d.part, err = os.CreateTemp(filepath.Dir(d.path), filepath.Base(d.path)+".*"+partSuffix)
	return err
}

func (d *download) close() {
	if !d.lasting {
		os.Remove(d.part.Name())
	} else if fi, err := d.part.Stat(); err == nil && fi.Size() == 0 {
		d.drop()
	}
	d.part.Close()
}

// drop forgets what came so far.
func (d *download) drop() {
	os.Remove(d.part.Name())
	if d.lasting {
		os.Remove(d.path + originSuffix)
	}
}

func (d *download) fetch(ctx context.Context, got *atomic.Int64) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return 0, final("%w", err)
	}
	req.Header.Set("User-Agent", "kdx")
	if d.c.cfg.MaxSize > 0 {
		req.Header.Set("X-DEBUGINFOD-MAXSIZE", strconv.FormatInt(d.c.cfg.MaxSize, 10))
	}
	have := d.resume(req)
	resp, err := d.c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var total int64
	switch resp.StatusCode {
	case http.StatusOK:
		have, total = 0, max(resp.ContentLength, 0)
		if n, err := strconv.ParseInt(resp.Header.Get("X-Debuginfod-Size"), 10, 64); err == nil && n > 0 && total == 0 {
			total = n
		}
	case http.StatusPartialContent:
		from, of, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || from != have || have == 0 {
			d.drop()
			return resp.StatusCode, fmt.Errorf("sent the range %q where bytes from %d were asked for", resp.Header.Get("Content-Range"), have)
		}
		total = of
	case http.StatusRequestedRangeNotSatisfiable:
		d.drop()
		return resp.StatusCode, errors.New("no longer has the part that is missing here; it is fetched anew")
	default:
		return resp.StatusCode, d.refusal(resp)
	}
	if limit := d.c.cfg.MaxSize; limit > 0 && total > limit {
		return resp.StatusCode, final("its file has %d bytes, more than %d (DEBUGINFOD_MAXSIZE)", total, limit)
	}
	return resp.StatusCode, d.receive(resp, have, total, got)
}

// refusal puts what the server says into the error, as far as that is a line of text.
func (d *download) refusal(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // what can't be read is only not quoted
	text, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	for _, r := range text {
		if r < ' ' || r == '<' || r == 0x7f || r == 0xfffd {
			text = ""
			break
		}
	}
	if text == "" || strings.EqualFold(text, http.StatusText(resp.StatusCode)) {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return fmt.Errorf("answered %s (%s)", resp.Status, text)
}

// resume asks for the rest of what an earlier attempt left, and returns how many bytes that has.
func (d *download) resume(req *http.Request) int64 {
	if !d.lasting {
		return 0
	}
	fi, err := d.part.Stat()
	if err != nil || fi.Size() == 0 {
		return 0
	}
	var o origin
	b, err := os.ReadFile(d.path + originSuffix)
	if err != nil || json.Unmarshal(b, &o) != nil || o.URL != d.url || o.Validator == "" || fi.Size() >= o.Total {
		return 0
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", fi.Size()))
	req.Header.Set("If-Range", o.Validator)
	return fi.Size()
}

// contentRange reads "bytes 100-199/200".
func contentRange(s string) (from, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, of, ok1 := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	total, err3 := strconv.ParseInt(of, 10, 64)
	ok = ok1 && ok2 && err1 == nil && err2 == nil && err3 == nil && from >= 0 && to == total-1
	return from, total, ok
}

// receive writes the answer behind the first have bytes of the partial file, and makes it the file once it is whole and
// verified.
func (d *download) receive(resp *http.Response, have, total int64, got *atomic.Int64) error {
	if err := d.part.Truncate(have); err != nil {
		return &localError{err}
	}
	if _, err := d.part.Seek(have, io.SeekStart); err != nil {
		return &localError{err}
	}
	if d.lasting {
		if err := d.saveOrigin(resp, total); err != nil {
			return &localError{err}
		}
	}
	w := &receiver{d: d, have: have, total: total, got: got}
	if _, err := io.Copy(w, resp.Body); err != nil {
		if w.err != nil {
			return w.err
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("closed the connection after %d of %d bytes", w.have, total)
		}
		return err
	}
	if total > 0 && w.have != total {
		return fmt.Errorf("sent %d of %d bytes", w.have, total)
	}
	if w.have == 0 {
		return errors.New("sent an empty file")
	}
	if err := verified(d.verify, d.part.Name()); err != nil {
		d.drop()
		return final("what it sent is refused: %w", err)
	}
	if err := d.part.Chmod(0o400); err != nil {
		return &localError{err}
	}
	if err := d.part.Sync(); err != nil {
		return &localError{err}
	}
	if err := os.Rename(d.part.Name(), d.path); err != nil {
		return &localError{err}
	}
	if d.lasting {
		os.Remove(d.path + originSuffix)
	}
	d.lasting = true // there is nothing left to remove
	return nil
}

func (d *download) saveOrigin(resp *http.Response, total int64) error {
	v := resp.Header.Get("ETag")
	if v == "" || strings.HasPrefix(v, "W/") { // a weak tag does not promise the same bytes
		v = resp.Header.Get("Last-Modified")
	}
	b, err := json.Marshal(origin{d.url, v, total})
	if err != nil {
		return err
	}
	return os.WriteFile(d.path+originSuffix, b, 0o600)
}

// receiver writes, counts and bounds.
type receiver struct {
	d           *download
	have, total int64
	got         *atomic.Int64
	err         error
}

func (w *receiver) Write(p []byte) (int, error) {
	limit := w.d.c.cfg.MaxSize
	switch {
	case limit > 0 && w.have+int64(len(p)) > limit:
		w.err = final("its file has more than %d bytes (DEBUGINFOD_MAXSIZE)", limit)
		w.d.drop()
		return 0, w.err
	case w.total > 0 && w.have+int64(len(p)) > w.total:
		w.err = fmt.Errorf("sent more than the %d bytes that it announced", w.total)
		w.d.drop()
		return 0, w.err
	}
	n, err := w.d.part.Write(p)
	w.have += int64(n)
	w.got.Add(int64(n))
	if err != nil {
		w.err = &localError{err}
		return n, w.err
	}
	if report := w.d.c.cfg.Progress; report != nil {
		report(w.d.url, w.have, w.total)
	}
	return n, nil
}
