package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// runTime measures how long a capture kernel takes from its init to the reboot, with kdx and with makedumpfile, beside each other: the same
// kernel, reservation, command line, disk and codec.
func runTime(ctx context.Context, l *lab, args []string) error {
	fs := flags(l, "time")
	release := fs.String("kernel", "6.12", "kernel that dies")
	codecs := fs.String("codec", "zstd,lzo,zlib", "codecs, of kdx's names")
	runs := fs.Int("runs", 3, "guests of each")
	mem := fs.String("mem", "768M", "memory of the guest")
	reserve := fs.String("reserve", "160M", "what crashkernel= says")
	cpu := fs.String("cpu", "max", "CPU that is emulated")
	smp := fs.Int("smp", 2, "CPUs of the guest")
	on := fs.Int("on", 0, "CPU on which it dies: where that is not the first, which starts the machine, the capture kernel can't start that one")
	threads := fs.Int("threads", 0, "time makedumpfile with as many threads, too")
	newest := fs.Bool("newest", true, "run it in the newest QEMU, whose CPU has SHA extensions as servers have; otherwise in the machine's own")
	realtime := fs.Bool("realtime", false, "give QEMU real-time priority while the capture kernel saves")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := l.checkout(); err != nil {
		return err
	}
	kdx, err := l.build(ctx, "kdx")
	if err != nil {
		return err
	}
	sc := scenario{name: "time", kernel: *release, mem: *mem, reserve: *reserve, qemu: []string{"-cpu", *cpu, "-smp", strconv.Itoa(*smp)}, arm: armTimed, files: withMakedumpfile}
	c := &captured{l: l, sc: &sc, kdx: kdx, dir: filepath.Join(l.dir, "captures", sc.id())}
	k, err := l.fetch(ctx, sc.kernel, false)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(c.dir, 0o755)); err != nil {
		return err
	}
	defer c.tidy()
	var q emulator
	if *newest {
		if q, err = l.newestQEMU(ctx); err != nil {
			return err
		}
	}
	initrd := filepath.Join(c.dir, "initrd.img")
	if err := l.armedInitrd(ctx, c, k, initrd); err != nil {
		return err
	}
	fmt.Fprintf(l.stdout, "%-22s %8s %8s %8s %8s\n", "", "kernel s", "host s", "CPU s", "MB")
	for _, codec := range strings.Split(*codecs, ",") {
		flag, ok := makedumpfileFlags[codec]
		if !ok {
			return fmt.Errorf("makedumpfile has no codec %s", codec)
		}
		die := fmt.Sprintf(" kdxlab.on=%x", 1<<*on)
		savers := []saver{{"kdx", "kdxlab.codec=" + codec + die}, {"makedumpfile", "kdxlab.flag=" + flag + die}}
		if *threads > 0 {
			savers = append(savers, saver{"makedumpfile-threads", fmt.Sprintf("kdxlab.flag=%s kdxlab.threads=%d", flag, *threads) + die})
		}
		all := make([][]float64, len(savers))
		for range *runs { // by turns: the machine is not always as busy
			for i, s := range savers {
				t, err := c.timed(ctx, q, k, initrd, s, *realtime)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, codec, err)
				}
				fmt.Fprintf(l.stdout, "%-22s %8.2f %8.2f %8.2f %8.1f  %s\n", s.name, t.kernel, t.host, t.cpu, t.mb, codec)
				all[i] = append(all[i], t.kernel)
			}
		}
		for i := range all {
			slices.Sort(all[i])
			if median := all[i][len(all[i])/2]; i > 0 {
				ours := all[0][len(all[0])/2]
				fmt.Fprintf(l.stdout, "%s: kdx %.2f s, %s %.2f s: %.2f\n", codec, ours, savers[i].name, median, ours/median)
			}
		}
	}
	return nil
}

var makedumpfileFlags = map[string]string{"zstd": "-z", "lzo": "-l", "zlib": "-c", "snappy": "-p"}

// saver is a way to save a dump, and the words of the guest's command line that choose it.
type saver struct{ name, params string }

// armTimed arms the guest with kdx, or, if kdxlab.flag= gives makedumpfile's option, then with makedumpfile in an initrd of its own under the
// same command line. Then the guest dies.
var armTimed = `codec=zstd flag= on=1
for word in $(cat /proc/cmdline); do
  case $word in kdxlab.codec=*) codec=${word#*=} ;; kdxlab.flag=*) flag=${word#*=} ;; kdxlab.on=*) on=${word#*=} ;; esac
done
` + strings.Replace(configured("codec = $codec"), "kdx capture load", "kdx capture load >/run/said", 1) + `
if [ "$flag" ]; then
  kdx kexec -p /boot/vmlinuz --initrd=/boot/makedumpfile.img --append="$(sed -n 's/^command line: //p' /run/said)" || echo 'kdx-lab: not armed'
fi
mkdir -p /mnt/dumps; echo 'kdx-lab: dying by sysrq'; sync; sleep 1; busybox taskset -p $on $$; echo c >/proc/sysrq-trigger
`

// timing is how long a save took, in seconds, by the capture kernel's clock and by this machine's, how much of a processor QEMU took for it,
// which others that compute here change little, and what it wrote.
type timing struct{ kernel, host, cpu, mb float64 }

// stamp finds a kernel's line and its time.
func stamp(text string) *regexp.Regexp {
	return regexp.MustCompile(`\[ *([0-9]+\.[0-9]+)\] ` + regexp.QuoteMeta(text))
}

const (
	saidInit   = "Run /init as init process"
	saidReboot = "reboot: Restarting system"
)

// timed runs one guest.
func (c *captured) timed(ctx context.Context, q emulator, k kernel, initrd string, s saver, realtime bool) (t timing, err error) {
	c.sc.params = s.params
	if err := c.makeDisks(ctx); err != nil {
		return t, err
	}
	log := filepath.Join(c.dir, s.name+".log")
	v, at, err := c.l.run(ctx, guest{name: c.sc.id() + " " + s.name, args: c.machine(k, initrd, "kdx"), log: log, done: []string{saidDying}, fresh: c.makeDisks, qemu: q})
	if err != nil {
		return t, err
	}
	defer v.stop()
	if _, at, err = v.wait(ctx, at, bootLimit, saidInit); err != nil {
		return t, fmt.Errorf("%w; console in %s", err, log)
	}
	if realtime {
		if _, err := output(ctx, "", "chrt", "--all-tasks", "--rr", "--pid", "1", strconv.Itoa(v.cmd.Process.Pid)); err != nil {
			return t, err
		}
	}
	begun, used := time.Now(), v.processor()
	if _, _, err = v.wait(ctx, at, saveLimit, saidReboot); err != nil {
		return t, fmt.Errorf("%w; console in %s", err, log)
	}
	t.host, t.cpu = time.Since(begun).Seconds(), (v.processor() - used).Seconds()
	c.console, _ = v.console()
	var seconds [2]float64
	for i, text := range []string{saidInit, saidReboot} {
		found := stamp(text).FindAllStringSubmatch(c.console, -1)
		if len(found) == 0 {
			return t, fmt.Errorf("the console does not say when %q was; it is in %s", text, log)
		}
		if seconds[i], err = strconv.ParseFloat(found[len(found)-1][1], 64); err != nil {
			return t, err
		}
	}
	t.kernel = seconds[1] - seconds[0]
	t.mb, err = c.timedSize(ctx, s.name)
	return t, err
}

// processor is how much processor time QEMU took so far.
func (v *vm) processor() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), ") ")
	const utime, tick = 11, 10 * time.Millisecond // fields behind the name; a hundredth of a second on every machine
	fields := strings.Fields(after)
	if len(fields) < utime+2 {
		return 0
	}
	user, _ := strconv.Atoi(fields[utime])
	system, _ := strconv.Atoi(fields[utime+1])
	return time.Duration(user+system) * tick
}

// timedSize looks whether the dump is whole, whoever saved it, and how large it is, MB.
func (c *captured) timedSize(ctx context.Context, name string) (float64, error) {
	if err := c.fsck(ctx, c.disks[0]); err != nil {
		return 0, err
	}
	all := filepath.Join(c.dir, name)
	if err := errors.Join(os.RemoveAll(all), os.MkdirAll(all, 0o700)); err != nil {
		return 0, err
	}
	if _, err := output(ctx, "", "debugfs", "-R", "rdump /dumps "+all, c.disks[0]); err != nil {
		return 0, err
	}
	dumps, err := filepath.Glob(filepath.Join(all, "dumps", "*", "vmcore"))
	if err != nil || len(dumps) != 1 {
		return 0, fmt.Errorf("%d whole dumps are on the disk; want one (%v)", len(dumps), err)
	}
	if _, err := output(ctx, "", c.kdx, "verify", dumps[0]); err != nil {
		return 0, err
	}
	st, err := os.Stat(dumps[0])
	if err != nil {
		return 0, err
	}
	return float64(st.Size()) / 1e6, nil
}

// withMakedumpfile adds the initrd of makedumpfile: busybox, the newest makedumpfile with its libraries, and a script that does what must
// be done and no more.
func withMakedumpfile(ctx context.Context, l *lab, g *captureGuest) error {
	chroot := filepath.Join(l.dir, "sid")
	said, err := output(ctx, "", "chroot", chroot, "ldd", "/usr/bin/makedumpfile")
	if err != nil {
		return fmt.Errorf("%w; kdx-lab peers installs it", err)
	}
	path := filepath.Join(g.dir, "makedumpfile.img")
	if err := writeInitrd(path, func(w *cpioWriter) error {
		if err := l.addBase(w); err != nil {
			return err
		}
		w.file("init", 0o755, l.data("guest", "makedumpfile.sh"))
		w.file("bin/makedumpfile", 0o755, filepath.Join(chroot, "usr/bin/makedumpfile"))
		// Threads want a library that they load when they end.
		for _, word := range append(strings.Fields(string(said)), "/lib/x86_64-linux-gnu/libgcc_s.so.1") {
			if strings.HasPrefix(word, "/") {
				w.file(word, 0o755, filepath.Join(chroot, word))
			}
		}
		return w.err
	}); err != nil {
		return err
	}
	return g.add("boot/makedumpfile.img", path)
}
