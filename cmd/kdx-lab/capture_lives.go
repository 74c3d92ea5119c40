package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// try is a command that a guest runs without dying of it, and what must come of it.
type try struct {
	name    string // of the file that takes what it said
	command string // of the shell
	exit    int
	says    []string
}

// armCommand builds and loads, as armWith, of a guest that lives.
const (
	tryBuild = "kdx capture initrd build --kernel /boot/vmlinuz --target ext4:/dev/lab0:/dumps -o /boot/initrd.kdx"
	tryLoad  = "kdx capture load --kernel /boot/vmlinuz --initrd /boot/initrd.kdx"
)

// livesScenarios look at what arming says where it can't be done, or goes wrong.
func livesScenarios() []scenario {
	lives := func(name, reserve, params string, short bool, tries ...try) scenario {
		return scenario{name: name, kernel: "6.12", reserve: reserve, params: params, lives: true, arm: tryAll(tries), check: answered(tries), short: short}
	}
	build := try{"build", tryBuild, 0, []string{"/boot/initrd.kdx"}}
	tight := lives("tight", fmt.Sprintf("%dM", tooLittle["6.1"]-4), "", false, build, try{"load", tryLoad, 0, []string{"too small as kdx reckons", "armed: "}},
		try{"size", trySize, 13, []string{"ENOUGH: NO", "WANTED: crashkernel="}})
	tight.kernel = "6.1"
	return []scenario{
		tight,
		lives("load", "", "", true,
			try{"no-vmcore", "kdx capture save --target /mnt/dumps; r=$?; ls /mnt/dumps; (exit $r)", 16, []string{"/proc/vmcore"}},
			try{"status-before", "kdx capture status", 14, nil},
			build,
			try{"load", tryLoad, 0, []string{"armed"}},
			try{"status", "kdx capture status", 0, []string{"/boot/vmlinuz", "/boot/initrd.kdx"}},
			try{"loaded", "cat /sys/kernel/kexec_crash_loaded", 0, []string{"1"}},
			try{"doctor", "kdx capture doctor --all; [ $? != 14 ]", 0, nil},
			try{"size", "kdx capture size", 0, []string{"crashkernel="}},
			try{"damaged", "head -c 3000000 /boot/vmlinuz >/boot/cut; kdx capture load --kernel /boot/cut --initrd /boot/initrd.kdx", 1, nil},
			try{"armed-still", "cat /sys/kernel/kexec_crash_loaded", 0, []string{"1"}},
			// Only the kernel finds this one out, once it has dropped what was loaded: a map of memory that lies hides that there is no room.
			try{"refused", `sed 's/^  *\(.*\)-.* : Crash kernel/  \1-7effffff : Crash kernel/' /proc/iomem >/run/iomem && mount -o bind /run/iomem /proc/iomem
				(echo -n 070701; head -c 90000000 /dev/zero) >/mnt/big; kdx kexec -p /boot/vmlinuz --initrd=/mnt/big; r=$?; umount /proc/iomem; rm /mnt/big; (exit $r)`,
				255, []string{"the host is armed as before"}},
			try{"armed-again", "cat /sys/kernel/kexec_crash_loaded; kdx capture status", 0, []string{"1", "/boot/initrd.kdx"}},
			try{"two", tryLoad + " & one=$!; " + tryLoad + "; two=$?; wait $one; echo $? $two; cat /sys/kernel/kexec_crash_loaded", 0, []string{"0 0", "1"}},
			try{"syntax", "(echo 'target = /var/crash'; echo 'level = $(touch /tmp/ran)'; echo 'levl = 3') >/tmp/bad.conf; cat /tmp/bad.conf; kdx capture load --config /tmp/bad.conf; r=$?; ls /tmp/ran; (exit $r)", 12,
				[]string{"/tmp/bad.conf:2", "/tmp/bad.conf:3", "/tmp/ran: No such file"}},
			try{"unload", "kdx capture unload && cat /sys/kernel/kexec_crash_loaded", 0, []string{"0"}}),
		lives("no-reservation", "none", "", false, build, try{"load", tryLoad, 13, []string{"crashkernel="}}),
		lives("too-small", "64M", "", false, build, try{"load", tryLoad, 13, nil}, try{"loaded", "cat /sys/kernel/kexec_crash_loaded", 0, []string{"0"}}),
		lives("lockdown", "", "lockdown=integrity", false, build, try{"load", tryLoad, 14, []string{"lock"}}),
	}
}

// tryAll is the guest's script: each command's words and exit code go to a file on the disk.
func tryAll(tries []try) string {
	var b strings.Builder
	for _, t := range tries {
		fmt.Fprintf(&b, "( %s ) >/mnt/%s.said 2>&1; echo \"exit $?\" >>/mnt/%[2]s.said\n", t.command, t.name)
	}
	return b.String() + "sync; umount /mnt; echo 'kdx-lab: lives'; poweroff -f\n"
}

// answered holds what was said against what must be.
func answered(tries []try) func(context.Context, *captured) (string, error) {
	return func(ctx context.Context, c *captured) (string, error) {
		var d differences
		for _, t := range tries {
			path := filepath.Join(c.dir, t.name+".said")
			if _, err := output(ctx, "", "debugfs", "-R", "dump /"+t.name+".said "+path, c.disks[0]); err != nil {
				return "", err
			}
			said := readText(path)
			if !strings.HasSuffix(said, fmt.Sprintf("exit %d\n", t.exit)) {
				d.add("%s: want exit code %d of %q: %s", t.name, t.exit, t.command, tail(said, 6))
			}
			for _, want := range t.says {
				if !strings.Contains(said, want) {
					d.add("%s: %q does not say %q: %s", t.name, t.command, want, tail(said, 6))
				}
			}
		}
		return fmt.Sprintf("%d commands as they must be", len(tries)), d.err()
	}
}
