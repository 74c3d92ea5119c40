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
	cache, debug   string                     // directories of kdx in a leg about debug files: its cache, and where these files lie
	recorded       map[string]json.RawMessage // what kdx answered inside a guest, by command; nil to run it here
}

// checkLegs are the legs of one dump; full adds those that compare with other readers, forms those that compare its other forms.
func (l *lab) checkLegs(kdx, name, dir string, full, forms bool) []leg {
	s := &subject{kdx: kdx, name: name, dir: dir, dump: filepath.Join(dir, "vmcore")}
	var legs []leg
	add := func(what string, check func(ctx context.Context, s *subject) (string, error)) {
		legs = append(legs, leg{name + " " + what, func(ctx context.Context) (string, error) {
			if err := s.load(); err != nil {
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
	add("network", checkNet)
	add("ipc", checkIPC)
	add("inner network", checkInnerNet)
	add("inner ipc", checkInnerIPC)
	add("inner mounts", checkInnerMounts)
	add("bpf", checkBPF)
	add("machine", checkMachine)
	add("mappings", checkMappings)
	add("pages", checkSmaps)
	add("swap", checkSwap)
	add("search", checkSearch)
	add("free pages", checkFree)
	add("buddies", checkBuddy)
	add("zones", checkZones)
	add("nodes", checkNodes)
	add("namespaces", checkNamespaces)
	add("files", checkFiles)
	add("fuser", checkFuser)
	add("mounts", checkMounts)
	add("devices", checkDevices)
	add("in flight", checkInflight)
	add("interrupts", checkInterrupts)
	add("timers", checkTimers)
	add("signals", checkSignals)
	add("queued signals", checkQueued)
	add("locks", checkLocks)
	add("scheduler", checkFair)
	if strings.Contains(name, "-sysrq") {
		add("queues", checkQueues)
	}
	add("stacks", checkStacks)
	add("panic", checkPanic)
	add("distilled", checkDistill)
	add("convert, nothing lost", converting(checkLost))
	add("convert, nothing kept", converting(checkKept))
	if strings.Contains(name, "-sysrq") || strings.Contains(name, "-oom") { // what kdx says does not depend on how else the kernel died
		add("convert, lines", converting(l.checkSameLines))
	}
	if full {
		peer := func(check func(context.Context, *subject, reference) (string, error)) func(context.Context, *subject) (string, error) {
			return func(ctx context.Context, s *subject) (string, error) {
				r, err := l.reference(ctx, s.dir)
				if err != nil {
					return "", err
				}
				return check(ctx, s, r)
			}
		}
		add("stacks, drgn", peer(checkDrgn))
		add("lines, drgn", l.checkLines)
		add("variables, drgn", l.checkVars)
		add("text, crash", peer(checkCrash))
		add("commands, crash", peer(l.checkCommandsCrash))
		add("runq irq timer, crash", peer(checkExecutionCrash))
		if strings.HasSuffix(name, "-sysrq") { // crash takes its time
			add("kmem, crash", l.checkKmemCrash)
			add("search, crash", l.checkSearchCrash)
		}
		add("DWARF alone", l.checkDWARF)
		add("unwinding", checkUnwinding)
	}
	if full && strings.Contains(name, "-sysrq-") {
		add("bare", l.checkBare)
	}
	if forms {
		add("forms", l.checkForms)
		add("convert, forms", converting(l.checkTrips))
		add("convert, peers", converting(l.checkTripPeers))
		add("convert, makedumpfile", converting(l.checkTripMakedumpfile))
		add("convert, faults", converting(checkFaults))
		add("types, BTF", checkTypesBTF)
		add("types, drgn", l.checkTypesDrgn)
	}
	return legs
}

// load reads the truth once, and finds out from the dump's name how it was made.
func (s *subject) load() error {
	if s.truth.Uname != nil {
		return nil
	}
	for _, w := range ways() {
		if strings.Contains(s.name+"-", "-"+w.name+"-") {
			s.way = w
		}
	}
	if s.way.name == "" {
		return fmt.Errorf("%s does not say how the kernel died: want KERNEL-WAY or KERNEL-WAY-VARIANT", s.name)
	}
	var err error
	s.truth, err = readTruth(s.dir)
	return err
}

// say runs one command of kdx on a form of the dump, without a vmlinux, and returns its text.
func (s *subject) say(ctx context.Context, dump, command string) (string, error) {
	out, errs, err := s.run(ctx, dump, "-c", command)
	if err != nil {
		return "", fmt.Errorf("kdx open -c %q: %w: %s", command, err, tail(errs, 3))
	}
	return out, nil
}

// run runs kdx open, with no start-up file that could change what it says.
func (s *subject) run(ctx context.Context, dump string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, s.kdx, append([]string{"open", dump}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "TZ=UTC")
	cmd.Dir = s.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// ask runs commands of kdx on the dump, without a vmlinux: everything it says comes from the dump alone. Each answer is decoded
// into the value of the same place.
func (s *subject) ask(ctx context.Context, commands []string, into ...any) error {
	if s.recorded != nil {
		return s.askRecorded(commands, into)
	}
	args := []string{"--json"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, errs, runErr := s.run(ctx, s.dump, args...)
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		return runErr
	}
	d := json.NewDecoder(strings.NewReader(out))
	for i, v := range into {
		if err := decodeAnswer(d, v); err != nil {
			return fmt.Errorf("kdx open -c %q: %w: %s", commands[i], err, tail(errs, 5))
		}
	}
	if runErr != nil {
		return fmt.Errorf("kdx open: %w: %s", runErr, tail(errs, 5))
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
