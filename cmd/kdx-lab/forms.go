package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// form is another form of the same dump.
type form struct {
	name string
	args []string // of makedumpfile
	flat bool     // goes to standard output
	// filtered forms hold kernel data only; makedumpfile 1.7.8 damages kernels from 7 on when it filters.
	filtered bool
}

func forms() []form {
	return []form{
		{name: "zlib", args: []string{"-c", "-d", "0"}},
		{name: "lzo", args: []string{"-l", "-d", "0"}},
		{name: "snappy", args: []string{"-p", "-d", "0"}},
		{name: "zstd", args: []string{"-z", "-d", "0"}},
		{name: "flat", args: []string{"-F", "-l", "-d", "0"}, flat: true},
		{name: "flat-elf", args: []string{"-F", "-E", "-d", "0"}, flat: true},
		{name: "lzo31", args: []string{"-l", "-d", "31"}, filtered: true},
		{name: "zstd31", args: []string{"-z", "-d", "31"}, filtered: true},
		{name: "elf31", args: []string{"-E", "-d", "31"}, filtered: true},
		{name: "flat31", args: []string{"-F", "-c", "-d", "31"}, flat: true, filtered: true},
	}
}

func runForms(ctx context.Context, l *lab, args []string) error {
	return l.eachDump("forms", args, func(dir string) error {
		made, err := l.forms(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		for _, f := range made {
			fmt.Fprintln(l.stdout, f)
		}
		return nil
	})
}

// forms makes the forms of a dump that are missing and returns the files of all.
func (l *lab) forms(ctx context.Context, dir string) ([]string, error) {
	p, err := l.peers(ctx)
	if err != nil {
		return nil, err
	}
	t, err := readTruth(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "forms"), 0o755); err != nil {
		return nil, err
	}
	var made []string
	for _, f := range forms() {
		if f.filtered && t.major() >= 7 {
			continue
		}
		out := filepath.Join(dir, "forms", f.name)
		if !exists(out) {
			if err := p.makedumpfile(ctx, f, filepath.Join(dir, "vmcore"), out); err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
		}
		made = append(made, out)
	}
	return made, nil
}

func (p peers) makedumpfile(ctx context.Context, f form, in, out string) error {
	tmp := out + ".part"
	defer os.Remove(tmp)
	args := append([]string{"makedumpfile", "--message-level", "0"}, f.args...)
	if f.flat {
		// The shell does the redirection, so that the dump does not go through our memory.
		args = append([]string{"sh", "-c", `exec "$@" >"$0"`, tmp}, append(args, in)...)
	} else {
		args = append(args, in, tmp)
	}
	if _, err := p.run(ctx, []string{filepath.Dir(in)}, args...); err != nil {
		return err
	}
	return os.Rename(tmp, out)
}

// readTruth reads what the guest of a dump said.
func readTruth(dir string) (truth, error) {
	var t truth
	text, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("%s: %w", filepath.Join(dir, "truth.json"), err)
	}
	if len(t.Uname) != 5 || len(t.Tasks) == 0 {
		return t, fmt.Errorf("%s: no release or no tasks", filepath.Join(dir, "truth.json"))
	}
	return t, nil
}

// major is the first number of the kernel's release.
func (t truth) major() int {
	first, _, _ := strings.Cut(t.Uname[2], ".")
	n, _ := strconv.Atoi(first)
	return n
}
