//go:build linux && amd64

package main

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guestIPC holds SysV shared memory, queues and semaphores, and POSIX queues.
func guestIPC([]string) error {
	s := setup{"ipc"}
	shm := func(what string, key, size, flag int) {
		id, err := unix.SysvShmGet(key, size, flag|unix.IPC_CREAT|0o640)
		if !s.try(what, err) {
			return
		}
		b, err := unix.SysvShmAttach(id, 0, 0)
		if s.try(what+" attach", err) {
			copy(b, "shared by System V")
			b[len(b)-1] = 1
		}
		switch what {
		case "doomed":
			_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
			s.try(what, err)
		case "locked":
			const lock = 11 // SHM_LOCK
			_, err := unix.SysvShmCtl(id, lock, nil)
			s.try(what, err)
		}
	}
	shm("shm", 0x4b445801, 1<<20, 0)
	shm("doomed", 0x4b445802, 64<<10, 0)
	shm("huge", 0x4b445803, 2<<20, 0o4000) // SHM_HUGETLB
	shm("locked", 0x4b445807, 32<<10, 0)
	// One queue with three messages of two types, one empty.
	if id, _, errno := unix.Syscall(unix.SYS_MSGGET, 0x4b445804, unix.IPC_CREAT|0o600, 0); s.errno("msgget", errno) {
		for i, text := range []string{"first", "second message", "third"} {
			msg := append(binary.LittleEndian.AppendUint64(nil, uint64(1+i%2)), text...)
			_, _, errno := unix.Syscall6(unix.SYS_MSGSND, id, uintptr(unsafe.Pointer(&msg[0])), uintptr(len(text)), 0, 0, 0)
			s.errno("msgsnd", errno)
		}
	}
	_, _, errno := unix.Syscall(unix.SYS_MSGGET, 0x4b445805, unix.IPC_CREAT|0o666, 0)
	s.errno("msgget", errno)
	// A set of four semaphores, one of them raised with undo.
	if id, _, errno := unix.Syscall(unix.SYS_SEMGET, 0x4b445806, 4, unix.IPC_CREAT|0o600); s.errno("semget", errno) {
		op := [3]uint16{2, 5, 0x1000} // sem_num 2, +5, SEM_UNDO
		_, _, errno := unix.Syscall(unix.SYS_SEMOP, id, uintptr(unsafe.Pointer(&op[0])), 1)
		s.errno("semop", errno)
	}
	queue, err := unix.BytePtrFromString("kdx-lab")
	if s.try("mq", err) {
		fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(queue)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
		if s.errno("mq_open", errno) {
			msg := []byte("posix message")
			_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, fd, uintptr(unsafe.Pointer(&msg[0])), uintptr(len(msg)), 3, 0, 0)
			s.errno("mq_send", errno)
		}
	}
	runtime.KeepAlive(queue)
	s.ready()
	return hold()
}

// errno is try for raw system calls.
func (s setup) errno(what string, e unix.Errno) bool {
	if e == 0 {
		return true
	}
	return s.try(what, e)
}

// guestSwapon starts swapping on a file or device with a priority, which busybox cannot give.
func guestSwapon(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	prio, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(args[0])
	if err != nil {
		return err
	}
	const flagPrefer = 0x8000
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), uintptr(flagPrefer|prio), 0); errno != 0 {
		return fmt.Errorf("swapon %s: %w", args[0], errno)
	}
	return nil
}

// guestMemory holds memory of every kind: resident, swapped out, locked, huge, shared, mapped files, guarded.
func guestMemory([]string) error {
	s := setup{"memory"}
	mmap := func(what string, fd, size, prot, flags int) []byte {
		b, err := unix.Mmap(fd, 0, size, prot, flags)
		s.try(what, err)
		return b
	}
	const rw, anon = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	// Thirty megabytes that go to swap, a little of it incompressible.
	swapped := mmap("swapped", -1, 30<<20, rw, anon)
	for i := range swapped {
		swapped[i] = byte(i ^ i>>8 ^ i>>16)
	}
	s.try("pageout", unix.Madvise(swapped, unix.MADV_PAGEOUT))
	if b := mmap("locked", -1, 1<<20, rw, anon); b != nil {
		s.try("mlock", unix.Mlock(b))
	}
	if b := mmap("hugetlb", -1, 4<<20, rw, anon|unix.MAP_HUGETLB); b != nil {
		b[0], b[3<<20] = 1, 2
	}
	if b := mmap("thp", -1, 8<<20, rw, anon); b != nil {
		s.try("thp", unix.Madvise(b, unix.MADV_HUGEPAGE))
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
	}
	if b := mmap("shared", -1, 256<<10, rw, unix.MAP_SHARED|unix.MAP_ANONYMOUS); b != nil {
		b[0] = 1
	}
	if b := mmap("guard", -1, 64<<10, rw, anon); b != nil {
		s.try("mprotect", unix.Mprotect(b[16<<10:32<<10], unix.PROT_NONE))
		b[0] = 1
	}
	if b := mmap("not dumped", -1, 64<<10, rw, anon); b != nil {
		s.try("dontdump", unix.Madvise(b, unix.MADV_DONTDUMP))
		b[0] = 1
	}
	if fd, err := unix.Open("/mnt/blob", unix.O_RDWR, 0); s.try("file", err) {
		if b := mmap("file", fd, 1<<20, rw, unix.MAP_SHARED); b != nil {
			b[4096] = 'd' // a dirty page of a file
		}
	}
	if fd, err := unix.MemfdCreate("kdx-lab-memfd", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); s.try("memfd", err) {
		s.try("memfd", unix.Ftruncate(fd, 1<<20))
		if b := mmap("memfd", fd, 1<<20, rw, unix.MAP_SHARED); b != nil {
			copy(b, "memfd")
		}
	}
	s.ready()
	err := hold()
	runtime.KeepAlive(swapped)
	return err
}
