// Package analyze assembles a dumped kernel from its parts: Open takes an open dump and returns the Kernel that commands
// ask. What the kernel was doing is in the packages below: task, backtrace, printk, mm, …
package analyze

import (
	"context"
	"log/slog"

	"kdx/analyze/arch"
	"kdx/analyze/bootstrap"
	"kdx/analyze/kernel"
	"kdx/analyze/resolved"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/symbols/elfsym"
)

// Options of Open. The zero value opens with nothing but the dump.
type Options struct {
	Vmlinux string // path of the kernel's ELF file; "" without
	Force   bool   // take Vmlinux although it is of another build
	Log     *slog.Logger
	// NoKallsyms, NoBTF and NoORC leave out what the dump itself holds.
	NoKallsyms, NoBTF, NoORC bool
	// Tables, if known from FindTables, spare a search of the kernel's memory.
	Tables Tables
	// Types were taken from the kernel while it ran; they are asked before the dump's own if they are of the dump's kernel. nil: none.
	Types *resolved.Types
	Bootstrap
	Debug DebugOptions
}

// Bootstrap is what a person says of a dump that does not say itself where its kernel is.
type Bootstrap struct {
	VMCoreInfo     *vmcoreinfo.Info // used instead of the dump's own; nil to find it
	VMCoreInfoFrom string           // names where it is from, for people
	KASLR          *uint64          // by how many bytes the kernel was moved
	PhysBase       *int64
	// CaptureKernel opens the capture kernel in whose middle a guest was dumped, not the kernel that crashed before.
	CaptureKernel bool
	// Progress is told of a search of all memory, in bytes; may be nil.
	Progress func(what string, done, total int64)
}

// ErrNoVMCoreInfo is wrapped by Open's error if the dump does not carry the note in which a kernel tells dump readers where
// its tables are, and no kernel was found without.
var ErrNoVMCoreInfo = bootstrap.ErrNone

// Open makes a Kernel of an open dump. It reads almost nothing, unless VMCOREINFO has to be found: symbols, types and unwind
// tables are opened by the first question that needs them. Closing the image is the caller's.
func Open(ctx context.Context, img *dumpfmt.Image, opt Options) (*kernel.Kernel, error) {
	found, err := FindVMCoreInfo(ctx, img, opt)
	if err != nil {
		return nil, err
	}
	return OpenFound(img, opt, found)
}

// OpenFound is Open with what FindVMCoreInfo found: memory may have been searched for it.
func OpenFound(img *dumpfmt.Image, opt Options, found bootstrap.Result) (*kernel.Kernel, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	for _, w := range found.Warnings {
		opt.Log.Warn(w)
	}
	if opt.Tables == nil && found.Tables != nil {
		opt.Tables = found.Tables
	}
	vci := found.VMCoreInfo
	a, err := arch.New(env{img, vci})
	if err != nil {
		return nil, err
	}
	c := kernel.Config{Image: img, Arch: a, VMCoreInfo: vci, Log: opt.Log}
	if err = newChains(&c, opt); err != nil {
		return nil, err
	}
	return kernel.New(c), nil
}

// FindVMCoreInfo finds what Open starts from: the dump's note, or what stands for it.
func FindVMCoreInfo(ctx context.Context, img *dumpfmt.Image, opt Options) (bootstrap.Result, error) {
	l := &linked{path: opt.Vmlinux}
	defer l.close()
	o := bootstrap.Options{Supplied: opt.VMCoreInfo, SuppliedBy: opt.VMCoreInfoFrom, KASLR: opt.KASLR, PhysBase: opt.PhysBase,
		CaptureKernel: opt.CaptureKernel, Force: opt.Force, NoKallsyms: opt.NoKallsyms, Log: opt.Log, Progress: opt.Progress}
	if l.path != "" {
		o.Linked = l.address
	}
	return bootstrap.Find(ctx, img, o)
}

// linked reads addresses from a vmlinux, opened by the first question. One that can't be read answers nothing here;
// newChain says why.
type linked struct {
	path   string
	opened bool
	file   *elfsym.File
}

func (l *linked) address(symbol string) (uint64, bool) {
	if !l.opened {
		l.opened = true
		if f, err := elfsym.Open(l.path); err == nil {
			l.file = f
		}
	}
	if l.file == nil {
		return 0, false
	}
	return l.file.Address(symbol)
}

func (l *linked) close() {
	if l.file != nil {
		l.file.Close()
	}
}

type env struct {
	img *dumpfmt.Image
	vci *vmcoreinfo.Info
}

func (e env) Image() *dumpfmt.Image        { return e.img }
func (e env) VMCoreInfo() *vmcoreinfo.Info { return e.vci }
