package atomicfile

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// earlyStep is after how many bytes the system is asked to begin writing to the disk. By itself it waits for seconds, and then all is
// left to the sync at the end, which the caller has to wait for.
const earlyStep = 8 << 20

// early has a file's bytes written to the disk while more of them are made.
type early struct {
	begin func(*os.File) error // what asks the system to begin; replaced in tests
	sync  func(*os.File) error

	mu      sync.Mutex
	bytes   int64 // since begin was called
	running bool  // it has not returned
	err     error // of it: what can't be written was said once, and might not be said again
	syncing chan error
}

// wrote counts bytes, and asks the system to begin when there are enough.
func (e *early) wrote(f *os.File, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bytes += int64(n)
	if e.bytes < earlyStep || e.running {
		return
	}
	e.bytes, e.running = 0, true
	go func() {
		err := e.begin(f)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running = false
		// Others say that the file system or the file has no such thing.
		if e.err == nil && (errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
			e.err = &os.PathError{Op: "sync", Path: f.Name(), Err: err}
		}
	}()
}

// start syncs beside the caller.
func (e *early) start(f *os.File) {
	if e.syncing != nil {
		return
	}
	e.syncing = make(chan error, 1)
	go func() { e.syncing <- e.sync(f) }()
}

// finish makes all durable. What went wrong before is an error also if the last sync says that all is well: the system tells a file's
// user of lost bytes only once.
func (e *early) finish(f *os.File) error {
	var before error
	if e.syncing != nil {
		before = <-e.syncing
	}
	now := e.sync(f)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, err := range []error{before, now, e.err} {
		if err != nil {
			return err
		}
	}
	return nil
}
