package config

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	notDracut = "kdx builds its initrd itself, without dracut"
	notFence  = "kdx sends no fence_kdump message; with a cluster that waits for it, leave kdump-utils in place"
	notLog    = "kdx's messages have no levels"
)

// redhat is /etc/kdump.conf and /etc/sysconfig/kdump of kexec-tools up to RHEL 9 and of kdump-utils.
var redhat = distribution{name: "redhat", title: "Red Hat's kdump-utils", files: "`/etc/kdump.conf` and `/etc/sysconfig/kdump`", finish: redhatFinish, rules: []rule{
	{"path", "`target`: the directory", later, false},
	{"raw", "`target`", prefixed("raw:"), false},
	{"ssh", "`target`, with the directory of path", later, false},
	{"sshkey", "`ssh-key`", taken("ssh-key"), false},
	{"ext4", "`target`, with the directory of path", later, false},
	{"xfs", "`target`, with the directory of path", later, false},
	{"btrfs", "`target`, with the directory of path", later, false},
	{"ext3", "`target`; the driver of ext4 mounts it", later, false},
	{"ext2", "`target`; the driver of ext4 mounts it", later, false},
	{"minix", "no place: ext4, xfs and btrfs only", noPlace("kdx saves to ext4, xfs and btrfs"), false},
	{"virtiofs", "no place: ext4, xfs and btrfs only", noPlace("kdx saves to ext4, xfs and btrfs"), false},
	{"nfs", "no place: no NFS", noPlace(notNFS), false},
	{"nfs4", "no place: no NFS", noPlace(notNFS), false},
	{"core_collector", "`level`, `codec`, `erase-config`; cp and scp are level 0 without compression", redhatCollector, false},
	{"kdump_pre", "`pre-hook`; " + preNote, command("pre-hook", preNote), false},
	{"kdump_post", "`post-hook`; " + postNote, command("post-hook", postNote), false},
	{"kdump_emergency", "no place: failure-action is always taken", noPlace("kdx's init takes failure-action itself, whatever fails"), false},
	{"extra_bins", "`hook-file`", taken("hook-file"), false},
	{"extra_modules", "`modules`", taken("modules"), false},
	{"failure_action", "`failure-action`; dump_to_rootfs is one more `target`", redhatFailure, false},
	{"default", "`failure-action`; dump_to_rootfs is one more `target`", redhatFailure, false},
	{"final_action", "`final-action`", taken("final-action"), false},
	{"force_rebuild", "not needed: the initrd is built anew when one of its inputs has changed", unneeded("the initrd is built anew when one of its inputs has changed"), false},
	{"force_no_rebuild", "not needed: the initrd is built anew when one of its inputs has changed", unneeded("the initrd is built anew when one of its inputs has changed, and only then"), false},
	{"dracut_args", "no place: " + notDracut, noPlace(notDracut), false},
	{"fence_kdump_args", "no place: " + notFence, noPlace(notFence), false},
	{"fence_kdump_nodes", "no place: " + notFence, noPlace(notFence), false},
	{"auto_reset_crashkernel", "not needed: " + notLoader, unneeded(notLoader), false},
	{"override_resettable", "not needed: gone from kdump-utils, too", unneeded("kdump-utils has it no more, either"), false},
	{"net", "no place: gone from kdump-utils, too", noPlace("kdump-utils refuses it, too: use ssh or nfs"), false},
	{"options", "no place: gone from kdump-utils, too", noPlace("kdump-utils refuses it, too"), false},
	{"link_delay", "`network-timeout`", redhatDelay("network-timeout"), false},
	{"disk_timeout", "`device-timeout`", redhatDelay("device-timeout"), false},
	{"debug_mem_level", "not needed: kdx's log tells what memory there was", unneeded("kdx's log tells what memory there was"), false},
	{"blacklist", "no place: modules are loaded only if something needs them", noPlace("modules are loaded only if something needs them; module_blacklist= in cmdline-append keeps one out"), false},

	{"KDUMP_KERNELVER", "`kernel`", kernelImage, false},
	{"KDUMP_COMMANDLINE", "`cmdline`", taken("cmdline"), false},
	{"KDUMP_COMMANDLINE_REMOVE", "`cmdline-remove`", taken("cmdline-remove"), false},
	{"KDUMP_COMMANDLINE_APPEND", "`cmdline-append`, nr_cpus= is `cpus`; words for systemd and udev are not needed", func(im *importer, o *Outcome) { im.appended(o, im.values[o.Key]) }, false},
	{"FADUMP_COMMANDLINE_APPEND", "not needed: " + notFadump, unneeded(notFadump), false},
	{"KEXEC_ARGS", "not needed: kdx loads the kernel itself", kexecOptions, false},
	{"KDUMP_BOOTDIR", "not needed: kdx looks in /boot and /usr/lib/modules", unless("/boot", "kdx looks in /boot and /usr/lib/modules; name the image with kernel"), false},
	{"KDUMP_IMG", "not needed: kdx finds the image", unless("vmlinuz", "kdx finds the image by its release; name another with kernel"), false},
	{"KDUMP_IMG_EXT", "no place: name the image with `kernel`", noPlace("name the image with kernel"), false},
	{"MKDUMPRD_ARGS", "no place: " + notDracut, noPlace(notDracut), false},
	{"VMCORE_CREATION_NOTIFICATION", "not needed: nothing is shown at login", unneeded("nothing is shown at login"), false},
	{"KDUMP_STDLOGLVL", "not needed: " + notLog, unneeded(notLog), false},
	{"KDUMP_SYSLOGLVL", "not needed: " + notLog, unneeded(notLog), false},
	{"KDUMP_KMSGLOGLVL", "not needed: " + notLog, unneeded(notLog), false},
}}

// prefixed puts a prefix before the value.
func prefixed(prefix string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) { im.set(o, "target", prefix+im.values[o.Key]) }
}

// unless has a place only for one value, which is the default.
func unless(usual, note string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		switch v := strings.TrimSpace(im.values[o.Key]); v {
		case "":
		case usual:
			o.Fate, o.Note = Unneeded, "that is where kdx looks"
		default:
			o.Fate, o.Note = NoPlace, note
		}
	}
}

func redhatDelay(key string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		if v := strings.TrimSpace(im.values[o.Key]); v != "" && v != "0" {
			im.set(o, key, v+"s")
		}
	}
}

func redhatCollector(im *importer, o *Outcome) {
	words := strings.Fields(im.values[o.Key])
	if len(words) == 0 {
		return
	}
	switch path.Base(words[0]) {
	case "makedumpfile":
		im.dumpOptions(o, words[1:], "raw")
	case "cp", "scp", "dd":
		im.change(o, "level", "0", "the whole memory, not compressed")
		im.set(o, "codec", "raw")
	default:
		o.Fate, o.Note = NoPlace, "kdx saves the dump itself; a program in its place has none"
	}
}

func redhatFailure(im *importer, o *Outcome) {
	switch v := im.values[o.Key]; v {
	case "dump_to_rootfs":
		o.Note = v // finish adds the target, behind the others
	case "":
	default:
		im.set(o, "failure-action", v)
	}
}

// redhatFinish puts target and path together.
func redhatFinish(im *importer) {
	dir, pathOutcome := "/var/crash", im.of("path")
	if v := im.values["path"]; v != "" {
		dir = v
	}
	elsewhere := ""
	for _, o := range im.outcomes {
		if o.Fate != "" {
			if slices.Contains([]string{"nfs", "nfs4", "minix", "virtiofs", "raw"}, o.Key) && o.Value != "" {
				elsewhere = o.Key
			}
			continue
		}
		switch o.Key {
		case "ssh":
			im.set(o, "target", "ssh://"+bracketed(o.Value)+dir)
			elsewhere = o.Key
		case "ext4", "xfs", "btrfs":
			im.set(o, "target", o.Key+":"+o.Value+":"+dir)
			elsewhere = o.Key
		case "ext2", "ext3":
			im.change(o, "target", "ext4:"+o.Value+":"+dir, "the driver of ext4 mounts it")
			elsewhere = o.Key
		}
	}
	switch {
	case pathOutcome == nil:
	case elsewhere != "":
		pathOutcome.Fate, pathOutcome.Note = Unneeded, "it is the directory on the target of "+elsewhere
	case pathOutcome.Value != "":
		im.set(pathOutcome, "target", dir)
	}
	for _, o := range im.outcomes {
		if o.Note == "dump_to_rootfs" && o.Fate == "" {
			o.Note = ""
			if elsewhere == "" {
				o.Fate, o.Note = Unneeded, "the target is on the root filesystem already"
				continue
			}
			im.change(o, "target", dir, "one more target, of the running host's own filesystems, tried behind the others")
		}
	}
	im.hookDir("/etc/kdump/pre.d", "pre-hook")
	im.hookDir("/etc/kdump/post.d", "post-hook")
}

// hookDir takes the programs of a directory, in the order of their names.
func (im *importer) hookDir(dir, key string) {
	entries, err := os.ReadDir(under(im.root, dir))
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		o := &Outcome{File: under(im.root, dir), Key: e.Name(), Value: path.Join(dir, e.Name()), Became: []string{}}
		im.outcomes = append(im.outcomes, o)
		if strings.ContainsAny(e.Name(), " \t\n#") {
			o.Fate, o.Note = NoPlace, fmt.Sprintf("%q can't stand in a line of the configuration", e.Name())
			continue
		}
		im.set(o, key, path.Join(dir, e.Name()))
	}
}
