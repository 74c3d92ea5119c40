// Package bootstrap finds VMCOREINFO, which says where a kernel's page tables and symbols are, in dumps that do not carry
// it as a note (QEMU's and libvirt's), or derives what it would say.
//
// The kernel's image is found through the page tables of a CPU, whose CR3 QEMU writes down; without CPU states through a
// search of all memory for page tables and for the text of VMCOREINFO itself. The image gives kallsyms, that gives the
// place of the text, and so memory need not be searched. Whatever is found is believed only if the kernel that it
// describes stands in memory where it says.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"kdx/analyze/distill"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// Options of Find. The zero value takes what the dump has.
type Options struct {
	// Supplied is used instead of the dump's own, if not nil; SuppliedBy names where it is from, for people.
	Supplied   *vmcoreinfo.Info
	SuppliedBy string
	// KASLR and PhysBase are what a person knows of the kernel: by how many bytes it was moved, and its phys_base.
	KASLR    *uint64
	PhysBase *int64
	// CaptureKernel wants the kernel that the CPUs ran, although it is a capture kernel.
	CaptureKernel bool
	// Force takes what was supplied although it does not fit the dump.
	Force bool
	// Linked gives addresses of symbols as the kernel's ELF file has them; nil without a file.
	Linked func(symbol string) (uint64, bool)
	// NoKallsyms leaves the dump's own symbols alone.
	NoKallsyms bool
	Log        *slog.Logger
	// Progress is told of a search of all memory, in bytes; may be nil.
	Progress func(what string, done, total int64)
}

// Result is what Find found.
type Result struct {
	VMCoreInfo *vmcoreinfo.Info // its Origin says how it was found
	// Tables are addresses of the parts of kallsyms, by symbol, if they had to be searched for.
	Tables map[string]uint64
	// Warnings are sentences that a person must read to understand which kernel this is.
	Warnings []string
}

// ErrNone is wrapped by Find's error if nothing in the dump leads to a kernel.
var ErrNone = errors.New("the dump has no VMCOREINFO note, which says where the kernel's page tables and symbols are, and no kernel was found in its memory either")

// finder is one run of Find.
type finder struct {
	Options
	img   *dumpfmt.Image
	tried []string // what did not lead to a kernel
	// capture is a capture kernel whose crashed kernel is not found through it, and why; nil without.
	capture    *candidate
	captureErr error
	res        Result
}

// Find finds the dump's VMCOREINFO: the one supplied, the note, the text in memory, or one that it derives. The error says what
// was tried.
func Find(ctx context.Context, img *dumpfmt.Image, opt Options) (Result, error) {
	f := &finder{Options: opt, img: img}
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	err := f.find(ctx)
	return f.res, err
}

func (f *finder) find(ctx context.Context) error {
	info := f.img.Info()
	switch {
	case f.Supplied != nil:
		return f.supplied()
	case info.Machine != dumpfmt.MachineX86_64 && info.VMCoreInfo == nil:
		return fmt.Errorf("%w (memory is searched only for kernels of x86_64; this machine is %q)", ErrNone, info.Machine)
	case info.Machine != dumpfmt.MachineX86_64:
		f.res.VMCoreInfo = info.VMCoreInfo
		return nil
	}
	// A distilled dump does not hold what tells other kernels: it recorded what was said of them.
	if rec, ok := distill.ReadRecord(info); ok && info.VMCoreInfo != nil && !f.CaptureKernel && len(f.overrides()) == 0 {
		f.res = Result{VMCoreInfo: info.VMCoreInfo, Warnings: rec.Warnings}
		return nil
	}
	running := f.running()
	if note := info.VMCoreInfo; note != nil {
		return f.note(note, running)
	}
	for _, c := range captureFirst(running) {
		if f.accept(c) {
			return nil
		}
	}
	found, err := f.search(ctx)
	if err != nil {
		return err
	}
	for _, c := range found {
		if f.accept(c) {
			return nil
		}
	}
	if c, ok := f.told(); ok && f.accept(c) {
		return nil
	}
	if c := f.capture; c != nil {
		f.warn("%s, and that kernel is shown: the kernel that crashed before can't be opened: %v", c.inside(), f.captureErr)
		f.take(c)
		return nil
	}
	if len(f.tried) == 0 {
		f.tried = append(f.tried, "no CPU's page tables are in the dump's notes, and memory holds neither the text of a VMCOREINFO nor a kernel's page tables")
	}
	slices.Sort(f.tried)
	return fmt.Errorf("%w: %s (--vmcoreinfo FILE supplies it; --kaslr and --phys-base say where the kernel is)", ErrNone, strings.Join(slices.Compact(f.tried), "; "))
}

// supplied takes what a person gave, if it fits.
func (f *finder) supplied() error {
	info := f.Supplied.With(f.overrides()...).From("supplied by " + f.SuppliedBy)
	if err := f.fits(info); err != nil {
		err = fmt.Errorf("%s does not fit this dump: %w", f.SuppliedBy, err)
		if !f.Force {
			return fmt.Errorf("%w (--force takes it all the same)", err)
		}
		f.warn("%v", err)
	}
	f.res.VMCoreInfo = info
	return nil
}

// note takes the dump's own note, and tells if the CPUs ran another kernel.
func (f *finder) note(note *vmcoreinfo.Info, running []*candidate) error {
	f.res.VMCoreInfo = note
	if over := f.overrides(); len(over) > 0 {
		f.res.VMCoreInfo = note.With(over...)
		return nil
	}
	image, ok := imageOf(note)
	if !ok {
		return nil
	}
	for _, c := range captureFirst(running) {
		// A program header tells nothing of CPUs.
		if c.image.Root == 0 || c.image.Virt == image.Virt && c.image.Phys == image.Phys || !c.verify() {
			continue
		}
		if f.CaptureKernel {
			f.take(c)
			return nil
		}
		f.warn("a CPU ran another kernel (%s at %#x) when the dump was made than the one that the dump's VMCOREINFO describes, which is shown here: "+
			"the guest was in its capture kernel. --capture-kernel shows that one", c.release, uint64(c.image.Phys))
		return nil
	}
	return nil
}

// accept takes a kernel that was found, or the crashed one if it is the capture kernel of that.
func (f *finder) accept(c *candidate) bool {
	if k := f.capture; k != nil && k.image.Virt == c.image.Virt && k.image.Phys == c.image.Phys {
		return false
	}
	if err := f.contradicts(c); err != nil {
		f.tried = append(f.tried, err.Error())
		return false
	}
	if !c.verify() {
		f.tried = append(f.tried, c.err.Error())
		return false
	}
	if f.CaptureKernel {
		f.take(c)
		return true
	}
	header, ok := c.elfcorehdr()
	switch {
	case ok:
		return f.crashed(c, header)
	case f.capture != nil:
		f.warn("%s. %s, which was found beside it, is shown; --capture-kernel shows the capture kernel", f.capture.inside(), c.release)
	}
	f.take(c)
	return true
}

// take makes c the answer.
func (f *finder) take(c *candidate) {
	f.res.VMCoreInfo = c.info()
	f.res.Tables = c.names.tables()
	f.Log.Info("VMCOREINFO " + f.res.VMCoreInfo.Origin())
}

// contradicts says what a person said of the kernel that this one is not.
func (f *finder) contradicts(c *candidate) error {
	if f.PhysBase != nil && uint64(*f.PhysBase) != c.image.PhysBase() {
		return fmt.Errorf("the %s has phys_base %#x, not %#x", c.image, int64(c.image.PhysBase()), *f.PhysBase)
	}
	if f.KASLR != nil && *f.KASLR != c.kaslr() {
		return fmt.Errorf("the %s was moved by %#x, not %#x", c.image, c.kaslr(), *f.KASLR)
	}
	return nil
}

// overrides are entries that a person's word replaces.
func (f *finder) overrides() []vmcoreinfo.Entry {
	var out []vmcoreinfo.Entry
	if f.PhysBase != nil {
		out = append(out, vmcoreinfo.Entry{Key: "NUMBER(phys_base)", Value: fmt.Sprint(*f.PhysBase)})
	}
	if f.KASLR != nil {
		out = append(out, vmcoreinfo.Entry{Key: "KERNELOFFSET", Value: fmt.Sprintf("%x", *f.KASLR)})
	}
	return out
}

func (f *finder) warn(format string, args ...any) {
	f.res.Warnings = append(f.res.Warnings, fmt.Sprintf(format, args...))
}
