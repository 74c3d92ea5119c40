package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// checkPanic holds the backtrace of the task that died against the call trace that the dying kernel printed.
func checkPanic(ctx context.Context, s *subject) (string, error) {
	var log []struct {
		Text string `json:"text"`
	}
	var stacks []kdxStack
	if err := s.ask(ctx, []string{"log", "bt"}, &log, &stacks); err != nil {
		return "", err
	}
	var lines []string
	for _, r := range log {
		lines = append(lines, strings.Split(r.Text, "\n")...)
	}
	want := panicTrace(lines)
	if len(stacks) != 1 {
		return "", fmt.Errorf("%d stacks; want that of the task that died", len(stacks))
	}
	if len(want) == 0 {
		return "", fmt.Errorf("the log has no call trace of the panic")
	}
	if why := inOrder(stacks[0].Frames, want); why != "" {
		return "", fmt.Errorf("%s\n  kdx   %v\n  guest %v", why, stacks[0].Frames, want)
	}
	return fmt.Sprintf("%q, %d frames, %d printed", stacks[0].Comm, len(stacks[0].Frames), len(want)), nil
}

// panicTrace reads the frames between panic() and user mode of the first call trace behind the panic's message. Lines with a question
// mark are what lay on the stack, no callers.
func panicTrace(lines []string) []saidFrame {
	var out []saidFrame
	panicked, tracing, below := false, false, false
	for _, line := range lines {
		line = strings.TrimSpace(line)
		panicked = panicked || strings.HasPrefix(line, "Kernel panic - not syncing")
		switch {
		case !panicked:
			continue
		case strings.HasPrefix(line, "Call Trace"):
			tracing = true
			continue
		case strings.HasPrefix(line, "RIP: 0033:"), strings.HasPrefix(line, "Kernel Offset"), strings.HasPrefix(line, "</TASK>"):
			return out
		case !tracing, strings.HasPrefix(line, "? "):
			continue
		}
		f, ok := parseFrame(strings.TrimPrefix(line, "RIP: 0010:")) // what an interrupt or exception interrupted
		if !ok || endsThere(line) {
			continue
		}
		if !below { // dump_stack, and panic itself, had moved on by the time of the crash
			below = f.Function == "panic"
			continue
		}
		out = append(out, f)
	}
	return out
}

// endsThere says that an offset equals its function's size: the address is the first byte of what follows, the trampoline that a tracer put
// in place of the return address.
func endsThere(line string) bool {
	_, off, _ := strings.Cut(line, "+0x")
	off, size, _ := strings.Cut(off, "/0x")
	size, _, _ = strings.Cut(size, " ")
	a, err := strconv.ParseUint(off, 16, 64)
	b, err2 := strconv.ParseUint(size, 16, 64)
	return err == nil && err2 == nil && a == b
}

// inOrder says which of the frames is not among got in the same order, "" if all are.
func inOrder(got []kdxFrame, want []saidFrame) string {
	i := 0
	for _, w := range want {
		for i < len(got) && (got[i].Function != w.Function || got[i].Offset != w.Offset) {
			i++
		}
		if i == len(got) {
			return fmt.Sprintf("%s+%#x is missing, or out of order", w.Function, w.Offset)
		}
		i++
	}
	return ""
}
