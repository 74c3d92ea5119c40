package config

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
)

const (
	notNFS = notTransport + "NFS; mount it and name the directory is no way either, as the mount is gone when the kernel has died"
	notFTP = notTransport + "FTP"
)

// debian is /etc/default/kdump-tools of kdump-tools 1.5 to 1.10.
var debian = distribution{name: "debian", title: "Debian's kdump-tools", files: "`/etc/default/kdump-tools`", finish: debianFinish, rules: []rule{
	{"USE_KDUMP", "not needed: whether the host is armed is a matter of kdx's units", unneeded("whether the host is armed at boot is a matter of kdx's units, not of this file"), false},
	{"KDUMP_KERNEL", "`kernel`; kdump-tools' own link is auto", func(im *importer, o *Outcome) {
		if im.values[o.Key] == "/var/lib/kdump/vmlinuz" {
			o.Fate, o.Note = Unneeded, "that is kdump-tools' link to the running kernel, which is kdx's default"
			return
		}
		kernelImage(im, o)
	}, false},
	{"KDUMP_INITRD", "not needed: kdx builds its own initrd", unneeded("kdx builds its own initrd"), false},
	{"KDUMP_COREDIR", "`target`: the local directory, or the one on the host of SSH", later, false},
	{"KDUMP_FAIL_CMD", "`failure-action`", debianFail, false},
	{"KDUMP_DUMP_DMESG", "not needed: the kernel's log is always saved, first", unneeded("the kernel's log is always saved, and first"), false},
	{"KDUMP_NUM_DUMPS", "`keep`", func(im *importer, o *Outcome) {
		if v := strings.TrimSpace(im.values[o.Key]); v != "" {
			im.set(o, "keep", v)
		}
	}, false},
	{"KDUMP_COMPRESSION", "not needed: pages are compressed one by one, so that the dump can be opened as it is", unneeded("pages are compressed one by one, so that the dump can be opened as it is"), false},
	{"MAKEDUMP_ARGS", "`level`, `codec`, `erase-config`; -F is not needed", func(im *importer, o *Outcome) {
		if words := strings.Fields(im.values[o.Key]); len(words) > 0 {
			im.dumpOptions(o, words, "raw")
		}
	}, false},
	{"KDUMP_KEXEC_ARGS", "not needed: kdx loads the kernel itself", kexecOptions, false},
	{"KDUMP_CMDLINE", "`cmdline`", taken("cmdline"), false},
	{"KDUMP_CMDLINE_APPEND", "`cmdline-append`, nr_cpus= is `cpus`; systemd.unit= is not needed", func(im *importer, o *Outcome) { im.appended(o, im.values[o.Key]) }, false},
	{"KDUMP_SYSCTL", "`sysctl`", func(im *importer, o *Outcome) {
		words := strings.Fields(im.values[o.Key])
		if len(words) == 0 {
			im.set(o, "sysctl", "none")
		}
		for _, w := range words {
			im.set(o, "sysctl", w)
		}
	}, false},
	{"HOSTTAG", "not needed: directories bear the host's name and the time", unneeded("directories bear the host's name and the time"), false},
	{"SSH", "`target`, with the directory of KDUMP_COREDIR", later, false},
	{"SSH_KEY", "`ssh-key`", taken("ssh-key"), false},
	{"SSH_KDUMP_RETRY", "`network-timeout`: 3 s each", func(im *importer, o *Outcome) {
		v := strings.TrimSpace(im.values[o.Key])
		n, err := strconv.Atoi(v)
		switch {
		case v == "":
		case err != nil || n < 1 || n > 1<<20:
			o.Fate, o.Note = Unreadable, fmt.Sprintf("%q is no number of tries", v)
		default:
			im.change(o, "network-timeout", fmt.Sprintf("%ds", 3*n), "kdump-tools waits 3 s between tries")
		}
	}, false},
	{"NFS", "no place: no NFS", noPlace(notNFS), false},
	{"NFS_TIMEO", "no place: no NFS", withTarget("NFS", notNFS), false},
	{"NFS_RETRANS", "no place: no NFS", withTarget("NFS", notNFS), false},
	{"NFS_MOUNT_RETRY", "no place: no NFS", withTarget("NFS", notNFS), false},
	{"FTP", "no place: no FTP", noPlace(notFTP), false},
	{"FTP_USER", "no place: no FTP", withTarget("FTP", notFTP), false},
	{"FTP_PASSWORD", "no place: no FTP", withTarget("FTP", notFTP), true},
	{"FTP_PORT", "no place: no FTP", withTarget("FTP", notFTP), false},
	{"KDUMP_STAMP", "not needed: directories bear the host's name and the time", unneeded("directories bear the host's name and the time"), false},
}}

// withTarget counts only if the target that it belongs to is set; the target itself is named as lost then.
func withTarget(key, note string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		if off(im.values[o.Key]) {
			return
		}
		o.Fate, o.Note = Unneeded, "it belongs to "+key+": "+note
	}
}

// debianFail reads a command line for what it ends in.
func debianFail(im *importer, o *Outcome) {
	v := im.values[o.Key]
	words := strings.Fields(v)
	if len(words) == 0 {
		return
	}
	known := map[string]string{"reboot": "reboot", "poweroff": "poweroff", "halt": "halt", "shutdown": "poweroff"}
	if a, ok := known[path.Base(words[0])]; ok && !strings.ContainsAny(v, ";|&") {
		im.set(o, "failure-action", a)
		return
	}
	for _, w := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune("; \t&|", r) }) {
		if b := path.Base(w); b == "sh" || b == "bash" || b == "dash" {
			im.change(o, "failure-action", "shell", "a command with a shell in it becomes a shell of kdx's")
			return
		}
	}
	o.Fate, o.Note = NoPlace, "failure-action is reboot, poweroff, halt or shell, no command; a post-hook may run one"
}

func debianFinish(im *importer) {
	dir, coredir := "/var/crash", im.of("KDUMP_COREDIR")
	if v := strings.TrimSpace(im.values["KDUMP_COREDIR"]); v != "" {
		dir = v
	}
	ssh := im.of("SSH")
	host := strings.TrimSpace(im.values["SSH"])
	switch {
	case ssh != nil && host != "":
		im.set(ssh, "target", "ssh://"+bracketed(host)+dir)
		if coredir != nil {
			coredir.Fate, coredir.Note = Unneeded, "it is the directory on the host of SSH"
		}
	case strings.TrimSpace(im.values["NFS"]) != "" && coredir != nil, strings.TrimSpace(im.values["FTP"]) != "" && coredir != nil:
		im.change(coredir, "target", dir, "the directory itself; what it stood for is on another host, to which kdx does not save")
	case coredir != nil && coredir.Fate != Unreadable && strings.TrimSpace(im.values["KDUMP_COREDIR"]) != "":
		im.set(coredir, "target", dir)
	}
	im.beside("/etc/kdump/sysctl.conf", "settings of the capture kernel's system; in kdx's initrd nothing runs that they would tame, and panics of it are off")
}

// beside names a file that belongs to the configuration.
func (im *importer) beside(name, note string) {
	full := under(im.root, name)
	if _, err := os.Stat(full); err == nil {
		im.outcomes = append(im.outcomes, &Outcome{File: full, Key: path.Base(name), Fate: Unneeded, Note: note, Became: []string{}})
	}
}

// bracketed puts USER@HOST's host in brackets if it is an IPv6 address.
func bracketed(host string) string {
	user, h, ok := strings.Cut(host, "@")
	if !ok {
		user, h = "", host
	} else {
		user += "@"
	}
	if strings.Count(h, ":") > 1 && !strings.HasPrefix(h, "[") {
		h = "[" + h + "]"
	}
	return user + h
}
