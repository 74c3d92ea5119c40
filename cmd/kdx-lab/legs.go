package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// leg is one thing that passes, fails or is skipped. Its note says on what scale it passed.
type leg struct {
	name string
	run  func(ctx context.Context) (note string, err error)
}

// skip is the error of a leg that cannot run here; it is no failure.
type skip string

func (s skip) Error() string { return string(s) }

// tally counts legs and prints one line for each.
type tally struct {
	l                       *lab
	passed, failed, skipped int
	broken                  []string // the line of each leg that failed
	only                    *regexp.Regexp
}

func (t *tally) run(ctx context.Context, g leg) bool {
	if t.only != nil && !t.only.MatchString(g.name) {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	begin := time.Now()
	note, err := g.run(ctx)
	took := time.Since(begin).Seconds()
	var s skip
	switch {
	case err == nil:
		t.passed++
		fmt.Fprintf(t.l.stdout, "ok      %6.1fs  %-32s %s\n", took, g.name, note)
	case errors.As(err, &s):
		t.skipped++
		fmt.Fprintf(t.l.stdout, "skipped %6.1fs  %-32s %s\n", took, g.name, s)
	default:
		t.failed++
		line := fmt.Sprintf("failed  %6.1fs  %-32s %s", took, g.name, strings.ReplaceAll(err.Error(), "\n", "\n        "))
		t.broken = append(t.broken, line)
		fmt.Fprintln(t.l.stdout, line)
		return false
	}
	return true
}

// end prints the legs that failed once more, since who reads a log of hundreds of lines sees its end only, and the sum; its error is the
// exit status.
func (t *tally) end() error {
	for _, line := range t.broken {
		if len(line) > 600 {
			line = line[:600] + " …"
		}
		fmt.Fprintln(t.l.stdout, line)
	}
	fmt.Fprintf(t.l.stdout, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 {
		return fmt.Errorf("%d legs failed", t.failed)
	}
	if t.passed == 0 {
		return errors.New("nothing ran")
	}
	return nil
}

// begin parses the flags that commands with legs share, and returns the kdx to test: built from the checkout unless one is given.
func (l *lab) begin(ctx context.Context, name string, args []string) (t *tally, kdx string, rest []string, err error) {
	fs := flags(l, name)
	only := fs.String("only", "", "run only the legs whose name matches this regular expression")
	given := fs.String("kdx", "", "test this program instead of building the checkout's")
	if err := parse(fs, args); err != nil {
		return nil, "", nil, err
	}
	if err := l.checkout(); err != nil {
		return nil, "", nil, err
	}
	t = &tally{l: l}
	if *only != "" {
		if t.only, err = regexp.Compile(*only); err != nil {
			return nil, "", nil, err
		}
	}
	if *given != "" {
		kdx, err = filepath.Abs(*given)
	} else {
		kdx, err = l.build(ctx, "kdx")
	}
	return t, kdx, fs.Args(), err
}

// runTest holds kdx against dumps that are there.
func runTest(ctx context.Context, l *lab, args []string) error {
	t, kdx, dirs, err := l.begin(ctx, "test", args)
	if err != nil {
		return err
	}
	for _, name := range dirs {
		dir, err := l.dump(name)
		if err != nil {
			return err
		}
		forms := t.only != nil && strings.HasSuffix(dir, "-sysrq") // they take long: who wants them names them
		for _, g := range l.checkLegs(kdx, filepath.Base(dir), dir, true, forms) {
			t.run(ctx, g)
		}
	}
	return t.end()
}

// runShort is what continuous integration runs: one panic a kernel, through a capture kernel, held against the guest's word, and one
// capture by kdx of each kind.
func runShort(ctx context.Context, l *lab, args []string) error {
	t, kdx, _, err := l.begin(ctx, "short", args)
	if err != nil {
		return err
	}
	pins, err := l.pins()
	if err != nil {
		return err
	}
	for _, p := range pins {
		l.jobLegs(ctx, t, kdx, job{kernel: p.name, way: "sysrq", mem: defaultMem, smp: 2}, false)
	}
	l.captureLegs(ctx, t, kdx, true)
	return t.end()
}

// runLive looks at running kernels, at all that are pinned unless some are named.
func runLive(ctx context.Context, l *lab, args []string) error {
	t, kdx, names, err := l.begin(ctx, "live", args)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		pins, err := l.pins()
		if err != nil {
			return err
		}
		for _, p := range pins {
			names = append(names, p.name)
		}
	}
	for _, name := range names {
		l.liveLegs(ctx, t, kdx, name)
	}
	return t.end()
}

// runAll runs every leg there is.
func runAll(ctx context.Context, l *lab, args []string) error {
	t, kdx, _, err := l.begin(ctx, "all", args)
	if err != nil {
		return err
	}
	pins, err := l.pins()
	if err != nil {
		return err
	}
	for _, p := range pins {
		for _, w := range ways() {
			l.jobLegs(ctx, t, kdx, job{kernel: p.name, way: w.name, mem: defaultMem, smp: 2}, true)
		}
		for _, va := range variants() {
			if va.name == "5level" && p.name != "7.2" && p.name != "6.12" {
				continue // the same code in the kernel; two releases show it
			}
			if va.name == "many" && p.name != "6.1" {
				continue // more than 500 tasks, to measure with
			}
			if va.name == "qemu-numa" && p.name != "6.12" {
				continue // a processor that was removed; QEMU's notes of those that are left
			}
			l.jobLegs(ctx, t, kdx, job{kernel: p.name, way: "sysrq", variant: va.name, mem: defaultMem, smp: 2}, true)
		}
		l.liveLegs(ctx, t, kdx, p.name)
	}
	l.captureLegs(ctx, t, kdx, false)
	return t.end()
}

// jobLegs makes the dump of a job if it is missing, and then holds kdx against it.
func (l *lab) jobLegs(ctx context.Context, t *tally, kdx string, j job, full bool) {
	dir := j.dir(l)
	name := filepath.Base(dir)
	made := t.run(ctx, leg{name + " crash", func(ctx context.Context) (string, error) {
		vmcore := filepath.Join(dir, "vmcore")
		if exists(vmcore) {
			return fmt.Sprintf("%d MiB, there already", fileSize(vmcore)>>20), nil
		}
		if err := l.crash(ctx, j, full); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d MiB", fileSize(vmcore)>>20), nil
	}})
	if !made || !exists(filepath.Join(dir, "vmcore")) {
		return
	}
	// The forms of one dump a kernel are enough: what kdx says of a form does not depend on how the kernel died.
	for _, g := range l.checkLegs(kdx, name, dir, full, full && j.way == "sysrq" && j.variant == "") {
		t.run(ctx, g)
	}
}
