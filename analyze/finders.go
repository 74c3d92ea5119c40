package analyze

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/kallsyms"
)

// addFinders fills the kernel's chain: kallsyms, BTF, declarations for what BTF has no type for, ORC, then modules. All
// but a vmlinux, which must be checked, are opened when first asked.
func addFinders(k *kernel.Kernel, opt Options) error {
	chain := k.Symbols()
	if !opt.NoKallsyms {
		chain.AddSymbols(symbols.LazySymbols("kallsyms", func() (symbols.SymbolFinder, error) { return openKallsyms(k) }))
	}
	if !opt.NoBTF {
		chain.AddTypes(symbols.LazyTypes("BTF", func() (symbols.TypeFinder, error) { return openBTF(k) }))
	}
	return nil
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

func openKallsyms(k *kernel.Kernel) (symbols.SymbolFinder, error) {
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

func openBTF(k *kernel.Kernel) (symbols.TypeFinder, error) {
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
