package analyze

import (
	"slices"
	"sync"

	"kdx/analyze/distill"
	"kdx/analyze/kernel"
	"kdx/analyze/own"
	"kdx/dumpfmt"
	"kdx/symbols"
)

// finders are the kernel's own.
type finders struct{ *own.Finders }

// newChains makes the chains of finders: the kernel's own tables, then what modules and BPF brought, then debug information.
// c is completed as the Config of the kernel that will use it. Only a vmlinux that was given can fail here, as it must be the
// dump's.
func newChains(c *kernel.Config, opt Options) error {
	first := symbols.NewChain(opt.Log)
	core, all, debug := first.Sharing(), first.Sharing(), first.Sharing()
	bare := *c
	bare.Symbols = first
	f := &finders{own.New(bare, knownTables(c.Image, opt))}
	table := f.Symbols()
	if opt.NoKallsyms {
		table = own.LeftOut("the symbols of the dump were left out (--no-kallsyms)")
	}
	syms := []symbols.SymbolFinder{table}
	var given givenKernel
	bare.Symbols = first.Sharing()
	bare.Symbols.AddSymbols(f.Symbols()) // the dump's own word on which kernel it is
	opt.Debug.indexes = new(indexes)
	c.Close = opt.Debug.indexes.wait
	kd := newKernelDebug(kernel.New(bare), opt)
	switch {
	case opt.Vmlinux != "":
		var err error
		if given, err = openVmlinux(kernel.New(bare), opt); err != nil {
			return err
		}
		kd.image = given.types
	case opt.Debug.Search:
		given.syms = symbols.LazySymbols("debug file", kd.symbols) // that nobody gave
	}
	if given.syms != nil && !opt.NoKallsyms {
		given.syms = insteadOf(table, given.syms)
	}
	if given.syms != nil {
		syms = append(syms, given.syms)
	}
	for _, s := range syms {
		first.AddSymbols(s)
	}
	c.Arch.WhenNeeded(func() { first.SymbolsNamed("page_offset_base") })
	images := own.NewBPFImages(f.K)
	for _, s := range append(slices.Clone(syms), own.AddressesOnly{SymbolFinder: f.Modules}, own.AddressesOnly{SymbolFinder: images}) {
		core.AddSymbols(s)
	}
	for _, chain := range []*symbols.Chain{all, debug} {
		for _, s := range append(slices.Clone(syms), f.Modules, images) {
			chain.AddSymbols(s)
		}
	}
	for _, chain := range []*symbols.Chain{core, all, debug} {
		if opt.NoKallsyms && opt.Vmlinux == "" {
			chain.AddTypes(own.LeftOut("the symbols of the dump, which say where its types are, were left out (--no-kallsyms)"))
		}
	}
	md := newModuleDebug(f.Modules, kd, opt)
	kd.peer = md.peer
	f.addTypes(first, core, all, debug, kd, opt)
	debug.AddTypes(moduleDebugTypes{d: md, hasBTF: sync.OnceValue(func() bool {
		t, err := f.Modules.Types()
		return !opt.NoBTF && err == nil && len(t) > 0
	})})
	f.addRows(core, all, debug, kd, md, opt)
	kd.addTo(debug)
	debug.AddSources(md)
	debug.AddVariables(md)
	c.ModuleFiles = md
	c.Core, c.Symbols, c.Debug = core, all, debug
	return nil
}

// addTypes: analysis asks debug information only where the dump has no types at all. People's questions go to the dump first,
// too, where the two are equal; but what debug information says of a variable is better than a declaration kept by hand.
func (f *finders) addTypes(first, core, all, debug *symbols.Chain, kd *kernelDebug, opt Options) {
	if opt.NoBTF {
		out := own.LeftOut("the types of the dump were left out (--no-btf)")
		for _, chain := range []*symbols.Chain{first, core, all, debug} {
			chain.AddTypes(out)
			chain.AddTypes(kd.typeFinder())
		}
		return
	}
	types, declared := f.Types(opt.Types), f.Declared(first)
	instead := symbols.LazyTypes(dwarfName, func() (symbols.TypeFinder, error) {
		if _, err := f.BTF(); err == nil {
			return own.LeftOut("the dump's own types are there"), nil
		}
		return kd.typeFinder(), nil
	})
	for _, chain := range []*symbols.Chain{first, core, all} {
		chain.AddTypes(types)
		chain.AddTypes(declared)
		chain.AddTypes(instead)
	}
	all.AddTypes(own.ModuleTypes{M: f.Modules})
	debug.AddTypes(types)
	debug.AddTypes(kd.typeFinder())
	debug.AddTypes(declared)
	debug.AddTypes(own.ModuleTypes{M: f.Modules})
}

func (f *finders) addRows(core, all, debug *symbols.Chain, kd *kernelDebug, md *moduleDebug, opt Options) {
	if opt.NoORC {
		out := own.LeftOut("the unwind tables of the dump were left out (--no-orc)")
		for _, chain := range []*symbols.Chain{core, all, debug} {
			chain.AddRows(out)
			chain.AddRows(kd.rowFinder())
			chain.AddRows(md)
		}
		return
	}
	tables := f.Rows()
	instead := symbols.LazyRows(dwarfName, func() (symbols.RowFinder, error) {
		if _, err := f.ORC(); err == nil {
			return own.LeftOut("the dump's own unwind tables are there"), nil
		}
		return kd.rowFinder(), nil
	})
	for _, chain := range []*symbols.Chain{core, all} {
		chain.AddRows(tables)
		chain.AddRows(f.Modules)
		chain.AddRows(instead)
	}
	debug.AddRows(kd.rowFinder())
	debug.AddRows(md)
	debug.AddRows(tables)
	debug.AddRows(f.Modules)
}

// insteadOf is a vmlinux: it is asked only if the dump's own symbols can't all be read, or are functions alone
// (CONFIG_KALLSYMS_ALL=n). A name that this kernel lacks would otherwise cost the reading of its symbol table at every start
// and, if it was forced, might be found and tell of structures that this kernel has not.
func insteadOf(table, vmlinux symbols.SymbolFinder) symbols.SymbolFinder {
	return symbols.LazySymbols(vmlinux.Name(), func() (symbols.SymbolFinder, error) {
		x, ok := table.(interface{ Missing() error })
		if _, err := table.SymbolsNamed("init_task"); err == nil && ok && x.Missing() == nil {
			return own.LeftOut("the vmlinux is not asked: the dump's own symbols are all there"), nil
		}
		return vmlinux, nil
	})
}

// Tables are addresses of the parts of kallsyms, by symbol ("kallsyms_names"), where VMCOREINFO lacks them.
type Tables = own.Tables

// FindTables searches the kernel's memory for tables whose place VMCOREINFO does not give (kernels before 6.0); nil if
// it gives them.
func FindTables(k *kernel.Kernel) (Tables, error) { return own.FindTables(k) }

// knownTables are those that the caller found, or that a distilled dump recorded.
func knownTables(img *dumpfmt.Image, opt Options) Tables {
	if opt.Tables != nil {
		return opt.Tables
	}
	rec, ok := distill.ReadRecord(img.Info())
	if !ok {
		return nil
	}
	t := make(Tables)
	for name, addr := range rec.Tables {
		t[name] = uint64(addr)
	}
	return t
}
