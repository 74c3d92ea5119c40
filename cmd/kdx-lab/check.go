package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// subject is a dump and all that is known about it.
type subject struct {
	kdx, name, dir string
	dump           string // the file to open
	truth          truth
	way            way
	variant        variant
}

// checkLegs are the legs of one dump; full adds those that compare with other readers.
func (l *lab) checkLegs(kdx, name, dir string, full bool) []leg {
	s := &subject{kdx: kdx, name: name, dir: dir, dump: filepath.Join(dir, "vmcore")}
	load := func() error {
		if s.truth.Uname != nil {
			return nil
		}
		var err error
		s.truth, err = readTruth(dir)
		for _, w := range ways() {
			if strings.Contains(name+"-", "-"+w.name+"-") {
				s.way = w
			}
		}
		for _, v := range variants() {
			if strings.HasSuffix(name, "-"+v.name) {
				s.variant = v
			}
		}
		return err
	}
	var legs []leg
	add := func(what string, check func(ctx context.Context, s *subject) (string, error)) {
		legs = append(legs, leg{name + " " + what, func(ctx context.Context) (string, error) {
			if err := load(); err != nil {
				return "", err
			}
			return check(ctx, s)
		}})
	}
	add("sys", checkSys)
	add("log", checkLog)
	add("tasks", checkTasks)
	add("modules", checkModules)
	add("symbols", checkSymbols)
	add("memory", checkMemory)
	add("slabs", checkSlabs)
	add("stacks", checkStacks)
	add("panic", checkPanic)
	if full {
		add("stacks, drgn", func(ctx context.Context, s *subject) (string, error) {
			if s.way.name == "" {
				return "", skip("not a dump that the lab made")
			}
			r, err := l.reference(ctx, s.dir)
			if err != nil {
				return "", err
			}
			return checkDrgn(ctx, s, r)
		})
	}
	return legs
}

// ask runs commands of kdx on the dump, without a vmlinux: everything it says comes from the dump alone. Each answer is decoded
// into the value of the same place.
func (s *subject) ask(ctx context.Context, commands []string, into ...any) error {
	args := []string{"open", s.dump, "--json"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	cmd := exec.CommandContext(ctx, s.kdx, args...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "TZ=UTC") // no start-up file, no surprises
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	runErr := cmd.Run()
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		return runErr
	}
	d := json.NewDecoder(&out)
	for i, v := range into {
		if err := decodeAnswer(d, v); err != nil {
			return fmt.Errorf("kdx open -c %q: %w: %s", commands[i], err, tail(errs.String(), 5))
		}
	}
	if runErr != nil {
		return fmt.Errorf("kdx open: %w: %s", runErr, tail(errs.String(), 5))
	}
	return nil
}

// decodeAnswer reads one document of kdx's JSON contract. A complete dump leaves nothing out: what is missing is a fault.
func decodeAnswer(d *json.Decoder, v any) error {
	var answer struct {
		Version int             `json:"kdx"`
		Result  json.RawMessage `json:"result"`
		Missing []struct {
			What  string `json:"what"`
			Error string `json:"error"`
		} `json:"missing"`
		Error *string `json:"error"`
	}
	switch err := d.Decode(&answer); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("no answer")
	case err != nil:
		return err
	case answer.Version != 1:
		return fmt.Errorf("version %d of the JSON contract; want 1", answer.Version)
	case answer.Error != nil:
		return errors.New(*answer.Error)
	case len(answer.Missing) > 0:
		return fmt.Errorf("%d things are missing, first %s: %s", len(answer.Missing), answer.Missing[0].What, answer.Missing[0].Error)
	}
	return json.Unmarshal(answer.Result, v)
}

// differences collects what does not agree, and makes one readable error of it.
type differences struct {
	n     int
	lines []string
}

func (d *differences) add(format string, args ...any) {
	d.n++
	if d.n <= 6 {
		d.lines = append(d.lines, fmt.Sprintf(format, args...))
	}
}

func (d *differences) err() error {
	if d.n == 0 {
		return nil
	}
	if d.n > len(d.lines) {
		d.lines = append(d.lines, fmt.Sprintf("… and %d more", d.n-len(d.lines)))
	}
	return errors.New(strings.Join(d.lines, "\n"))
}
