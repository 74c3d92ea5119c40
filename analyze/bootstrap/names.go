package bootstrap

import (
	"bytes"

	"kdx/symbols/kallsyms"
)

// names finds symbols of a kernel image: in kallsyms, which is searched for once, else in a vmlinux that is of this kernel.
type names struct {
	c      *candidate
	opened bool
	table  *kallsyms.Table
	loc    kallsyms.Location
	linked func(symbol string) (uint64, bool) // nil unless the vmlinux is this kernel's
}

func (n *names) address(symbol string) (uint64, bool) {
	n.open()
	if n.table != nil {
		if all, err := n.table.SymbolsNamed(symbol); err == nil {
			return all[0].Addr, true
		}
	}
	if n.linked != nil {
		if a, ok := n.linked(symbol); ok {
			return a + n.c.kaslr(), true
		}
	}
	return 0, false
}

func (n *names) open() {
	if n.opened {
		return
	}
	n.opened = true
	n.openLinked()
	if !n.c.f.NoKallsyms {
		n.openKallsyms()
	}
}

// openLinked believes a vmlinux if the kernel's banner stands where it says.
func (n *names) openLinked() {
	f := n.c.f
	if f.Linked == nil {
		return
	}
	at, ok := f.Linked("linux_banner")
	if !ok {
		return
	}
	b := make([]byte, len(bannerStart))
	if _, err := n.c.ReadMemory(b, at+n.c.kaslr()); err == nil && bytes.Equal(b, bannerStart) {
		n.linked = f.Linked
	}
}

func (n *names) openKallsyms() {
	info := n.c.f.img.Info()
	start := n.c.image.Virt
	end := start + min(n.c.image.Size, imageLimit)
	opt := kallsyms.Options{Order: info.ByteOrder, WordSize: info.WordSize, Stext: start}
	loc, err := kallsyms.Scan(n.c, start, end, opt)
	if err != nil {
		opt.Stext = 0 // _stext need not be the first byte
		loc, err = kallsyms.Scan(n.c, start, end, opt)
	}
	if err != nil {
		n.c.f.Log.Debug("no symbols in the "+n.c.image.String(), "err", err)
		return
	}
	t, err := kallsyms.Read(n.c, loc, opt)
	if err != nil {
		n.c.f.Log.Debug("no symbols in the "+n.c.image.String(), "err", err)
		return
	}
	n.table, n.loc = t, loc
}

// tables are the places of kallsyms if they were searched for, by symbol.
func (n *names) tables() map[string]uint64 {
	if n.table == nil {
		return nil
	}
	t := make(map[string]uint64)
	for name, at := range map[string]uint64{"kallsyms_names": n.loc.Names, "kallsyms_num_syms": n.loc.NumSyms, "kallsyms_token_table": n.loc.TokenTable,
		"kallsyms_token_index": n.loc.TokenIndex, "kallsyms_offsets": n.loc.Offsets, "kallsyms_relative_base": n.loc.RelativeBase,
		"kallsyms_addresses": n.loc.Addresses, "kallsyms_markers": n.loc.Markers} {
		if at != 0 {
			t[name] = at
		}
	}
	return t
}
