package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Job is what to load.
type Job struct {
	Kernel string
	// Initrd is a path, "" for none, which only a kernel that is not to capture does without.
	Initrd  string
	Cmdline string
	// Crash loads it for a panic, into the reservation; otherwise for a reboot.
	Crash bool
	// Foreign takes an initrd that kdx did not build.
	Foreign bool
	// Force loads what can be loaded though it looks as if it would not work.
	Force bool
	// Debug makes the kernel log where it puts what, if it can (6.8).
	Debug bool
	// Sysctls are set once it is loaded, as name=value.
	Sysctls []string
}

// Problem is something that is wrong, or may be.
type Problem struct {
	// Fatal: with it nothing is loaded.
	Fatal bool   `json:"fatal"`
	What  string `json:"what"`
	Try   string `json:"try,omitempty"`
	// Reservation: there is none, or it is too small.
	Reservation bool `json:"reservation,omitempty"`
}

func (p Problem) String() string {
	if p.Try == "" {
		return p.What
	}
	return p.What + "; " + p.Try
}

// Result is what became of a Job.
type Result struct {
	// Record is nil for a kernel that is not to capture.
	Record *Record `json:"record"`
	// Problems did not stand in the way.
	Problems []Problem `json:"problems"`
	Hotplug  Hotplug   `json:"hotplug"`
}

// RefusedError: something that was looked at beforehand is wrong. The kernel was not asked, so what was loaded stays.
type RefusedError struct {
	Problems []Problem // at least one, all fatal
	// Armed: a capture kernel is loaded, as before.
	Armed bool
}

func (e *RefusedError) Error() string {
	s := "not loaded: " + e.Problems[0].String()
	for _, p := range e.Problems[1:] {
		s += "\n  and: " + p.String()
	}
	if e.Armed {
		s += "\n  What was loaded before stays loaded."
	}
	return s
}

// After is whether the host is armed after the kernel refused an image.
type After string

// A kernel that refuses an image has, in most cases, dropped the one before.
const (
	AfterKept     After = "kept"     // the image from before is still loaded
	AfterRestored After = "restored" // it was gone; the last good one has been loaded again
	AfterLost     After = "lost"     // it is gone
	AfterNone     After = "none"     // there was none
)

// LoadError: the kernel refused the image.
type LoadError struct {
	Cause Cause
	After After
	// Good is what was loaded again. RestoreErr is why nothing could be.
	Good       *Record
	RestoreErr error
}

func (e *LoadError) Unwrap() error { return e.Cause.Err }

func (e *LoadError) Error() string {
	s := "the kernel refused the image: " + e.Cause.String()
	switch e.After {
	case AfterKept:
		return s + "\n  What was loaded before stays loaded."
	case AfterRestored:
		return s + fmt.Sprintf("\n  It dropped what was loaded before. The last good capture kernel is loaded again (%s): the host is armed as before.", e.Good.Title())
	case AfterLost:
		return s + fmt.Sprintf("\n  It dropped what was loaded before, which could not be loaded again: %v.\n  THE HOST IS NOT ARMED.", e.RestoreErr)
	}
	return s
}

// Load looks at everything, loads, and sees to it that a host that was armed stays so. Its errors are *RefusedError, *LoadError,
// *BusyError, or those of files. ctx is looked at until the system call.
func (h *Host) Load(ctx context.Context, job Job) (*Result, error) {
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return h.load(ctx, job, h.openBoth(ctx, job))
}

// Check looks at everything that Load looks at, and loads nothing. The record is what would be.
func (h *Host) Check(ctx context.Context, job Job) (*Result, error) {
	files := h.openBoth(ctx, job)
	defer files.close()
	k, err := h.ReadKernel()
	if err != nil {
		return nil, err
	}
	c, err := h.check(ctx, k, job, files)
	if err != nil {
		return nil, err
	}
	return &Result{Record: newRecord(h, k, c, job), Problems: append([]Problem{}, c.problems...), Hotplug: k.Hotplug}, nil
}

// load takes files that are open, and closes them.
func (h *Host) load(ctx context.Context, job Job, files *both) (*Result, error) {
	defer files.close()
	before, err := h.ReadKernel()
	if err != nil {
		return nil, err
	}
	c, err := h.check(ctx, before, job, files)
	if err != nil {
		return nil, err
	}
	good, err := h.readRecord(before)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.warn(Problem{What: fmt.Sprintf("what kdx loaded before is not known: %v", err)})
	}
	if err := h.call(c, job); err != nil {
		return nil, h.failed(ctx, before, c, job, good, err)
	}
	res := &Result{}
	if job.Crash {
		after, err := h.ReadKernel()
		if err != nil {
			return nil, err
		}
		if after.CrashLoaded != nil && !*after.CrashLoaded {
			return nil, errors.New("the kernel took the image without an error, and says that none is loaded: somebody else unloaded it in the same moment")
		}
		res.Hotplug = after.Hotplug
		res.Record = newRecord(h, before, c, job)
		c.problems = append(c.problems, h.setSysctls(job.Sysctls, res.Record, good)...)
		c.problems = append(c.problems, h.keep(res.Record, c)...)
	}
	res.Problems = append([]Problem{}, c.problems...)
	return res, nil
}

// call is the system call. A flag that the kernel may not know is left out if it is refused, which happens before the image that
// is loaded is dropped.
func (h *Host) call(c *checked, job Job) error {
	flags := 0
	var initrd *os.File
	if c.initrd == nil {
		flags |= flagNoInitramfs
	} else {
		initrd = c.initrd.file
	}
	if job.Crash {
		flags |= flagOnCrash
	}
	if job.Debug {
		err := h.Calls.FileLoad(c.kernel.file, initrd, job.Cmdline, flags|flagDebug)
		if !errors.Is(err, syscall.EINVAL) {
			return err
		}
		c.warn(Problem{What: "the kernel does not know the flag for debugging, which came with 6.8; loaded without"})
	}
	return h.Calls.FileLoad(c.kernel.file, initrd, job.Cmdline, flags)
}

// failed says why the kernel refused, and loads the last good image again if the host has lost it.
func (h *Host) failed(ctx context.Context, before *Kernel, c *checked, job Job, good *Record, err error) error {
	e := &LoadError{Cause: h.explain(err, before, c, job), After: AfterNone}
	if !job.Crash {
		return e
	}
	after, rerr := h.ReadKernel()
	if rerr != nil {
		after = &Kernel{}
	}
	was := before.CrashLoaded != nil && *before.CrashLoaded
	switch {
	case after.CrashLoaded != nil && *after.CrashLoaded:
		e.After = AfterKept
		return e
	case good == nil && !was:
		return e
	}
	e.After = AfterLost
	switch {
	case good == nil:
		e.RestoreErr = errors.New("kdx did not load it, so it does not know what it was")
		return e
	case sameLoad(good, c, job):
		e.RestoreErr = errors.New("it is the very image that was refused now")
	default:
		e.RestoreErr = h.restore(context.WithoutCancel(ctx), good)
	}
	good.Armed = e.RestoreErr == nil
	if good.Armed {
		e.After, e.Good = AfterRestored, good
	}
	if err := h.writeRecord(good); err != nil {
		h.say("%v", err)
	}
	return e
}

// sameLoad: the image that was refused is the good one.
func sameLoad(good *Record, c *checked, job Job) bool {
	return good.Kernel.SHA256 == c.kernel.SHA256 && c.initrd != nil && good.Initrd.SHA256 == c.initrd.SHA256 && good.Cmdline == job.Cmdline
}

// restore loads a recorded image from its files, or, where these have changed since, from the copies.
func (h *Host) restore(ctx context.Context, good *Record) error {
	files, err := h.reopenBoth(ctx, good)
	if err != nil {
		return err
	}
	defer files.close()
	c := &checked{kernel: files.kernel, initrd: files.initrd}
	job := Job{Cmdline: good.Cmdline, Crash: true}
	if err := h.call(c, job); err != nil {
		return fmt.Errorf("the kernel refused it, too: %w", err)
	}
	return nil
}

// reopenBoth opens what a record names.
func (h *Host) reopenBoth(ctx context.Context, r *Record) (*both, error) {
	f := &both{}
	var err error
	if f.kernel, err = h.reopen(ctx, r.Kernel, h.open); err != nil {
		return nil, fmt.Errorf("its kernel: %w", err)
	}
	if r.Initrd.Path == "" {
		return f, nil
	}
	if f.initrd, err = h.reopen(ctx, r.Initrd, h.openInitrd); err != nil {
		f.close()
		return nil, fmt.Errorf("its initrd: %w", err)
	}
	return f, nil
}

// reopen opens a recorded file with the contents that it had. What was signed for its own name (IMA) is better than a copy.
func (h *Host) reopen(ctx context.Context, f File, open opener) (*opened, error) {
	var last error
	for _, path := range []string{f.Path, f.Copy} {
		if path == "" {
			continue
		}
		o, err := open(ctx, path, f)
		switch {
		case err != nil:
			last = err
		case o.SHA256 != f.SHA256:
			o.file.Close()
			last = fmt.Errorf("%s is not the file any more that was loaded", path)
		default:
			o.from = path
			o.Path, o.Copy = f.Path, f.Copy
			return o, nil
		}
	}
	return nil, last
}
