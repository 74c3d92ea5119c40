//go:build linux && amd64

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// thread runs f on a kernel thread of its own, with a name, for ever.
func thread(what string, f func()) {
	go func() {
		runtime.LockOSThread()
		name(what)
		f()
		_ = hold()
	}()
}

// guestThreads is one process with many threads, each asleep in another system call.
func guestThreads([]string) error {
	s := setup{"threads"}
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(0)
	if err != nil {
		return err
	}
	buf := func() []byte { return make([]byte, 16) }
	thread("t-nanosleep", func() { _ = unix.Nanosleep(&unix.Timespec{Sec: 5000}, nil) })
	thread("t-read-pipe", func() { _, _ = unix.Read(p[0], buf()) })
	thread("t-read-sock", func() { _, _ = unix.Read(sp[0], buf()) })
	thread("t-epoll", func() { _, _ = unix.EpollWait(ep, make([]unix.EpollEvent, 1), -1) })
	thread("t-poll", func() { _, _ = unix.Poll([]unix.PollFd{{Fd: int32(p[0]), Events: unix.POLLIN}}, -1) })
	thread("t-select", func() {
		var fds unix.FdSet
		fds.Set(sp[1])
		_, _ = unix.Select(sp[1]+1, &fds, nil, nil, nil)
	})
	thread("t-pause", func() { _ = unix.Pause() })
	thread("t-futex", func() {
		var word uint32
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), 0, 0, 0, 0, 0)
	})
	thread("t-accept", func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err == nil && unix.Listen(fd, 1) == nil {
			_, _, _ = unix.Accept(fd)
		}
	})
	thread("t-recvfrom", func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err == nil && unix.Bind(fd, &unix.SockaddrInet4{Port: 6100}) == nil {
			_, _, _ = unix.Recvfrom(fd, buf(), 0)
		}
	})
	thread("t-msgrcv", func() {
		id, _, _ := unix.Syscall(unix.SYS_MSGGET, 0x4b445805, 0, 0) // the empty queue of the ipc part
		b := make([]byte, 64)
		_, _, _ = unix.Syscall6(unix.SYS_MSGRCV, id, uintptr(unsafe.Pointer(&b[0])), 8, 0, 0, 0)
	})
	thread("t-semop", func() {
		id, _, _ := unix.Syscall(unix.SYS_SEMGET, 0x4b445806, 0, 0)
		op := [3]uint16{1, 0xffff, 0} // take semaphore 1, which is 0
		_, _, _ = unix.Syscall(unix.SYS_SEMOP, id, uintptr(unsafe.Pointer(&op[0])), 1)
	})
	thread("t-flock", func() {
		if fd, err := unix.Open("/run/locked", unix.O_RDWR, 0); err == nil {
			_ = unix.Flock(fd, unix.LOCK_EX)
		}
	})
	thread("t-posix-lock", func() {
		if fd, err := unix.Open("/run/posix-locked", unix.O_RDWR, 0); err == nil {
			_ = unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK, Start: 120, Len: 1})
		}
	})
	thread("t-sigwait", func() {
		set := uint64(1 << (unix.SIGUSR1 - 1))
		_, _, _ = unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, 0, 8, 0, 0)
	})
	thread("t-inotify", func() {
		if fd, err := unix.InotifyInit1(0); err == nil {
			_, _ = unix.Read(fd, buf())
		}
	})
	thread("t-eventfd", func() {
		if fd, err := unix.Eventfd(0, 0); err == nil {
			_, _ = unix.Read(fd, buf())
		}
	})
	thread("t-full-pipe", func() {
		var full [2]int
		if unix.Pipe(full[:]) == nil {
			_, _ = unix.Write(full[1], make([]byte, 1<<20))
		}
	})
	thread("t-open-fifo", func() {
		if unix.Mkfifo("/run/lonely-fifo", 0o600) == nil {
			_, _ = unix.Open("/run/lonely-fifo", unix.O_RDONLY, 0)
		}
	})
	thread("t-read-tty", func() {
		if fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0); err == nil {
			_, _ = unix.Read(fd, buf())
		}
	})
	thread("t-mqueue", func() {
		q, err := unix.BytePtrFromString("kdx-lab-empty")
		if err != nil {
			return
		}
		fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(q)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
		if errno == 0 {
			b := make([]byte, 8192)
			_, _, _ = unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
		}
	})
	thread("t-iouring", func() { waitRing() })
	thread("odd\x1b[1m\nname", func() { _ = unix.Pause() })
	for i := range workers(readText("/proc/cmdline")) {
		thread(fmt.Sprintf("worker-%02d", i), func() { _ = unix.Nanosleep(&unix.Timespec{Sec: 6000}, nil) })
	}
	time.Sleep(time.Second) // let each of them fall asleep
	s.ready()
	return hold()
}

// workers is how many threads sleep alike: as many as the kernel's command line says, else 40.
func workers(cmdline string) int {
	for word := range strings.FieldsSeq(cmdline) {
		if text, ok := strings.CutPrefix(word, "kdxlab.workers="); ok {
			if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= 4000 {
				return n
			}
		}
	}
	return 40
}

// waitRing waits for an io_uring completion that never comes.
func waitRing() {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params[0])), 0)
	if errno == 0 {
		const getEvents = 1
		_, _, _ = unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, 0, 1, getEvents, 0, 0)
	}
}

// guestStates makes tasks in the states that sleeping does not reach: stopped, traced, zombie, waiting for a vforked child; and
// tasks in namespaces of their own.
func guestStates([]string) error {
	s := setup{"states"}
	run := func(role string, attr *syscall.SysProcAttr) *os.Process {
		cmd := exec.Command("/bin/kdx-lab", "guest", "actor", role)
		cmd.SysProcAttr = attr
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if !s.try(role, cmd.Start()) {
			return nil
		}
		return cmd.Process
	}
	if p := run("stopped", nil); p != nil {
		time.Sleep(500 * time.Millisecond)
		s.try("stop", p.Signal(unix.SIGSTOP))
	}
	run("zombie", nil) // ends at once, and nobody waits for it
	run("vfork", nil)
	if p := run("namespaces", &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}); p != nil {
		s.try("namespaces", writeText("/run/inner-pid", fmt.Sprint(p.Pid)))
	}
	s.try("pending", signalled())
	run("nobody", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{100, 200}}})
	run("chroot", &syscall.SysProcAttr{Chroot: "/"})
	runtime.LockOSThread() // a tracer is a thread
	run("traced", &syscall.SysProcAttr{Ptrace: true})
	time.Sleep(700 * time.Millisecond)
	s.ready()
	return hold()
}

// signalled makes a process that blocks all signals and has some sent to it: to the process, with and without a value, and to its thread.
func signalled() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, before := ^uint64(0), uint64(0)
	mask := func(set, old *uint64) unix.Errno {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0) // SIG_SETMASK
		return unix.Errno(errno)
	}
	if errno := mask(&all, &before); errno != 0 {
		return errno
	}
	// The child has a copy of this process and only this thread: it may do nothing but call the kernel.
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	for errno == 0 && pid == 0 {
		syscall.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
	}
	if again := mask(&before, nil); again != 0 || errno != 0 {
		return errors.Join(asError(errno), asError(again))
	}
	queue := func(call uintptr, args ...uintptr) error {
		const realtime, queued = 36, ^uint32(0) // a signal behind those that the C library keeps; SI_QUEUE is -1
		var info [128]byte
		binary.LittleEndian.PutUint32(info[0:], realtime)
		binary.LittleEndian.PutUint32(info[8:], queued)
		binary.LittleEndian.PutUint32(info[16:], uint32(os.Getpid()))
		binary.LittleEndian.PutUint64(info[24:], 0x6b6478) // its value
		args = append(args, realtime, uintptr(unsafe.Pointer(&info[0])), 0)
		_, _, errno := unix.Syscall6(call, args[0], args[1], args[2], args[3], 0, 0)
		return asError(errno)
	}
	return errors.Join(unix.Kill(int(pid), unix.SIGUSR1), unix.Tgkill(int(pid), int(pid), unix.SIGUSR2),
		queue(unix.SYS_RT_SIGQUEUEINFO, pid), queue(unix.SYS_RT_SIGQUEUEINFO, pid), queue(unix.SYS_RT_TGSIGQUEUEINFO, pid, pid))
}

// asError is nil where the kernel reports none.
func asError(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// guestActor is a child of the states part.
func guestActor(args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	switch args[0] {
	case "zombie":
		return nil
	case "namespaces":
		return live()
	case "vfork":
		runtime.LockOSThread()
		name("vfork-parent")
		// The child has a copy of this process and only this thread: it may do nothing but call the kernel.
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		for pid == 0 {
			syscall.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
		}
	}
	return hold()
}

// guestSched makes tasks of every scheduling class.
func guestSched([]string) error {
	s := setup{"sched"}
	var wg sync.WaitGroup
	class := func(what string, attr unix.SchedAttr) {
		wg.Add(1)
		thread(what, func() {
			attr.Size = unix.SizeofSchedAttr
			s.try(what, unix.SchedSetAttr(0, &attr, 0))
			wg.Done()
			_ = unix.Nanosleep(&unix.Timespec{Sec: 4000}, nil)
		})
	}
	class("s-fifo", unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 50})
	class("s-rr", unix.SchedAttr{Policy: unix.SCHED_RR, Priority: 10})
	class("s-deadline", unix.SchedAttr{Policy: unix.SCHED_DEADLINE, Runtime: 1e6, Deadline: 50e6, Period: 100e6})
	class("s-batch", unix.SchedAttr{Policy: unix.SCHED_BATCH, Nice: 5})
	class("s-idle", unix.SchedAttr{Policy: unix.SCHED_IDLE})
	class("s-nice", unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: -7})
	thread("s-pinned", func() {
		var cpus unix.CPUSet
		cpus.Set(1)
		s.try("pin", unix.SchedSetaffinity(0, &cpus))
		_ = unix.Nanosleep(&unix.Timespec{Sec: 4000}, nil)
	})
	// A priority-inheritance futex: a real-time thread waits for what an ordinary one holds.
	word := new(uint32)
	held := make(chan struct{})
	thread("s-pi-owner", func() {
		_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexLockPI, 0, 0, 0, 0)
		s.errno("pi", errno)
		close(held)
		_ = unix.Nanosleep(&unix.Timespec{Sec: 4000}, nil)
	})
	<-held
	thread("s-pi-waiter", func() {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 30}
		s.try("pi", unix.SchedSetAttr(0, &attr, 0))
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexLockPI, 0, 0, 0, 0)
	})
	wg.Wait()
	time.Sleep(300 * time.Millisecond)
	s.ready()
	return hold()
}

// futexLockPI is FUTEX_LOCK_PI.
const futexLockPI = 6

// guestCgroups puts tasks into groups with limits, one of them frozen.
func guestCgroups([]string) error {
	s := setup{"cgroups"}
	const root = "/sys/fs/cgroup"
	s.try("controllers", writeText(root+"/cgroup.subtree_control", "+memory +pids +cpu"))
	group := func(path, file, value string, command ...string) {
		dir := root + "/" + path
		if !s.try(path, os.MkdirAll(dir, 0o755)) {
			return
		}
		if command == nil {
			command = []string{"/bin/sleep", "3000"}
		}
		cmd := exec.Command(command[0], command[1:]...)
		if !s.try(path, cmd.Start()) {
			return
		}
		s.try(path, writeText(dir+"/cgroup.procs", fmt.Sprint(cmd.Process.Pid)))
		s.try(path+" "+file, writeText(dir+"/"+file, value))
	}
	group("limited", "memory.max", "16777216")
	group("counted", "pids.max", "10")
	group("weighted", "cpu.weight", "50")
	group("outer/inner", "cgroup.max.depth", "1")
	group("frozen", "cgroup.freeze", "1")
	group("throttled", "cpu.max", "1000 1000000", "/bin/sh", "-c", "while :; do :; done") // a millisecond of each second
	time.Sleep(300 * time.Millisecond)
	s.ready()
	return hold()
}

// guestFrozen freezes a file system and leaves tasks in uninterruptible sleep behind it.
func guestFrozen([]string) error {
	s := setup{"frozen"}
	const dir = "/tmp/frozen"
	f, err := os.Create(dir + "/file")
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	const freeze = 0xC0045877 // FIFREEZE
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), freeze, 0); errno != 0 {
		return fmt.Errorf("freeze: %w", errno)
	}
	fd := int(f.Fd())
	thread("d-write", func() { _, _ = unix.Write(fd, []byte("never")) })
	thread("d-mkdir", func() { _ = unix.Mkdir(dir+"/never", 0o700) })
	time.Sleep(300 * time.Millisecond)
	s.ready()
	return hold()
}

// guestSpin keeps the second processor in user mode.
func guestSpin([]string) error {
	s := setup{"spin"}
	runtime.LockOSThread()
	name("spinner")
	var cpus unix.CPUSet
	cpus.Set(1)
	s.try("pin", unix.SchedSetaffinity(0, &cpus))
	s.ready()
	for n := uint64(1); ; n++ {
		if n == 0 {
			return nil
		}
	}
}
