package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// lab is where things lie and where messages go.
type lab struct {
	dir    string // everything the lab makes
	repo   string // the checkout: testdata/lab and the sources of kdx
	stdout io.Writer
	stderr io.Writer
}

// newLab finds the checkout above the working directory and the lab's own directory.
func newLab(stdout, stderr io.Writer) (*lab, error) {
	l := &lab{stdout: stdout, stderr: stderr, dir: os.Getenv("KDX_LAB")}
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for d := wd; ; d = filepath.Dir(d) {
		if mod, err := os.ReadFile(filepath.Join(d, "go.mod")); err == nil && bytes.HasPrefix(mod, []byte("module kdx\n")) {
			l.repo = d
			break
		}
		if d == filepath.Dir(d) {
			break // not in a checkout: enough for the guest, and checkout() says so for the rest
		}
	}
	if l.dir == "" {
		l.dir = filepath.Join(l.repo, ".lab")
	}
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return nil, err
	}
	return l, nil
}

// data is the path of a file in testdata/lab.
func (l *lab) data(name ...string) string {
	return filepath.Join(append([]string{l.repo, "testdata", "lab"}, name...)...)
}

// dump is the directory of a dump, given as such or by its name in the lab.
func (l *lab) dump(name string) (string, error) {
	for _, dir := range []string{name, filepath.Join(l.dir, "dumps", name)} {
		if exists(filepath.Join(dir, "truth.json")) {
			return filepath.Abs(dir)
		}
	}
	return "", fmt.Errorf("%s: no dump of the lab: it holds no truth.json", name)
}

// checkout fails outside a checkout of kdx.
func (l *lab) checkout() error {
	if l.repo == "" {
		return errors.New("run this inside a checkout of kdx: it needs testdata/lab")
	}
	return nil
}

func (l *lab) logf(format string, args ...any) {
	fmt.Fprintf(l.stderr, format+"\n", args...)
}

// output runs a program and returns what it printed; an error carries the end of what it said.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(errs.String())
		if said == "" {
			said = strings.TrimSpace(out.String())
		}
		return out.Bytes(), fmt.Errorf("%s: %w: %s", filepath.Base(name), err, tail(said, 5))
	}
	return out.Bytes(), nil
}

// tail is the last n lines of s.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// need says which package brings a program that is missing.
func need(programs map[string]string) error {
	var missing []string
	for program, pkg := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("programs are missing: apt-get install %s", strings.Join(slices.Compact(missing), " "))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// eachDump runs f on each dump that the arguments of a command name.
func (l *lab) eachDump(command string, args []string, f func(dir string) error) error {
	fs := flags(l, command)
	if err := parse(fs, args); err != nil {
		return err
	}
	for _, name := range fs.Args() {
		dir, err := l.dump(name)
		if err != nil {
			return err
		}
		if err := f(dir); err != nil {
			return err
		}
	}
	return nil
}
