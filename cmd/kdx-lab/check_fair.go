package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// saidEntity is a row of sched/debug: what the scheduler knows of a task.
type saidEntity struct {
	cpu, pid       int
	comm           string
	vruntime, exec string // ms, as the kernel writes them
	switches, prio string
	group          string // "" without groups
}

// entityRow are a row's state, name and PID: names may have blanks.
var entityRow = regexp.MustCompile(`^(?:>R| [A-Z]) +(.*?) +(\d+) +(-?\d+\.\d+ .*)$`)

// parseSchedDebug takes the tables of tasks apart; their columns change with the releases, and are named above them.
func parseSchedDebug(text string) []saidEntity {
	var out []saidEntity
	cpu := -1
	var columns []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if rest, ok := strings.CutPrefix(line, "cpu#"); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil {
				return nil
			}
			cpu, columns = n, nil
			continue
		}
		if f := strings.Fields(line); len(f) > 3 && f[0] == "S" && f[1] == "task" && f[2] == "PID" {
			columns = f[3:]
			continue
		}
		m := entityRow.FindStringSubmatch(line)
		if m == nil || columns == nil {
			continue // of a task whose name has a new line, too
		}
		pid, err := strconv.Atoi(m[2])
		f := strings.Fields(m[3])
		if err != nil || len(f) < len(columns) {
			continue
		}
		e := saidEntity{cpu: cpu, pid: pid, comm: m[1]}
		for i, name := range columns {
			switch name {
			case "tree-key", "vruntime":
				e.vruntime = f[i]
			case "sum-exec":
				e.exec = f[i]
			case "switches":
				e.switches = f[i]
			case "prio":
				e.prio = f[i]
			}
		}
		if last := f[len(f)-1]; strings.HasPrefix(last, "/") {
			e.group = last
		}
		out = append(out, e)
	}
	return out
}

// inMs is a time as sched/debug has it: the sign stands at the whole milliseconds, and is lost where there are none.
func inMs(ns int64) string {
	return fmt.Sprintf("%d.%06d", ns/1e6, max(ns, -ns)%1e6)
}

// runQueue is a CPU's of runq, as far as it is held against anything.
type runQueue struct {
	CPU  int       `json:"cpu"`
	NR   int       `json:"nr_running"`
	Fair fairQueue `json:"fair"`
	RT   struct {
		Entities []struct {
			Task *struct{} `json:"task"`
		} `json:"entities"`
	} `json:"rt"`
	Deadline struct {
		Entities []struct {
			Task *struct{} `json:"task"`
		} `json:"entities"`
	} `json:"deadline"`
}

type fairQueue struct {
	Name      string `json:"group_name"`
	Throttled bool   `json:"throttled"`
	Entities  []struct {
		Task *struct {
			PID int `json:"pid"`
		} `json:"task"`
		Group     *fairQueue `json:"group"`
		Current   bool       `json:"current"`
		Throttled bool       `json:"throttled"`
		Vruntime  uint64     `json:"vruntime"`
		Deadline  *uint64    `json:"deadline"`
	} `json:"entities"`
}

// each calls f for each task of a queue and of the groups below it, with their path.
func (q *fairQueue) each(path string, f func(pid int, path string, throttled bool)) {
	for _, e := range q.Entities {
		switch {
		case e.Group != nil:
			e.Group.each(strings.TrimSuffix(path, "/")+"/"+e.Group.Name, f)
		case e.Task != nil:
			f(e.Task.PID, path, e.Throttled)
		}
	}
}

// ordered reports whether the tasks of one queue stand as the kernel's tree has them: by virtual time, since EEVDF by virtual deadline.
func (q *fairQueue) ordered() bool {
	last, first := uint64(0), true
	for _, e := range q.Entities {
		if e.Current || e.Throttled || e.Group != nil && e.Group.Throttled {
			continue
		}
		key := e.Vruntime
		if e.Deadline != nil {
			key = *e.Deadline
		}
		if !first && int64(key-last) < 0 {
			return false
		}
		last, first = key, false
		if e.Group != nil && !e.Group.ordered() {
			return false
		}
	}
	return true
}

// checkFair holds what the scheduler knows of tasks against sched/debug: of a task that has not run since its CPU, name, priority, virtual time, time on a CPU and
// switches. The tasks that runq lists are of the groups that the guest says, as many as the queue counts (those that are throttled it does not count),
// and in the kernel's order.
func checkFair(ctx context.Context, s *subject) (string, error) {
	said := parseSchedDebug(s.truth.Proc["/sys/kernel/debug/sched/debug"] + s.truth.Proc["/proc/sched_debug"]) // until 5.12
	if len(said) == 0 {
		return "", skip("the guest had no sched/debug")
	}
	var values []struct {
		PID    int `json:"pid"`
		CPU    int `json:"cpu"`
		Result struct {
			Objects []struct {
				Value struct {
					Comm     string `json:"comm"`
					Prio     int    `json:"prio"`
					Vruntime uint64 `json:"se.vruntime"`
					Exec     uint64 `json:"se.sum_exec_runtime"`
					Vol      uint64 `json:"nvcsw"`
					Invol    uint64 `json:"nivcsw"`
				} `json:"value"`
			} `json:"objects"`
		} `json:"result"`
	}
	var queues struct {
		Queues []runQueue `json:"queues"`
	}
	if err := s.ask(ctx, []string{"foreach task -R comm,prio,se.vruntime,se.sum_exec_runtime,nvcsw,nivcsw", "runq"}, &values, &queues); err != nil {
		return "", err
	}
	still, err := s.still(ctx)
	if err != nil {
		return "", err
	}
	rows := map[int]saidEntity{}
	for _, e := range said {
		rows[e.pid] = e
	}
	tasks, err := s.truth.said()
	if err != nil {
		return "", err
	}
	later := map[int]string{} // the switches of tasks when the guest spoke of each: sched/debug was read before
	for _, t := range tasks {
		later[t.TID] = fmt.Sprint(t.Switches)
	}
	var d differences
	queued := map[int]bool{}
	listed := 0
	for i := range queues.Queues {
		q := &queues.Queues[i]
		n := 0
		for _, e := range q.RT.Entities {
			if e.Task != nil {
				n++
			}
		}
		for _, e := range q.Deadline.Entities {
			if e.Task != nil {
				n++
			}
		}
		q.Fair.each("/", func(pid int, path string, throttled bool) {
			listed++
			queued[pid] = true
			if !throttled {
				n++
			}
			if w, ok := rows[pid]; ok && still[pid] && w.group != "" && w.group != path {
				d.add("task %d is queued in the group %s; the guest said %s", pid, path, w.group)
			}
			if throttled != (path == "/throttled") && s.way.name != "oom" {
				d.add("task %d of the group %s: throttled: %v", pid, path, throttled)
			}
		})
		if n != q.NR {
			d.add("CPU %d: %d tasks that want it; its queue counts %d", q.CPU, n, q.NR)
		}
		if !q.Fair.ordered() {
			d.add("CPU %d: the tasks of the fair class are in no order", q.CPU)
		}
	}
	held := 0
	for _, x := range values {
		w, ok := rows[x.PID]
		if !ok || !still[x.PID] || later[x.PID] != w.switches || queued[x.PID] || len(x.Result.Objects) != 1 {
			continue // what was woken since has a place in virtual time anew
		}
		v := x.Result.Objects[0].Value
		got := saidEntity{x.CPU, x.PID, strings.TrimSpace(v.Comm), inMs(int64(v.Vruntime)), inMs(int64(v.Exec)), fmt.Sprint(v.Vol + v.Invol), fmt.Sprint(v.Prio), w.group}
		if held++; got != w {
			d.add("task %d = %+v; want %+v", x.PID, got, w)
		}
	}
	if held < len(said)/2 {
		d.add("only %d of the guest's %d tasks had not run since", held, len(said))
	}
	return fmt.Sprintf("%d of %d tasks, %d queued", held, len(said), listed), d.err()
}
