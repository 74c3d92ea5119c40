package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// spaceOf is where a task of the kernel has its namespaces, by kind.
var spaceOf = map[string]string{
	"net":    "->nsproxy->net_ns->ns.inum",
	"ipc":    "->nsproxy->ipc_ns->ns.inum",
	"uts":    "->nsproxy->uts_ns->ns.inum",
	"mnt":    "->nsproxy->mnt_ns->ns.inum",
	"cgroup": "->nsproxy->cgroup_ns->ns.inum",
	"user":   "->cred->user_ns->ns.inum",
	"pid":    "->thread_pid->numbers[LEVEL].ns->ns.inum",
}

// checkNamespaces holds the numbers of the namespaces of init, and of each process that has another one, as kdx follows a task's pointers to them, against the
// links in /proc/PID/ns.
func checkNamespaces(ctx context.Context, s *subject) (string, error) {
	var ps struct {
		Tasks []struct {
			PID  int    `json:"pid"`
			Task string `json:"task"`
		} `json:"tasks"`
	}
	if err := s.ask(ctx, []string{"ps"}, &ps); err != nil {
		return "", err
	}
	at := make(map[int]string)
	for _, t := range ps.Tasks {
		at[t.PID] = t.Task
	}
	var commands, want, names []string
	seen := make(map[string]bool)
	for _, t := range s.truth.Tasks {
		for kind, target := range t.Spaces {
			number, ok := strings.CutPrefix(target, kind+":[")
			path := spaceOf[kind]
			if !ok || path == "" || seen[target] || at[t.TID] == "" || !t.Quiet {
				continue
			}
			level := strings.Count(nsPIDs(t.Status), "\t") - 1
			seen[target] = true
			commands = append(commands, fmt.Sprintf("p ((struct task_struct *)%s)%s", at[t.TID], strings.ReplaceAll(path, "LEVEL", strconv.Itoa(max(level, 0)))))
			want = append(want, strings.TrimSuffix(number, "]"))
			names = append(names, fmt.Sprintf("%s of %d", kind, t.TID))
		}
	}
	if len(commands) == 0 {
		return "", skip("the guest did not say what its namespaces are")
	}
	values := make([]struct {
		Value uint64 `json:"value"`
	}, len(commands))
	into := make([]any, len(commands))
	for i := range values {
		into[i] = &values[i]
	}
	if err := s.ask(ctx, commands, into...); err != nil {
		return "", err
	}
	var d differences
	for i, v := range values {
		if got := fmt.Sprint(v.Value); got != want[i] {
			d.add("namespace %s = %s; want %s", names[i], got, want[i])
		}
	}
	return fmt.Sprintf("%d namespaces", len(commands)), d.err()
}

// nsPIDs is the line of /proc/PID/status with the numbers that a task has in each of its PID namespaces.
func nsPIDs(status string) string {
	_, rest, _ := strings.Cut(status, "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}
