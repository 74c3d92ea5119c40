package initd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/capture/kmod"
	"kdx/capture/network"
	"kdx/capture/plan"
	"kdx/capture/storage"
	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
)

// stages are what the program does as a process of its own.
var stages = map[string]stageFunc{
	"modules": loadModules,
	"clock":   setClock,
	"network": bringUpNetwork,
	"device":  bringUpDevice,
	"save":    saveDump,
	"triage":  triageDump,
	"log":     saveLog,
	"hook":    runProgram,
	"shell":   runProgram,
	"sync":    syncAll,
}

// loadModules loads the plan's modules in order. That one is refused is said: whether it is missed, a later stage finds out.
func loadModules(_ context.Context, s *stage) (any, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	if err := s.await(); err != nil {
		return nil, err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	l := kmod.NewLoader("")
	var missed []string
	loaded := 0
	for _, m := range p.Modules {
		if slices.Contains(s.order.Skip, m.Name) {
			fmt.Printf("%s is left out: the stage ended while it was being loaded\n", m.Name)
			continue
		}
		s.At(m.Name)
		err := l.Load(m.Path, strings.TrimSpace(m.Params+" "+kmod.CmdlineParams(string(cmdline), m.Name)))
		switch {
		case err == nil:
			loaded++
			// The file lies in memory, which is short.
			os.Remove(m.Path)
		case m.Optional:
			fmt.Printf("not needed, it was said: %v\n", err)
		default:
			fmt.Println(err)
			missed = append(missed, m.Name)
		}
	}
	fmt.Printf("%d of %d modules are loaded\n", loaded, len(p.Modules))
	if len(missed) > 0 {
		return nil, fmt.Errorf("%s could not be loaded", strings.Join(missed, ", "))
	}
	return nil, nil
}

// setClock sets a clock that has no idea by the time at which the kernel crashed, which stands in VMCOREINFO, and what has passed since.
func setClock(context.Context, *stage) (any, error) {
	f, err := dumpfmt.OpenFile("/proc/vmcore")
	if err != nil {
		return nil, err
	}
	defer f.Closer.Close()
	src, err := elfcore.Open(f)
	if err != nil {
		return nil, err
	}
	sec, ok := src.Info().VMCoreInfo.Decimal("CRASHTIME")
	if !ok {
		return nil, errors.New("the crashed kernel did not say what time it was (CRASHTIME of VMCOREINFO)")
	}
	if at := time.Unix(sec, 0).UTC(); at.Year() < clockYear {
		return nil, fmt.Errorf("the crashed kernel's own clock stood at %v", at.Format(time.RFC3339))
	}
	ts := unix.NsecToTimespec(time.Unix(sec, 0).Add(sinceBoot()).UnixNano())
	return nil, unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

func bringUpNetwork(ctx context.Context, s *stage) (any, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	if len(p.Links) == 0 {
		return nil, errors.New("the plan has no link to bring up")
	}
	return nil, network.Up(ctx, p.Links, network.Options{Limit: p.Config.NetworkTimeout, Log: s.line})
}

func (s *stage) line(text string) {
	s.At(text)
	fmt.Println(text)
}

// device is what bringUpDevice found.
type device struct {
	Device string `json:"device"`
}

// bringUpDevice makes the block device of a target available and mounts its filesystem.
func bringUpDevice(ctx context.Context, s *stage) (any, error) {
	p, t, err := s.target()
	if err != nil {
		return nil, err
	}
	path, err := t.Device.Activate(ctx, storage.Options{Limit: p.Config.DeviceTimeout, Log: s.line})
	if err != nil {
		return nil, err
	}
	if t.Kind == config.FS {
		s.At("mounting " + path)
		if err := mountTarget(t, path, s.order.Mount); err != nil {
			return nil, err
		}
		fmt.Printf("%s is mounted: %s, %s\n", t.Configured, path, t.FS)
	}
	return device{path}, nil
}

// mountFlags are options that are flags of mount(2), or mean nothing to a filesystem. The dump's filesystem is written to, and that is all.
var mountFlags = strings.Fields("rw ro defaults relatime noatime strictatime lazytime nolazytime nodiratime suid nosuid dev nodev exec noexec sync async dirsync auto noauto user nouser _netdev nofail")

// mountData is the options that the filesystem itself is given.
func mountData(t *plan.Target) string {
	var out []string
	for o := range strings.SplitSeq(t.MountOptions, ",") {
		name, _, _ := strings.Cut(o, "=")
		if o == "" || slices.Contains(mountFlags, name) || strings.HasPrefix(name, "x-") || t.Subvol != "" && (name == "subvol" || name == "subvolid") {
			continue
		}
		out = append(out, o)
	}
	if t.Subvol != "" {
		out = append(out, "subvol="+t.Subvol)
	}
	return strings.Join(out, ",")
}

func mountTarget(t *plan.Target, path, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	const flags = unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	data := mountData(t)
	err := unix.Mount(path, dir, t.FS, flags, data)
	if err == unix.EINVAL && data != "" && t.Subvol == "" && !strings.Contains(data, "subvol") {
		fmt.Printf("%s does not mount with %q; trying without\n", path, data)
		err = unix.Mount(path, dir, t.FS, flags, "")
	}
	if err == nil {
		return nil
	}
	why := ""
	switch err {
	case unix.ENODEV:
		why = ": the capture kernel does not know this filesystem; is its module in the initrd?"
	case unix.EINVAL:
		why = fmt.Sprintf(": there is no %s on it, it is damaged, or an option of %q is unknown; the kernel's log says more", t.FS, data)
	case unix.EROFS, unix.EACCES:
		why = ": the device can't be written to"
	case unix.EUCLEAN:
		why = ": the filesystem is damaged; fsck mends it when the host is up"
	}
	return fmt.Errorf("mounting %s as %s: %w%s", path, t.FS, err, why)
}

// runProgram becomes another program: a hook or a shell. Its limits are those of a stage.
func runProgram(_ context.Context, s *stage) (any, error) {
	if len(s.args) == 0 {
		return nil, errors.New("no program")
	}
	path, err := exec.LookPath(s.args[0])
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(reportFD)
	err = syscall.Exec(path, s.args, os.Environ())
	return nil, &os.PathError{Op: "running", Path: path, Err: err}
}

// syncAll unmounts the targets and writes out what is left. PID 1 does not wait for ever for it.
func syncAll(_ context.Context, s *stage) (any, error) {
	if err := s.await(); err != nil {
		return nil, err
	}
	var failed []error
	for _, dir := range s.order.Mounts {
		s.At("unmounting " + dir)
		if err := unix.Unmount(dir, 0); err != nil {
			failed = append(failed, fmt.Errorf("unmounting %s: %w", dir, err))
			s.At("syncing " + dir)
			if f, err := os.Open(dir); err == nil {
				failed = append(failed, unix.Syncfs(int(f.Fd())), f.Close())
			}
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	s.At("sync")
	unix.Sync()
	return nil, errors.Join(failed...)
}

// kernelLog is the log of the capture kernel without kdx's own lines, at most limit bytes of its end.
func kernelLog(limit int) ([]byte, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/kmsg", Err: err}
	}
	f := os.NewFile(uintptr(fd), "/dev/kmsg")
	defer f.Close()
	return kernelLines(readerFunc(func(p []byte) (int, error) {
		n, err := unix.Read(fd, p)
		if err == unix.EAGAIN {
			return 0, io.EOF
		}
		return n, err
	}), limit)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// kernelLines reads records of /dev/kmsg, one a read: "prio,seq,µs,flags;text" and lines of properties that begin with a space.
func kernelLines(r io.Reader, limit int) ([]byte, error) {
	var out []byte
	buf := make([]byte, 8<<10)
	for {
		n, err := r.Read(buf)
		if err == unix.EPIPE || err == unix.EINTR {
			continue // records were overwritten before they were read: go on with the next
		}
		if err != nil || n == 0 {
			if err == io.EOF {
				err = nil
			}
			return out, err
		}
		head, text, ok := bytes.Cut(buf[:n], []byte(";"))
		if !ok {
			continue
		}
		text, _, _ = bytes.Cut(text, []byte("\n"))
		fields := strings.Split(string(head), ",")
		if len(fields) < 3 {
			continue
		}
		// Facility 0 is the kernel's own; what was written to /dev/kmsg, our lines too, has another.
		if facility := atoi(fields[0]) >> 3; facility != 0 {
			continue
		}
		us := atoi(fields[2])
		out = fmt.Appendf(out, "[%5d.%06d] %s\n", us/1e6, us%1e6, text)
		if len(out) > 2*limit {
			out = append(out[:0], out[len(out)-limit:]...)
		}
	}
}

func atoi(s string) int64 {
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<58 {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
