// Package own opens a dumped kernel by what it holds of itself: its symbols, types and unwind tables, and those of its modules and BPF images. It needs no file beside
// the dump, so that it serves a capture kernel, which has none; package analyze adds debug information for people.
package own

import (
	"context"
	"log/slog"
	"sync"

	"kdx/analyze/arch"
	"kdx/analyze/bootstrap"
	"kdx/analyze/kernel"
	"kdx/analyze/resolved"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/cdecl"
	"kdx/symbols/decls"
	"kdx/symbols/orc"
)

// Finders opens each of the kernel's tables once, by the first question that needs it.
type Finders struct {
	// K knows only the kernel's own tables. What modules and BPF brought is found with it, so that the search for a name
	// never waits for itself.
	K       *kernel.Kernel
	BTF     func() (*btf.Finder, error)
	ORC     func() (*orc.Finder, error)
	Modules *Modules
	// tables are found otherwise than through VMCOREINFO.
	tables Tables
}

// New makes finders for a kernel that asks the chain of c.Symbols, to which the caller adds what of them it wants.
func New(c kernel.Config, tables Tables) *Finders {
	f := &Finders{K: kernel.New(c), tables: tables}
	f.BTF = sync.OnceValues(f.openBTF)
	f.ORC = sync.OnceValues(f.openORC)
	f.Modules = newModules(f)
	return f
}

// Symbols is the kernel's own table, read by the first question.
func (f *Finders) Symbols() symbols.SymbolFinder {
	return symbols.LazySymbols("kallsyms", f.openKallsyms)
}

// Types are the kernel's own; if carried (nil for none) is of this kernel, it is asked before them.
func (f *Finders) Types(carry *resolved.Types) symbols.TypeFinder {
	types := symbols.LazyTypes("btf", func() (symbols.TypeFinder, error) { return f.BTF() })
	if f.fits(carry) {
		return carry.Over(types)
	}
	return types
}

// Declared are types of global variables as the kernel declares them, in terms of the types of chain.
func (f *Finders) Declared(chain *symbols.Chain) symbols.TypeFinder {
	return decls.New(cdecl.Lookup{Types: chain, PointerSize: uint64(f.K.Image().Info().WordSize)})
}

// Rows are the kernel's own unwind tables.
func (f *Finders) Rows() symbols.RowFinder {
	return symbols.LazyRows("orc", func() (symbols.RowFinder, error) { return f.ORC() })
}

// AddressesOnly are symbols that are found by address, and not by name.
type AddressesOnly struct{ symbols.SymbolFinder }

// SymbolsNamed finds nothing.
func (AddressesOnly) SymbolsNamed(string) ([]symbols.Symbol, error) { return nil, symbols.ErrNotFound }

// Open makes a Kernel of a dump that says itself, in VMCOREINFO or its memory, where its tables are. carry are types that were taken from the kernel while it ran; nil is none.
// Closing the image is the caller's.
func Open(ctx context.Context, img *dumpfmt.Image, carry *resolved.Types, log *slog.Logger) (*kernel.Kernel, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	found, err := bootstrap.Find(ctx, img, bootstrap.Options{Log: log})
	if err != nil {
		return nil, err
	}
	for _, w := range found.Warnings {
		log.Warn(w)
	}
	a, err := arch.New(env{img, found.VMCoreInfo})
	if err != nil {
		return nil, err
	}
	chain := symbols.NewChain(log)
	c := kernel.Config{Image: img, Arch: a, VMCoreInfo: found.VMCoreInfo, Log: log, Symbols: chain}
	f := New(c, found.Tables)
	core, all := chain.Sharing(), chain.Sharing()
	table, types, declared, rows, images := f.Symbols(), f.Types(carry), f.Declared(chain), f.Rows(), NewBPFImages(f.K)
	a.WhenNeeded(func() { chain.SymbolsNamed("page_offset_base") })
	chain.AddSymbols(table)
	for _, s := range []symbols.SymbolFinder{table, AddressesOnly{f.Modules}, AddressesOnly{images}} {
		core.AddSymbols(s)
	}
	for _, s := range []symbols.SymbolFinder{table, f.Modules, images} {
		all.AddSymbols(s)
	}
	for _, ch := range []*symbols.Chain{chain, core, all} {
		ch.AddTypes(types)
		ch.AddTypes(declared)
	}
	all.AddTypes(ModuleTypes{f.Modules})
	for _, ch := range []*symbols.Chain{core, all} {
		ch.AddRows(rows)
		ch.AddRows(f.Modules)
	}
	c.Core, c.Symbols, c.Debug = core, all, all
	return kernel.New(c), nil
}

type env struct {
	img *dumpfmt.Image
	vci *vmcoreinfo.Info
}

func (e env) Image() *dumpfmt.Image        { return e.img }
func (e env) VMCoreInfo() *vmcoreinfo.Info { return e.vci }
