package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// placed is where a function's part of a frame comes from.
type placed struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
}

func (p placed) String() string {
	return fmt.Sprintf("%s %s:%d:%d", p.Function, p.File, p.Line, p.Column)
}

// placedFrame is a frame of bt -l.
type placedFrame struct {
	placed
	PC      string   `json:"pc"`
	Module  string   `json:"module"`
	Inlined []placed `json:"inlined"`
}

type placedStack struct {
	PID    int           `json:"pid"`
	CPU    int           `json:"cpu"`
	Frames []placedFrame `json:"frames"`
}

// drgnLines is what testdata/lab/lines.py says. An inlined function has the PC of the function it is part of, and stands before it.
type drgnLines struct {
	Version string `json:"version"`
	Tasks   []struct {
		TID    int `json:"tid"`
		CPU    int `json:"cpu"`
		Frames []struct {
			PC     string `json:"pc"`
			Name   string `json:"name"`
			Inline bool   `json:"inline"`
			File   string `json:"file"`
			Line   int    `json:"line"`
			Column int    `json:"column"`
		} `json:"frames"`
	} `json:"tasks"`
}

// checkLines holds the lines and inlined functions of each frame of every task against drgn's. Whether the frames themselves are
// equal is another leg: frames that only one has are counted.
func (l *lab) checkLines(ctx context.Context, s *subject) (string, error) {
	want, err := l.drgnLines(ctx, s)
	if err != nil {
		return "", err
	}
	stacks, err := s.lines(ctx)
	if err != nil {
		return "", err
	}
	type key struct {
		pid, cpu int
		pc       uint64
	}
	at := func(pid, cpu int, pc string) key {
		if pid != 0 {
			cpu = 0 // only idle tasks share a number
		}
		n, _ := strconv.ParseUint(strings.TrimPrefix(pc, "0x"), 16, 64)
		return key{pid, cpu, n}
	}
	mine := map[key]placedFrame{}
	for _, st := range stacks {
		for _, f := range st.Frames {
			mine[at(st.PID, st.CPU, f.PC)] = f
		}
	}
	var d differences
	equal, inlined, onlyDrgn, noLine, modules := 0, 0, 0, 0, 0
	for _, t := range want.Tasks {
		var chain []placed
		for _, f := range t.Frames {
			chain = append(chain, placed{f.Name, f.File, f.Line, f.Column})
			if f.Inline {
				continue
			}
			theirs := chain
			chain = nil
			k := at(t.TID, t.CPU, f.PC)
			if k.pc>>63 == 0 {
				break // user space
			}
			got, ok := mine[k]
			switch {
			case !ok:
				onlyDrgn++
			case got.Module != "" && f.File == "":
				modules++
			case f.Line == 0 && got.Line == 0:
				noLine++
			case samePlaces(got, theirs):
				equal++
				inlined += len(got.Inlined)
			default:
				d.add("task %d, %s:\n  kdx  %v %v\n  drgn %v", t.TID, f.PC, got.Inlined, got.placed, theirs)
			}
		}
	}
	if equal == 0 && d.n == 0 {
		return "", errors.New("not one frame has a line")
	}
	note := fmt.Sprintf("%d frames with %d inlined functions equal", equal, inlined)
	for what, n := range map[string]int{"without a line in both": noLine, "of modules whose debug files drgn lacks": modules, "only in drgn's stacks": onlyDrgn} {
		if n > 0 {
			note += fmt.Sprintf("; %d %s", n, what)
		}
	}
	return note, d.err()
}

// samePlaces compares a frame with drgn's. The function around the inlined ones has the name of its symbol in kdx, and paths are
// relative to the tree's root.
func samePlaces(got placedFrame, want []placed) bool {
	own := got.placed
	own.Function = want[len(want)-1].Function
	all := append(append([]placed{}, got.Inlined...), own)
	if len(all) != len(want) {
		return false
	}
	for i, p := range all {
		w := want[i]
		file := path.Clean(w.File)
		if p.Function != w.Function || p.Line != w.Line || p.Column != w.Column || file != p.File && !strings.HasSuffix(file, "/"+p.File) {
			return false
		}
	}
	return true
}

// lines asks kdx, with the vmlinux, for all stacks. Stacks that end badly are another leg's matter.
func (s *subject) lines(ctx context.Context) ([]placedStack, error) {
	out, errs, err := s.run(ctx, s.dump, filepath.Join(s.dir, "vmlinux"), "--json", "-c", "foreach bt -l")
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var answer struct {
		Result []placedStack `json:"result"`
		Error  *string       `json:"error"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("kdx: %w: %s", err, tail(errs, 3))
	}
	if answer.Error != nil {
		return nil, errors.New(*answer.Error)
	}
	return answer.Result, nil
}

// drgnLines runs testdata/lab/lines.py. It lies beside the dump for as long as it runs: the chroot sees nothing else.
func (l *lab) drgnLines(ctx context.Context, s *subject) (*drgnLines, error) {
	p, err := l.peers(ctx)
	if err != nil {
		return nil, err
	}
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return nil, fmt.Errorf("a comparison of lines needs the debug file: %w", err)
	}
	script, err := os.ReadFile(l.data("lines.py"))
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, err
	}
	here := filepath.Join(dir, "lines.py")
	if err := os.WriteFile(here, script, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(here)
	out, err := p.run(ctx, []string{dir, filepath.Dir(vmlinux)}, "drgn", "-q", "-s", vmlinux, "-c", filepath.Join(dir, "vmcore"), here)
	if err != nil {
		return nil, skip("drgn cannot open it: " + tail(err.Error(), 1))
	}
	r := new(drgnLines)
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("drgn: %w", err)
	}
	return r, nil
}
