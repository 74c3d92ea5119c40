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

	Policy string  `json:"policy"`
	Prio   int     `json:"prio"`
	VSZ    *uint64 `json:"vsz_bytes"`
	RSS    *uint64 `json:"rss_bytes"`
}

// stateNames translates the letter of /proc to the states that ps may show for it: more, where the kernel's own letter says less.
var stateNames = map[string]string{
	"R": "RU", "S": "IN", "D": "UN", "T": "ST", "t": "TR", "Z": "ZO", "X": "DE", "I": "ID", "P": "PA",
}

// still are the tasks that have not run since the guest spoke of them: by the dump's count of context switches and the guest's.
// What such a task was doing then it was doing at the crash.
func (s *subject) still(ctx context.Context) (map[int]bool, error) {
	var counts []struct {
		PID    int `json:"pid"`
		Result struct {
			Objects []struct {
				Value struct {
					Voluntary   uint64 `json:"nvcsw"`
					Involuntary uint64 `json:"nivcsw"`
				} `json:"value"`
			} `json:"objects"`
		} `json:"result"`
	}
	if err := s.ask(ctx, []string{"foreach task -R nvcsw,nivcsw"}, &counts); err != nil {
		return nil, err
	}
	now := map[int]uint64{}
	for _, c := range counts {
		if len(c.Result.Objects) == 1 && c.PID != 0 {
			v := c.Result.Objects[0].Value
			now[c.PID] = v.Voluntary + v.Involuntary
		}
	}
	tasks, err := s.truth.said()
	if err != nil {
		return nil, err
	}
	still := map[int]bool{}
	for _, t := range tasks {
		if n, ok := now[t.TID]; ok && t.Quiet && n == t.Switches {
			still[t.TID] = true
		}
	}
	return still, nil
}

// checkTasks: every task has the same ids, name and kind, and if it has not run since, the same state; none is missing, and none is
// there that could not have been born since.
func checkTasks(ctx context.Context, s *subject) (string, error) {
	var ps struct {
		Tasks []kdxTask `json:"tasks"`
	}
	if err := s.ask(ctx, []string{"ps"}, &ps); err != nil {
		return "", err
	}
	still, err := s.still(ctx)
	if err != nil {
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
	// Each processor that there may be has one.
	possible, err := parseNumbers(s.truth.Proc[sysCPU+"possible"])
	if err != nil {
		return "", err
	}
	if n := max(len(possible), s.truth.CPUs); idle != n {
		d.add("%d idle tasks; want %d", idle, n)
	}
	tasks, err := s.truth.said()
	if err != nil {
		return "", err
	}
	states, last := 0, 0
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
		if got.Policy != want.Policy || still[want.TID] && got.Prio != want.Prio {
			d.add("task %d %q = %s %d; want %s %d", want.TID, want.Comm, got.Policy, got.Prio, want.Policy, want.Prio)
		}
		if still[want.TID] && want.State != "Z" && (got.VSZ == nil || *got.VSZ != want.VSZ) {
			d.add("task %d %q = %s bytes mapped; want %d", want.TID, want.Comm, orNone(got.VSZ), want.VSZ)
		}
		if still[want.TID] && want.State != "Z" && s.way.name != "oom" && !s.sameRSS(got.RSS, want) {
			d.add("task %d %q = %s bytes resident; want near %d", want.TID, want.Comm, orNone(got.RSS), want.RSS)
		}
		// A task that runs for the first time since has not been counted yet; one that was woken has only changed its state.
		woken := (got.State == "RU" || got.State == "WA") && (want.Kernel || s.way.name == "oom")
		if !still[want.TID] || got.Active || woken {
			continue
		}
		states++
		if got.State != stateNames[want.State] {
			d.add("task %d %q = state %s; want %s (%s)", want.TID, want.Comm, got.State, stateNames[want.State], want.State)
		}
	}
	for pid, t := range byPID {
		// What started after the truth was taken has a higher number; the process that took it is not among the tasks.
		if pid <= last {
			d.add("task %d %q: the guest did not have it", pid, t.Comm)
		}
	}
	if states < len(tasks)/2 {
		d.add("only %d of %d tasks had not run since: nothing to hold the rest against", states, len(tasks))
	}
	return fmt.Sprintf("%d tasks, states of %d", len(ps.Tasks), states), d.err()
}

// sameRSS: until 6.1 each task kept what it had counted since its last 64 faults to itself, and /proc leaves that out, down to a single
// page for a small program. Since 6.2 processors do, and it is near.
func (s *subject) sameRSS(got *uint64, want saidTask) bool {
	if got == nil {
		return false
	}
	if natural(s.truth.Uname[2], "6.2") < 0 && *got > want.RSS {
		return *got <= want.VSZ
	}
	return near(*got, want.RSS, 1<<20)
}

func orNone(n *uint64) string {
	if n == nil {
		return "no"
	}
	return fmt.Sprint(*n)
}

// sameComm: /proc shows the full name of a kernel thread, and a worker's with what it works on; a task_struct holds 15 bytes.
func sameComm(got string, want saidTask) bool {
	if got == want.Comm {
		return true
	}
	return want.Kernel && got != "" && strings.HasPrefix(want.Comm, got) && (len(got) == 15 || strings.IndexAny(want.Comm[len(got):], "+-") == 0)
}
