package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// job is one crash to make.
type job struct {
	kernel, way, variant string
	mem                  string
	smp                  int
}

// defaultMem is the memory of a guest of which nothing else is said; dumps of others have theirs in their name.
const defaultMem = "512M"

// dir is where its dump lies.
func (j job) dir(l *lab) string {
	name := j.kernel + "-" + j.way
	if j.variant != "" {
		name += "-" + j.variant
	}
	if j.mem != defaultMem {
		name += "-" + strings.ToLower(j.mem)
	}
	return filepath.Join(l.dir, "dumps", name)
}

func runCrash(ctx context.Context, l *lab, args []string) error {
	fs := flags(l, "crash")
	var j job
	fs.StringVar(&j.kernel, "kernel", "6.12", "kernel of testdata/lab/kernels")
	fs.StringVar(&j.way, "way", "sysrq", "way to die: "+strings.Join(wayNames(), " "))
	fs.StringVar(&j.variant, "variant", "", "another shape: "+strings.Join(variantNames(), " "))
	fs.StringVar(&j.mem, "mem", defaultMem, "memory of the guest, in M or G")
	fs.IntVar(&j.smp, "smp", 2, "processors of the guest")
	noDebug := fs.Bool("no-debug", false, "do not fetch the debug package")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := l.crash(ctx, j, !*noDebug); err != nil {
		return err
	}
	fmt.Fprintln(l.stdout, j.dir(l))
	return nil
}

// crash makes the dump of one job, replacing an earlier one only once the new one is whole.
func (l *lab) crash(ctx context.Context, j job, debug bool) error {
	w, va, err := j.lookup()
	if err != nil {
		return err
	}
	if _, err := l.pin(j.kernel); err != nil {
		return err
	}
	if err := need(map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "mkfs.ext4": "e2fsprogs", "debugfs": "e2fsprogs", "xz": "xz-utils",
	}); err != nil {
		return err
	}
	k, err := l.fetch(ctx, j.kernel, debug)
	if err != nil {
		return err
	}
	helper, err := l.buildHelper(ctx)
	if err != nil {
		return err
	}
	final := j.dir(l)
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), ".making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	if err := l.crashInto(ctx, j, w, va, k, helper, tmp); err != nil {
		keep := final + ".failed.log"
		os.Rename(filepath.Join(tmp, "console.log"), keep)
		return fmt.Errorf("%s: %w; console in %s", filepath.Base(final), err, keep)
	}
	l.logf("%s: %s crashed and saved in %.0f s", filepath.Base(final), k.got, time.Since(begin).Seconds())
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(tmp, final)
}

func (j job) lookup() (way, variant, error) {
	var va variant
	if j.variant != "" {
		found := false
		for _, x := range variants() {
			if x.name == j.variant {
				va, found = x, true
			}
		}
		if !found {
			return way{}, va, fmt.Errorf("no variant %q; there are %s", j.variant, strings.Join(variantNames(), " "))
		}
	}
	for _, w := range ways() {
		if w.name == j.way {
			return w, va, nil
		}
	}
	return way{}, va, fmt.Errorf("no way %q; there are %s", j.way, strings.Join(wayNames(), " "))
}

const (
	bootLimit = 4 * time.Minute // emulation on a busy machine
	dieLimit  = 2 * time.Minute
	saveLimit = 4 * time.Minute
)

// crashInto boots, crashes and collects into dir: vmcore, truth.json, console.log, a link to vmlinux, and the kernel's release.
func (l *lab) crashInto(ctx context.Context, j job, w way, va variant, k kernel, helper, dir string) error {
	initrd, disk := filepath.Join(dir, "initrd.img"), filepath.Join(dir, "disk.img")
	name := filepath.Base(j.dir(l))
	machine, disk0 := []string{"-m", j.mem, "-smp", fmt.Sprint(max(j.smp, 1))}, "nvme,drive=d0,serial=lab"
	if va.machine != nil {
		machine, j.mem, disk0 = slices.Clone(va.machine), va.mem, disk0+",bus="+va.bus
	}
	mem, err := memBytes(j.mem)
	if err != nil {
		return err
	}
	if err := l.guestInitrd(ctx, k, helper, va.modules, initrd); err != nil {
		return err
	}
	fresh := func(ctx context.Context) error { return makeDisk(ctx, disk, mem+5<<29) }
	if err := fresh(ctx); err != nil {
		return err
	}
	arm := "kexec"
	if va.qemu {
		arm = "qemu"
	}
	cpu := va.cpu
	if cpu == "" {
		cpu = "qemu64,+smap,+smep"
	}
	params := fmt.Sprintf("console=ttyS0 edd=off kdxlab.way=%s kdxlab.arm=%s %s", w.name, arm, va.params)
	if va.qemu {
		params += " panic=0"
	} else {
		params += " panic=-1 crashkernel=160M"
	}
	v, at, err := l.run(ctx, guest{name: name, log: filepath.Join(dir, "console.log"), done: []string{saidDying + w.name}, args: append(machine, // first: a disk's bus must be there
		"-accel", "tcg,thread=multi", "-cpu", cpu,
		"-kernel", k.vmlinuz(), "-initrd", initrd, "-append", params,
		"-drive", "file="+disk+",if=none,id=d0,format=raw", "-device", disk0,
		"-device", "vmcoreinfo",
	), fresh: fresh})
	if err != nil {
		return err
	}
	if err := l.drive(ctx, v, at, w, va, dir); err != nil {
		v.stop()
		return err
	}
	return l.collect(ctx, k, dir, disk, initrd, va)
}

// memBytes is a size as QEMU's -m takes it, with its unit.
func memBytes(s string) (int64, error) {
	n, err := strconv.ParseInt(s[:max(len(s)-1, 0)], 10, 32)
	switch {
	case err == nil && strings.HasSuffix(s, "M"):
		return n << 20, nil
	case err == nil && strings.HasSuffix(s, "G"):
		return n << 30, nil
	}
	return 0, fmt.Errorf("memory of %q: a number of M or G is wanted", s)
}

// drive watches the console from where the guest said that it dies, and does the host's part of dying and saving.
func (l *lab) drive(ctx context.Context, v *vm, at int, w way, va variant, dir string) (err error) {
	if w.host != nil {
		if err := w.host(ctx, v); err != nil {
			return err
		}
	}
	if va.qemu {
		// panic=0 stops the machine in the panic: what is in memory then is the dump.
		if _, _, err := v.wait(ctx, at, dieLimit, "end Kernel panic"); err != nil {
			return err
		}
		return v.save(filepath.Join(dir, "vmcore"))
	}
	if _, at, err = v.wait(ctx, at, dieLimit, "kdx-lab: capture kernel"); err != nil {
		return err
	}
	if va.inside {
		return v.save(filepath.Join(dir, "vmcore"))
	}
	if _, _, err = v.wait(ctx, at, saveLimit, "kdx-lab: saved"); err != nil {
		return err
	}
	return v.finish(ctx, time.Minute)
}

// save stops the machine, has QEMU write its memory down, and ends it.
func (v *vm) save(vmcore string) error {
	if err := v.monitor("stop", nil); err != nil {
		return err
	}
	// paging false: physical memory as it is.
	if err := v.monitor("dump-guest-memory", map[string]any{"paging": false, "protocol": "file:" + vmcore}); err != nil {
		return err
	}
	v.stop()
	return nil
}

// makeDisk makes a sparse disk with an empty file system.
func makeDisk(ctx context.Context, path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	_, err = output(ctx, "", "mkfs.ext4", "-q", "-F", path)
	return err
}

// collect takes the files off the disk and tidies up.
func (l *lab) collect(ctx context.Context, k kernel, dir, disk, initrd string, va variant) error {
	files := []string{"truth.json"}
	if va.qemu || va.inside {
		// Nobody has mounted the disk since the crash: replay its journal. Status 1 means that there was something to mend.
		var exit *exec.ExitError
		if _, err := output(ctx, "", "e2fsck", "-fp", disk); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
			return err
		}
	} else {
		files = append(files, "vmcore")
	}
	for _, f := range files {
		out := filepath.Join(dir, f)
		if _, err := output(ctx, "", "debugfs", "-R", "dump /"+f+" "+out, disk); err != nil {
			return err
		}
		if st, err := os.Stat(out); err != nil || st.Size() == 0 {
			return fmt.Errorf("the guest left no %s", f)
		}
	}
	if vmlinux := k.vmlinux(); vmlinux != "" {
		if err := os.Symlink(vmlinux, filepath.Join(dir, "vmlinux")); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(disk), os.Remove(initrd))
}
