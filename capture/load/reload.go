package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNothingLoaded: there is nothing of kdx's that could be loaded again.
var ErrNothingLoaded = errors.New("kdx has loaded no capture kernel in this boot")

// Reload loads again what was loaded: the same kernel, initrd and command line, though the files may have been replaced since. The
// kernel makes a new map of the memory and CPUs that there are.
func (h *Host) Reload(ctx context.Context) (*Result, error) {
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return h.reload(ctx)
}

func (h *Host) reload(ctx context.Context) (*Result, error) {
	k, err := h.ReadKernel()
	if err != nil {
		return nil, err
	}
	r, err := h.readRecord(k)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNothingLoaded
	}
	if err != nil {
		return nil, err
	}
	files, err := h.reopenBoth(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("what is loaded can't be loaded again: %w; kdx capture load loads anew", err)
	}
	job := Job{Kernel: r.Kernel.Path, Initrd: r.Initrd.Path, Cmdline: r.Cmdline, Crash: true, Foreign: r.Foreign, Force: true}
	for _, s := range r.Sysctls {
		job.Sysctls = append(job.Sysctls, s.Name+"="+s.Value)
	}
	res, err := h.load(ctx, job, files)
	if err != nil {
		return nil, err
	}
	for _, o := range []*opened{files.kernel, files.initrd} {
		if o != nil && o.from != o.Path {
			res.Problems = append(res.Problems, Problem{What: o.Path + " is not the file any more that was loaded; the copy of that was taken", Try: "kdx capture load takes the new one"})
		}
	}
	return res, nil
}

// HotplugResult says what an event of hotplug led to.
type HotplugResult string

// Most events lead to nothing.
const (
	ByKernel     HotplugResult = "the kernel keeps the loaded image up to date itself"
	NotLoaded    HotplugResult = "no capture kernel is loaded"
	NotOurs      HotplugResult = "the capture kernel that is loaded is not kdx's"
	AnotherWaits HotplugResult = "another process is about to load again, for this event too"
	Reloaded     HotplugResult = "loaded again"
)

// OnHotplug is Reload for events of memory and CPUs, which come by the hundred: it waits for throttle, in which more may come, and
// then loads once for all of them. It does nothing where the kernel keeps a loaded image up to date itself.
func (h *Host) OnHotplug(ctx context.Context, throttle time.Duration) (HotplugResult, *Result, error) {
	if what, err := h.needless(); what != "" || err != nil {
		return what, nil, err
	}
	// Who holds this lock waits and has not begun to load.
	f, err := h.openLock("reload")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return AnotherWaits, nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	select {
	case <-ctx.Done():
		return "", nil, ctx.Err()
	case <-time.After(throttle):
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	// Events from here on may come too late for this load, so they must have another.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		return "", nil, err
	}
	if what, err := h.needless(); what != "" || err != nil {
		return what, nil, err
	}
	res, err := h.reload(ctx)
	if err != nil {
		return "", nil, err
	}
	return Reloaded, res, nil
}

// needless says why an event needs no load; "" if it does.
func (h *Host) needless() (HotplugResult, error) {
	k, err := h.ReadKernel()
	if err != nil {
		return "", err
	}
	r, err := h.readRecord(k)
	switch {
	case errors.Is(err, fs.ErrNotExist) && k.armed():
		return NotOurs, nil
	case errors.Is(err, fs.ErrNotExist):
		return NotLoaded, nil
	case err != nil:
		return "", err
	case k.armed() && k.Hotplug == HotplugKernel:
		return ByKernel, nil
	case !k.armed() && r.Armed:
		return NotLoaded, nil // somebody else has unloaded it, and meant it
	}
	return "", nil
}

func (k *Kernel) armed() bool { return k.CrashLoaded != nil && *k.CrashLoaded }

// Unload drops the capture kernel, or with crash false the one for a reboot, and puts sysctls back as they were.
func (h *Host) Unload(ctx context.Context, crash bool) ([]Problem, error) {
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	k, err := h.ReadKernel()
	if err != nil {
		return nil, err
	}
	job := Job{Crash: crash}
	c := &checked{}
	h.checkKernel(k, c, job)
	for _, p := range c.problems {
		return nil, fmt.Errorf("not unloaded: %v", p)
	}
	flags := flagUnload
	if crash {
		flags |= flagOnCrash
	}
	if err := h.Calls.FileLoad(nil, nil, "", flags); err != nil {
		return nil, fmt.Errorf("not unloaded: %v (%w)", h.explain(err, k, c, job), err)
	}
	if !crash {
		return nil, nil
	}
	r, err := h.readRecord(k)
	if err != nil {
		return nil, nil // nothing of kdx's, or of another boot
	}
	problems := h.resetSysctls(r)
	if err := os.Remove(h.path(recordName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return problems, err
	}
	h.dropCopies(nil)
	return problems, nil
}
