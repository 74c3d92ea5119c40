//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guestNodes spreads memory and tasks over the machine's nodes, and then takes processors away.
func guestNodes([]string) error {
	s := setup{"nodes"}
	for _, p := range memoryPolicies {
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if !s.try(p.name, err) {
			continue
		}
		held = append(held, b)
		set := make(chan bool)
		thread(p.name, func() {
			const nodes = 8 // bits of the mask, and one more, which the kernel wants
			mask := p.nodes
			_, _, errno := unix.Syscall(unix.SYS_SET_MEMPOLICY, uintptr(p.mode), uintptr(unsafe.Pointer(&mask)), nodes)
			s.errno(p.name, errno)
			_, _, errno = unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(p.mode), uintptr(unsafe.Pointer(&mask)), nodes, 0)
			s.errno(p.name, errno)
			for i := 0; i < len(b); i += os.Getpagesize() {
				b[i] = 1
			}
			set <- true
			_ = unix.Nanosleep(&unix.Timespec{Sec: 7000}, nil)
		})
		<-set
	}
	s.try("huge pages", writeText("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "3"))
	s.try("confined", confine())
	s.try("processor 3", writeText("/sys/devices/system/cpu/cpu3/online", "0"))
	if strings.Contains(readText("/proc/cmdline"), "kdxlab.arm=qemu") { // QEMU 7.2 does not live to see the capture kernel then
		s.try("processor 2", eject(2))
	}
	s.ready()
	return hold()
}

// confine starts a process in a group that may use the second node alone.
func confine() error {
	const root, dir = "/sys/fs/cgroup", "/sys/fs/cgroup/confined"
	cmd := exec.Command("/bin/sleep", "3000")
	if err := errors.Join(writeText(root+"/cgroup.subtree_control", "+cpuset"), os.MkdirAll(dir, 0o755), cmd.Start()); err != nil {
		return err
	}
	return errors.Join(writeText(dir+"/cpuset.mems", "1"), writeText(dir+"/cpuset.cpus", "4"), writeText(dir+"/cgroup.procs", fmt.Sprint(cmd.Process.Pid)))
}

// eject removes a processor from the machine, and waits until it is gone.
func eject(cpu int) error {
	dir := fmt.Sprintf("/sys/devices/system/cpu/cpu%d", cpu)
	if err := writeText(dir+"/firmware_node/eject", "1"); err != nil {
		return err
	}
	for range 100 {
		if !exists(dir) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("it is still there")
}
