package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tooLittle MiB do not save a dump of a guest of 512 MiB: 6.1 and 7.2 find no memory to unpack their initrd into, 6.12 to save.
var tooLittle = map[string]int{"6.1": 84, "6.12": 84, "7.2": 96}

// mostWanted is how many times as much as what is too little kdx capture size may ask for.
const mostWanted = 1.5

// trySize asks kdx capture size, by a configuration that is there only for it; it ends as that does.
const trySize = "mkdir -p /etc/kdx; printf 'kernel = /boot/vmlinuz\\ninitrd = /boot/initrd.kdx\\ntarget = ext4:/dev/lab0:/dumps\\n' >/etc/kdx/capture.conf; kdx capture size; " +
	"r=$?; rm /etc/kdx/capture.conf; (exit $r)"

// sizing is the script that asks. Nothing is loaded yet, as on a host that is being set up.
const sizing = tryBuild + "\n" + trySize + "; sync; umount /mnt; echo 'kdx-lab: lives'; poweroff -f\n"

// hostScenarios are hosts of other sizes, and what their administrators do.
func hostScenarios() []scenario {
	var out []scenario
	for _, k := range []string{"6.1", "6.12", "7.2"} {
		arm := armWith("ext4:/dev/lab0:/dumps")
		out = append(out,
			scenario{name: "4g", kernel: k, mem: "4G", arm: arm, check: savedOnFirst},
			scenario{name: "wanted", kernel: k, reserve: "192M", sizing: true, arm: arm, check: and(savedOnFirst, notMuch)})
	}
	// What a test leaves for the next boot lies where the root file system would be.
	const kept = "mkdir -p /mnt/lib /var/lib/kdx && mount -o bind /mnt/lib /var/lib/kdx\n"
	const target = "level = 31"
	return append(out,
		scenario{name: "test", kernel: "6.12", later: true, arm: kept + configured(target) + `cat >/mnt/after-truth.sh <<'END'
kdx capture test </dev/null; echo "kdx-lab: without consent: $?"
kdx capture test --yes-crash-this-host
echo "kdx-lab: not crashed: $?"
END
`,
			collect:   kept + configured(target) + `kdx capture test --result; echo "kdx-lab: result: $?"; kdx capture collect; echo "kdx-lab: collected: $?"; umount /var/lib/kdx; umount /mnt`,
			collected: []string{"a whole dump of", "kdx-lab: result: 0", "kdx-lab: collected: 0"}, check: and(savedOnFirst, consoleSays("kdx-lab: without consent: 2", "crashing "))},
		scenario{name: "killed", kernel: "6.12", reserve: "112M", disks: []labDisk{{size: 1 << 30, make: makeExt4}}, files: hook(killSaves),
			arm: configured("target = ext4:/dev/lab1:/dumps", "pre-hook = /etc/kdx/hook.sh"), check: and(nothingFalse, killedTwice, savedOnSecond)},
		scenario{name: "killed-all", kernel: "6.12", reserve: "112M", files: hook(killSaves), arm: configured("pre-hook = /etc/kdx/hook.sh"), check: and(nothingFalse, killedTwice, nothingWhole)},
		scenario{name: "load-script", kernel: "6.12", lives: true, files: loadScript, arm: "lab-load.sh\nsync; umount /mnt; echo 'kdx-lab: lives'; poweroff -f\n",
			check: consoleSays("kdx-lab: loading is as it should be")},
		scenario{name: "load-time", kernel: "6.12", lives: true, files: kexecTools, arm: loads, check: loadTimes},
		scenario{name: "kexec", kernel: "6.12", lives: true, files: nextKernel, arm: kexecs, check: kexeced})
}

// notMuch: what kdx wants is not much more than what will not do.
func notMuch(_ context.Context, c *captured) (string, error) {
	wanted, err := strconv.Atoi(strings.TrimSuffix(c.wanted, "M"))
	if err != nil {
		return "", err
	}
	if little := tooLittle[c.sc.kernel]; float64(wanted) > mostWanted*float64(little) {
		return "", fmt.Errorf("kdx capture size wants %dM; want at most %.1f times %dM", wanted, mostWanted, little)
	}
	return "", nil
}

func consoleSays(texts ...string) func(context.Context, *captured) (string, error) {
	return func(_ context.Context, c *captured) (string, error) {
		if line, ok := c.said("kdx-lab: FAILED"); ok {
			return "", errors.New(line)
		}
		return fmt.Sprintf("%d lines as they must be", strings.Count(c.console, "kdx-lab: ok")+len(texts)), c.wants(texts...)
	}
}

// killSaves leaves a process behind that kills each save to the first target once some of the dump is written. Stages are known by
// their arguments. The shell has its applets built in: there are no others in the capture kernel.
const killSaves = `setsid sh -c 'while sleep 0.2; do
for f in /run/kdx/target/0/dumps/*/vmcore.incomplete; do
  case $done in *"$f"*) continue ;; esac
  [ -e "$f" ] && [ "$(wc -c <"$f")" -gt 3000000 ] || continue
  for p in /proc/[0-9]*; do
    case "$(tr "\0" " " <"$p/cmdline")" in "kdx-init stage save "*) kill -9 "${p#/proc/}" && done="$done $f" ;; esac
  done
done
done' </dev/null >/dev/null 2>&1 &
sleep 2 # what is in this process's group ends with it`

// killedTwice: the first target's save was killed, and so was its second turn.
func killedTwice(_ context.Context, c *captured) (string, error) {
	if n := strings.Count(c.console, "kdx: save: killed"); n != 2 {
		return "", fmt.Errorf("%d saves were killed; want 2", n)
	}
	return "", c.wants("is tried again without understanding the kernel")
}

// savedOnSecond: the second disk's directory is the next target's.
func savedOnSecond(ctx context.Context, c *captured) (string, error) {
	return c.savedOn(ctx, c.disks[1], "/dumps", "saved")
}

// nothingWhole: no file bears a whole dump's name, and the machine has ended all the same.
func nothingWhole(_ context.Context, c *captured) (string, error) {
	found, err := filepath.Glob(filepath.Join(c.dir, "dumps", "dumps", "*", "vmcore"))
	if err != nil || len(found) > 0 {
		return "", fmt.Errorf("a dump has a whole name: %v (%v)", found, err)
	}
	return "", c.wants("no target took the dump", "reboot: ")
}

// loadScript brings lab-load.sh, a kernel of another release and an initrd that is not kdx's.
func loadScript(ctx context.Context, l *lab, g *captureGuest) error {
	g.c.file("bin/lab-load.sh", 0o755, l.data("lab-load.sh"))
	other, err := l.fetch(ctx, "6.1", false)
	if err != nil {
		return err
	}
	if err := g.add("boot/other", other.vmlinuz()); err != nil {
		return err
	}
	return g.archive("boot/foreign", func(w *cpioWriter) { w.bytes("init", 0o755, []byte("#!/bin/sh\n")) })
}

// archive adds an initrd that holds busybox and what fill puts into it.
func (g *captureGuest) archive(name string, fill func(w *cpioWriter)) error {
	path := filepath.Join(g.dir, filepath.Base(name))
	if err := writeInitrd(path, func(w *cpioWriter) error {
		if err := g.l.addBase(w); err != nil {
			return err
		}
		fill(w)
		return w.err
	}); err != nil {
		return err
	}
	defer os.Remove(path)
	return g.add(name, path)
}

// nextKernel brings what is started without a crash.
func nextKernel(_ context.Context, _ *lab, g *captureGuest) error {
	return g.archive("boot/next.img", func(w *cpioWriter) {
		w.bytes("init", 0o755, []byte(`#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
echo "kdx-lab: next kernel: $(cat /proc/version)"
echo "kdx-lab: its words: $(cat /proc/cmdline)"
echo "kdx-lab: lives"
poweroff -f
`))
	})
}

// kexecs is what scripts do with kexec-tools, and the fast reboot in the end.
const kexecs = `ln -s kdx /bin/kexec
try() { want=$1; shift; said=$("$@" 2>&1); got=$?; if [ $got = $want ]; then echo "kdx-lab: ok: $*"; else echo "kdx-lab: FAILED: $* exits $got, want $want: $said"; fi; }
holds() { case "$(cat "$1")" in $2) echo "kdx-lab: ok: $1 is $2" ;; *) echo "kdx-lab: FAILED: $1 is $(cat "$1"), want $2" ;; esac; }
try 0 kexec -p /boot/vmlinuz --initrd=/boot/next.img --append="console=ttyS0 maxcpus=1 reset_devices"
holds /sys/kernel/kexec_crash_loaded 1
try 1 kexec -p -S
try 0 kexec -p -u
holds /sys/kernel/kexec_crash_loaded 0
try 0 kexec -p -S
try 0 kexec -l /boot/vmlinuz --initrd=/boot/next.img --reuse-cmdline
holds /sys/kernel/kexec_loaded 1
try 0 kexec -u
holds /sys/kernel/kexec_loaded 0
try 1 kexec -e
try 0 kexec -s -l /boot/vmlinuz --initrd=/boot/next.img --reuse-cmdline --append=kdxlab.next=1
holds /sys/kernel/kexec_loaded 1
umount /mnt
kexec -e || echo "kdx-lab: FAILED: kexec -e"
sleep 60
`

// kexeced: the same kernel runs again, under the words of the first and its own.
func kexeced(ctx context.Context, c *captured) (string, error) {
	line, ok := c.said("kdx-lab: its words: ")
	if !ok {
		return "", errors.New("the next kernel does not say its command line")
	}
	if words := strings.Fields(line); !slices.Contains(words, "kdxlab.next=1") || !slices.Contains(words, "console=ttyS0") {
		return "", fmt.Errorf("the next kernel's command line is %s", line)
	}
	return consoleSays("kdx-lab: next kernel: Linux version "+c.sc.kernel+".")(ctx, c)
}

// kexecTools brings the program that kdx's load is timed against.
func kexecTools(ctx context.Context, _ *lab, g *captureGuest) error { return g.program(ctx, "kexec") }

// loads has each way to load the same files take its turn. The clock of /proc/uptime has hundredths of a second.
const loads = tryBuild + ` >/dev/null || echo "kdx-lab: FAILED: build"
now() { read -r up rest </proc/uptime; echo "${up%.*}${up#*.}"; }
timed() { name=$1; shift; begin=$(now); "$@" >/run/said 2>&1 || { echo "kdx-lab: FAILED: $*"; cat /run/said; }; echo "kdx-lab: took $name $(($(now) - begin))"; }
load() { kdx capture load --kernel /boot/vmlinuz --initrd /boot/initrd.kdx --append console=ttyS0; }
load >/run/said
words=$(sed -n 's/^command line: //p' /run/said)
for n in 1 2 3 4 5; do
  rm -f /run/kdx/loaded.json
  timed first load
  timed kexec kexec -s -p /boot/vmlinuz --initrd=/boot/initrd.kdx --command-line="$words"
  timed later load
done
sync; umount /mnt; echo 'kdx-lab: lives'; poweroff -f
`

// mostLoad is how many times as long as kexec -s -p a load may take.
const mostLoad = 1.5

// loadTimes holds the medians against each other.
func loadTimes(_ context.Context, c *captured) (string, error) {
	if line, ok := c.said("kdx-lab: FAILED"); ok {
		return "", errors.New(line)
	}
	all := map[string][]int{}
	for line := range strings.Lines(c.console) {
		var name string
		var took int
		if _, after, ok := strings.Cut(line, "kdx-lab: took "); ok {
			if _, err := fmt.Sscan(after, &name, &took); err != nil {
				return "", fmt.Errorf("%q: %w", line, err)
			}
			all[name] = append(all[name], took)
		}
	}
	median := func(name string) float64 {
		slices.Sort(all[name])
		if len(all[name]) == 0 {
			return 0
		}
		return float64(all[name][len(all[name])/2]) / 100
	}
	first, later, kexec := median("first"), median("later"), median("kexec")
	note := fmt.Sprintf("first load %.2f s, later ones %.2f s, kexec -s -p %.2f s: %.2f and %.2f", first, later, kexec, first/kexec, later/kexec)
	if kexec == 0 || max(first, later) > mostLoad*kexec {
		return "", fmt.Errorf("%s; want at most %.1f", note, mostLoad)
	}
	return note, nil
}
