package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// kexecOption is one row of the table of kexec's options, from which help and docs/kexec.md are made.
type kexecOption struct {
	short string
	long  string
	arg   string // placeholder of its argument; "" if it takes none
	help  string
	fate  fate
	why   string // what differs, or why it is gone
	apply func(k *kexecLine, value string)
}

func (o *kexecOption) names() string {
	s := "--" + o.long
	if o.short != "" {
		s = "-" + o.short + ", " + s
	}
	if o.arg != "" {
		s += "=" + o.arg
	}
	return s
}

// kexecLine is kexec's command line taken apart. What is done follows from all options in their order, as there.
type kexecLine struct {
	files []string

	load, crash, unload, exec, shutdown, sync, linksDown bool
	status, printSize, help, version, debug              bool

	initrd, cmdline string
	reuse           bool
	// refused are options that can't be, with the reason.
	refused []string
}

const (
	onlyOldCall = "it is for the old system call, kexec_load"
	purgatory   = "the code between the two kernels is the kernel's own, which prints nothing"
)

var kexecOptions = []kexecOption{
	{"l", "load", "", "load KERNEL for a reboot", asThere, "", func(k *kexecLine, _ string) { k.load, k.exec, k.shutdown = true, false, false }},
	{"p", "load-panic", "", "load KERNEL for a panic, into the reservation", better, "checked beforehand; what was loaded comes back if the kernel refuses",
		func(k *kexecLine, _ string) {
			k.load, k.crash, k.exec, k.shutdown, k.sync = true, true, false, false, false
		}},
	{"u", "unload", "", "unload the kernel for a reboot, with -p that for a panic", asThere, "", func(k *kexecLine, _ string) {
		k.unload, k.load, k.exec, k.shutdown, k.sync = true, false, false, false, false
	}},
	{"e", "exec", "", "start the loaded kernel at once", asThere, "", func(k *kexecLine, _ string) {
		k.exec, k.load, k.shutdown, k.sync, k.linksDown = true, false, false, true, true
	}},
	{"f", "force", "", "load KERNEL and start it at once, without ending anything", asThere, "", func(k *kexecLine, _ string) { k.load, k.exec, k.shutdown = true, true, false }},
	{"S", "status", "", "exit with 1 if a kernel for a panic is loaded, 0 if not, 255 if the running kernel can't say", asThere, "", func(k *kexecLine, _ string) { k.status = true }},
	{"", "initrd", "FILE", "the initrd of KERNEL", asThere, "", func(k *kexecLine, v string) { k.initrd = v }},
	{"", "ramdisk", "FILE", "the same", asThere, "", func(k *kexecLine, v string) { k.initrd = v }},
	{"", "append", "WORDS", "the command line of KERNEL; with --reuse-cmdline, more words of it", asThere, "", func(k *kexecLine, v string) { k.cmdline = v }},
	{"", "command-line", "WORDS", "the same", asThere, "", func(k *kexecLine, v string) { k.cmdline = v }},
	{"", "reuse-cmdline", "", "the running kernel's command line, without BOOT_IMAGE= and, with -p, without crashkernel=", asThere, "", func(k *kexecLine, _ string) { k.reuse = true }},
	{"s", "kexec-file-syscall", "", "load with kexec_file_load", asThere, "kdx always does", nothing},
	{"a", "kexec-syscall-auto", "", "kexec_file_load, or kexec_load where that is not there", idle, "without the second half", nothing},
	{"d", "debug", "", "tell what is loaded, and have the kernel log where it goes", asThere, "", func(k *kexecLine, _ string) { k.debug = true }},
	{"i", "no-checks", "", "no checksum of the segments before KERNEL starts", idle, "with kexec_file_load the running kernel decides: x86 always checks, arm64 never", nothing},
	{"x", "no-ifdown", "", "leave network interfaces up", asThere, "", func(k *kexecLine, _ string) { k.linksDown = false }},
	{"y", "no-sync", "", "don't write dirty pages to disks before KERNEL starts", asThere, "", func(k *kexecLine, _ string) { k.sync = false }},
	{"t", "type", "TYPE", "what KERNEL is", better, "bzImage64 and bzImage are believed, and looked at; others are refused", takeType},
	{"", "print-ckr-size", "", "print the size of the reservation in bytes", asThere, "", func(k *kexecLine, _ string) { k.printSize = true }},
	{"h", "help", "", "this text", asThere, "", func(k *kexecLine, _ string) { k.help = true }},
	{"v", "version", "", "the version", asThere, "", func(k *kexecLine, _ string) { k.version = true }},
	refusedOption("c", "kexec-syscall", "", "load with kexec_load", "kdx loads with kexec_file_load only, which checks signatures and works under lockdown"),
	refusedOption("", "hotplug", "", "let the kernel update what kexec_load loaded", "with kexec_file_load, kernels that can do it, do (6.6 on x86)"),
	refusedOption("", "mem-min", "ADDRESS", "lowest address", onlyOldCall),
	refusedOption("", "mem-max", "ADDRESS", "highest address", onlyOldCall),
	refusedOption("", "entry", "ADDRESS", "where to jump back to", onlyOldCall),
	refusedOption("", "load-preserve-context", "", "keep the running kernel", onlyOldCall),
	refusedOption("", "load-jump-back-helper", "", "come back to it", onlyOldCall),
	refusedOption("", "load-live-update", "", "Xen's live update", "kdx does not load Xen"),
	refusedOption("", "exec-live-update", "", "Xen's live update", "kdx does not load Xen"),
	refusedOption("", "reuseinitrd", "", "the initrd of the last boot", "the kernel has given it back, unless it was told to keep it: name the file with --initrd"),
	refusedOption("", "no-cma", "", "not in memory of CMA", "the kernel chooses where"),
	refusedOption("", "dtb", "FILE", "the device tree", "kexec_file_load makes it of the running one"),
	refusedOption("", "force-dtb", "", "a device tree beside ACPI", "kexec_file_load makes it of the running one"),
	refusedOption("", "module", "WORDS", "a module of multiboot", "kdx loads Linux"),
	refusedOption("", "args-linux", "", "arguments of an ELF kernel", "kexec_file_load takes boot images"),
	refusedOption("", "args-elf", "", "arguments of an ELF kernel", "kexec_file_load takes boot images"),
	refusedOption("", "args-none", "", "arguments of an ELF kernel", "kexec_file_load takes boot images"),
	refusedOption("", "real-mode", "", "enter it in real mode", onlyOldCall),
	refusedOption("", "entry-32bit", "", "enter it with 32 bits", onlyOldCall),
	refusedOption("", "noefi", "", "without EFI", onlyOldCall),
	refusedOption("", "reuse-video-type", "", "the video mode of the last boot", onlyOldCall),
	refusedOption("", "pass-memmap-cmdline", "", "the map of memory as memmap=", onlyOldCall),
	refusedOption("", "elf32-core-headers", "", "a map of memory for 32-bit readers", onlyOldCall),
	refusedOption("", "elf64-core-headers", "", "a map of memory for 64-bit readers", "that is what kexec_file_load makes; leave it out"),
	refusedOption("", "reset-vga", "", "reset the VGA", purgatory),
	refusedOption("", "console-vga", "", "messages on the VGA", purgatory),
	refusedOption("", "console-serial", "", "messages on a serial port", purgatory),
	refusedOption("", "serial", "PORT", "which port", purgatory),
	refusedOption("", "serial-baud", "RATE", "its speed", purgatory),
}

func nothing(*kexecLine, string) {}

func refusedOption(short, long, arg, help, why string) kexecOption {
	return kexecOption{short, long, arg, help, gone, why, func(k *kexecLine, _ string) {
		k.refused = append(k.refused, fmt.Sprintf("--%s can't be: %s", long, why))
	}}
}

func takeType(k *kexecLine, v string) {
	if v != "bzImage64" && v != "bzImage" {
		k.refused = append(k.refused, fmt.Sprintf("--type=%s can't be: kexec_file_load takes bzImage64", v))
	}
}

// optionValue runs what an option does when it is met.
type optionValue struct {
	o *kexecOption
	k *kexecLine
}

func (v optionValue) Set(s string) error {
	v.o.apply(v.k, s)
	return nil
}
func (v optionValue) String() string { return "" }
func (v optionValue) Type() string   { return strings.ToLower(v.o.arg) }

// parseKexec takes a command line apart: options and files in any order.
func parseKexec(args []string) (*kexecLine, error) {
	k := &kexecLine{load: true, exec: true, shutdown: true, sync: true, linksDown: true}
	p := pflag.NewFlagSet("kexec", pflag.ContinueOnError)
	p.Usage = func() {}
	for i := range kexecOptions {
		o := &kexecOptions[i]
		f := p.VarPF(optionValue{o, k}, o.long, o.short, o.help)
		if o.arg == "" {
			f.NoOptDefVal = "yes"
		}
	}
	if err := p.Parse(args); err != nil {
		return nil, err
	}
	k.files = p.Args()
	if k.unload && len(k.files) == 0 {
		k.load = false // -u -p is -p -u
	}
	return k, k.conflict()
}

// conflict is why the options do not go together; nil if all is well.
func (k *kexecLine) conflict() error {
	switch {
	case k.help || k.version:
		return nil
	case len(k.refused) > 0:
		return fmt.Errorf("%s", strings.Join(k.refused, "; "))
	case k.status || k.printSize:
		return nil
	case len(k.files) > 1:
		return fmt.Errorf("one kernel, not %d: %s (the command line is given in one word: --append='a b')", len(k.files), strings.Join(k.files, " "))
	case k.load && len(k.files) == 0:
		return fmt.Errorf("no kernel specified")
	case !k.load && len(k.files) > 0:
		return fmt.Errorf("%s: neither -e nor -u takes a kernel", k.files[0])
	}
	return nil
}

func kexecHelp() string {
	var b strings.Builder
	b.WriteString("Usage: kexec [OPTION]... [KERNEL]\nStart another kernel without the firmware, or load one for a panic.\n\n" +
		"Without -l, -p, -u, -e, -f and -S: load KERNEL, then shut down and start it.\n\n")
	for _, gones := range []bool{false, true} {
		if gones {
			b.WriteString("\nOptions of kexec-tools that are refused, each with its reason:\n")
		}
		for i := range kexecOptions {
			o := &kexecOptions[i]
			if (o.fate == gone) != gones {
				continue
			}
			text := o.help
			if o.why != "" {
				text += " (" + o.why + ")"
			}
			fmt.Fprintf(&b, " %-28s %s\n", o.names(), text)
		}
	}
	b.WriteString("\nkdx capture load is the way to arm a host: it knows the command line, checks the initrd and sets sysctls. See docs/kexec.md.\n")
	return b.String()
}
