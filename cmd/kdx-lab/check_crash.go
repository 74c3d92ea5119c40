package main

import (
	"context"
	"fmt"
	"strings"
)

// crashComparisons say which words of a command's rows crash and kdx must agree on. Where they differ otherwise, kdx has its reasons
// (docs/commands.md): %MEM is of all memory, sizes of some megabytes have a decimal, modules are not "not loaded".
var crashComparisons = []struct {
	command string
	key     func(line string) string // what must be equal; "" leaves the line out
}{
	{"log", func(line string) string { return line }},
	{"kmem -s", func(line string) string { return line }},
	{"net", func(line string) string { return line }},
	{"ipcs", func(line string) string { return strings.Join(strings.Fields(line), " ") }}, // crash has a blank more before "locked"
	{"ps", func(line string) string {
		f := strings.Fields(strings.TrimPrefix(line, ">"))
		if len(f) < 9 || f[0] == "PID" {
			return ""
		}
		// Without PPID: crash says the parent's thread, kdx its process, as the kernel does in /proc. Without RSS: crash leaves out
		// the negative ones of the counts that tasks keep to themselves (before 6.2). Of a name what is printable: crash sends
		// control characters to the terminal.
		comm := strings.Join(f[8:], " ")
		if i := strings.IndexAny(comm, "\\\x1b"); i >= 0 {
			comm = comm[:i]
		}
		return strings.Join([]string{line[:1], f[0], f[2], f[3], f[4], f[6], comm}, " ")
	}},
	{"mod", func(line string) string {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] == "MODULE" {
			return ""
		}
		return strings.Join(f[:4], " ")
	}},
	{"mount", func(line string) string { return strings.Join(strings.Fields(line), " ") }},
	{"kmem -i", func(line string) string {
		// Label and pages. Committed memory is the sum of processors' counters, which crash leaves out.
		if len(line) < 23 || strings.Contains(line, "PAGES") || strings.Contains(line, "COMMITTED") {
			return ""
		}
		return strings.Join(strings.Fields(line[:23]), " ")
	}},
}

// checkCrash holds the text of commands against crash's, line by line.
func checkCrash(ctx context.Context, s *subject, r reference) (string, error) {
	if r.Crash == nil {
		return "", skip("crash cannot open it: " + tail(strings.TrimSpace(r.Failed["crash"]), 1))
	}
	var d differences
	var note []string
	for _, c := range crashComparisons {
		out, err := s.say(ctx, s.dump, c.command)
		if err != nil {
			d.add("%s: %v", c.command, err)
			continue
		}
		want, got := keys(r.Crash.Output[c.command], c.key), keys(out, c.key)
		if len(want) == 0 {
			d.add("%s: crash printed nothing that can be compared", c.command)
		}
		for i := range max(len(want), len(got)) {
			var w, g string
			if i < len(want) {
				w = want[i]
			}
			if i < len(got) {
				g = got[i]
			}
			if w != g {
				d.add("%s, row %d: %q; crash says %q", c.command, i+1, g, w)
			}
		}
		note = append(note, fmt.Sprintf("%s %d", c.command, len(want)))
	}
	return "lines equal: " + strings.Join(note, ", "), d.err()
}

// keys are the comparable parts of the lines that have one.
func keys(text string, key func(string) string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if line == "" {
			continue
		}
		if k := key(line); k != "" {
			out = append(out, k)
		}
	}
	return out
}
