package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// runShown runs the lines of testdata/lines on dumps, each with its vmlinux, and names those that showed nothing on any of them: lines
// that test little, or answers that no kernel of the lab has a case of (docs/crash-compat.md lists these).
func runShown(ctx context.Context, l *lab, args []string) error {
	fs := flags(l, "shown")
	given := fs.String("kdx", "", "run this program instead of building the checkout's")
	if err := parse(fs, args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return errors.New("which dumps?")
	}
	if err := l.checkout(); err != nil {
		return err
	}
	kdx, err := filepath.Abs(*given)
	if *given == "" {
		kdx, err = l.build(ctx, "kdx")
	}
	if err != nil {
		return err
	}
	lines, err := l.allLines()
	if err != nil {
		return err
	}
	why := make([][]string, len(lines)) // of each line, why each dump showed nothing
	for _, name := range fs.Args() {
		dir, err := l.dump(name)
		if err != nil {
			return err
		}
		s := &subject{kdx: kdx, name: filepath.Base(dir), dir: dir, dump: filepath.Join(dir, "vmcore")}
		if s.truth, err = readTruth(dir); err != nil {
			return err
		}
		s.debug = filepath.Join(l.dir, "k", s.truth.Uname[2], "usr", "lib", "debug")
		answers, err := s.answers(ctx, lines)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for i, a := range answers {
			if nothing := a.nothing(); nothing != "" {
				why[i] = append(why[i], s.name+": "+nothing)
			}
		}
	}
	n := 0
	for i, line := range lines {
		if len(why[i]) < fs.NArg() {
			continue
		}
		n++
		fmt.Fprintf(l.stdout, "%s\n\t%s\n", line, strings.Join(why[i], "\n\t"))
	}
	fmt.Fprintf(l.stdout, "%d of %d lines showed nothing on any of %d dumps\n", n, len(lines), fs.NArg())
	return nil
}

// lineAnswer is what the JSON contract says to a line.
type lineAnswer struct {
	Result  json.RawMessage `json:"result"`
	Missing []struct {
		What  string `json:"what"`
		Error string `json:"error"`
	} `json:"missing"`
	Error *string `json:"error"`
}

// nothing says why an answer shows nothing; "" if it does show something.
func (a *lineAnswer) nothing() string {
	if a.Error != nil {
		return *a.Error
	}
	var v any
	if err := json.Unmarshal(a.Result, &v); err == nil && holds(v) {
		return ""
	}
	if len(a.Missing) > 0 {
		return fmt.Sprintf("%d things are missing, first %s: %s", len(a.Missing), a.Missing[0].What, a.Missing[0].Error)
	}
	return "an empty answer"
}

// holds reports whether a result has something in it. What a row lists counts, not whose row it is: `net -s` of a task without sockets
// holds nothing. A row with many other members tells enough by itself.
func holds(v any) bool {
	const many = 8
	switch v := v.(type) {
	case nil:
		return false
	case []any:
		return slices.ContainsFunc(v, holds)
	case map[string]any:
		lists, others := 0, 0
		for _, x := range v {
			switch list, is := x.([]any); {
			case is && holds(list):
				return true
			case is:
				lists++
			case x != nil:
				others++
			}
		}
		return others > 0 && lists == 0 || others >= many
	}
	return true
}

// answers gives the lines to one kdx.
func (s *subject) answers(ctx context.Context, lines []string) ([]lineAnswer, error) {
	args := []string{"open", "--no-rc", "--json", s.dump}
	if vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux")); err == nil {
		args = append(args, vmlinux)
	}
	for _, line := range lines {
		args = append(args, "-c", line)
	}
	cmd := exec.CommandContext(ctx, s.kdx, args...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "TZ=UTC", "KDX_DEBUG_PATH="+s.debug)
	cmd.Dir = s.dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(out))
	answers := make([]lineAnswer, len(lines))
	for i, line := range lines {
		if err := d.Decode(&answers[i]); err != nil {
			return nil, fmt.Errorf("kdx open -c %q: %w", line, err)
		}
	}
	return answers, nil
}

// allLines are those of testdata/lines.
func (l *lab) allLines() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(l.repo, "testdata", "lines"))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if _, line, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			out = append(out, line)
		}
	}
	return out, nil
}
