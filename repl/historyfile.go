package repl

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	historyLimit = 2000    // lines
	historyBytes = 1 << 20 // a longer file is cut, whatever its lines
)

// historyFile keeps what was typed. Several kdx may run at once: each appends under a lock, so that lines interleave
// but none is lost.
type historyFile struct{ path string }

// historyPath is $XDG_STATE_HOME/kdx/history.
func historyPath() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) { // the specification: relative paths are to be ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "kdx", "history")
}

// load returns the lines, oldest first.
func (h historyFile) load() ([]string, error) {
	f, err := os.Open(h.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := tail(f)
	return historyLines(b), err
}

// tail is the end of the file, from the beginning of a line.
func tail(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	skip := max(0, fi.Size()-historyBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, skip, historyBytes))
	if skip > 0 {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return b, err
}

func historyLines(b []byte) []string {
	var out []string
	for line := range strings.SplitSeq(string(b), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out[max(0, len(out)-historyLimit):]
}

// add appends a line, and shortens a file that has grown to twice its limit.
func (h historyFile) add(line string) error {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(h.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		return err
	}
	return shorten(f)
}

// shorten rewrites the file in place, under the lock of the caller: a rename would leave others with the old file.
func shorten(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	const short = 32 << 10 // cannot hold twice the limit of useful lines; spares reading it each time
	if fi.Size() < short {
		return nil
	}
	b, err := tail(f)
	if err != nil {
		return err
	}
	if fi.Size() <= historyBytes && bytes.Count(b, []byte("\n")) <= 2*historyLimit {
		return nil
	}
	lines := historyLines(b)
	if len(lines) > historyLimit/2 && fi.Size() > historyBytes {
		lines = lines[len(lines)-historyLimit/2:] // long lines: make room for more than the next one
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	return err
}
