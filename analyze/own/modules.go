package own

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/modsym"
	"kdx/symbols/orc"
)

// Modules are the loaded modules as finders: their symbols, types and unwind tables. The list is read by the first
// question that the kernel's own tables do not answer.
type Modules struct {
	f    *Finders
	k    *kernel.Kernel
	gaps error // of the list; set by it
	lost error // types that can't be read; set by Types
	// List is the modules, read by the first call. Types are their BTF, each that can be read.
	List  func() ([]*Loaded, error)
	Types func() ([]symbols.TypeFinder, error)
}

// Loaded is a module with its finders, each opened when first asked.
type Loaded struct {
	*module.Module
	syms func() (symbols.SymbolFinder, error)
	rows func() (symbols.RowFinder, error)
}

func newModules(f *Finders) *Modules {
	m := &Modules{f: f, k: f.K}
	m.List = sync.OnceValues(m.readList)
	m.Types = sync.OnceValues(m.readTypes)
	return m
}

// Name is "modules".
func (m *Modules) Name() string { return "modules" }

func (m *Modules) readList() ([]*Loaded, error) {
	v := m.k.View(context.Background())
	mods, err := module.Read(v)
	if err != nil {
		return nil, err
	}
	gaps, _ := v.Gaps()
	for _, g := range gaps {
		m.k.Log().Warn("module list", "gap", g.String())
		m.gaps = errors.Join(m.gaps, fmt.Errorf("modules: %s", g))
	}
	var out []*Loaded
	for _, mod := range mods {
		l := &Loaded{Module: mod}
		l.syms = sync.OnceValues(func() (symbols.SymbolFinder, error) {
			if mod.SymbolsUnread != nil {
				return nil, mod.SymbolsUnread
			}
			return moduleSymbols(m.k, mod)
		})
		l.rows = sync.OnceValues(func() (symbols.RowFinder, error) { return m.moduleRows(mod) })
		out = append(out, l)
	}
	return out, nil
}

// At is the module whose memory holds addr; ErrNotFound if none does.
func (m *Modules) At(addr uint64) (*Loaded, error) {
	if !m.k.Arch().IsKernel(addr) {
		return nil, symbols.ErrNotFound
	}
	list, err := m.List()
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if l.Contains(vmem.Addr(addr)) {
			return l, nil
		}
	}
	return nil, symbols.ErrNotFound
}

// SymbolsNamed asks each module.
func (m *Modules) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	list, err := m.List()
	if err != nil {
		return nil, err
	}
	var out []symbols.Symbol
	var failure error
	for _, l := range list {
		f, err := l.syms()
		if err == nil {
			var found []symbols.Symbol
			if found, err = f.SymbolsNamed(name); err == nil {
				out = append(out, found...)
				continue
			}
		}
		if !errors.Is(err, symbols.ErrNotFound) && failure == nil {
			failure = fmt.Errorf("module %s: %w", l.Name, err)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case failure != nil:
		return nil, failure
	}
	return nil, symbols.ErrNotFound
}

// SymbolAt asks the module that addr lies in. If some can't be read, an address where modules may lie could be theirs.
func (m *Modules) SymbolAt(addr uint64) (symbols.Symbol, error) {
	l, err := m.At(addr)
	if errors.Is(err, symbols.ErrNotFound) && m.gaps != nil && m.mayLie(addr) {
		err = m.gaps
	}
	if err != nil {
		return symbols.Symbol{}, err
	}
	f, err := l.syms()
	if err != nil {
		return symbols.Symbol{}, fmt.Errorf("module %s: %w", l.Name, err)
	}
	return f.SymbolAt(addr)
}

// mayLie reports whether modules have memory around addr: the kernel keeps the lowest and highest address of all (4.2).
func (m *Modules) mayLie(addr uint64) bool {
	if !m.k.Arch().IsKernel(addr) {
		return false
	}
	at, err := m.k.Symbol("mod_tree")
	if err != nil {
		return true
	}
	tree := m.k.View(context.Background()).ObjectOf("mod_tree_root", vmem.Addr(at.Addr))
	from, err1 := tree.Field("addr_min").Uint()
	to, err2 := tree.Field("addr_max").Uint()
	return err1 != nil || err2 != nil || addr >= from && addr < to
}

// All yields the symbols of all modules.
func (m *Modules) All() iter.Seq[symbols.Symbol] {
	return func(yield func(symbols.Symbol) bool) {
		list, err := m.List()
		if err != nil {
			return
		}
		for _, l := range list {
			f, err := l.syms()
			if err != nil {
				continue
			}
			for s := range f.All() {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// Missing is why the modules, or the symbols of some, can't be read.
func (m *Modules) Missing() error {
	list, err := m.List()
	if err != nil {
		return err
	}
	all := []error{m.gaps}
	for _, l := range list {
		f, err := l.syms()
		if errors.Is(err, symbols.ErrNotFound) {
			continue
		}
		if x, ok := f.(interface{ Missing() error }); ok && err == nil {
			err = x.Missing()
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// RowAt asks the module that pc lies in.
func (m *Modules) RowAt(pc uint64) (symbols.Row, error) {
	l, err := m.At(pc)
	if err != nil {
		return symbols.Row{}, err
	}
	f, err := l.rows()
	if err != nil {
		return symbols.Row{}, fmt.Errorf("module %s: %w", l.Name, err)
	}
	return f.RowAt(pc)
}

func (m *Modules) moduleRows(mod *module.Module) (symbols.RowFinder, error) {
	opt := orc.Options{Module: mod.Name}
	for _, r := range mod.Mem {
		if r.Text != 0 {
			opt.Text = append(opt.Text, orc.Range{Start: uint64(r.Base), End: uint64(r.Base) + r.Text})
		}
	}
	if kernel, err := m.f.ORC(); err == nil {
		opt.Version, _ = kernel.Version() // modules are built with their kernel's
	}
	return orc.Read(m.k, orc.ModuleTables(uint64(mod.ORCIP), uint64(mod.ORC), mod.NumORC), opt)
}

// readTypes opens the modules' BTF (5.11). The section is not kept with the module; the list btf_modules leads to what
// the kernel keeps of it.
func (m *Modules) readTypes() ([]symbols.TypeFinder, error) {
	base, err := m.f.BTF()
	if err != nil {
		return nil, err
	}
	head, err := m.k.Symbol("btf_modules")
	if err != nil {
		return nil, err
	}
	link, ok := m.k.OffsetOf("btf_module", "list")
	if !ok {
		return nil, fmt.Errorf("struct btf_module of this kernel has no member list: %w", symbols.ErrNotFound)
	}
	v := m.k.View(context.Background())
	var out []symbols.TypeFinder
	for addr, err := range walk.List(v, vmem.Addr(head.Addr), link) {
		if err == nil {
			var f symbols.TypeFinder
			if f, err = moduleBTF(v, base, v.ObjectOf("btf_module", addr)); err == nil {
				out = append(out, f)
				continue
			}
		}
		m.k.Log().Warn("modules' BTF", "err", err)
		m.lost = errors.Join(m.lost, fmt.Errorf("modules' types: %w", err))
	}
	return out, nil
}

func moduleBTF(v *kernel.View, base *btf.Finder, x kernel.Value) (symbols.TypeFinder, error) {
	name, err := x.Field("module").Field("name").CString(64)
	if err != nil {
		return nil, err
	}
	b := x.Field("btf")
	data, err := b.Field("data").Uint()
	if err != nil {
		return nil, err
	}
	size, err := b.Field("data_size").Uint()
	if err != nil {
		return nil, err
	}
	return btf.ReadModule(v.Kernel, base, data, size, name)
}

// ModuleTypes is the modules' BTF as one finder.
type ModuleTypes struct{ M *Modules }

// Name is "modules' BTF".
func (t ModuleTypes) Name() string { return "modules' BTF" }

// Missing is why the types of modules, or of some, can't be read.
func (t ModuleTypes) Missing() error {
	_, err := t.M.Types()
	return cmp.Or(err, t.M.lost)
}

func firstOf[A any](t ModuleTypes, f func(symbols.TypeFinder) (A, error)) (A, error) {
	var zero A
	all, err := t.M.Types()
	if err != nil {
		return zero, err
	}
	for _, finder := range all {
		a, err := f(finder)
		if err == nil || !errors.Is(err, symbols.ErrNotFound) {
			return a, err
		}
	}
	return zero, symbols.ErrNotFound
}

// TypeNamed asks each module.
func (t ModuleTypes) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	return firstOf(t, func(f symbols.TypeFinder) (*symbols.Type, error) { return f.TypeNamed(kind, name) })
}

// VariableType asks each module.
func (t ModuleTypes) VariableType(name string) (*symbols.Type, error) {
	return firstOf(t, func(f symbols.TypeFinder) (*symbols.Type, error) { return f.VariableType(name) })
}

// FunctionType asks each module.
func (t ModuleTypes) FunctionType(name string) (*symbols.Type, error) {
	return firstOf(t, func(f symbols.TypeFinder) (*symbols.Type, error) { return f.FunctionType(name) })
}

// Enumerator asks each module.
func (t ModuleTypes) Enumerator(name string) (int64, *symbols.Type, error) {
	type found struct {
		v int64
		t *symbols.Type
	}
	a, err := firstOf(t, func(f symbols.TypeFinder) (found, error) {
		v, et, err := f.Enumerator(name)
		return found{v, et}, err
	})
	return a.v, a.t, err
}

// TypeNames yields those of all modules.
func (t ModuleTypes) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(yield func(symbols.Kind, string) bool) {
		all, err := t.M.Types()
		if err != nil {
			return
		}
		for _, f := range all {
			for k, n := range f.TypeNames() {
				if !yield(k, n) {
					return
				}
			}
		}
	}
}

func moduleSymbols(k *kernel.Kernel, mod *module.Module) (symbols.SymbolFinder, error) {
	m := modsym.Module{Name: mod.Name, Symtab: uint64(mod.Symtab), NumSyms: mod.NumSyms, Strtab: uint64(mod.Strtab), Typetab: uint64(mod.Typetab)}
	for _, r := range mod.Mem {
		m.Ranges = append(m.Ranges, modsym.Range{Base: uint64(r.Base), Size: r.Size, Kind: r.Kind})
	}
	return modsym.Read(k, m, modsym.Options{Order: k.ByteOrder(), WordSize: int(k.WordSize())})
}

// K is the kernel whose modules they are.
func (m *Modules) K() *kernel.Kernel { return m.k }
