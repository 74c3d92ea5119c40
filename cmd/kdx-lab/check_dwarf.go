package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// knowledge is where kdx takes symbols, types and unwind rows from.
type knowledge struct {
	name    string
	flags   []string
	vmlinux bool
}

var (
	dumpAlone  = knowledge{name: "BTF alone"}
	dwarfAlone = knowledge{"DWARF alone", []string{"--no-btf", "--no-kallsyms", "--no-orc"}, true}
	both       = knowledge{"both", nil, true}
)

// difference is one between what two ways to know the kernel answer, and why it is right so.
type difference struct {
	// lines are those of testdata/lines that may differ: a regular expression for the whole line.
	lines string
	// text is what differs in them: parts of the output that it matches are taken out before they are compared. Empty: all.
	text string
	// why stands in docs/commands.md.
	why string
}

// allowed are the differences between BTF alone, DWARF alone and both.
var allowed = []difference{
	{`p proc_root\..*`, "", "DWARF has those of all"},
}

// compiled takes what may differ in the answer to a line out of it.
func (d difference) strip(line, answer string) string {
	if !regexp.MustCompile("^(?:" + d.lines + ")$").MatchString(line) {
		return answer
	}
	if d.text == "" {
		return ""
	}
	return regexp.MustCompile(d.text).ReplaceAllString(answer, "…")
}

// checkDWARF compares the answers to testdata/lines with the dump's own tables, with the vmlinux alone, and with both.
func (l *lab) checkDWARF(ctx context.Context, s *subject) (string, error) {
	if !exists(filepath.Join(s.dir, "vmlinux")) {
		return "", skip("the debug package was not fetched")
	}
	lines, err := l.lines()
	if err != nil {
		return "", err
	}
	want, err := s.sayWith(ctx, dumpAlone, lines)
	if err != nil {
		return "", err
	}
	var d differences
	for _, k := range []knowledge{dwarfAlone, both} {
		got, err := s.sayWith(ctx, k, lines)
		if err != nil {
			return "", fmt.Errorf("%s: %w", k.name, err)
		}
		for i, line := range lines {
			a, b := want[i], got[i]
			for _, x := range allowed {
				a, b = x.strip(line, a), x.strip(line, b)
			}
			if a != b {
				d.add("%s: %s differs: %s", k.name, line, firstDifference(a, b))
			}
		}
	}
	return fmt.Sprintf("%d lines equal with BTF alone, DWARF alone and both", len(lines)), d.err()
}

// lines are those of testdata/lines that can be answered without DWARF.
func (l *lab) lines() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(l.repo, "testdata", "lines"))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		need, line, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return nil, fmt.Errorf("testdata/lines: %q is not NEED, tab, LINE", line)
		}
		if need != "DWARF" {
			out = append(out, line)
		}
	}
	return out, nil
}

// mark is a command whose answer is known: it stands between the answers of others.
const mark, marked = "ascii 6b72616d2d78646b", "6b72616d2d78646b: kdx-mark\n"

// sayWith gives the lines to one kdx and returns what it says to each, complaints included.
func (s *subject) sayWith(ctx context.Context, k knowledge, lines []string) ([]string, error) {
	args := append([]string{"open", "--no-rc"}, k.flags...)
	for _, line := range lines {
		args = append(args, "-c", line, "-c", mark)
	}
	if k.vmlinux {
		vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
		if err != nil {
			return nil, err
		}
		args = append(args, vmlinux)
	}
	cmd := exec.CommandContext(ctx, s.kdx, append(args, s.dump)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "TZ=UTC")
	cmd.Dir = s.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	answers := strings.Split(out.String(), marked)
	if len(answers) != len(lines)+1 {
		return nil, fmt.Errorf("%d answers to %d lines: %s", len(answers)-1, len(lines), tail(out.String(), 5))
	}
	for i := range answers {
		answers[i] = aboutKernel(answers[i])
	}
	return answers[:len(lines)], nil
}
