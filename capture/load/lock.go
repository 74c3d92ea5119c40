package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// runDir holds what is true until the next boot.
const runDir = "/run/kdx"

// lockWait is how long another load is waited for: loading takes seconds, on a slow disk half a minute. A variable for tests.
var lockWait = 2 * time.Minute

// BusyError: another process is loading or unloading.
type BusyError struct {
	Holder string
	Waited time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("another process is loading or unloading a capture kernel, for more than %v: %s", e.Waited, e.Holder)
}

// lock makes one process at a time load. A process that dies gives it back.
func (h *Host) lock(ctx context.Context) (unlock func(), err error) {
	f, err := h.openLock("lock")
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(lockWait)
	for said := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		if !said {
			said = true
			h.say("waiting for another process: %s", holder(f))
		}
		if time.Now().After(end) {
			defer f.Close()
			return nil, &BusyError{holder(f), lockWait}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	// Only for people: what counts is the lock.
	text := fmt.Sprintf("pid %d (%s), since %s\n", os.Getpid(), h.By, now().Format(time.DateTime+"Z"))
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(text), 0)
	}
	return func() {
		_ = f.Truncate(0)
		f.Close()
	}, nil
}

func (h *Host) openLock(name string) (*os.File, error) {
	dir := h.path(runDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("a place for the lock: %w", err)
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o644)
}

// holder is what the process that has the lock wrote into it.
func holder(f *os.File) string {
	b := make([]byte, 256)
	n, err := f.ReadAt(b, 0)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return "one that did not say which"
	}
	return strings.TrimSpace(string(b[:n]))
}
