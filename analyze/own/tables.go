package own

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/kallsyms"
	"kdx/symbols/orc"
)

// Late completes address translation from the kernel's variables, once symbols are there. A failure leaves reads to the
// page tables.
func Late(k *kernel.Kernel, find func(name string) (uint64, error)) {
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

// FirstAddress looks a name up in a table of symbols.
func FirstAddress(named func(string) ([]symbols.Symbol, error)) func(string) (uint64, error) {
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

// KallsymsOptions are what a reader of the table must know of the kernel.
func KallsymsOptions(k *kernel.Kernel) kallsyms.Options {
	stext, _ := k.VMCoreInfo().Symbol("_stext")
	return kallsyms.Options{Order: k.ByteOrder(), WordSize: int(k.WordSize()), Stext: stext}
}

// ImageLimit, in bytes, bounds a search of the kernel image: text and read-only data of the largest distribution kernels end within 64 MiB.
const ImageLimit = 128 << 20

// scanKallsyms finds the table in the image's read-only data, behind the text.
func scanKallsyms(k *kernel.Kernel) (kallsyms.Location, error) {
	opt := KallsymsOptions(k)
	if opt.Stext == 0 {
		return kallsyms.Location{}, fmt.Errorf("kallsyms: VMCOREINFO has neither kallsyms_names nor _stext to search from")
	}
	return kallsyms.Scan(k, opt.Stext, opt.Stext+ImageLimit, opt)
}

func (f *Finders) openKallsyms() (symbols.SymbolFinder, error) {
	k := f.K
	opt := KallsymsOptions(k)
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
	Late(k, FirstAddress(t.SymbolsNamed))
	return t, nil
}

// lacks says that the kernel has no such table, which only symbols that can be read can tell.
func lacks(table, what string, err error) error {
	if errors.Is(err, symbols.ErrNotFound) {
		return &symbols.NoTableError{Why: table + ": " + what}
	}
	return fmt.Errorf("%s: its place is not known: %w", table, err)
}

func (f *Finders) openBTF() (*btf.Finder, error) {
	k := f.K
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

func (f *Finders) openORC() (*orc.Finder, error) {
	var t orc.Tables
	for name, into := range map[string]*uint64{"__start_orc_unwind_ip": &t.IP, "__stop_orc_unwind_ip": &t.IPEnd,
		"__start_orc_unwind": &t.Entries, "__stop_orc_unwind": &t.EntriesEnd} {
		s, err := f.K.Symbol(name)
		if err != nil {
			return nil, lacks("orc", "this kernel has no unwind table (CONFIG_UNWINDER_ORC)", err)
		}
		*into = s.Addr
	}
	if s, err := f.K.Symbol("__start_orc_header"); err == nil {
		t.Header = s.Addr
	}
	var opt orc.Options
	for _, r := range [][2]string{{"_stext", "_etext"}, {"_sinittext", "_einittext"}} {
		lo, err1 := f.K.Symbol(r[0])
		hi, err2 := f.K.Symbol(r[1])
		if err1 == nil && err2 == nil && lo.Addr < hi.Addr {
			opt.Text = append(opt.Text, orc.Range{Start: lo.Addr, End: hi.Addr})
		}
	}
	return orc.Read(f.K, t, opt)
}
