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
	// same compares two answers as far as they must agree, the dump's own tables' first; "" if they do.
	same func(dump, other string) string
	// why stands in docs/commands.md.
	why string
}

// allowed are the differences between BTF alone, DWARF alone and both.
var allowed = []difference{
	{`sys`, but(`(?m)^ *KERNEL: .*$`), "`sys` says who gave them"},
	{`sym (-. )*panic`, but(` kernel/panic\.c: \d+`), "source lines"},
	{`(bt -v|locals|args).*`, func(_, _ string) string { return "" }, "values of parameters and variables"},
	{`(frame|up|down).*`, func(_, _ string) string { return "" }, "source lines and inlined functions"},
	{`p proc_root\..*`, func(_, _ string) string { return "" }, "DWARF has those of all"},
	{`sys -c.*`, but(`(?m) +(FILE AND LINE NUMBER|[^ ]+: \d+|-)$`), "source lines"},
	{`mod`, but(`(?m) +(/.*/kernel/.*|\(not loaded\).*|SYMBOLS|OBJECT FILE|kallsyms.*)$`), "debug files of modules"},
	{`mod .*-[sSdD].*`, func(_, _ string) string { return "" }, "debug files of modules"},
	{`struct -o sk_buff`, but(`\[0?\]`), "BTF does not tell `[0]` from `[]`"},
	{`bt --sp .*`, func(_, _ string) string { return "" }, "DWARF's frames hang on rbp, which --sp does not give"},
	{`whatis .*-[rm] .*`, more, "DWARF lists types of Rust"},
	{`sym -(l|q .*|M|m .*)`, more, "symbols that kallsyms leaves out"},
	{`(foreach )?bt .*-F.*|rd -s.*|rd -S.*|(struct|\*|p|task|list|tree) ?.*`, nameless, "kallsyms has no sizes"},
}

// but compares answers without what the expression matches.
func but(expression string) func(dump, other string) string {
	re := regexp.MustCompile(expression)
	return func(dump, other string) string {
		dump, other = re.ReplaceAllString(dump, ""), re.ReplaceAllString(other, "")
		if dump == other {
			return ""
		}
		return firstDifference(dump, other)
	}
}

// more wants every line of the dump's own answer in the other, which may have more. kallsyms calls whatever is local to a CPU A,
// has the compiler's own labels, and puts some ends of sections into the section behind.
func more(dump, other string) string {
	have := map[string]bool{}
	for line := range strings.Lines(other) {
		have[strings.Replace(line, "(a)", "(A)", 1)] = true
	}
	for line := range strings.Lines(dump) {
		if !have[strings.Replace(line, "(a)", "(A)", 1)] && !onlyKallsyms.MatchString(line) {
			return fmt.Sprintf("%q is missing", line)
		}
	}
	return ""
}

// nameless lets one answer have a bare address where the other has a symbol, or another symbol, with an offset.
func nameless(dump, other string) string {
	a, b := strings.Fields(place.ReplaceAllString(dump, "")), strings.Fields(place.ReplaceAllString(other, ""))
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && !(inColumn.MatchString(a[i]) && inColumn.MatchString(b[i])) {
			return fmt.Sprintf("%q; want %q", b[i], a[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d words; want %d", len(b), len(a))
	}
	return ""
}

var (
	// guessed marks frames where rows end: the kernel's own tables and DWARF have them for different code.
	guessed = regexp.MustCompile(`(?m) \(guessed\)$`)

	onlyKallsyms = regexp.MustCompile(`^[0-9a-f]+ \(.\) (\.L.*|_edata|__end_rodata)\n$`)
	place        = regexp.MustCompile(` ?<[^ <>]+\+[0-9]+>`)            // " <symbol+12>"
	inColumn     = regexp.MustCompile(`^([0-9a-f]{16}|[^ ]+\+[0-9]+)$`) // in a column of words
)

// differs is how the answers to a line differ, beyond what is allowed.
func differs(line, dump, other string) string {
	if strings.Contains(line, "bt") {
		other = guessed.ReplaceAllString(other, "")
		dump = guessed.ReplaceAllString(dump, "")
	}
	if dump == other {
		return ""
	}
	for _, x := range allowed {
		if regexp.MustCompile("^(?:" + x.lines + ")$").MatchString(line) {
			return x.same(dump, other)
		}
	}
	return firstDifference(dump, other)
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
	if s.cache, err = os.MkdirTemp("", "kdx-lab-"); err != nil {
		return "", err
	}
	defer os.RemoveAll(s.cache)
	s.debug = filepath.Join(l.dir, "k", s.truth.Uname[2], "usr", "lib", "debug")
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
			if how := differs(line, want[i], got[i]); how != "" {
				d.add("%s: %s differs: %s", k.name, line, how)
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
	dump := s.dump
	if !k.vmlinux { // away from its vmlinux, which would be found
		dump = filepath.Join(s.cache, "vmcore")
		if err := os.Symlink(s.dump, dump); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, s.kdx, append(args, dump)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "TZ=UTC", "XDG_CACHE_HOME="+s.cache)
	if k.vmlinux {
		cmd.Env = append(cmd.Env, "KDX_DEBUG_PATH="+s.debug)
	}
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
