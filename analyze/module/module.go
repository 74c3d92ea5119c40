// Package module reads the list of loaded modules: where each lies in memory, its sections, and where its symbols, BTF
// and unwind tables are.
package module

import (
	"cmp"
	"fmt"
	"slices"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// Module is a loaded module. Sizes are bytes.
type Module struct {
	Addr   vmem.Addr // of its struct module
	Name   string
	State  string // "live", "coming", "going", "unformed"
	Base   vmem.Addr
	Size   uint64 // of all its memory, as /proc/modules gives it
	Refs   int32  // users; -1 while it goes
	Taints uint64
	Mem    []Range

	Symtab, Strtab, Typetab vmem.Addr
	NumSyms                 uint64
	SymbolsUnread           error // why it is not known where its symbols are; nil if it is, or there are none
	BTF                     vmem.Addr
	BTFSize                 uint64
	ORC, ORCIP              vmem.Addr
	NumORC                  uint64
}

// Range is a part of a module's memory.
type Range struct {
	Kind string // "text", "data", "rodata", "ro_after_init", "init_text", …; "core" and "init" before 6.4
	Base vmem.Addr
	Size uint64
	Text uint64 // bytes of code at its start
}

type moduleStruct struct {
	State    uint32    `k:"state"`
	Name     string    `k:"name"`
	Refs     int32     `k:"refcnt,optional"`
	Taints   uint64    `k:"taints,optional"`
	Kallsyms vmem.Addr `k:"kallsyms,optional"`
	BTF      vmem.Addr `k:"btf_data,optional"` // 5.11, CONFIG_DEBUG_INFO_BTF_MODULES
	BTFSize  uint32    `k:"btf_data_size,optional"`
	ORC      vmem.Addr `k:"arch.orc_unwind,optional"`
	ORCIP    vmem.Addr `k:"arch.orc_unwind_ip,optional"`
	NumORC   uint32    `k:"arch.num_orcs,optional"`
}

type kallsyms struct {
	Symtab  vmem.Addr `k:"symtab"`
	Num     uint32    `k:"num_symtab"`
	Strtab  vmem.Addr `k:"strtab"`
	Typetab vmem.Addr `k:"typetab,optional"` // 5.2
}

var states = []string{"live", "coming", "going", "unformed"} // enum module_state

// Read lists the modules in address order. What can't be read becomes gaps of v.
func Read(v *kernel.View) ([]*Module, error) {
	head, err := v.Symbol("modules")
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	bind, err := kernel.Bind[moduleStruct](v.Kernel, "module")
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	link, ok := bind.Type().OffsetOf("list")
	if !ok {
		return nil, fmt.Errorf("modules: struct module of this kernel has no member list")
	}
	var out []*Module
	for addr, err := range walk.List(v, vmem.Addr(head.Addr), link) {
		if err != nil {
			v.Gap("module list", err)
			continue
		}
		m, err := read(v, bind, addr)
		if err != nil {
			v.Gap(fmt.Sprintf("module at %#x", uint64(addr)), err)
			continue
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Module) int { return cmp.Compare(a.Base, b.Base) })
	return out, nil
}

func read(v *kernel.View, bind kernel.Binding[moduleStruct], addr vmem.Addr) (*Module, error) {
	s, err := bind.Read(v, addr)
	if err != nil {
		return nil, err
	}
	m := &Module{Addr: addr, Name: s.Name, Refs: s.Refs, Taints: s.Taints, BTF: s.BTF, BTFSize: uint64(s.BTFSize),
		ORC: s.ORC, ORCIP: s.ORCIP, NumORC: uint64(s.NumORC), State: "unknown"}
	if int(s.State) < len(states) {
		m.State = states[s.State]
	}
	if m.Refs > 0 {
		m.Refs-- // MODULE_REF_BASE: the module holds one reference to itself
	}
	if err := m.readMemory(v, bind.Type()); err != nil {
		v.Gap("module "+m.Name, err)
	}
	if s.Kallsyms == 0 {
		return m, nil
	}
	ks, err := kernel.ReadStruct[kallsyms](v, "mod_kallsyms", s.Kallsyms)
	if err != nil {
		v.Gap("module "+m.Name, err)
		m.SymbolsUnread = err
		return m, nil
	}
	m.Symtab, m.Strtab, m.Typetab, m.NumSyms = ks.Symtab, ks.Strtab, ks.Typetab, uint64(ks.Num)
	return m, nil
}

// memKinds are enum mod_mem_type (6.4).
var memKinds = []string{"text", "data", "rodata", "ro_after_init", "init_text", "init_data", "init_rodata"}

func (m *Module) readMemory(v *kernel.View, t *symbols.Type) error {
	obj := v.Object(t, m.Addr)
	if obj.Has("mem") { // 6.4: an array by kind of memory
		for i, kind := range memKinds {
			part := obj.Field("mem").Index(int64(i))
			base, err := part.Field("base").Pointer()
			if err != nil {
				return err
			}
			size, err := part.Field("size").Uint()
			if err != nil {
				return err
			}
			if base == 0 || size == 0 {
				continue
			}
			r := Range{Kind: kind, Base: base, Size: size}
			if kind == "text" || kind == "init_text" {
				r.Text = size
			}
			m.Mem = append(m.Mem, r)
			m.Size += size
		}
		if len(m.Mem) > 0 {
			m.Base = m.Mem[0].Base
		}
		return nil
	}
	for _, part := range []string{"core", "init"} { // 4.5 to 6.3
		l := obj.Field(part + "_layout")
		base, err := l.Field("base").Pointer()
		if err != nil {
			return err
		}
		size, err := l.Field("size").Uint()
		if err != nil {
			return err
		}
		text, err := l.Field("text_size").Uint()
		if err != nil {
			return err
		}
		if base == 0 || size == 0 {
			continue
		}
		m.Mem = append(m.Mem, Range{Kind: part, Base: base, Size: size, Text: text})
		m.Size += size
		if part == "core" {
			m.Base = base
		}
	}
	return nil
}

// Contains reports whether addr lies in the module's memory.
func (m *Module) Contains(addr vmem.Addr) bool {
	for _, r := range m.Mem {
		if addr-r.Base < vmem.Addr(r.Size) {
			return true
		}
	}
	return false
}

// Section is an ELF section of a loaded module.
type Section struct {
	Name *string // nil if it can't be read
	Addr vmem.Addr
}

// Sections of a module, from the attributes that /sys/module/NAME/sections shows. The error says what is missing in the answer.
func Sections(v *kernel.View, m *Module) ([]Section, error) {
	sa := v.ObjectOf("module", m.Addr).Field("sect_attrs")
	p, err := sa.Pointer()
	if err != nil || p == 0 {
		return nil, err
	}
	attrs := sa.Field("attrs")
	var out []Section
	count, unknown := sectionCount(sa)
	var unnamed error
	for i := range count {
		a := attrs.Index(int64(i))
		nameField, addrField := "battr.attr.name", "address"
		if !a.Has(nameField) { // 6.14: plain bin_attributes, the address in private
			nameField, addrField = "attr.name", "private"
		}
		name, nameErr := a.Field(nameField).CString(256)
		if nameErr != nil && unknown != nil {
			break // behind the last
		}
		addr, err := a.Field(addrField).Pointer()
		if err != nil {
			return out, err
		}
		s := Section{&name, addr}
		if nameErr != nil {
			s.Name = nil
			unnamed = cmp.Or(unnamed, fmt.Errorf("name of the section at %#x: %w", uint64(addr), nameErr))
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Section) int { return cmp.Compare(a.Addr, b.Addr) })
	if unknown != nil {
		return out, fmt.Errorf("how many there are: %w", unknown)
	}
	return out, unnamed
}

// sectionCount: until 6.13 a member says it; then the attributes are those that an array of pointers with a NULL at its end points to.
// With an error the count is the most that there can be: the attributes themselves may still be there.
func sectionCount(sa kernel.Value) (uint64, error) {
	const limit = 4096 // sections of a module; those built with -ffunction-sections have a few hundred
	if sa.Has("nsections") {
		n, err := sa.Field("nsections").Uint()
		if err != nil {
			n = limit
		}
		return min(n, limit), err
	}
	list := sa.Field("grp.bin_attrs")
	for n := range uint64(limit) {
		p, err := list.Index(int64(n)).Uint()
		if err != nil {
			return limit, err
		}
		if p == 0 {
			return n, nil
		}
	}
	return limit, nil
}
