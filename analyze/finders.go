package analyze

import (
	"errors"
	"fmt"
	"sync"

	"kdx/analyze/distill"
	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/cdecl"
	"kdx/symbols/decls"
	"kdx/symbols/kallsyms"
	"kdx/symbols/orc"
)

// finders opens each of the kernel's tables once, by the first question that needs it.
type finders struct {
	// k knows only the kernel's own tables. What modules and BPF brought is found with it, so that the search for a name
	// never waits for itself.
	k    *kernel.Kernel
	btf  func() (*btf.Finder, error)
	orc  func() (*orc.Finder, error)
	mods *modules
	// tables are found otherwise than through VMCOREINFO.
	tables Tables
}

// newChains makes the chains of finders: the kernel's own tables, then what modules and BPF brought, then debug information.
// c is completed as the Config of the kernel that will use it. Only a vmlinux that was given can fail here, as it must be the
// dump's.
func newChains(c *kernel.Config, opt Options) error {
	own := symbols.NewChain(opt.Log)
	all, debug := own.Sharing(), own.Sharing()
	bare := *c
	bare.Symbols = own
	f := &finders{k: kernel.New(bare), tables: knownTables(c.Image, opt)}
	f.btf = sync.OnceValues(f.openBTF)
	f.orc = sync.OnceValues(f.openORC)
	f.mods = newModules(f)
	var table symbols.SymbolFinder = symbols.LazySymbols("kallsyms", f.openKallsyms)
	if opt.NoKallsyms {
		table = leftOut("the symbols of the dump were left out (--no-kallsyms)")
	}
	syms := []symbols.SymbolFinder{table}
	var given givenKernel
	bare.Symbols = own.Sharing()
	bare.Symbols.AddSymbols(symbols.LazySymbols("kallsyms", f.openKallsyms)) // the dump's own word on which kernel it is
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
		given.syms = symbols.LazySymbols("vmlinux", kd.symbols)
	}
	if given.syms != nil && !opt.NoKallsyms {
		given.syms = insteadOf(table, given.syms)
	}
	if given.syms != nil {
		syms = append(syms, given.syms)
	}
	for _, s := range syms {
		own.AddSymbols(s)
	}
	c.Arch.WhenNeeded(func() { own.SymbolsNamed("page_offset_base") })
	for _, chain := range []*symbols.Chain{all, debug} {
		for _, s := range append(syms, f.mods, newBPFImages(f.k)) {
			chain.AddSymbols(s)
		}
		if opt.NoKallsyms && opt.Vmlinux == "" {
			chain.AddTypes(leftOut("the symbols of the dump, which say where its types are, were left out (--no-kallsyms)"))
		}
	}
	md := newModuleDebug(f.mods, kd, opt)
	kd.peer = md.peer
	f.addTypes(own, all, debug, kd, opt)
	debug.AddTypes(moduleDebugTypes{d: md, hasBTF: sync.OnceValue(func() bool {
		t, err := f.mods.types()
		return !opt.NoBTF && err == nil && len(t) > 0
	})})
	f.addRows(all, debug, kd, md, opt)
	kd.addTo(debug)
	debug.AddSources(md)
	debug.AddVariables(md)
	c.ModuleFiles = md
	c.Symbols, c.Debug = all, debug
	return nil
}

// addTypes: analysis asks debug information only where the dump has no types at all. People's questions go to the dump first,
// too, where the two are equal; but what debug information says of a variable is better than a declaration kept by hand.
func (f *finders) addTypes(own, all, debug *symbols.Chain, kd *kernelDebug, opt Options) {
	if opt.NoBTF {
		out := leftOut("the types of the dump were left out (--no-btf)")
		for _, chain := range []*symbols.Chain{own, all, debug} {
			chain.AddTypes(out)
			chain.AddTypes(kd.typeFinder())
		}
		return
	}
	types := symbols.LazyTypes("btf", func() (symbols.TypeFinder, error) { return f.btf() })
	declared := decls.New(cdecl.Lookup{Types: own, PointerSize: uint64(f.k.Image().Info().WordSize)})
	instead := symbols.LazyTypes(dwarfName, func() (symbols.TypeFinder, error) {
		if _, err := f.btf(); err == nil {
			return leftOut("the dump's own types are there"), nil
		}
		return kd.typeFinder(), nil
	})
	if f.fits(opt.Types) {
		types = carried{opt.Types.Finder(), types}
	}
	for _, chain := range []*symbols.Chain{own, all} {
		chain.AddTypes(types)
		chain.AddTypes(declared)
		chain.AddTypes(instead)
	}
	all.AddTypes(moduleTypes{f.mods})
	debug.AddTypes(types)
	debug.AddTypes(kd.typeFinder())
	debug.AddTypes(declared)
	debug.AddTypes(moduleTypes{f.mods})
}

func (f *finders) addRows(all, debug *symbols.Chain, kd *kernelDebug, md *moduleDebug, opt Options) {
	if opt.NoORC {
		out := leftOut("the unwind tables of the dump were left out (--no-orc)")
		for _, chain := range []*symbols.Chain{all, debug} {
			chain.AddRows(out)
			chain.AddRows(kd.rowFinder())
			chain.AddRows(md)
		}
		return
	}
	tables := symbols.LazyRows("orc", func() (symbols.RowFinder, error) { return f.orc() })
	all.AddRows(tables)
	all.AddRows(f.mods)
	all.AddRows(symbols.LazyRows(dwarfName, func() (symbols.RowFinder, error) {
		if _, err := f.orc(); err == nil {
			return leftOut("the dump's own unwind tables are there"), nil
		}
		return kd.rowFinder(), nil
	}))
	debug.AddRows(kd.rowFinder())
	debug.AddRows(md)
	debug.AddRows(tables)
	debug.AddRows(f.mods)
}

// insteadOf is a vmlinux: it is asked only if the dump's own symbols can't all be read, or are functions alone
// (CONFIG_KALLSYMS_ALL=n). A name that this kernel lacks would otherwise cost the reading of its symbol table at every start
// and, if it was forced, might be found and tell of structures that this kernel has not.
func insteadOf(own, vmlinux symbols.SymbolFinder) symbols.SymbolFinder {
	return symbols.LazySymbols(vmlinux.Name(), func() (symbols.SymbolFinder, error) {
		x, ok := own.(interface{ Missing() error })
		if _, err := own.SymbolsNamed("init_task"); err == nil && ok && x.Missing() == nil {
			return leftOut("the vmlinux is not asked: the dump's own symbols are all there"), nil
		}
		return vmlinux, nil
	})
}

// late completes address translation from the kernel's variables, once symbols are there. A failure leaves reads to the
// page tables.
func late(k *kernel.Kernel, find func(name string) (uint64, error)) {
	err := k.Arch().Late(func(name string) (uint64, error) {
		addr, err := find(name)
		if err != nil {
			return 0, err
		}
		return k.Word(vmem.Addr(addr))
	})
	if err != nil {
		k.Log().Warn(err.Error())
	}
}

func firstAddress(named func(string) ([]symbols.Symbol, error)) func(string) (uint64, error) {
	return func(name string) (uint64, error) {
		all, err := named(name)
		if err != nil {
			return 0, err
		}
		return all[0].Addr, nil
	}
}

// Tables are addresses of the parts of kallsyms, by symbol ("kallsyms_names"), where VMCOREINFO lacks them.
type Tables map[string]uint64

var kallsymsParts = map[string]func(*kallsyms.Location) *uint64{
	"kallsyms_names":         func(l *kallsyms.Location) *uint64 { return &l.Names },
	"kallsyms_num_syms":      func(l *kallsyms.Location) *uint64 { return &l.NumSyms },
	"kallsyms_token_table":   func(l *kallsyms.Location) *uint64 { return &l.TokenTable },
	"kallsyms_token_index":   func(l *kallsyms.Location) *uint64 { return &l.TokenIndex },
	"kallsyms_offsets":       func(l *kallsyms.Location) *uint64 { return &l.Offsets },
	"kallsyms_relative_base": func(l *kallsyms.Location) *uint64 { return &l.RelativeBase },
	"kallsyms_addresses":     func(l *kallsyms.Location) *uint64 { return &l.Addresses },
	"kallsyms_markers":       func(l *kallsyms.Location) *uint64 { return &l.Markers },
}

// FindTables searches the kernel's memory for tables whose place VMCOREINFO does not give (kernels before 6.0); nil if
// it gives them.
func FindTables(k *kernel.Kernel) (Tables, error) {
	if _, ok := k.VMCoreInfo().Symbol("kallsyms_names"); ok {
		return nil, nil
	}
	loc, err := scanKallsyms(k)
	if err != nil {
		return nil, err
	}
	t := make(Tables)
	for name, part := range kallsymsParts {
		if addr := *part(&loc); addr != 0 {
			t[name] = addr
		}
	}
	return t, nil
}

func kallsymsOptions(k *kernel.Kernel) kallsyms.Options {
	stext, _ := k.VMCoreInfo().Symbol("_stext")
	return kallsyms.Options{Order: k.ByteOrder(), WordSize: int(k.WordSize()), Stext: stext}
}

// imageLimit bounds a search of the kernel image: text and read-only data of the largest distribution kernels end within 64 MiB.
const imageLimit = 128 << 20

// scanKallsyms finds the table in the image's read-only data, behind the text.
func scanKallsyms(k *kernel.Kernel) (kallsyms.Location, error) {
	opt := kallsymsOptions(k)
	if opt.Stext == 0 {
		return kallsyms.Location{}, fmt.Errorf("kallsyms: VMCOREINFO has neither kallsyms_names nor _stext to search from")
	}
	return kallsyms.Scan(k, opt.Stext, opt.Stext+imageLimit, opt)
}

func (f *finders) openKallsyms() (symbols.SymbolFinder, error) {
	k := f.k
	opt := kallsymsOptions(k)
	var loc kallsyms.Location
	for name, part := range kallsymsParts {
		addr, ok := k.VMCoreInfo().Symbol(name)
		if !ok {
			addr = f.tables[name]
		}
		*part(&loc) = addr
	}
	if loc.Names == 0 {
		var err error
		if loc, err = scanKallsyms(k); err != nil {
			return nil, err
		}
	}
	t, err := kallsyms.Read(k, loc, opt)
	if err != nil {
		return nil, err
	}
	if missing := t.Missing(); missing != nil {
		k.Log().Warn("kallsyms is incomplete", "err", missing)
	}
	late(k, firstAddress(t.SymbolsNamed))
	return t, nil
}

// lacks says that the kernel has no such table, which only symbols that can be read can tell.
func lacks(table, what string, err error) error {
	if errors.Is(err, symbols.ErrNotFound) {
		return &symbols.NoTableError{Why: table + ": " + what}
	}
	return fmt.Errorf("%s: its place is not known: %w", table, err)
}

func (f *finders) openBTF() (*btf.Finder, error) {
	k := f.k
	start, err := k.Symbol("__start_BTF")
	if err != nil {
		return nil, lacks("btf", "this kernel carries none (CONFIG_DEBUG_INFO_BTF)", err)
	}
	stop, err := k.Symbol("__stop_BTF")
	if err != nil {
		return nil, fmt.Errorf("btf: %w", err)
	}
	return btf.Read(k, start.Addr, stop.Addr, btf.Options{PointerSize: k.WordSize()})
}

func (f *finders) openORC() (*orc.Finder, error) {
	var t orc.Tables
	for name, into := range map[string]*uint64{"__start_orc_unwind_ip": &t.IP, "__stop_orc_unwind_ip": &t.IPEnd,
		"__start_orc_unwind": &t.Entries, "__stop_orc_unwind": &t.EntriesEnd} {
		s, err := f.k.Symbol(name)
		if err != nil {
			return nil, lacks("orc", "this kernel has no unwind table (CONFIG_UNWINDER_ORC)", err)
		}
		*into = s.Addr
	}
	if s, err := f.k.Symbol("__start_orc_header"); err == nil {
		t.Header = s.Addr
	}
	var opt orc.Options
	for _, r := range [][2]string{{"_stext", "_etext"}, {"_sinittext", "_einittext"}} {
		lo, err1 := f.k.Symbol(r[0])
		hi, err2 := f.k.Symbol(r[1])
		if err1 == nil && err2 == nil && lo.Addr < hi.Addr {
			opt.Text = append(opt.Text, orc.Range{Start: lo.Addr, End: hi.Addr})
		}
	}
	return orc.Read(f.k, t, opt)
}

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
