//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// guestFiles holds descriptors of every type, locks, watches and leases.
func guestFiles([]string) error {
	s := setup{"files"}
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags, 0o640)
		s.try(path, err)
		return fd
	}
	epoll, err := unix.EpollCreate1(0)
	s.try("epoll", err)
	watch := func(what string, fd int, err error) {
		if s.try(what, err) {
			s.try("epoll "+what, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
		}
	}
	fd, err := unix.Eventfd(7, unix.EFD_SEMAPHORE)
	watch("eventfd", fd, err)
	fd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0)
	watch("timerfd", fd, err)
	s.try("timerfd", unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(time.Hour))}, nil))
	var set unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGUSR2 - 1)
	fd, err = unix.Signalfd(-1, &set, 0)
	watch("signalfd", fd, err)
	fd, err = unix.PidfdOpen(1, 0)
	watch("pidfd", fd, err)
	fd, err = unix.InotifyInit1(0)
	watch("inotify", fd, err)
	_, err = unix.InotifyAddWatch(fd, "/tmp/t1", unix.IN_CREATE|unix.IN_DELETE)
	s.try("inotify", err)
	if fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF, unix.O_RDONLY); s.try("fanotify", err) {
		s.try("fanotify", unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN, unix.AT_FDCWD, "/tmp/t1/dir"))
	}
	var p [2]int
	if s.try("pipe", unix.Pipe(p[:])) {
		_, err := unix.Write(p[1], []byte("waiting in a pipe"))
		s.try("pipe", err)
		watch("pipe", p[0], nil)
	}
	// One of each type of file, by path.
	open("/tmp/t1/dir", unix.O_RDONLY|unix.O_DIRECTORY)
	open("/tmp/t1/link", unix.O_PATH|unix.O_NOFOLLOW)
	open("/tmp/t1/fifo", unix.O_RDWR)
	open("/tmp/t1/null", unix.O_RDWR)
	open("/dev/nvme0n1", unix.O_RDONLY)
	open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	open("/tmp/merged/file", unix.O_RDWR)
	open("/tmp/loop/file", unix.O_RDONLY)
	open("/tmp/ro/blob", unix.O_RDONLY)
	open("/proc/self/mounts", unix.O_RDONLY)
	open("/sys/kernel/uevent_seqnum", unix.O_RDONLY)
	open("/mnt", unix.O_RDWR|unix.O_TMPFILE)
	// Locks of three kinds; who waits for them is in the threads part.
	fd = open("/run/locked", unix.O_RDWR|unix.O_CREAT)
	s.try("flock", unix.Flock(fd, unix.LOCK_EX))
	fd = open("/run/posix-locked", unix.O_RDWR|unix.O_CREAT)
	s.try("posix lock", unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 100, Len: 50}))
	fd = open("/run/leased", unix.O_RDONLY|unix.O_CREAT)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	s.try("lease", err)
	// Names that a terminal must not be given raw.
	odd := "/tmp/t1/odd\x1b[31m\nname"
	if f, err := os.Create(odd); s.try("odd name", err) {
		fmt.Fprintln(f, "odd")
	}
	// Many entries: enough for a directory and a dentry cache to look like one.
	for i := range 300 {
		if !s.try("many", os.WriteFile(fmt.Sprintf("/tmp/t1/dir/entry-%03d", i), nil, 0o600)) {
			break
		}
	}
	s.ready()
	return hold()
}
