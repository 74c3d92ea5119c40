package load

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"kdx/capture/bzimage"
	"kdx/capture/estimate"
	"kdx/capture/reserve"
)

// checked is a job that was looked at, with its files open.
type checked struct {
	kernel, initrd *opened
	header         *bzimage.Header
	archive        *Archive
	problems       []Problem
	// reserved is the memory of the reservation, placed what the segments take of it. Bytes.
	reserved, placed uint64
	ram              uint64 // of the host
}

func (c *checked) warn(p Problem) { c.problems = append(c.problems, p) }

func (c *checked) fatal(try, format string, args ...any) {
	c.problems = append(c.problems, Problem{Fatal: true, What: fmt.Sprintf(format, args...), Try: try})
}

// doubt is fatal unless it is forced.
func (c *checked) doubt(job Job, p Problem) {
	p.Fatal = !job.Force
	if p.Fatal {
		p.Try = strings.TrimPrefix(p.Try+", or --force", ", or ")
	}
	c.problems = append(c.problems, p)
}

// check looks at everything that the kernel will look at, and at what it does not.
func (h *Host) check(ctx context.Context, k *Kernel, job Job, r *both) (*checked, error) {
	c := &checked{kernel: r.kernel, initrd: r.initrd}
	h.checkKernel(k, c, job)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.checkImage(k, c, job, r)
	c.checkInitrd(job, r)
	if c.header != nil {
		c.checkCmdline(job)
		h.checkSignature(k, c)
		if job.Crash {
			if err := h.checkRoom(k, c, job); err != nil {
				return nil, err
			}
		}
	}
	var fatal []Problem
	for _, p := range c.problems {
		if p.Fatal {
			fatal = append(fatal, p)
		}
	}
	if len(fatal) > 0 {
		return nil, &RefusedError{fatal, job.Crash && k.CrashLoaded != nil && *k.CrashLoaded}
	}
	return c, nil
}

// checkKernel looks at whether the running kernel loads anything at all.
func (h *Host) checkKernel(k *Kernel, c *checked, job Job) {
	state, limit, name := k.Loaded, k.LimitReboot, "kernel.kexec_load_limit_reboot"
	if job.Crash {
		state, limit, name = k.CrashLoaded, k.LimitPanic, "kernel.kexec_load_limit_panic"
	}
	switch {
	case state == nil:
		c.fatal("a kernel with CONFIG_KEXEC_FILE and CONFIG_CRASH_DUMP is needed, and /sys must be mounted", "the running kernel (%s) has no kexec: /sys/kernel/kexec_crash_loaded is not there", k.Release)
	case !k.MaySysBoot:
		c.fatal("run it as root, outside of containers", "this process may not load kernels: it lacks the capability CAP_SYS_BOOT")
	case k.Disabled:
		c.fatal("only a reboot puts it back: look for what sets it (grep -r kexec_load_disabled /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d), and load the capture kernel before that", "kernel.kexec_load_disabled is 1")
	case limit == 0:
		c.fatal("only a reboot gives more", "%s is 0: no load is left in this boot", name)
	}
}

// both are the files of a job: they are read at the same time, as summing them up is most of the work.
type both struct {
	kernel, initrd       *opened
	kernelErr, initrdErr error
}

func (h *Host) openBoth(ctx context.Context, job Job) *both {
	r := &both{}
	var known Record
	if k, err := h.ReadKernel(); err == nil {
		if loaded, err := h.readRecord(k); err == nil {
			known = *loaded
		}
	}
	var built *Archive
	if job.Initrd != "" {
		if r.initrd, r.initrdErr = h.openHead(job.Initrd); r.initrdErr == nil {
			built = r.initrd.archive
		}
	}
	var wait sync.WaitGroup
	switch {
	case job.Kernel == "":
	case !job.Crash: // nobody will ask which it was
		r.kernel, r.kernelErr = h.openOnly(job.Kernel)
	default:
		wait.Go(func() { r.kernel, r.kernelErr = h.openKernel(ctx, job.Kernel, known.Kernel, built) })
	}
	if built != nil {
		wait.Go(func() {
			if r.initrdErr = h.wholeInitrd(ctx, r.initrd, known.Initrd); r.initrdErr != nil {
				r.initrd = nil
			}
		})
	}
	wait.Wait()
	return r
}

func (r *both) close() {
	for _, o := range []*opened{r.kernel, r.initrd} {
		if o != nil {
			o.file.Close()
		}
	}
}

func (h *Host) checkImage(k *Kernel, c *checked, job Job, r *both) {
	switch {
	case job.Kernel == "":
		c.fatal("name it with --kernel", "no kernel is given")
		return
	case r.kernelErr != nil:
		c.fatal("", "the kernel: %v", r.kernelErr)
		return
	}
	header, err := bzimage.Read(c.kernel.file, c.kernel.Size)
	if err != nil {
		c.fatal("give the boot image of the kernel, as /boot/vmlinuz-RELEASE", "%s: %v", job.Kernel, err)
		return
	}
	if err := header.Check(h.Arch, k.FiveLevel); err != nil {
		c.fatal("", "%s: %v", job.Kernel, err)
		return
	}
	c.header = header
}

func (c *checked) checkInitrd(job Job, r *both) {
	switch {
	case job.Initrd == "":
		if job.Crash && !job.Foreign {
			c.fatal("build it with kdx capture initrd build", "no initrd is given, and a capture kernel does nothing without")
		}
		return
	case r.initrdErr != nil:
		c.fatal("build it with kdx capture initrd build", "the initrd: %v", r.initrdErr)
		return
	}
	a := c.initrd.archive
	c.archive = a
	switch {
	case !job.Crash || job.Foreign && !a.Own:
	case !a.Own:
		c.fatal("build one with kdx capture initrd build; kdx kexec -p loads any", "%s is an initrd that kdx did not build", job.Initrd)
	case c.header == nil:
	case c.header.Release != "" && a.Release != c.header.Release:
		c.fatal("build it for this kernel with kdx capture initrd build --kernel "+job.Kernel, "%s holds the modules of %s, and %s is %s", job.Initrd, a.Release, job.Kernel, c.header.Release)
	case a.KernelSHA256 != "" && a.KernelSHA256 != c.kernel.SHA256:
		c.doubt(job, Problem{What: fmt.Sprintf("%s is not the file that %s was built for: its contents have changed (SHA-256 %.16s…, then %.16s…)", job.Kernel, job.Initrd, c.kernel.SHA256, a.KernelSHA256),
			Try: "if it was updated on purpose, build the initrd anew with kdx capture initrd build"})
	}
}

func (c *checked) checkCmdline(job Job) {
	if i := strings.IndexFunc(job.Cmdline, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		c.fatal("", "the command line has the character %q at byte %d", job.Cmdline[i], i)
	}
	if n, most := len(job.Cmdline), c.header.MaxCmdline(job.Crash); n > most {
		why := ""
		if job.Crash && c.header.Kind == bzimage.BzImage {
			why = fmt.Sprintf(": %d of its header, less %d for elfcorehdr=, which the kernel adds", c.header.CmdlineSize, bzimage.ElfcorehdrWord)
		}
		c.fatal("take words out of it (cmdline-remove in the configuration)", "the command line has %d bytes, and the image takes %d%s", n, most, why)
	}
}

// checkRoom looks at the reservation.
func (h *Host) checkRoom(k *Kernel, c *checked, job Job) error {
	r, err := h.reservation()
	if err != nil {
		return err
	}
	c.ram = r.RAM
	switch r.State {
	case reserve.NotAsked, reserve.Refused:
		c.problems = append(c.problems, Problem{Fatal: true, Reservation: true, What: "no memory is reserved for a capture kernel: crashkernel= is " + string(r.State),
			Try: "kdx capture size says what to put on the kernel's command line; it takes a reboot"})
		return nil
	case reserve.Hidden:
		c.warn(Problem{What: "how much is reserved can't be seen: " + r.HiddenWhy})
		return nil
	}
	if len(r.Regions) == 0 {
		c.warn(Problem{What: "where the reservation lies is not known, so whether the image fits can't be told beforehand"})
		return nil
	}
	region := r.Regions[0]
	for _, g := range r.Regions {
		c.reserved += g.Bytes()
		if g.Start > region.Start {
			region = g
		}
	}
	if c.header.Kind != bzimage.BzImage {
		return nil
	}
	var packed, unpacked int64
	if c.initrd != nil {
		packed = c.initrd.Size
	}
	if c.archive != nil {
		unpacked = c.archive.Unpacked
	}
	const try = "kdx capture size says how much this host needs; it takes a reboot"
	if c.placed, err = place(region, segments(c.header, len(job.Cmdline)+1+bzimage.ElfcorehdrWord, packed, k.Elfcorehdr)); err != nil {
		c.problems = append(c.problems, Problem{Fatal: true, Reservation: true, What: "the reservation is too small: " + err.Error(), Try: try})
		return nil
	}
	if least := leastToStart(c.header, k.Elfcorehdr, c.reserved, packed, unpacked); least > c.reserved {
		c.doubt(job, Problem{Reservation: true, What: fmt.Sprintf("the reservation is too small: the image fits, but the capture kernel can't start in %s; it needs %s to unpack kernel and initrd",
			reserve.Size(c.reserved), mebi(least)), Try: try})
	} else if c.archive != nil && c.archive.Own && c.ram > 0 {
		e := estimate.Of(estimate.Input{
			Arch: h.Arch, RAM: c.ram, RAMLow: c.ram, InitSize: c.header.InitSize, InitrdPacked: uint64(packed), InitrdUnpacked: uint64(unpacked), Modules: uint64(c.archive.Modules), CPUs: 1,
			Network: c.archive.Network, Elfcorehdr: k.Elfcorehdr,
		})
		if doubt := e.Doubt(c.reserved); doubt != "" {
			c.warn(Problem{Reservation: true, What: doubt, Try: "kdx capture size tells of what, and how much to reserve; kdx capture test shows whether it does"})
		}
	}
	return nil
}

func mebi(n uint64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
