package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// reference is what other readers say about a dump, with the full debug file at hand.
type reference struct {
	Drgn  *drgnReference  `json:"drgn"`
	Crash *crashReference `json:"crash"`
	// Failed says why a reader could not open the dump: it is an answer too, for newer kernels than it knows.
	Failed map[string]string `json:"failed,omitempty"`
}

type drgnReference struct {
	Version string     `json:"version"`
	Tasks   []drgnTask `json:"tasks"`
}

type drgnTask struct {
	TID    int         `json:"tid"`
	CPU    int         `json:"cpu"`
	Comm   string      `json:"comm"`
	State  string      `json:"state"`
	Task   string      `json:"task"`  // address of task_struct
	Error  string      `json:"error"` // why there is no stack
	Frames []drgnFrame `json:"frames"`
}

// drgnFrame is a function; an inlined one has the PC of the function it is part of.
type drgnFrame struct {
	PC     string `json:"pc"`
	Name   string `json:"name"`   // by DWARF
	Symbol string `json:"symbol"` // by symbol table, empty in user space
	Inline bool   `json:"inline"`
}

type crashReference struct {
	Version string            `json:"version"`
	Output  map[string]string `json:"output"` // command → text
}

func runReference(ctx context.Context, l *lab, args []string) error {
	return l.eachDump("reference", args, func(dir string) error {
		r, err := l.reference(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if r.Drgn != nil {
			fmt.Fprintf(l.stdout, "%s: %s: stacks of %d tasks\n", dir, r.Drgn.Version, len(r.Drgn.Tasks))
		}
		if r.Crash != nil {
			fmt.Fprintf(l.stdout, "%s: %s: %d commands\n", dir, r.Crash.Version, len(r.Crash.Output))
		}
		for reader, why := range r.Failed {
			fmt.Fprintf(l.stdout, "%s: %s: %s\n", dir, reader, why)
		}
		return nil
	})
}

// reference returns the recorded reference of a dump, and records it if there is none.
func (l *lab) reference(ctx context.Context, dir string) (reference, error) {
	var r reference
	path := filepath.Join(dir, "reference.json")
	if text, err := os.ReadFile(path); err == nil {
		return r, json.Unmarshal(text, &r)
	}
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(dir, "vmlinux"))
	if err != nil {
		return r, fmt.Errorf("a reference needs the debug file: %w", err)
	}
	p, err := l.peers(ctx)
	if err != nil {
		return r, err
	}
	vmcore := filepath.Join(dir, "vmcore")
	r.Failed = map[string]string{}
	if r.Drgn, err = l.drgn(ctx, p, vmlinux, vmcore); err != nil {
		return r, err
	}
	if r.Crash, err = p.crash(ctx, vmlinux, vmcore); err != nil {
		r.Failed["crash"] = err.Error()
	}
	text, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	return r, errors.Join(os.WriteFile(path+".part", text, 0o644), os.Rename(path+".part", path))
}

// drgn runs testdata/lab/stacks.py.
func (l *lab) drgn(ctx context.Context, p peers, vmlinux, vmcore string) (*drgnReference, error) {
	out, err := l.drgnScript(ctx, p, vmlinux, vmcore, "stacks.py")
	if err != nil {
		return nil, err
	}
	r := &drgnReference{}
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("drgn: %w", err)
	}
	return r, nil
}

// drgnScript runs a script of testdata/lab. It lies beside the dump for as long as it runs: the chroot sees nothing else.
func (l *lab) drgnScript(ctx context.Context, p peers, vmlinux, vmcore, name string) ([]byte, error) {
	script, err := os.ReadFile(l.data(name))
	if err != nil {
		return nil, err
	}
	here := filepath.Join(filepath.Dir(vmcore), name)
	if err := os.WriteFile(here, script, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(here)
	visible := []string{filepath.Dir(vmcore), filepath.Dir(vmlinux)}
	return p.run(ctx, visible, "drgn", "-q", "-s", vmlinux, "-c", vmcore, here)
}

// crashCommands are recorded as crash prints them.
var crashCommands = []string{"sys", "ps", "ps -a", "mod", "log", "kmem -i", "kmem -s", "bt -a", "foreach bt", "mount", "net", "swap", "ipcs", "timer", "irq", "runq"}

// crash runs crashCommands; args are what it must be told of dumps that do not say it themselves.
func (p peers) crash(ctx context.Context, vmlinux, vmcore string, args ...string) (*crashReference, error) {
	version, err := p.run(ctx, nil, "crash", "--version")
	if err != nil {
		return nil, err
	}
	r := &crashReference{Output: map[string]string{}}
	r.Version = strings.TrimSpace(tail(strings.SplitN(strings.TrimSpace(string(version)), "\n", 2)[0], 1))
	// One session for all: opening costs seconds. A marker that crash echoes stands between the outputs.
	const mark = "@@ kdx-lab "
	var script strings.Builder
	script.WriteString("set scroll off\n")
	for _, c := range crashCommands {
		fmt.Fprintf(&script, "!echo '%s%s'\n%s\n", mark, c, c)
	}
	script.WriteString("exit\n")
	file := filepath.Join(filepath.Dir(vmcore), "crash.in")
	if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	out, err := p.run(ctx, []string{filepath.Dir(vmcore), filepath.Dir(vmlinux)}, append([]string{"crash", "-s", vmlinux, vmcore, "-i", file}, args...)...)
	if err != nil {
		return nil, err
	}
	for _, part := range strings.Split(string(out), mark)[1:] {
		c, text, _ := strings.Cut(part, "\n")
		r.Output[strings.TrimSpace(c)] = text
	}
	if len(r.Output) != len(crashCommands) {
		return nil, fmt.Errorf("crash ran %d of %d commands: %s", len(r.Output), len(crashCommands), tail(string(out), 3))
	}
	return r, nil
}
