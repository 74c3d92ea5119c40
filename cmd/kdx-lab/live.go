package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// liveCommands are what kdx says inside the guest about the kernel that it runs on; what checks ask must be among them.
var liveCommands = []string{"sys", "ps", "mod", "log", "foreach task -R nvcsw,nivcsw", "foreach bt"}

// liveLegs run kdx open --live in a guest, and hold what it said against the guest's own word.
func (l *lab) liveLegs(ctx context.Context, t *tally, kdx, kernelName string) {
	name := kernelName + "-live"
	s := &subject{kdx: kdx, name: name, dir: filepath.Join(l.dir, "dumps", name), way: way{name: "live"}}
	made := t.run(ctx, leg{name + " run", func(ctx context.Context) (string, error) {
		if err := l.live(ctx, s, kernelName); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d commands as root, and one as nobody", len(s.recorded)), nil
	}})
	if !made || s.recorded == nil {
		return
	}
	for _, c := range []struct {
		what  string
		check func(context.Context, *subject) (string, error)
	}{{"sys", checkSys}, {"log", checkLog}, {"tasks", checkTasks}, {"modules", checkModules}, {"stacks", checkLiveStacks}} {
		t.run(ctx, leg{name + " " + c.what, func(ctx context.Context) (string, error) { return c.check(ctx, s) }})
	}
}

// live boots a guest with the workload and kdx on its disk, lets it run, and reads what was said.
func (l *lab) live(ctx context.Context, s *subject, kernelName string) error {
	k, err := l.fetch(ctx, kernelName, false)
	if err != nil {
		return err
	}
	helper, err := l.buildHelper(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(s.dir), os.MkdirAll(s.dir, 0o755)); err != nil {
		return err
	}
	initrd, disk := filepath.Join(s.dir, "initrd.img"), filepath.Join(s.dir, "disk.img")
	if err := l.guestInitrd(ctx, k, helper, nil, initrd); err != nil {
		return err
	}
	if err := makeDisk(ctx, disk, 1<<30); err != nil {
		return err
	}
	script := filepath.Join(s.dir, "after-truth.sh")
	if err := os.WriteFile(script, []byte(liveScript()), 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{s.kdx: "kdx", script: "after-truth.sh"} {
		if _, err := output(ctx, "", "debugfs", "-w", "-R", "write "+from+" "+to, disk); err != nil {
			return err
		}
	}
	v, at, err := l.run(ctx, guest{name: s.name, log: filepath.Join(s.dir, "console.log"), done: []string{saidTruth}, args: []string{
		"-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512M", "-smp", "2",
		"-kernel", k.vmlinuz(), "-initrd", initrd, "-append", "console=ttyS0 edd=off kdxlab.way=live kdxlab.arm=none panic=-1",
		"-drive", "file=" + disk + ",if=none,id=d0,format=raw", "-device", "nvme,drive=d0,serial=lab",
	}})
	if err != nil {
		return err
	}
	if _, _, err := v.wait(ctx, at, saveLimit, "kdx-lab: live done"); err != nil {
		v.stop()
		return err
	}
	if err := v.finish(ctx, time.Minute); err != nil {
		return err
	}
	if err := s.heard(ctx, disk); err != nil {
		return err
	}
	return errors.Join(os.Remove(disk), os.Remove(initrd))
}

// liveScript runs in the guest once its truth is taken.
func liveScript() string {
	var args strings.Builder
	for _, c := range liveCommands {
		fmt.Fprintf(&args, " -c '%s'", c)
	}
	return `export HOME=/root TZ=UTC
chmod 755 /mnt/kdx
/mnt/kdx open --live --json --no-rc` + args.String() + ` >/mnt/live.json 2>/mnt/live.err
echo "kdx-lab: kdx open --live ends with $?"
cat /mnt/live.err
kdx-lab guest nobody /mnt/kdx ps --live >/mnt/nobody.err 2>&1
cd / && sync && umount /mnt
echo "kdx-lab: live done"
poweroff -f
`
}

// heard takes what the guest and kdx said off the disk.
func (s *subject) heard(ctx context.Context, disk string) error {
	for _, f := range []string{"truth.json", "live.json", "live.err", "nobody.err"} {
		if _, err := output(ctx, "", "debugfs", "-R", "dump /"+f+" "+filepath.Join(s.dir, f), disk); err != nil {
			return err
		}
	}
	said, err := os.ReadFile(filepath.Join(s.dir, "nobody.err"))
	if err != nil {
		return err
	}
	if !bytes.Contains(said, []byte("run kdx as root")) {
		return fmt.Errorf("as nobody, kdx said %q; want that it wants root", said)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "live.json"))
	if err != nil {
		return err
	}
	recorded := map[string]json.RawMessage{}
	d := json.NewDecoder(bytes.NewReader(text))
	for _, c := range liveCommands {
		var answer json.RawMessage
		if err := d.Decode(&answer); err != nil {
			return fmt.Errorf("kdx open --live -c %q: %w: %s", c, err, readText(filepath.Join(s.dir, "live.err")))
		}
		recorded[c] = answer
	}
	s.truth, err = readTruth(s.dir)
	s.recorded = recorded
	return err
}

// askRecorded answers from what kdx said inside the guest.
func (s *subject) askRecorded(commands []string, into []any) error {
	for i, v := range into {
		answer, ok := s.recorded[commands[i]]
		if !ok {
			return fmt.Errorf("kdx was not asked for %q inside the guest", commands[i])
		}
		if err := decodeAnswer(json.NewDecoder(bytes.NewReader(answer)), v); err != nil {
			return fmt.Errorf("kdx open --live -c %q: %w", commands[i], err)
		}
	}
	return nil
}

// checkLiveStacks: tasks that sleep have a stack, those on a CPU are said to run. A task that was switched while its stack was
// read may end oddly; there are few.
func checkLiveStacks(_ context.Context, s *subject) (string, error) {
	var answer struct {
		Result []kdxStack `json:"result"`
	}
	if err := json.Unmarshal(s.recorded["foreach bt"], &answer); err != nil {
		return "", err
	}
	var d differences
	frames, running, moved := 0, 0, 0
	for _, t := range answer.Result {
		switch {
		case len(t.Frames) > 0:
			frames++
		case strings.Contains(t.Gone, "it is running"):
			running++
		case t.End != "", strings.Contains(t.Gone, "exited"):
			moved++
		default:
			d.add("task %d has no stack: %q", t.PID, t.Gone)
		}
	}
	if frames < len(answer.Result)*9/10 || running == 0 || moved > len(answer.Result)/20 {
		d.add("%d stacks, %d running tasks and %d that moved, of %d", frames, running, moved, len(answer.Result))
	}
	return fmt.Sprintf("%d stacks, %d running, %d moved", frames, running, moved), d.err()
}
