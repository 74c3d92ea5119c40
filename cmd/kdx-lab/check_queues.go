package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checkQueues holds runq against what the guest said last: the tasks that it set to wait for the second processor (kdx-lab: waiting: in its log) are in that
// processor's queues, each by its class, and one of the strongest has it. Groups are held against sched/debug: what it says is throttled is.
func checkQueues(ctx context.Context, s *subject) (string, error) {
	waiting := map[string]string{}
	for line := range strings.Lines(readText(s.dir + "/console.log")) {
		if _, list, ok := strings.Cut(line, "kdx-lab: waiting: "); ok {
			for _, word := range strings.Fields(list) {
				pid, name, _ := strings.Cut(word, "=")
				waiting[name] = pid
			}
		}
	}
	if len(waiting) == 0 {
		return "", skip("the guest did not fill its queues")
	}
	text, err := s.say(ctx, s.dump, "runq -c 1")
	if err != nil {
		return "", err
	}
	var d differences
	parts := queueParts(text)
	place := func(name string, where ...string) {
		for _, w := range where {
			if slices.Contains(parts[w], waiting[name]) {
				return
			}
		}
		d.add("%s (%s) is in none of %v", name, waiting[name], where)
	}
	place("q-fair", "CFS")
	place("q-grouped", "CFS")
	place("q-rr", "RT")
	place("q-fifo", "RT")
	has := parts["CURRENT"]
	if len(has) != 1 || has[0] != waiting["q-dl-1"] && has[0] != waiting["q-dl-2"] {
		d.add("CPU 1 runs %v; want q-dl-1 or q-dl-2", has)
	}
	queued := 0
	for _, name := range []string{"q-dl-1", "q-dl-2"} {
		if slices.Contains(parts["DL"], waiting[name]) {
			queued++
		}
	}
	if queued == 0 { // one may be throttled for a moment
		d.add("no task of the deadline class is in its queue")
	}
	groups, err := s.say(ctx, s.dump, "runq -g")
	if err != nil {
		return "", err
	}
	throttled := 0
	for line := range strings.Lines(groups) {
		if strings.Contains(line, "(THROTTLED)") && strings.Contains(line, "<throttled>") {
			throttled++
		}
	}
	if throttled == 0 {
		d.add("the group throttled is not")
	}
	if !strings.Contains(groups, "<weighted>") {
		d.add("q-grouped's group is not shown")
	}
	n, err := checkSchedDebug(ctx, s, &d)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d tasks that wait, %d of them deadline's; %d throttled queues; %d clocks", len(waiting), queued, throttled, n), d.err()
}

// queueParts are the PIDs below each heading of runq: CURRENT, DL, RT and CFS.
func queueParts(text string) map[string][]string {
	out := map[string][]string{}
	part := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "CURRENT:", "DL", "RT", "CFS":
			part = strings.TrimSuffix(f[0], ":")
		}
		if i := slices.Index(f, "PID:"); i >= 0 && i+1 < len(f) {
			out[part] = append(out[part], f[i+1])
		}
	}
	return out
}

// checkSchedDebug: the clocks of the run queues have gone on since the guest read them in sched/debug, by no more than it lived.
func checkSchedDebug(ctx context.Context, s *subject, d *differences) (int, error) {
	var queues struct {
		Queues []struct {
			CPU   int    `json:"cpu"`
			Clock uint64 `json:"clock_ns"`
		} `json:"queues"`
	}
	if err := s.ask(ctx, []string{"runq"}, &queues); err != nil {
		return 0, err
	}
	said := s.truth.Proc["/sys/kernel/debug/sched/debug"] + s.truth.Proc["/proc/sched_debug"] // until 5.12
	clocks := map[int]float64{}                                                               // ms
	cpu := -1
	for line := range strings.Lines(said) {
		if rest, ok := strings.CutPrefix(line, "cpu#"); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil {
				return 0, fmt.Errorf("sched/debug: %q", line)
			}
			cpu = n
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == ".clock" && cpu >= 0 {
			ms, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0, fmt.Errorf("sched/debug: %q", line)
			}
			clocks[cpu] = ms
		}
	}
	for _, q := range queues.Queues {
		if slices.Contains(s.truth.offline(), q.CPU) {
			continue // the guest speaks of those online
		}
		was, ok := clocks[q.CPU]
		now := float64(q.Clock) / 1e6
		if !ok || now < was || now > was+atMost.Seconds()*1e3 {
			d.add("CPU %d: clock at %.0f ms; the guest said %.0f", q.CPU, now, was)
		}
	}
	return len(clocks), nil
}

// checkLocks holds the kernel's list of locks on files, as list walks it, against /proc/locks: who holds what is there, waiting ones are behind those that they wait for.
func checkLocks(ctx context.Context, s *subject) (string, error) {
	tag, link, pid := "file_lock_core", "flc_link", "flc_pid" // since 6.9
	off, err := s.say(ctx, s.dump, "struct -o "+tag+"."+link)
	if err != nil {
		tag, link, pid = "file_lock", "fl_link", "fl_pid"
		if off, err = s.say(ctx, s.dump, "struct -o "+tag+"."+link); err != nil {
			return "", err
		}
	}
	_, rest, _ := strings.Cut(off, "[")
	number, _, _ := strings.Cut(rest, "]")
	at, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
	if err != nil {
		return "", fmt.Errorf("offset of %s.%s: %w", tag, link, err)
	}
	heads, err := s.say(ctx, s.dump, "p file_lock_list:a")
	if err != nil {
		return "", err
	}
	var got, want []string
	for line := range strings.Lines(heads) {
		_, value, ok := strings.Cut(strings.TrimSpace(line), "first = 0x")
		first, err := strconv.ParseUint(value, 16, 64)
		if !ok || err != nil || first == 0 {
			continue
		}
		text, err := s.say(ctx, s.dump, fmt.Sprintf("list -o %s.%s -s %s.%s -h %x", tag, link, tag, pid, first-at))
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(text) {
			if _, n, ok := strings.Cut(strings.TrimSpace(line), pid+" = "); ok {
				got = append(got, strings.TrimSuffix(n, ","))
			}
		}
	}
	for line := range strings.Lines(s.truth.Proc["/proc/locks"]) {
		if f := strings.Fields(line); len(f) >= 8 && f[1] != "->" {
			want = append(want, f[4])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	var d differences
	if len(want) == 0 || !slices.Equal(got, want) {
		d.add("locks of %v; want %v", got, want)
	}
	return fmt.Sprintf("%d locks", len(got)), d.err()
}
