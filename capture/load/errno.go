package load

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"kdx/capture/bzimage"
)

// Cause is why the kernel refused: its number, what that means here, and what to try.
type Cause struct {
	Err  error  `json:"-"`
	Why  string `json:"why"`
	Try  string `json:"try,omitempty"`
	Name string `json:"errno"`
}

func (c Cause) String() string {
	s := c.Why
	if c.Name != "" {
		s = c.Name + ": " + s
	}
	if c.Try != "" {
		s += "; " + c.Try
	}
	return s
}

const seeLog = "the kernel's log says more: dmesg | grep -i kexec"

var names = map[syscall.Errno]string{
	syscall.EPERM: "EPERM", syscall.EACCES: "EACCES", syscall.EBUSY: "EBUSY", syscall.EINVAL: "EINVAL", syscall.ENOSYS: "ENOSYS", syscall.EBADF: "EBADF", syscall.ENOEXEC: "ENOEXEC",
	syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL", syscall.EKEYREJECTED: "EKEYREJECTED", syscall.ENOKEY: "ENOKEY", syscall.EBADMSG: "EBADMSG", syscall.ELIBBAD: "ELIBBAD", syscall.ENOPKG: "ENOPKG",
	syscall.EMSGSIZE: "EMSGSIZE", syscall.ETXTBSY: "ETXTBSY", syscall.EIO: "EIO", syscall.EFBIG: "EFBIG", syscall.ENOMEM: "ENOMEM", syscall.EINTR: "EINTR", syscall.EOPNOTSUPP: "EOPNOTSUPP",
	syscall.ENODATA: "ENODATA", syscall.EKEYEXPIRED: "EKEYEXPIRED", syscall.EKEYREVOKED: "EKEYREVOKED", syscall.EOVERFLOW: "EOVERFLOW",
}

// explain tells what an error of kexec_file_load means on this host. Several causes share a number, so it looks at what each leaves behind.
func (h *Host) explain(err error, k *Kernel, c *checked, job Job) Cause {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return Cause{Err: err, Why: err.Error()}
	}
	cause := Cause{Err: err, Name: names[no], Why: no.Error(), Try: seeLog}
	why := func(try, format string, args ...any) Cause {
		cause.Why, cause.Try = fmt.Sprintf(format, args...), try
		return cause
	}
	limit, name := k.LimitReboot, "kernel.kexec_load_limit_reboot"
	if job.Crash {
		limit, name = k.LimitPanic, "kernel.kexec_load_limit_panic"
	}
	switch no {
	case syscall.EPERM:
		switch {
		case !k.MaySysBoot:
			return why("run it as root, outside of containers", "this process lacks the capability CAP_SYS_BOOT")
		case k.Disabled:
			return why("only a reboot puts it back; load before what sets it", "kernel.kexec_load_disabled is 1")
		case limit == 0:
			return why("only a reboot gives more", "%s is used up", name)
		case k.locked():
			return why(h.trustTry(c), "the kernel is locked down (lockdown=%s) and does not trust the image: %s", k.Lockdown, h.trust(c))
		}
		return why("look at what confines this process: dmesg, audit log, systemd's SystemCallFilter= and CapabilityBoundingSet=", "none of kernel.kexec_load_disabled, %s, lockdown and CAP_SYS_BOOT forbids it: a security module (SELinux, AppArmor) or a seccomp filter does", name)
	case syscall.EBUSY:
		return why("try again", "another process was loading a kernel in the same moment, without kdx's lock")
	case syscall.ENOSYS:
		return why("a container's seccomp filter may be the cause, too", "the running kernel (%s) has no kexec_file_load: CONFIG_KEXEC_FILE is not set, or the architecture has none", k.Release)
	case syscall.EINVAL:
		if c.header != nil && len(job.Cmdline) > c.header.MaxCmdline(job.Crash) {
			return why("take words out of it", "the command line of %d bytes is too long: the image takes %d", len(job.Cmdline), c.header.MaxCmdline(job.Crash))
		}
		return why(seeLog, "the kernel calls an argument invalid, and none is known that would be")
	case syscall.EADDRNOTAVAIL:
		if !job.Crash {
			return why("", "no free memory was found for it")
		}
		if c.reserved == 0 {
			return why("kdx capture size says what to put on the command line", "no memory is reserved for a capture kernel (crashkernel=)")
		}
		return why("kdx capture size says how much this host needs", "kernel and initrd do not fit into the reservation of %s", mebi(c.reserved))
	case syscall.ENOEXEC:
		return why("take another kernel, or the file from its package again", "the kernel does not take it for an image that it can load: it is damaged, truncated, or of another architecture")
	case syscall.EBADF:
		return why("", "a file could not be read by the kernel")
	case syscall.EKEYREJECTED, syscall.ENOKEY, syscall.EBADMSG, syscall.ELIBBAD, syscall.ENOPKG, syscall.ENODATA, syscall.EMSGSIZE, syscall.EKEYEXPIRED, syscall.EKEYREVOKED:
		what := map[syscall.Errno]string{
			syscall.EKEYREJECTED: "its signature is not valid", syscall.ENOKEY: "no key that the kernel trusts made its signature", syscall.EBADMSG: "its signature is malformed",
			syscall.ELIBBAD: "it is no well-formed EFI program, so its signature can't be checked", syscall.ENOPKG: "its signature uses an algorithm that the kernel has not", syscall.ENODATA: "it is not signed",
			syscall.EMSGSIZE: "its signature is malformed", syscall.EKEYEXPIRED: "the key of its signature has expired", syscall.EKEYREVOKED: "the key of its signature was revoked",
		}[no]
		return why(h.trustTry(c), "the kernel wants a signature (CONFIG_KEXEC_SIG_FORCE, lockdown, or a policy), and %s: %s", what, h.trust(c))
	case syscall.EACCES:
		return why("look for IMA's rules (/sys/kernel/security/ima/policy, KEXEC_KERNEL_CHECK and KEXEC_INITRAMFS_CHECK) and at the audit log", "a security policy forbids it: IMA wants a signature of its own on kernel or initrd, or a security module says no")
	case syscall.ETXTBSY:
		return why("wait until it is written", "somebody has the kernel or the initrd open for writing")
	case syscall.EIO, syscall.EFBIG, syscall.EOVERFLOW:
		return why("look at the disk: dmesg", "kernel or initrd could not be read whole, or changed while they were read")
	case syscall.ENOMEM:
		return why("free some, then load again", "the running kernel had no memory to read the files into")
	case syscall.EINTR:
		return why("load again", "a signal came while the kernel read the files")
	case syscall.EOPNOTSUPP:
		return why("", "the running kernel can't load this kind of image")
	}
	return cause
}

func (k *Kernel) locked() bool { return k.Lockdown == "integrity" || k.Lockdown == "confidentiality" }

// trust says what is known of an image's signature.
func (h *Host) trust(c *checked) string {
	if c.header == nil {
		return "its signature was not looked at"
	}
	t := h.Trust(c.header)
	return t.Why
}

func (h *Host) trustTry(c *checked) string {
	if c.header == nil || !c.header.Signed {
		return "take a signed kernel, as the distribution ships it for Secure Boot"
	}
	return "the signer's certificate must be in the kernel's keyrings: enrol it (mokutil --import) with Secure Boot on, or take a kernel of the distribution whose key is there"
}

// Trust is whether the running kernel has a key for an image's signature.
type Trust struct {
	Signed bool `json:"signed"`
	// Known: the kernel's keys could be read. Trusted is false if they could not.
	Known   bool   `json:"known"`
	Trusted bool   `json:"trusted"`
	Why     string `json:"why"`
}

// Trust looks for the keys of an image's signers among those in /proc/keys, which shows them to root.
func (h *Host) Trust(header *bzimage.Header) Trust {
	if !header.Signed {
		return Trust{Why: "it bears no signature"}
	}
	t := Trust{Signed: true}
	if len(header.Signers) == 0 {
		t.Why = "its signature can't be read: " + header.SignatureProblem
		return t
	}
	who := header.Signers[0].Subject
	keys, err := h.read("proc/keys")
	if err != nil {
		t.Why = fmt.Sprintf("signed by %s; whether the kernel has that key is not known (%v)", who, err)
		return t
	}
	var listed []string
	for line := range strings.Lines(keys) {
		if strings.Contains(line, " asymmetri") {
			listed = append(listed, strings.ToLower(line))
		}
	}
	if len(listed) == 0 {
		t.Why = fmt.Sprintf("signed by %s; /proc/keys shows none of the kernel's keys", who)
		return t
	}
	t.Known = true
	for _, s := range header.Signers {
		for _, id := range []string{s.KeyID, s.IssuerKeyID} {
			for _, line := range listed {
				if id != "" && strings.Contains(line, id) {
					t.Trusted, t.Why = true, fmt.Sprintf("signed by %s, whose key the kernel has", who)
					return t
				}
			}
		}
	}
	t.Why = fmt.Sprintf("signed by %s, and neither that key nor %s is among the kernel's", who, header.Signers[0].Issuer)
	return t
}

// checkSignature says beforehand what a locked down kernel would refuse.
func (h *Host) checkSignature(k *Kernel, c *checked) {
	if !k.locked() {
		return
	}
	t := h.Trust(c.header)
	switch {
	case t.Trusted:
	case t.Signed && !t.Known:
		c.warn(Problem{What: fmt.Sprintf("the kernel is locked down (lockdown=%s) and may refuse the image: %s", k.Lockdown, t.Why)})
	default:
		c.fatal(h.trustTry(c), "the kernel is locked down (lockdown=%s) and takes trusted images only: %s", k.Lockdown, t.Why)
	}
}
