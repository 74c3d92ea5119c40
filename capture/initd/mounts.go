package initd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

type mount struct {
	fstype, dir string
	flags       uintptr
	data        string
}

// basics are mounted before anything else. /run is bounded: what lies there is memory.
var basics = []mount{
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0700,size=16m"},
}

// mountBasics mounts what is not mounted yet, and tells all that failed: proc may be all that is needed to say why.
func mountBasics(sys *System) error {
	var failed []error
	for _, m := range basics {
		dir := sys.path(m.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			failed = append(failed, err)
			continue
		}
		// EBUSY: it is there already.
		if err := sys.Mount(m.fstype, dir, m.fstype, m.flags, m.data); err != nil && !errors.Is(err, unix.EBUSY) {
			failed = append(failed, fmt.Errorf("mounting %s on %s: %w", m.fstype, m.dir, err))
		}
	}
	return errors.Join(failed...)
}

// errNoVMCore says that this is no capture kernel.
type errNoVMCore struct{ why string }

func (e *errNoVMCore) Error() string {
	return "this is no kernel that was started by a crash: " + e.why + "; nothing was touched"
}

// checkVMCore says whether there is a crash to save. elfcorehdr= on the command line tells a kernel that was booted by mistake from one whose memory of the crash
// can't be read.
func checkVMCore(sys *System, hasCoreHeader bool) (size int64, err error) {
	fi, err := os.Stat(sys.path("/proc/vmcore"))
	why := ""
	switch {
	case err == nil && fi.Size() > 0:
		return fi.Size(), nil
	case err == nil:
		why = "/proc/vmcore is empty"
	case errors.Is(err, os.ErrNotExist):
		why = "/proc/vmcore does not exist"
	default:
		why = err.Error()
	}
	if hasCoreHeader {
		why += ", although the command line has elfcorehdr=: the kernel did not accept what it was told of the crashed one's memory (its log says \"vmcore\" then), or was built without CONFIG_PROC_VMCORE"
	} else {
		why += ", and the command line has no elfcorehdr="
	}
	return 0, &errNoVMCore{why}
}
