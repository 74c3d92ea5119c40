package doctor

import (
	"bufio"
	"bytes"
	"os"
	"strings"

	"kdx/capture/bzimage"
	"kdx/capture/estimate"
	"kdx/capture/load"
)

// image is the capture kernel's.
type image struct {
	path   string // under the root
	header *bzimage.Header
	err    error
}

func findImage(h *host) image {
	path, header, err := estimate.Kernel(h.opt.Root, h.config())
	return image{path, header, err}
}

// captureRelease is the capture kernel's release.
func (h *host) captureRelease() string {
	if h.image.header != nil && h.image.header.Release != "" {
		return h.image.header.Release
	}
	return h.release
}

func kernelImage(h *host) outcome {
	if h.image.err != nil {
		return bad("%v", h.image.err)
	}
	return ok("%s: %s", h.image.path, h.image.header.Release)
}

func kernelFormat(h *host) outcome {
	if h.image.err != nil {
		return skip("no image")
	}
	if err := h.image.header.Check(h.opt.Arch, h.armed.Kernel.FiveLevel); err != nil {
		return bad("%s: %v", h.image.path, err)
	}
	return ok("%s, boot protocol %d.%d", h.image.header.Kind, h.image.header.Protocol>>8, h.image.header.Protocol&0xff)
}

// wanted says what a kernel's configuration lacks of what it must have.
func (h *host) wanted(release string, names ...string) outcome {
	set, from := h.kconfig(release)
	if set == nil && release == h.release {
		set, from = h.fromSymbols(), "/proc/kallsyms"
	}
	if set == nil {
		return unknown("the configuration of %s is not found (/boot/config-%s)", release, release)
	}
	var lacks []string
	for _, n := range names {
		if set[n] != "y" {
			lacks = append(lacks, "CONFIG_"+n)
		}
	}
	if len(lacks) > 0 {
		return bad("%s: no %s", from, strings.Join(lacks, ", "))
	}
	return ok("%s has CONFIG_%s", from, strings.Join(names, ", CONFIG_"))
}

func kernelConfig(h *host) outcome {
	return h.wanted(h.captureRelease(), "CRASH_DUMP", "PROC_VMCORE")
}

func kernelInitrdConfig(h *host) outcome {
	return h.wanted(h.captureRelease(), "BLK_DEV_INITRD", "DEVTMPFS", "TMPFS")
}

func runningKexec(h *host) outcome {
	if h.exists("sys/kernel/kexec/crash_loaded") || h.exists("sys/kernel/kexec_crash_loaded") {
		o := h.wanted(h.release, "KEXEC_FILE")
		if o.state == Unknown {
			return ok("/sys/kernel has crash_loaded")
		}
		return o
	}
	return bad("/sys/kernel has neither kexec/crash_loaded nor kexec_crash_loaded")
}

func kexecDisabled(h *host) outcome {
	if v, there := h.sysctl("kernel.kexec_load_disabled"); there && v != "0" {
		if h.crashLoaded() {
			return skip("kernel.kexec_load_disabled = %s, and a capture kernel is loaded", v)
		}
		return bad("kernel.kexec_load_disabled = %s", v)
	}
	return ok("kernel.kexec_load_disabled is 0")
}

func kexecFrozen(h *host) outcome {
	if v, there := h.sysctl("kernel.kexec_load_disabled"); there && v != "0" && h.crashLoaded() {
		return bad("kernel.kexec_load_disabled = %s: what is loaded stays as it is", v)
	}
	return ok("loading is allowed")
}

func kexecLimit(h *host) outcome {
	v, there := h.sysctl("kernel.kexec_load_limit_panic")
	switch {
	case !there:
		return skip("this kernel has no kernel.kexec_load_limit_panic (before 6.3)")
	case v == "0" && !h.crashLoaded():
		return bad("kernel.kexec_load_limit_panic = 0, and nothing is loaded")
	}
	return ok("kernel.kexec_load_limit_panic = %s", v)
}

// mustSign says why the kernel takes signed images only, "" if it does not.
func (h *host) mustSign() string {
	if mode := h.armed.Kernel.Lockdown; mode != "" && mode != "none" {
		return "lockdown=" + mode
	}
	if set, from := h.kconfig(h.release); set["KEXEC_SIG_FORCE"] == "y" {
		return "CONFIG_KEXEC_SIG_FORCE (" + from + ")"
	}
	return ""
}

func kernelSigned(h *host) outcome {
	why := h.mustSign()
	switch {
	case why == "":
		return skip("this kernel takes images without a signature")
	case h.image.err != nil:
		return skip("no image")
	case !h.image.header.Signed:
		return bad("%s wants a signature, %s has none", why, h.image.path)
	case h.image.header.SignatureProblem != "":
		return bad("%s wants a signature; %s: %s", why, h.image.path, h.image.header.SignatureProblem)
	}
	return ok("%s", h.image.path)
}

// kernelTrusted: a signature counts only if its key is in a keyring of the kernel. Distributions' keys get there from shim and firmware, so a
// machine that boots without UEFI may lack them.
func kernelTrusted(h *host) outcome {
	why := h.mustSign()
	if why == "" || h.image.err != nil || len(h.image.header.Signers) == 0 {
		return skip("no signature is asked for, or none is there")
	}
	t := (&load.Host{Root: h.opt.Root, Arch: h.opt.Arch}).Trust(h.image.header)
	switch {
	case t.Trusted:
		return ok("%s", t.Why)
	case !t.Known:
		return unknown("%s", t.Why)
	}
	return bad("%s wants a signature: %s", why, t.Why)
}

func kernelModules(h *host) outcome {
	rel := h.captureRelease()
	if rel == "" {
		return skip("no image")
	}
	for _, d := range []string{"usr/lib/modules/", "lib/modules/"} {
		if h.exists(d + rel) {
			return ok("/%s%s", d, rel)
		}
	}
	if m, is := h.own(); is && m.Release == rel {
		return ok("they are not installed, and the initrd could be built without")
	}
	if set, from := h.kconfig(rel); set != nil && set["MODULES"] != "y" {
		return ok("it has no modules (%s)", from)
	}
	return bad("neither /usr/lib/modules/%s nor /lib/modules/%s is there", rel, rel)
}

func kernelSame(h *host) outcome {
	if h.image.err != nil || h.release == "" {
		return skip("no image")
	}
	if rel := h.captureRelease(); rel != h.release {
		return bad("%s runs, %s is %s", h.release, h.image.path, rel)
	}
	return ok("%s", h.release)
}

func kernelRealtime(h *host) outcome {
	if v := h.text("sys/kernel/realtime"); v == "1" {
		if set, _ := h.kconfig(h.captureRelease()); set["PREEMPT_RT"] == "y" {
			return bad("%s is built with PREEMPT_RT", h.captureRelease())
		}
	}
	return ok("%s", h.captureRelease())
}

func kernelBTF(h *host) outcome {
	if !h.exists("sys/kernel/btf/vmlinux") {
		return bad("/sys/kernel/btf/vmlinux is not there")
	}
	return ok("/sys/kernel/btf/vmlinux")
}

// signs are functions that the running kernel has only if it was built with an option.
var signs = map[string]string{
	"elfcorehdr_addr": "CRASH_DUMP", "read_vmcore": "PROC_VMCORE", "vmcore_proc_ops": "PROC_VMCORE", "mmap_vmcore": "PROC_VMCORE", "kimage_file_post_load_cleanup": "KEXEC_FILE", "copy_oldmem_page": "CRASH_DUMP",
	"populate_rootfs": "BLK_DEV_INITRD", "unpack_to_rootfs": "BLK_DEV_INITRD", "devtmpfs_init": "DEVTMPFS", "devtmpfs_create_node": "DEVTMPFS", "shmem_init_fs_context": "TMPFS",
}

// fromSymbols is what can be told of the running kernel's configuration by the names that it knows; nil if it shows none.
func (h *host) fromSymbols() map[string]string {
	f, err := os.Open(h.path("proc/kallsyms"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var set map[string]string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		_, name, _ := bytes.Cut(sc.Bytes(), []byte(" "))
		_, name, _ = bytes.Cut(name, []byte(" "))
		if set == nil && len(name) > 0 {
			set = make(map[string]string)
		}
		if option := signs[string(name)]; option != "" {
			set[option] = "y"
		}
	}
	return set
}
