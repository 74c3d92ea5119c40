// Package analyze assembles a dumped kernel from its parts: Open takes an open dump and returns the Kernel that commands
// ask. What the kernel was doing is in the packages below: task, backtrace, printk, mm, …
package analyze

import (
	"context"
	"errors"
	"log/slog"

	"kdx/analyze/arch"
	"kdx/analyze/kernel"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
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
}

// ErrNoVMCoreInfo: the dump does not carry the note in which a kernel tells dump readers where its tables are.
var ErrNoVMCoreInfo = errors.New("the dump has no VMCOREINFO note, which says where the kernel's page tables and symbols are. " +
	"Kernels write it into kdump's dumps; QEMU and libvirt only if the guest has -device vmcoreinfo and its driver loaded")

// Open makes a Kernel of an open dump. It reads almost nothing: symbols, types and unwind tables are opened by the first
// question that needs them. Closing the image is the caller's.
func Open(_ context.Context, img *dumpfmt.Image, opt Options) (*kernel.Kernel, error) {
	vci := img.Info().VMCoreInfo
	if vci == nil {
		return nil, ErrNoVMCoreInfo
	}
	a, err := arch.New(env{img, vci})
	if err != nil {
		return nil, err
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := kernel.Config{Image: img, Arch: a, VMCoreInfo: vci, Log: opt.Log}
	if c.Symbols, err = newChain(c, opt); err != nil {
		return nil, err
	}
	return kernel.New(c), nil
}

type env struct {
	img *dumpfmt.Image
	vci *vmcoreinfo.Info
}

func (e env) Image() *dumpfmt.Image        { return e.img }
func (e env) VMCoreInfo() *vmcoreinfo.Info { return e.vci }
