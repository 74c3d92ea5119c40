package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// unwound is a stack as bt gives it, with what its frames rest on.
type unwound struct {
	Task   string `json:"task"`
	PID    int    `json:"pid"`
	Frames []struct {
		Function string `json:"function"`
		PC       string `json:"pc"`
		At       string `json:"stack_address"`
		Sure     string `json:"confidence"`
	} `json:"frames"`
	End string `json:"ends_badly"`
}

// frames are the return addresses with their places; guessed is how many are marked as such.
func (u unwound) frames() (at []string, guessed int) {
	for _, f := range u.Frames {
		at = append(at, f.At+" "+f.PC)
		if f.Sure != "sure" {
			guessed++
		}
	}
	return at, guessed
}

// unwind is foreach bt of a dump by task. A trace that ends badly makes kdx fail, which is no failure here.
func (s *subject) unwind(ctx context.Context, dump string, args ...string) (map[string]unwound, error) {
	out, errs, err := s.run(ctx, dump, append(args, "--json", "-c", "foreach bt")...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var answer struct {
		Stacks []unwound `json:"result"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Stacks) == 0 {
		return nil, fmt.Errorf("kdx open %q: %d stacks, %w: %s", args, len(answer.Stacks), err, tail(errs, 5))
	}
	byTask := map[string]unwound{}
	for _, u := range answer.Stacks {
		byTask[fmt.Sprint(u.PID, u.Task)] = u
	}
	return byTask, nil
}

// checkUnwinding holds every stack by call frame information alone, and by neither that nor ORC, against that by ORC. The first must be
// equal; of the second a few frames may be missing (init code, which was freed, shows no calls), and none may be wrong and called sure.
func checkUnwinding(ctx context.Context, s *subject) (string, error) {
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return "", skip("the debug package was not fetched")
	}
	alone, err := os.MkdirTemp("", "kdx-lab-") // where no debug file lies beside the dump
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(alone)
	dump := filepath.Join(alone, "vmcore")
	if err := os.Symlink(s.dump, dump); err != nil {
		return "", err
	}
	want, err := s.unwind(ctx, s.dump)
	if err != nil {
		return "", err
	}
	byCFI, err := s.unwind(ctx, s.dump, "--no-orc", vmlinux)
	if err != nil {
		return "", err
	}
	byNone, err := s.unwind(ctx, dump, "--no-orc")
	if err != nil {
		return "", err
	}
	var d differences
	frames, marked, badly, guessed, lost, extra := 0, 0, 0, 0, 0, 0
	for task, w := range want {
		orc, _ := w.frames()
		frames += len(orc)
		cfi, n := byCFI[task].frames()
		marked += n
		if byCFI[task].End != "" && w.End == "" {
			badly++
		}
		if !slices.Equal(orc, cfi) {
			d.add("PID %d: by call frame information %v; by ORC %v", w.PID, cfi, orc)
		}
		none, n := byNone[task].frames()
		guessed += n
		for _, f := range orc {
			if !slices.Contains(none, f) {
				lost++
			}
		}
		for i, f := range none {
			if slices.Contains(orc, f) {
				continue
			}
			if extra++; byNone[task].Frames[i].Sure == "sure" {
				d.add("PID %d: with neither ORC nor call frame information, %s at %s is called sure, and ORC has no such frame", w.PID, byNone[task].Frames[i].Function, f)
			}
		}
	}
	// The boot processor's idle task was started by code that is no more.
	if badly > 2 {
		d.add("%d traces by call frame information end badly", badly)
	}
	if (lost+extra)*100 > frames {
		d.add("with neither, %d frames of %d are lost and %d are wrong; want less than one in a hundred", lost, frames, extra)
	}
	return fmt.Sprintf("%d stacks, %d frames equal by call frame information (%d marked); with neither %d lost, %d wrong, %d marked", len(want), frames, marked, lost, extra, guessed), d.err()
}
