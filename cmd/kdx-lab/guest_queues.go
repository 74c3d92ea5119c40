//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waiters are what wants the second processor when the kernel dies, from weak to strong: one of them has it, the others are queued. Each is a
// process of its own, so that it stands in the queue itself.
var waiters = []struct {
	name, group string
	attr        unix.SchedAttr
}{
	{name: "q-fair", attr: unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: 3}},
	{name: "q-grouped", group: "weighted", attr: unix.SchedAttr{Policy: unix.SCHED_NORMAL}},
	{name: "q-rr", attr: unix.SchedAttr{Policy: unix.SCHED_RR, Priority: 20}},
	{name: "q-fifo", attr: unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 40}},
	// All of the processor's time, so that neither is throttled for longer than a moment.
	{name: "q-dl-1", attr: unix.SchedAttr{Policy: unix.SCHED_DEADLINE, Runtime: 100e6, Deadline: 100e6, Period: 100e6}},
	{name: "q-dl-2", attr: unix.SchedAttr{Policy: unix.SCHED_DEADLINE, Runtime: 100e6, Deadline: 100e6, Period: 100e6}},
}

// queued fills the queues of the second processor and calls die. From then on whatever needs that processor stands still: this process keeps
// to the first, and what is left to do uses no more than system calls. Which task waits where goes to the log.
func queued(die func() error) error {
	s := setup{"queues"}
	if exists("/sys/devices/system/cpu/cpu1") {
		s.try("queues", fillQueues(s))
	}
	return die()
}

func fillQueues(s setup) error {
	debug.SetGCPercent(-1)
	var first, second unix.CPUSet
	first.Set(0)
	second.Set(1)
	for _, tid := range pids("/proc/self/task") {
		s.try("pin", unix.SchedSetaffinity(tid, &first))
	}
	// Without a limit the kernel lets tasks of the deadline class keep to one processor.
	if err := writeText("/proc/sys/kernel/sched_rt_runtime_us", "-1"); err != nil {
		return err
	}
	var started []int
	for _, w := range waiters {
		link := "/run/" + w.name
		if err := os.Symlink("/bin/busybox", link); err != nil {
			return err
		}
		cmd := &exec.Cmd{Path: link, Args: []string{"sh", "-c", "while :; do :; done"}} // the task has the link's name
		if err := cmd.Start(); err != nil {
			return err
		}
		for range 1000 { // what it executes is there before its name is
			if strings.TrimSpace(readText(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))) == w.name {
				break
			}
			time.Sleep(time.Millisecond)
		}
		s.try(w.name, unix.SchedSetaffinity(cmd.Process.Pid, &second))
		if w.group != "" {
			s.try(w.name, writeText("/sys/fs/cgroup/"+w.group+"/cgroup.procs", fmt.Sprint(cmd.Process.Pid)))
		}
		started = append(started, cmd.Process.Pid)
	}
	var said strings.Builder
	for i, w := range waiters {
		attr := w.attr
		attr.Size = unix.SizeofSchedAttr
		if s.try(w.name, unix.SchedSetAttr(started[i], &attr, 0)) {
			fmt.Fprintf(&said, "%d=%s ", started[i], w.name)
		}
	}
	kmsg("kdx-lab: waiting: " + said.String())
	for range 20 { // signals of the runtime cut a pause short
		pause := unix.Timespec{Nsec: 10e6}
		syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
	}
	return nil
}
