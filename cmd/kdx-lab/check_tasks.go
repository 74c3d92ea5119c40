package main

import (
	"context"
	"fmt"
	"strings"
)

// kdxTask is a row of ps.
type kdxTask struct {
	PID    int    `json:"pid"`
	TGID   int    `json:"tgid"`
	PPID   int    `json:"ppid"`
	CPU    int    `json:"cpu"`
	State  string `json:"state"`
	Active bool   `json:"active"`
	Kernel bool   `json:"kernel_thread"`
	Comm   string `json:"comm"`
}

// stateNames translates the letter of /proc to the states that ps may show for it: more, where the kernel's own letter says less.
var stateNames = map[string]string{
	"R": "RU", "S": "IN", "D": "UN", "T": "ST", "t": "TR", "Z": "ZO", "X": "DE", "I": "ID",
}

// checkTasks: every task that kept still has the same ids, name, kind and state; none is missing, and none is there that could not
// have been born or died since.
func checkTasks(ctx context.Context, s *subject) (string, error) {
	var ps struct {
		Tasks []kdxTask `json:"tasks"`
	}
	if err := s.ask(ctx, []string{"ps"}, &ps); err != nil {
		return "", err
	}
	byPID := map[int]kdxTask{}
	idle := 0
	var d differences
	for _, t := range ps.Tasks {
		if t.PID == 0 {
			idle++
			continue
		}
		if _, twice := byPID[t.PID]; twice {
			d.add("task %d %q is listed twice", t.PID, t.Comm)
		}
		byPID[t.PID] = t
	}
	if idle != s.truth.CPUs {
		d.add("%d idle tasks; want %d", idle, s.truth.CPUs)
	}
	quiet, last := 0, 0
	tasks, err := s.truth.said()
	if err != nil {
		return "", err
	}
	for _, want := range tasks {
		last = max(last, want.TID)
		got, ok := byPID[want.TID]
		delete(byPID, want.TID)
		if !ok {
			if want.Quiet {
				d.add("task %d %q is missing", want.TID, want.Comm)
			}
			continue
		}
		if !sameComm(got.Comm, want) || got.TGID != want.TGID || got.PPID != want.PPID || got.Kernel != want.Kernel {
			d.add("task %d = tgid %d ppid %d %q kernel %v; want tgid %d ppid %d %q kernel %v",
				want.TID, got.TGID, got.PPID, got.Comm, got.Kernel, want.TGID, want.PPID, want.Comm, want.Kernel)
		}
		if !want.Quiet {
			continue
		}
		quiet++
		if got.State != stateNames[want.State] && !s.moved(want, got) {
			d.add("task %d %q = state %s; want %s (%s)", want.TID, want.Comm, got.State, stateNames[want.State], want.State)
		}
	}
	for pid, t := range byPID {
		// What started after the truth was taken has a higher number; the process that took it is not among the tasks.
		if pid <= last {
			d.add("task %d %q: the guest did not have it", pid, t.Comm)
		}
	}
	return fmt.Sprintf("%d tasks, %d of them quiet", len(ps.Tasks), quiet), d.err()
}

// sameComm: /proc shows the full name of a kernel thread, and a worker's with what it works on; a task_struct holds 15 bytes.
func sameComm(got string, want saidTask) bool {
	if got == want.Comm {
		return true
	}
	return want.Kernel && got != "" && strings.HasPrefix(want.Comm, got) && (len(got) == 15 || strings.HasPrefix(got, "kworker/"))
}

// moved says whether a task that kept still while the truth was taken had reason to move between that and the crash.
func (s *subject) moved(want saidTask, got kdxTask) bool {
	switch {
	case got.Active, got.State == "RU" && want.Kernel:
		return true // timers, the log and the disk woke kernel threads
	case s.way.name == "oom":
		return got.State == "UN" || got.State == "RU" // waiting for memory
	}
	return false
}
