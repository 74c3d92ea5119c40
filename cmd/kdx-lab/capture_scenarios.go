package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
)

// armWith are the two commands that arm a host on which nothing but kdx is.
func armWith(targets ...string) string {
	return `kdx capture initrd build --kernel /boot/vmlinuz --target ` + strings.Join(targets, " --target ") + ` --level 31 -o /boot/initrd.kdx &&
kdx capture load --kernel /boot/vmlinuz --initrd /boot/initrd.kdx --append console=ttyS0 || echo "kdx-lab: not armed"
`
}

// scenarios are all that kdx-lab capture runs.
func scenarios() []scenario {
	var out []scenario
	for _, k := range []string{"6.1", "6.12", "7.2"} {
		out = append(out,
			scenario{name: "ext4", kernel: k, arm: armWith("ext4:/dev/nvme0n1:/dumps"), check: savedOnFirst, short: k == "6.12"},
			scenario{name: "raw", kernel: k, disks: []labDisk{{size: 1 << 30, make: onePartition}}, arm: armWith("raw:/dev/lab1p1"), check: savedRaw, short: k == "6.1"})
	}
	network := func(sc scenario) scenario {
		sc.kernel, sc.reserve, sc.qemu, sc.modules, sc.moduleTree, sc.files = "6.12", "128M", withNetwork, networkModules, networkModules, sshKeys
		return sc
	}
	const server = "root@" + gateway + ":PORTSERVERDIR"
	out = append(out,
		network(scenario{name: "sftp", host: sshServer(true), arm: guestNetwork + armWith("sftp://"+server), check: savedOverSSH, short: true}),
		network(scenario{name: "ssh", host: sshServer(false), arm: guestNetwork + armWith("ssh://"+server), check: savedOverSSH}),
		network(scenario{name: "fallback", host: sshServer(true), arm: guestNetwork + armWith("sftp://root@"+gateway+":9/dumps", "ext4:/dev/lab0:/dumps"),
			check: and(savedOnFirst, tried("sftp://root@"+gateway+":9/dumps"))}),
	)
	// kdx itself has twice the size of kdx-init, and lies in memory twice while it is unpacked.
	out = append(out, scenario{name: "foreign", kernel: "6.12", reserve: "192M", foreign: true, files: foreignInitrd,
		arm:   `kdx kexec -p /boot/vmlinuz --initrd=/boot/foreign.img --append="console=ttyS0 no_timer_check nr_cpus=1 reset_devices panic=10" || echo "kdx-lab: not armed"` + "\n",
		check: and(savedOnFirst, consoleSays("kdx-lab: kdx capture save ends with 0"))})
	return slices.Concat(out, stackScenarios(), faultScenarios(), livesScenarios(), hostScenarios())
}

// stackScenarios save through block devices that stand on others. The guest makes them with the usual programs; nothing of these is in
// the capture kernel. The dump is taken off them at the next boot.
func stackScenarios() []scenario {
	with := func(script string, programs ...string) func(context.Context, *lab, *captureGuest) error {
		return func(ctx context.Context, l *lab, g *captureGuest) error {
			g.c.file("bin/"+script, 0o755, l.data(script))
			for _, p := range programs {
				if err := g.program(ctx, p); err != nil {
					return err
				}
			}
			return nil
		}
	}
	fetch := func(fs, device string) string {
		return "mkdir -p /srv && mount -t " + fs + " " + device + " /srv && cp -a /srv/dumps /mnt/ && umount /srv && umount /mnt"
	}
	two := []labDisk{{size: 512 << 20}, {size: 512 << 20}}
	lvm, md := []string{"dm-mod", "xfs"}, []string{"raid1"}
	const devices = "/dev/lab1 /dev/lab2"
	return []scenario{
		{name: "xfs-on-lvm", kernel: "6.12", disks: two, reserve: "112M", modules: lvm, moduleTree: lvm, files: with("lab-stack-lvm.sh", "lvm", "mkfs.xfs"),
			arm:     "lab-stack-lvm.sh /srv " + devices + " && " + armWith("/srv/dumps"),
			collect: "lvm vgchange -ay --noudevsync lab && lvm vgmknodes && " + fetch("xfs", "/dev/mapper/lab-target"), check: savedOnFirst, short: true},
		{name: "ext4-on-md", kernel: "6.12", disks: two, reserve: "112M", modules: md, moduleTree: md, files: with("lab-stack-md.sh", "mdadm", "mkfs.ext4"),
			arm:     "lab-stack-md.sh /srv 1 " + devices + " && " + armWith("/srv/dumps"),
			collect: "mdadm --assemble --run /dev/md7 " + devices + " && " + fetch("ext4", "/dev/md7"), check: savedOnFirst},
	}
}

// hook makes the guest's configuration name a script that runs before the dump is saved.
func hook(script string) func(context.Context, *lab, *captureGuest) error {
	return func(_ context.Context, _ *lab, g *captureGuest) error {
		g.c.bytes("etc/kdx/hook.sh", 0o755, []byte("#!/bin/sh\n"+script+"\n"))
		return g.c.err
	}
}

// configured arms by a configuration file.
func configured(lines ...string) string {
	return "mkdir -p /etc/kdx\ncat >/etc/kdx/capture.conf <<END\nkernel = /boot/vmlinuz\ntarget = ext4:/dev/lab0:/dumps\ncmdline-append = console=ttyS0\n" +
		strings.Join(lines, "\n") + "\nEND\nkdx capture load || echo 'kdx-lab: not armed'\n"
}

// faultScenarios go wrong where only a kernel can show it. All of them end by themselves.
func faultScenarios() []scenario {
	small := labDisk{size: 24 << 20, make: makeExt4}
	onSmall := armWith("ext4:/dev/lab1:/dumps", "ext4:/dev/lab0:/dumps")
	return []scenario{
		{name: "full", kernel: "6.12", disks: []labDisk{small}, arm: onSmall, check: and(savedOnFirst, tried("ext4:/dev/lab1:/dumps")), short: true},
		// Room for two CPUs, so that stages are started ahead: the dump that did not fit was looked at, too.
		{name: "ahead", kernel: "6.12", mem: "768M", reserve: "160M", arm: armWith("ext4:/dev/lab0:/dumps"), check: and(savedOnFirst, tried("triage is started ahead"))},
		{name: "ahead-full", kernel: "6.12", mem: "768M", reserve: "160M", disks: []labDisk{small}, arm: onSmall, check: and(savedOnFirst, tried("ext4:/dev/lab1:/dumps"))},
		{name: "disk-gone", kernel: "6.12", disks: []labDisk{small}, arm: onSmall + "dd if=/dev/zero of=/dev/lab1 bs=1M count=24\n",
			check: and(savedOnFirst, tried("ext4:/dev/lab1:/dumps"))},
		{name: "1970", kernel: "6.12", qemu: []string{"-rtc", "base=1970-01-01T00:00:10"}, arm: armWith("ext4:/dev/lab0:/dumps"), check: savedOnFirst},
		{name: "no-memory", kernel: "6.12", arm: configured("memory = 4M"), check: nothingFalse},
		{name: "second-panic", kernel: "6.12", files: hook("echo c >/proc/sysrq-trigger"), arm: configured("pre-hook = /etc/kdx/hook.sh"), check: nothingFalse},
	}
}

// foreignInitrd brings a capture initrd as a distribution builds it: not kdx's, but with kdx in it.
func foreignInitrd(_ context.Context, l *lab, g *captureGuest) error {
	return g.archive("boot/foreign.img", func(w *cpioWriter) {
		w.file("init", 0o755, l.data("guest", "foreign.sh"))
		w.file("bin/kdx", 0o755, g.kdx)
	})
}

// partitionStart is where the one partition of a disk begins, bytes.
const partitionStart = 1 << 20

// onePartition writes a partition table of the old form with one Linux partition.
func onePartition(_ context.Context, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	const sector, linux = 512, 0x83
	mbr := make([]byte, sector)
	binary.LittleEndian.PutUint32(mbr[440:], 0x6b64782d) // the disk's identity, of which PARTUUID is made
	entry := mbr[446:]
	entry[4] = linux
	binary.LittleEndian.PutUint32(entry[8:], partitionStart/sector)
	binary.LittleEndian.PutUint32(entry[12:], uint32((st.Size()-partitionStart)/sector))
	mbr[510], mbr[511] = 0x55, 0xaa
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(mbr, 0); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	return f.Close()
}

func makeExt4(ctx context.Context, path string) error {
	_, err := output(ctx, "", "mkfs.ext4", "-q", "-F", path)
	return err
}
