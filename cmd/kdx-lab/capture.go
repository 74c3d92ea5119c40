package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// scenario is one guest that kdx arms, and what must come of it.
type scenario struct {
	name   string // its dump is KERNEL-sysrq-NAME
	kernel string
	mem    string // "" is 512M
	// reserve is what crashkernel= says; "" is what kdx promises for a local target on this kernel.
	reserve string
	params  string // more words of the command line
	qemu    []string
	// modules are loaded in the guest; moduleTree lie in its /lib/modules, with what they need, for kdx to find.
	modules    []string
	moduleTree []string
	files      func(ctx context.Context, l *lab, g *captureGuest) error // more of the guest's files
	disks      []labDisk
	// arm is run by the guest's init before the workload.
	arm string
	// collect is run by the next boot's init, to put what was saved onto the first disk; "" if it lies there.
	collect string
	// collected must be on the console of that boot.
	collected []string
	// sizing: a boot before all others asks kdx how much to reserve, and that is reserved then.
	sizing bool
	// foreign: what captures is not kdx-init, whose log lies beside a dump.
	foreign bool
	// lives: the guest does not crash; arm is all of it.
	lives bool
	// host prepares what the guest talks to; its stop is called at the end.
	host func(ctx context.Context, l *lab, c *captured) (stop func(), err error)
	// later: the guest died by another's hand, some time after it had told the truth.
	later bool
	// check holds what came of it against what must.
	check func(ctx context.Context, c *captured) (string, error)
	// short: continuous integration runs it.
	short bool
}

// labDisk is a disk beside the first, which holds ext4 and is the guest's /mnt.
type labDisk struct {
	size int64
	make func(ctx context.Context, path string) error // nil leaves it empty
}

// captured is what a scenario left.
type captured struct {
	l       *lab
	sc      *scenario
	kdx     string
	dir     string
	disks   []string
	port    int    // of the server that host started
	wanted  string // what kdx said should be reserved
	console string
}

// name is that of the dump: it says how the kernel died, as other dumps' names do.
func (sc *scenario) id() string { return sc.kernel + "-sysrq-" + sc.name }

// runCapture arms guests with kdx, lets them die, and looks at what kdx saved.
func runCapture(ctx context.Context, l *lab, args []string) error {
	t, kdx, _, err := l.begin(ctx, "capture", args)
	if err != nil {
		return err
	}
	l.captureLegs(ctx, t, kdx, false)
	return t.end()
}

// captureLegs runs the scenarios; short leaves those out that continuous integration has no time for.
func (l *lab) captureLegs(ctx context.Context, t *tally, kdx string, short bool) {
	for _, sc := range scenarios() {
		if short && !sc.short {
			continue
		}
		c := &captured{l: l, sc: &sc, kdx: kdx, dir: filepath.Join(l.dir, "captures", sc.id())}
		if !t.run(ctx, leg{sc.id() + " capture", func(ctx context.Context) (string, error) { return l.captureOne(ctx, c) }}) || !c.ran() {
			continue
		}
		c.compare(ctx, t)
		c.tidy()
	}
}

func (c *captured) ran() bool { return c.console != "" }

// captureOne runs a scenario. What it leaves stays if it fails, for whoever must find out why.
func (l *lab) captureOne(ctx context.Context, c *captured) (note string, err error) {
	if err := need(map[string]string{"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "mkfs.ext4": "e2fsprogs", "debugfs": "e2fsprogs"}); err != nil {
		return "", err
	}
	k, err := l.fetch(ctx, c.sc.kernel, false)
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(c.dir, 0o755)); err != nil {
		return "", err
	}
	if c.sc.host != nil {
		stop, err := c.sc.host(ctx, l, c)
		if err != nil {
			return "", err
		}
		defer stop()
	}
	initrd := filepath.Join(c.dir, "initrd.img")
	if err := l.armedInitrd(ctx, c, k, initrd); err != nil {
		return "", err
	}
	if err := c.makeDisks(ctx); err != nil {
		return "", err
	}
	if c.sc.sizing {
		if err := c.size(ctx, k, initrd); err != nil {
			return "", err
		}
	}
	// What a kernel prints last does not always reach the console before the next one starts.
	done := []string{saidTruth, saidDying}
	if c.sc.lives {
		done = []string{saidLives}
	}
	if c.console, err = c.boot(ctx, k, initrd, "kdx", done...); err != nil {
		return "", err
	}
	if _, ok := c.said("kdx-lab: not armed"); ok {
		return "", fmt.Errorf("kdx did not arm the guest; console in %s", filepath.Join(c.dir, "kdx.log"))
	}
	if c.sc.collect != "" {
		said, err := c.boot(ctx, k, initrd, "collect", saidPowerDown)
		if err != nil {
			return "", err
		}
		for _, want := range c.sc.collected {
			if !strings.Contains(said, want) {
				return "", fmt.Errorf("at the next boot nothing says %q; console in %s", want, filepath.Join(c.dir, "collect.log"))
			}
		}
	}
	if err := c.sound(ctx); err != nil {
		return "", err
	}
	if note, err = c.sc.check(ctx, c); err != nil {
		return "", fmt.Errorf("%w; console in %s", err, filepath.Join(c.dir, "kdx.log"))
	}
	return note, nil
}

// makeDisks makes them, in place of those that are there.
func (c *captured) makeDisks(ctx context.Context) error {
	c.disks = nil
	for i, d := range append([]labDisk{{size: 3 << 30, make: makeExt4}}, c.sc.disks...) {
		path := filepath.Join(c.dir, fmt.Sprintf("disk%d.img", i))
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(d.size), f.Close()); err != nil {
			return err
		}
		if d.make != nil {
			if err := d.make(ctx, path); err != nil {
				return err
			}
		}
		c.disks = append(c.disks, path)
	}
	return nil
}

// reservations are what kdx promises to save a dump with, to a local file system, by kernel.
var reservations = map[string]string{"6.1": "96M", "6.12": "96M", "7.2": "112M"}

// boot runs the guest to its end, which must come after it said one of done: it dies, is captured, and QEMU exits with the reboot. What the
// console said is returned. A capture kernel of several processors may die of the emulator, too: then all of it has another turn.
func (c *captured) boot(ctx context.Context, k kernel, initrd, arm string, done ...string) (string, error) {
	log := filepath.Join(c.dir, arm+".log")
	g := guest{name: c.sc.id() + " " + arm, args: c.machine(k, initrd, arm), log: log, done: done, fresh: c.makeDisks}
	if arm == "collect" {
		g.fresh = nil
	}
	for turn := 1; ; turn++ {
		v, at, err := c.l.run(ctx, g)
		if err != nil {
			return "", err
		}
		err = v.finish(ctx, dieLimit+saveLimit)
		said, _ := v.console()
		if why := strayBreakpoint.FindString(said[at:]); why != "" && g.fresh != nil && turn < maxTurns && ctx.Err() == nil {
			c.l.logf("%s: the capture kernel died by itself: %s; turn %d of %d", g.name, strings.TrimSpace(why), turn+1, maxTurns)
			if err := g.fresh(ctx); err != nil {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%w; console in %s", err, log)
		}
		return said, nil
	}
}

// machine is QEMU's arguments for the guest.
func (c *captured) machine(k kernel, initrd, arm string) []string {
	mem := c.sc.mem
	if mem == "" {
		mem = "512M"
	}
	// On a busy machine the timer comes too late for a kernel that looks whether there is one, the capture kernel too.
	params := "console=ttyS0 edd=off no_timer_check panic=-1 kdxlab.way=sysrq kdxlab.arm=" + arm + " " + c.sc.params
	if c.reserve() != "none" {
		params += " crashkernel=" + c.reserve()
	}
	args := []string{"-accel", "tcg,thread=multi", "-cpu", "max", "-m", mem, "-smp", "2",
		"-kernel", k.vmlinuz(), "-initrd", initrd, "-append", params}
	// Namespaces say which they are (nsid), whatever they are called at this boot.
	args = append(args, "-device", "nvme,id=c0,serial=lab")
	for i, d := range c.disks {
		args = append(args, "-drive", fmt.Sprintf("file=%s,if=none,id=d%d,format=raw", d, i), "-device", fmt.Sprintf("nvme-ns,bus=c0,drive=d%d,nsid=%d", i, i+1))
	}
	return append(args, c.sc.qemu...)
}

// reserve is what crashkernel= says.
func (c *captured) reserve() string {
	if c.wanted != "" {
		return c.wanted
	}
	if c.sc.reserve != "" {
		return c.sc.reserve
	}
	return reservations[c.sc.kernel]
}

// size boots the guest to hear from kdx capture size what it wants.
func (c *captured) size(ctx context.Context, k kernel, initrd string) error {
	said, err := c.boot(ctx, k, initrd, "size", saidLives)
	if err != nil {
		return err
	}
	_, after, ok := strings.Cut(said, "WANTED: crashkernel=")
	if !ok {
		return fmt.Errorf("kdx capture size does not say what it wants; console in %s", filepath.Join(c.dir, "size.log"))
	}
	c.wanted = strings.Fields(after)[0]
	return nil
}

// sound looks at the first disk, and takes the truth and what the guest wrote down off it.
func (c *captured) sound(ctx context.Context) error {
	// A journal that must be replayed is no damage: the dying kernel had the disk mounted, and not every scenario saves onto it.
	if err := c.fsck(ctx, c.disks[0]); err != nil {
		return err
	}
	if c.sc.lives {
		return nil
	}
	_, err := output(ctx, "", "debugfs", "-R", "dump /truth.json "+filepath.Join(c.dir, "truth.json"), c.disks[0])
	return err
}

// compare holds the saved dump against what the guest said before it died.
func (c *captured) compare(ctx context.Context, t *tally) {
	vmcore := filepath.Join(c.dir, "saved", "vmcore")
	if !exists(vmcore) {
		return
	}
	s := &subject{kdx: c.kdx, name: c.sc.id(), dir: c.dir, dump: vmcore}
	for _, x := range []struct {
		what  string
		check func(context.Context, *subject) (string, error)
	}{{"sys", checkSys}, {"tasks", checkTasks}, {"log", checkLog}, {"modules", checkModules}, {"slabs", checkSlabs}, {"stacks", checkStacks}, {"panic", checkPanic}} {
		if c.sc.later && (x.what == "sys" || x.what == "tasks") {
			continue
		}
		t.run(ctx, leg{s.name + " " + x.what, func(ctx context.Context) (string, error) {
			if err := s.load(); err != nil {
				return "", err
			}
			return x.check(ctx, s)
		}})
	}
}

// tidy leaves the dump and the console; disks are large.
func (c *captured) tidy() {
	for _, d := range append(c.disks, filepath.Join(c.dir, "initrd.img")) {
		os.Remove(d)
	}
}

// said finds a line of the console that holds text.
func (c *captured) said(text string) (string, bool) {
	for line := range strings.Lines(c.console) {
		if strings.Contains(line, text) {
			return strings.TrimSpace(line), true
		}
	}
	return "", false
}

// wants is the error of the first text that the console lacks.
func (c *captured) wants(texts ...string) error {
	for _, t := range texts {
		if _, ok := c.said(t); !ok {
			return fmt.Errorf("the console does not say %q", t)
		}
	}
	return nil
}

const fsckMended = 1

// fsck replays the journal of an ext4 image and looks whether it is whole.
func (c *captured) fsck(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err := output(ctx, "", "e2fsck", "-fp", path)
	if exitCode(err) == fsckMended {
		return nil
	}
	return err
}
