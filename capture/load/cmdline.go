package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Rule says what becomes of parameters of the running kernel in the capture kernel's command line.
type Rule struct {
	// Names are what it is about. A name that ends in a dot is the beginning of one.
	Names []string
	Why   string
	// only says of a word whether the rule holds for it; nil is always.
	only func(word string, from *Source) bool
}

// Removed are the parameters that are taken out, whoever put them in.
var Removed = []Rule{
	{Names: []string{"crashkernel", "fadump"}, Why: "it would take from the reservation another one"},
	{Names: []string{"BOOT_IMAGE", "initrd", "showopts"}, Why: "the boot loader's words, about other files"},
	{Names: []string{"root", "rootflags", "rootfstype", "rootdelay", "rootwait", "ro", "rw", "resume", "resume_offset", "noresume", "nfsroot", "nfsrootdebug", "netroot", "ip", "ifname", "bootdev",
		"init", "rdinit", "single", "emergency", "fsck.", "rd.", "systemd.", "udev.", "luks.", "cryptdevice", "ostree", "ignition.", "boot", "zfs", "iscsi_initiator", "iscsi_firmware", "fcoe"},
		Why: "what finds and starts the ordinary system; kdx's own init knows its way from the plan in the initrd"},
	{Names: []string{"quiet", "splash", "rhgb", "plymouth.", "vga", "video", "fbcon", "vt.global_cursor_default"}, Why: "they hide what the capture kernel says"},
	{Names: []string{"console", "earlyprintk"}, Why: "Xen's console (hvc0), which is not there after kexec and would be waited for", only: xenConsole},
	{Names: []string{"hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "cma", "cma_pernuma", "movablecore", "kernelcore", "movable_node", "log_buf_len", "swiotlb", "trace_buf_size",
		"dhash_entries", "ihash_entries", "mhash_entries", "mphash_entries", "thash_entries", "uhash_entries", "ramdisk_size", "memtest"},
		Why: "sizes made for the whole machine's memory", only: sized},
	{Names: []string{"slub_debug", "slab_debug", "page_owner", "debug_pagealloc", "page_poison", "kmemleak", "kasan", "kasan_multi_shot", "ftrace", "ftrace_filter", "trace_event", "trace_options",
		"trace_instance", "tp_printk", "kprobe_event", "stacktrace"}, Why: "debugging that takes memory"},
	{Names: []string{"mem", "memmap", "memory_hotplug.", "memhp_default_state", "cgroup_disable", "cgroup_enable", "swapaccount"}, Why: "kexec says which memory may be used, and kdx-init how much a stage may take"},
	{Names: []string{"nr_cpus", "maxcpus", "possible_cpus", "nosmp", "isolcpus", "nohz_full", "rcu_nocbs", "rcu_nocb_poll", "irqaffinity", "kthread_cpus", "numa_balancing", "additional_cpus"},
		Why: "about CPUs that the capture kernel does not start"},
	{Names: []string{"panic", "oops", "panic_on_warn", "panic_on_taint", "panic_on_oops", "softlockup_panic", "hung_task_panic", "hardlockup_panic", "unknown_nmi_panic", "nmi_watchdog", "panic_on_unrecovered_nmi",
		"panic_on_io_nmi", "crash_kexec_post_notifiers", "sysctl."}, Why: "what is a reason to crash the running host is none to lose the dump"},
}

// added are words of every capture kernel; nr_cpus and what depends on the host are put in by Derive.
var added = []struct{ word, why string }{
	{"reset_devices", "drivers reset what the crashed kernel left running"},
	{"panic=10", "a capture kernel that panics reboots"},
	{"cgroup_disable=memory", "accounts of memory, which take some"},
	{"numa=off", "the reservation is on one node; structures of the others take memory"},
	{"cma=0", "nothing of the reservation is set aside"},
	{"hugetlb_cma=0", "the same"},
	{"transparent_hugepage=never", "2 MiB pages are too large here"},
	{"kfence.sample_interval=0", "saves its pool of 2 MiB"},
	{"novmcoredd", "dumps of devices, kept in the capture kernel's memory"},
	{"acpi_no_memhotplug", "memory outside of the reservation is the crashed kernel's"},
	{"hest_disable", "firmware's error records take memory, and were the crashed kernel's"},
	{"nokaslr", "the reservation leaves one place"},
	{"initramfs_options=size=90%", "kernels that know it let the root filesystem take more than half of memory"},
}

// Added are words that every capture kernel gets, unless one of that name is there.
func Added() []Change {
	var out []Change
	for _, a := range added {
		out = append(out, Change{a.word, a.why})
	}
	return out
}

// Source is what a command line is derived from.
type Source struct {
	// Running is the running kernel's command line, Base what to start from instead of it, if it is not "".
	Running string
	Base    string
	// Remove are names of parameters, Append words at the end: of the configuration and of the caller.
	Remove, Append []string
	// CPUs that are started; 0 is all.
	CPUs int
	// Consoles replace those of the base, unless there are none.
	Consoles []string
	// BootAPIC is the boot CPU's APIC id, -1 if it has none: with more than one CPU it must not be started anew by another.
	BootAPIC int
	// Xen: the running kernel is a guest of Xen.
	Xen bool
}

// Change is a word that is not as in the base.
type Change struct {
	Word string `json:"word"`
	Why  string `json:"why"`
}

// Line is a derived command line, and how it came about.
type Line struct {
	Text    string   `json:"cmdline"`
	Removed []Change `json:"removed"`
	Added   []Change `json:"added"`
}

// Derive makes the capture kernel's command line. Words that are not named by a rule stay, in their order.
func Derive(from Source) Line {
	line := Line{Removed: []Change{}, Added: []Change{}}
	base := from.Base
	if base == "" {
		base = from.Running
	}
	var words []string
	for _, w := range splitWords(base) {
		if w == "--" {
			break // what follows is for init
		}
		why := from.drops(w)
		if why == "" && len(from.Consoles) > 0 && nameOf(w) == "console" {
			why = "other consoles are configured"
		}
		if why != "" {
			line.Removed = append(line.Removed, Change{w, why})
			continue
		}
		words = append(words, w)
	}
	var own []string
	for _, a := range from.Append {
		for _, w := range splitWords(a) {
			if nameOf(w) != "console" && slices.Contains(slices.Concat(words, own), w) {
				continue // it is there; of consoles the last one counts
			}
			if nameOf(w) == "crashkernel" {
				line.Removed = append(line.Removed, Change{w, Removed[0].Why})
				continue
			}
			own = append(own, w)
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(slices.Concat(words, own), func(w string) bool { return nameOf(w) == name })
	}
	put := func(word, why string) {
		name := nameOf(word)
		if has(name) || slices.ContainsFunc(from.Remove, func(r string) bool { return sameName(r, name) }) {
			return
		}
		words = append(words, word)
		line.Added = append(line.Added, Change{word, why})
	}
	for _, c := range from.Consoles {
		words = append(words, "console="+c)
		line.Added = append(line.Added, Change{"console=" + c, "configured"})
	}
	if from.CPUs > 0 {
		put("nr_cpus="+strconv.Itoa(from.CPUs), "each CPU takes memory")
	}
	if from.CPUs != 1 && from.BootAPIC >= 0 {
		put(fmt.Sprintf("disable_cpu_apicid=%d", from.BootAPIC), "starting the boot CPU from another one resets the machine")
	}
	for _, a := range added {
		put(a.word, a.why)
	}
	for _, w := range own {
		words = append(words, w)
		line.Added = append(line.Added, Change{w, "configured"})
	}
	line.Text = strings.Join(words, " ")
	return line
}

// drops says why a word of the base goes; "" if it stays.
func (from *Source) drops(word string) string {
	name := nameOf(word)
	for _, r := range from.Remove {
		if sameName(r, name) {
			return "the configuration removes it"
		}
	}
	for i := range Removed {
		r := &Removed[i]
		if r.holds(name) && (r.only == nil || r.only(word, from)) {
			return r.Why
		}
	}
	return ""
}

func (r *Rule) holds(name string) bool {
	for _, n := range r.Names {
		if name == n || strings.HasSuffix(n, ".") && strings.HasPrefix(name, n) {
			return true
		}
	}
	return false
}

// sameName compares a name that a person wrote with one by nameOf.
func sameName(written, name string) bool { return strings.ReplaceAll(written, "-", "_") == name }

// xenConsole: hvc0 is Xen's, or a virtio console's, which may stay.
func xenConsole(word string, from *Source) bool {
	v := valueOf(word)
	return from.Xen && (strings.HasPrefix(v, "hvc") || strings.HasPrefix(v, "xen"))
}

// sized: swiotlb=force is about encrypted memory, not a size, and stays.
func sized(word string, _ *Source) bool {
	return nameOf(word) != "swiotlb" || !strings.Contains(valueOf(word), "force")
}

// Reuse is the running kernel's command line for another kernel, as kexec-tools' --reuse-cmdline has it: without the boot loader's
// word, and for a capture kernel without crashkernel=.
func Reuse(running string, crash bool) string {
	var words []string
	for _, w := range splitWords(running) {
		if n := nameOf(w); n != "BOOT_IMAGE" && !(crash && n == "crashkernel") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}
