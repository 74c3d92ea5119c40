package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checkInterrupts holds irq -s and irq -b against /proc/interrupts and /proc/softirqs: the same lines, and counts that have not fallen and
// not grown by more than a kernel does in the moments before its end.
func checkInterrupts(ctx context.Context, s *subject) (string, error) {
	var irqs struct {
		CPUs []int `json:"cpus"` // softirqs have the same
		IRQs []struct {
			Number int       `json:"irq"`
			Names  []string  `json:"names"`
			Counts []*uint64 `json:"counts"`
		} `json:"irqs"`
		Arch []struct {
			Name   string    `json:"name"`
			Counts []*uint64 `json:"counts"`
			Total  *uint64   `json:"total"`
		} `json:"architecture"`
	}
	var halves struct {
		Softirqs []struct {
			Name   string    `json:"name"`
			Counts []*uint64 `json:"counts"`
		} `json:"softirqs"`
	}
	if err := s.ask(ctx, []string{"irq -s", "irq -b"}, &irqs, &halves); err != nil {
		return "", err
	}
	got := map[string][]*uint64{}
	for _, x := range irqs.IRQs {
		got[fmt.Sprint(x.Number)] = x.Counts
	}
	totals := map[string]*uint64{}
	for _, x := range irqs.Arch {
		if got[x.Name] = x.Counts; x.Counts == nil {
			totals[x.Name] = x.Total
		}
	}
	var d differences
	said := map[string]bool{}
	each := func(file string, got map[string][]*uint64, known func(label string) bool) {
		var columns []int // the processors that the guest shows: those online, or all
		for line := range strings.Lines(s.truth.Proc[file]) {
			if columns == nil {
				for _, word := range strings.Fields(line) {
					cpu, err := strconv.Atoi(strings.TrimPrefix(word, "CPU"))
					if err != nil {
						d.add("%s: %q", file, line)
						return
					}
					columns = append(columns, cpu)
				}
				continue
			}
			label, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
			if !ok || !known(label) {
				continue
			}
			said[label] = true
			counts := got[label]
			fields := strings.Fields(rest)
			if total, ok := totals[label]; ok { // ERR and MIS are counted for all CPUs together until 7.0
				if total == nil || len(fields) != 1 || fmt.Sprint(*total) != fields[0] {
					d.add("%s: %v; want %v", label, deref(total), fields)
				}
				continue
			}
			if len(counts) != len(s.truth.present()) || len(counts) != len(irqs.CPUs) || len(fields) < len(columns) {
				d.add("%s: %d counts; want %d", label, len(counts), len(s.truth.present()))
				continue
			}
			for i, n := range counts {
				cpu := irqs.CPUs[i]
				column := slices.Index(columns, cpu)
				if column < 0 {
					continue // offline
				}
				want, err := strconv.ParseUint(fields[column], 10, 64)
				switch {
				case err != nil || n == nil:
					d.add("%s, CPU %d: no count", label, cpu)
				case *n < want || s.way.name != "oom" && *n > want*3+20000:
					d.add("%s, CPU %d = %d; want %d or somewhat more", label, cpu, *n, want)
				}
			}
		}
	}
	each("/proc/interrupts", got, func(string) bool { return true })
	for _, x := range irqs.IRQs {
		if !said[fmt.Sprint(x.Number)] {
			d.add("interrupt %d %v: the guest did not have it", x.Number, x.Names)
		}
	}
	soft := map[string][]*uint64{}
	for _, x := range halves.Softirqs {
		soft[x.Name] = x.Counts
	}
	each("/proc/softirqs", soft, func(string) bool { return true })
	return fmt.Sprintf("%d interrupts, %d more of the processor, %d softirqs", len(irqs.IRQs), len(irqs.Arch), len(soft)), d.err()
}

// checkSignals holds sig against /proc/PID/status of the tasks that have not run since.
func checkSignals(ctx context.Context, s *subject) (string, error) {
	var states []struct {
		PID     int `json:"pid"`
		Actions []struct {
			Signal  int    `json:"signal"`
			Handler string `json:"handler"`
		} `json:"actions"`
		Shared *struct {
			Set string `json:"signal"`
		} `json:"shared_pending"`
		Threads []struct {
			Blocked string `json:"blocked"`
			Private *struct {
				Set string `json:"signal"`
			} `json:"private_pending"`
		} `json:"threads"`
	}
	if err := s.ask(ctx, []string{"foreach sig"}, &states); err != nil {
		return "", err
	}
	still, err := s.still(ctx)
	if err != nil {
		return "", err
	}
	status := map[int]map[string]uint64{}
	for _, t := range s.truth.Tasks {
		status[t.TID] = saidSets(t.Status)
	}
	var d differences
	held, pending := 0, 0
	for _, x := range states {
		want := status[x.PID]
		if !still[x.PID] || want == nil || len(x.Threads) != 1 || x.Threads[0].Private == nil || x.Shared == nil || x.Actions == nil {
			continue
		}
		held++
		var ignored, caught uint64
		for _, a := range x.Actions {
			switch a.Handler {
			case "SIG_DFL":
			case "SIG_IGN":
				ignored |= 1 << (a.Signal - 1)
			default:
				caught |= 1 << (a.Signal - 1)
			}
		}
		got := map[string]uint64{"SigIgn": ignored, "SigCgt": caught, "SigBlk": setOf(x.Threads[0].Blocked), "SigPnd": setOf(x.Threads[0].Private.Set), "ShdPnd": setOf(x.Shared.Set)}
		for name, n := range got {
			if n != want[name] {
				d.add("task %d: %s = %x; want %x", x.PID, name, n, want[name])
			}
			if strings.HasSuffix(name, "Pnd") && n != 0 {
				pending++
			}
		}
	}
	if held == 0 {
		d.add("no task was still: nothing to hold against")
	}
	return fmt.Sprintf("%d tasks, %d with signals that are pending", held, pending), d.err()
}

// saidSets are the sets of signals in /proc/PID/status, by name.
func saidSets(status string) map[string]uint64 {
	sets := map[string]uint64{}
	for line := range strings.Lines(status) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && (strings.HasPrefix(name, "Sig") || name == "ShdPnd") {
			if n, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64); err == nil {
				sets[name] = n
			}
		}
	}
	return sets
}

// setOf is a set of signals as kdx's JSON has it.
func setOf(s string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	return n
}

// checkTimers holds timer -r against /proc/timer_list: a timer that was due long after the crash is still there, at the same time and with the
// same function, unless its task has run since.
func checkTimers(ctx context.Context, s *subject) (string, error) {
	var cpus []struct {
		Clocks []struct {
			Timers []struct {
				Soft     int64 `json:"softexpires"`
				Expires  int64 `json:"expires"`
				Function struct {
					Name string `json:"name"`
				} `json:"function"`
			} `json:"timers"`
		} `json:"clocks"`
	}
	var wheels struct {
		HZ    *uint64 `json:"hz"`
		Bases []struct {
			Timers []struct{} `json:"timers"`
		} `json:"bases"`
	}
	if err := s.ask(ctx, []string{"timer -r", "timer"}, &cpus, &wheels); err != nil {
		return "", err
	}
	got := map[string]bool{}
	n := 0
	for _, c := range cpus {
		for _, k := range c.Clocks {
			for _, t := range k.Timers {
				got[fmt.Sprintf("%s %d-%d", t.Function.Name, t.Soft, t.Expires)] = true
				n++
			}
		}
	}
	var d, gone differences
	function, far := "", 0
	for line := range strings.Lines(s.truth.Proc["/proc/timer_list"]) {
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, ">, "); ok {
			function, _, _ = strings.Cut(rest, ",")
		}
		rest, ok := strings.CutPrefix(line, "# expires at ")
		if !ok {
			continue
		}
		span, _, _ := strings.Cut(rest, " ")
		_, end, _ := strings.Cut(span, "-")
		at, err := strconv.ParseInt(end, 10, 64)
		if err != nil || at < s.truth.BootNs+100e9 || at > 1<<60 {
			continue // soon: it may have fired, and been set anew
		}
		far++
		if !got[function+" "+span] {
			gone.add("%s at %s", function, span)
		}
	}
	if far == 0 || gone.n > far/4+2 {
		d.add("of %d far timers of the guest %d are not there: %v", far, gone.n, gone.err())
	}
	if wheels.HZ == nil || *wheels.HZ != 250 { // as Debian builds its kernels
		d.add("HZ = %s; want 250", orNone(wheels.HZ))
	}
	in := 0
	for _, b := range wheels.Bases {
		in += len(b.Timers)
	}
	if in == 0 {
		d.add("no timer in any wheel")
	}
	return fmt.Sprintf("%d hrtimers, %d of %d far ones as the guest said; %d timers in %d wheels", n, far-gone.n, far, in, len(wheels.Bases)), d.err()
}

// checkExecutionCrash holds runq, irq and timer against crash's text. crash names the timer bases of 6.9 and later wrongly and leaves out the
// third: of its rows each must be there, of ours each unless there are three bases.
func checkExecutionCrash(ctx context.Context, s *subject, r reference) (string, error) {
	if r.Crash == nil {
		return "", skip("crash cannot open it: " + tail(strings.TrimSpace(r.Failed["crash"]), 1))
	}
	groups, err := s.say(ctx, s.dump, "runq -g")
	if err != nil {
		return "", err
	}
	// crash knows no deadline class, and of a group that has used up its CPU time it shows no tasks.
	throttled := func(line string) bool {
		_, behind, _ := strings.Cut(groups, "(THROTTLED)")
		return strings.HasPrefix(line, "[") && strings.Contains(strings.Join(strings.Fields(behind), " "), line)
	}
	var d differences
	lines := 0
	for _, command := range []string{"runq", "irq", "timer"} {
		text, err := s.say(ctx, s.dump, command)
		if err != nil {
			return "", err
		}
		rows := func(text string) map[string]bool {
			out := map[string]bool{}
			for line := range strings.Lines(text) {
				line = strings.Join(strings.Fields(strings.ReplaceAll(line, "(DELAYED)", "")), " ")
				if line != "" && !strings.HasPrefix(line, "EXPIRES") && !strings.HasPrefix(line, "TIMER_BASES") && line != "(none)" {
					out[line] = true
				}
			}
			return out
		}
		ours, theirs := rows(text), rows(r.Crash.Output[command])
		for line := range theirs {
			if lines++; !ours[line] {
				d.add("%s: crash has %q, kdx not", command, line)
			}
		}
		for line := range ours {
			if !theirs[line] && !(command == "timer" && strings.Contains(text, "BASE_GLOBAL")) && !strings.HasPrefix(line, "DL ") && !strings.HasPrefix(line, "[ -1] ") && !throttled(line) {
				d.add("%s: kdx has %q, crash not", command, line)
			}
		}
	}
	return fmt.Sprintf("%d lines", lines), d.err()
}
