package config

import (
	"path"
	"strconv"
	"strings"
)

const (
	notMail      = "kdx sends no mail"
	notTransport = "kdx saves to local filesystems, raw partitions, SFTP and SSH, not over "
	notLoader    = "kdx does not write to the boot loader's configuration; kdx capture size says what its words reserve"
	notFadump    = "fadump is for ppc64, which kdx does not capture"
	preNote      = "the dump is saved whatever it returns"
	postNote     = "it gets 0 or 1 as its last argument: saved, or not"
)

// suse is /etc/sysconfig/kdump of kdump 0.8 to 2.1.
var suse = distribution{name: "suse", title: "SUSE's kdump", files: "`/etc/sysconfig/kdump`", rules: []rule{
	{"KDUMP_SAVEDIR", "`target`, several too; file://, sftp:// (scp://) and ssh:// and directories. ftp://, nfs:// and cifs:// have no place, passwords neither", suseSavedir, false},
	{"KDUMP_DUMPLEVEL", "`level`", taken("level"), false},
	{"KDUMP_DUMPFORMAT", "`codec`: compressed is zlib; ELF is saved in kdump format; none has no place", suseFormat, false},
	{"KDUMP_KEEP_OLD_DUMPS", "`keep`, which counts the new dump too: N is N+1, -1 is 1", suseKeep, false},
	{"KDUMP_FREE_DISK_SIZE", "`keep-free`", func(im *importer, o *Outcome) {
		if v := strings.TrimSpace(im.values[o.Key]); v == "0" {
			im.set(o, "keep-free", "0")
		} else if v != "" {
			im.set(o, "keep-free", v+"M")
		}
	}, false},
	{"KDUMP_KERNELVER", "`kernel`", kernelImage, false},
	{"KDUMP_CPUS", "`cpus`", taken("cpus"), false},
	{"KDUMP_COMMANDLINE", "`cmdline`", taken("cmdline"), false},
	{"KDUMP_COMMANDLINE_APPEND", "`cmdline-append`, nr_cpus= is `cpus`; words for systemd and udev are not needed", func(im *importer, o *Outcome) { im.appended(o, im.values[o.Key]) }, false},
	{"KDUMP_IMMEDIATE_REBOOT", "`final-action`: reboot or shell", choose("final-action", "reboot", "shell"), false},
	{"KDUMP_CONTINUE_ON_ERROR", "`failure-action`: reboot or shell", choose("failure-action", "reboot", "shell"), false},
	{"KDUMP_REQUIRED_PROGRAMS", "`hook-file`", taken("hook-file"), false},
	{"KDUMP_PRESCRIPT", "`pre-hook`; " + preNote, command("pre-hook", preNote), false},
	{"KDUMP_POSTSCRIPT", "`post-hook`; " + postNote, command("post-hook", postNote), false},
	{"KDUMP_NETCONFIG", "`network`: static is keep, the addresses that the interface has; :force is not needed", suseNet, false},
	{"KDUMP_NET_TIMEOUT", "`network-timeout`", func(im *importer, o *Outcome) {
		if v := strings.TrimSpace(im.values[o.Key]); v != "" && v != "0" {
			im.set(o, "network-timeout", v+"s")
		}
	}, false},
	{"KDUMP_SSH_IDENTITY", "`ssh-key`, the first of the list", suseIdentity, false},
	{"KDUMP_HOST_KEY", "no place: keys of hosts stand in the file of `ssh-known-hosts`", noPlace("put the host and this key into the file of ssh-known-hosts; kdx takes no unknown key, whatever is set"), false},
	{"MAKEDUMPFILE_OPTIONS", "`level`, `codec`, `erase-config`", func(im *importer, o *Outcome) {
		if words := strings.Fields(im.values[o.Key]); len(words) > 0 {
			im.dumpOptions(o, words, "") // the codec is that of KDUMP_DUMPFORMAT
		}
	}, false},
	{"KDUMP_CRASHKERNEL", "no place: " + notLoader, unneeded(notLoader), false},
	{"KDUMP_UPDATE_BOOTLOADER", "no place: " + notLoader, unneeded(notLoader), false},
	{"KDUMP_AUTO_RESIZE", "no place: kdx never makes the reservation smaller", noPlace("kdx never makes the reservation smaller"), false},
	{"KDUMP_FADUMP", "no place: " + notFadump, noPlace(notFadump), false},
	{"KDUMP_FADUMP_SHELL", "no place: " + notFadump, noPlace(notFadump), false},
	{"FADUMP_COMMANDLINE_APPEND", "not needed: " + notFadump, unneeded(notFadump), false},
	{"KEXEC_OPTIONS", "not needed: kdx loads the kernel itself", kexecOptions, false},
	{"KDUMP_TRANSFER", "no place: hooks run beside kdx, none in its place", noPlace("hooks run beside kdx, none in its place"), false},
	{"KDUMP_VERBOSE", "not needed: progress is always shown, and kdx's log is saved with the dump", unneeded("progress is always shown, and kdx's log is saved with the dump"), false},
	{"KDUMP_SMTP_SERVER", "no place: " + notMail, noPlace(notMail), false},
	{"KDUMP_SMTP_USER", "no place: " + notMail, noPlace(notMail), false},
	{"KDUMP_SMTP_PASSWORD", "no place: " + notMail, noPlace(notMail), true},
	{"KDUMP_NOTIFICATION_TO", "no place: " + notMail, noPlace(notMail), false},
	{"KDUMP_NOTIFICATION_CC", "no place: " + notMail, noPlace(notMail), false},
	{"KDUMPTOOL_FLAGS", "no place", noPlace("flags of kdumptool have no meaning for kdx"), false},
	{"KDUMP_COPY_KERNEL", "no place: kdx opens dumps without the kernel's file", noPlace("kdx opens dumps without the kernel's file"), false},
}}

func suseSavedir(im *importer, o *Outcome) {
	words := strings.Fields(im.values[o.Key])
	o.Value = "" // URLs may hold passwords
	var notes []string
	lost := false
	for i, w := range words {
		scheme, rest, ok := strings.Cut(w, "://")
		if !ok {
			scheme, rest = "file", w
		}
		if i > 0 {
			o.Value += " "
		}
		o.Value += withoutPassword(w)
		switch scheme {
		case "file":
			im.set(o, "target", rest)
		case "sftp", "scp", "ssh":
			if scheme == "scp" {
				scheme = "sftp"
			}
			clean := withoutPassword(rest)
			if clean != rest {
				notes, lost = append(notes, "the password is not carried over: kdx logs in with ssh-key"), true
			}
			im.set(o, "target", scheme+"://"+strings.Replace(clean, ":…@", "@", 1))
		default:
			notes, lost = append(notes, notTransport+scheme), true
		}
	}
	if lost && o.Fate != Unreadable {
		o.Fate, o.Note = NoPlace, strings.Join(notes, "; ")
	}
}

func suseFormat(im *importer, o *Outcome) {
	switch v := strings.ToLower(strings.TrimSpace(im.values[o.Key])); v {
	case "":
	case "compressed":
		im.set(o, "codec", "zlib")
	case "lzo", "snappy", "zstd":
		im.set(o, "codec", v)
	case "elf":
		o.Fate, o.Note = Unneeded, "kdx saves kdump-compressed dumps; kdx convert --to elf makes an ELF file of one"
	case "raw":
		im.set(o, "level", "0")
		im.set(o, "codec", "raw")
	case "none":
		o.Fate, o.Note = NoPlace, "kdx saves the kernel's log first, and then always the dump"
	default:
		o.Fate, o.Note = Unreadable, oneOf(v, []string{"none", "ELF", "compressed", "lzo", "snappy", "zstd", "raw"})
	}
}

func suseKeep(im *importer, o *Outcome) {
	v := strings.TrimSpace(im.values[o.Key])
	n, err := strconv.Atoi(v)
	switch {
	case v == "":
	case err != nil:
		o.Fate, o.Note = Unreadable, "it is no number"
	case n == 0:
		im.set(o, "keep", "0")
	case n < 0:
		im.change(o, "keep", "1", "older dumps go when the new one is whole, not before")
	default:
		im.change(o, "keep", strconv.Itoa(n+1), "the new dump counts as well")
	}
}

func suseNet(im *importer, o *Outcome) {
	v := strings.TrimSpace(im.values[o.Key])
	if v == "" {
		return
	}
	parts := strings.Split(v, ":")
	if parts[len(parts)-1] == "force" {
		parts = parts[:len(parts)-1]
		o.Note = "the network is set up if a target needs it"
	}
	switch {
	case len(parts) == 1 && parts[0] == auto, len(parts) == 2 && parts[1] == auto && parts[0] == "":
		im.set(o, "network", auto)
	case len(parts) == 1:
		im.set(o, "network", parts[0]+" dhcp")
	case len(parts) == 2 && (parts[1] == "static" || parts[1] == auto):
		im.change(o, "network", parts[0]+" keep", "with the addresses that the interface has when the initrd is built")
	default:
		im.set(o, "network", strings.Join(parts[:len(parts)-1], ":")+" "+parts[len(parts)-1])
	}
}

func suseIdentity(im *importer, o *Outcome) {
	words := strings.Fields(im.values[o.Key])
	if len(words) == 0 {
		return
	}
	key := strings.Replace(words[0], "~/", "/root/", 1)
	if !path.IsAbs(key) {
		key = path.Join("/root/.ssh", key)
	}
	if len(words) > 1 {
		im.change(o, "ssh-key", key, "kdx uses one key, the first")
		return
	}
	im.set(o, "ssh-key", key)
}

// kexecOptions: what kdx does anyway is not needed, the rest has no place.
func kexecOptions(im *importer, o *Outcome) {
	var lost []string
	for _, w := range strings.Fields(im.values[o.Key]) {
		switch w {
		case "-s", "-a", "-c", "--kexec-file-syscall", "--kexec-syscall", "--kexec-syscall-auto", "--elf32-core-headers", "--elf64-core-headers", "--noefi", "-d", "--debug":
			o.Fate, o.Note = Unneeded, "kdx loads the kernel itself (kexec_file_load), and the kernel makes the headers"
		default:
			lost = append(lost, w)
		}
	}
	if len(lost) > 0 {
		o.Fate, o.Note = NoPlace, "kdx loads the kernel itself: kexec's "+strings.Join(lost, " ")+" has no place"
	}
}
