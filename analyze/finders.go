package analyze

import (
	"fmt"
	"sync"

	"kdx/analyze/kernel"
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
}

// newChain makes the chain of finders: the kernel's own tables, then what modules and BPF brought. c is completed as
// the Config of the kernel that will use it.
//
// A vmlinux that was given comes first: its symbols have sizes. It is the only one that can fail here, as it must be the
// dump's.
func newChain(c kernel.Config, opt Options) (*symbols.Chain, error) {
	own := &symbols.Chain{Log: opt.Log}
	all := &symbols.Chain{Log: opt.Log}
	c.Symbols = own
	f := &finders{k: kernel.New(c)}
	f.btf = sync.OnceValues(f.openBTF)
	f.orc = sync.OnceValues(f.openORC)
	f.mods = newModules(f)
	table := symbols.LazySymbols("kallsyms", f.openKallsyms)
	if opt.Vmlinux != "" {
		dump := c
		dump.Symbols = &symbols.Chain{Log: opt.Log}
		dump.Symbols.AddSymbols(table) // the dump's own word on which kernel it is
		given, err := openVmlinux(kernel.New(dump), opt)
		if err != nil {
			return nil, err
		}
		own.AddSymbols(given)
		all.AddSymbols(given)
	}
	if !opt.NoKallsyms {
		own.AddSymbols(table)
		all.AddSymbols(table)
		all.AddSymbols(f.mods)
		all.AddSymbols(newBPFImages(f.k))
	}
	if !opt.NoBTF {
		types := symbols.LazyTypes("btf", func() (symbols.TypeFinder, error) { return f.btf() })
		declared := decls.New(cdecl.Lookup{Types: own, PointerSize: uint64(c.Image.Info().WordSize)})
		own.AddTypes(types)
		own.AddTypes(declared)
		all.AddTypes(types)
		all.AddTypes(declared)
		all.AddTypes(moduleTypes{f.mods})
	}
	if !opt.NoORC {
		all.AddRows(symbols.LazyRows("orc", func() (symbols.RowFinder, error) { return f.orc() }))
		all.AddRows(f.mods)
	}
	return all, nil
}

// late completes address translation from the kernel's variables, once symbols are there. A failure leaves reads to the
// page tables.
func late(k *kernel.Kernel, find func(name string) (uint64, error)) {
	err := k.Arch().Late(func(name string) (uint64, error) {
		addr, err := find(name)
		if err != nil {
			return 0, err
		}
		var b [8]byte
		p := b[:k.WordSize()]
		if _, err := k.ReadMemory(p, addr); err != nil {
			return 0, err
		}
		return k.ByteOrder().Uint64(b[:]), nil
	})
	if err != nil {
		k.Log().Warn(err.Error())
	}
}

func (f *finders) openKallsyms() (symbols.SymbolFinder, error) {
	k := f.k
	vci := k.VMCoreInfo()
	stext, _ := vci.Symbol("_stext")
	opt := kallsyms.Options{Order: k.ByteOrder(), WordSize: int(k.WordSize()), Stext: stext}
	loc := kallsyms.Location{}
	for name, into := range map[string]*uint64{"kallsyms_names": &loc.Names, "kallsyms_num_syms": &loc.NumSyms,
		"kallsyms_token_table": &loc.TokenTable, "kallsyms_token_index": &loc.TokenIndex, "kallsyms_offsets": &loc.Offsets,
		"kallsyms_relative_base": &loc.RelativeBase, "kallsyms_addresses": &loc.Addresses} {
		*into, _ = vci.Symbol(name)
	}
	if loc.Names == 0 {
		// Kernels before 6.0 don't export the table's place. It lies in the image's read-only data, behind the text.
		if stext == 0 {
			return nil, fmt.Errorf("kallsyms: VMCOREINFO has neither kallsyms_names nor _stext to search from")
		}
		const imageLimit = 128 << 20 // text and read-only data of the largest distribution kernels end within 64 MiB
		var err error
		if loc, err = kallsyms.Scan(k, stext, stext+imageLimit, opt); err != nil {
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
	late(k, func(name string) (uint64, error) {
		all, err := t.SymbolsNamed(name)
		if err != nil {
			return 0, err
		}
		return all[0].Addr, nil
	})
	return t, nil
}

func (f *finders) openBTF() (*btf.Finder, error) {
	k := f.k
	start, err := k.Symbol("__start_BTF")
	if err != nil {
		return nil, fmt.Errorf("btf: this kernel carries none (CONFIG_DEBUG_INFO_BTF): %w", err)
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
			return nil, fmt.Errorf("orc: this kernel has no unwind table (CONFIG_UNWINDER_ORC): %w", err)
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
