package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/module"
	"kdx/analyze/sysinfo"
	"kdx/analyze/view"
)

func modCommand() *Command {
	return &Command{
		Name: "mod", Aliases: []string{"lsmod"}, Group: "kernel", Summary: "the loaded modules", Needs: NeedsTypes,
		Usage: []string{"[-t] [module]…", "-g [module]…"},
		Flags: []Flag{
			{Name: "t", Help: "only modules that tainted the kernel, and how"},
			{Name: "g", Help: "the addresses of each module's sections"},
		},
		Help: "Symbols, types and unwind tables of modules are read from the dump's memory by themselves: nothing need be loaded. The last column says what " +
			"the dump holds of each: kallsyms (symbols), orc (unwind table).",
		Examples: []Example{{"mod", "all modules"}, {"mod -t", "out-of-tree and other tainting modules"}, {"mod -g nvme", "where its sections lie"}},
		Run:      runMod,
	}
}

func runMod(c *Call) (view.Result, error) {
	all, err := module.Read(c.View)
	if err != nil {
		return nil, err
	}
	mods, err := namedModules(all, c.Args)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Flags.Has("t"):
		out := view.ModuleTaints{}
		for _, m := range mods {
			if m.Taints != 0 {
				out = append(out, view.ModuleTaint{Name: m.Name, Mask: m.Taints, Letters: sysinfo.TaintLetters(m.Taints)})
			}
		}
		return out, nil
	case c.Flags.Has("g"):
		out := view.ModuleSections{}
		for _, m := range mods {
			s := view.ModuleSection{Name: m.Name, Sections: []view.Section{}}
			secs, err := module.Sections(c.View, m)
			c.View.Gap("sections of "+m.Name, err)
			for _, sec := range secs {
				s.Sections = append(s.Sections, view.Section{Name: sec.Name, Addr: sec.Addr})
			}
			out = append(out, s)
		}
		return out, nil
	}
	out := &view.ModuleTable{Rows: []view.Module{}}
	for _, m := range mods {
		row := view.Module{Module: m.Addr, Name: m.Name, Base: m.Base, Size: m.Size, State: m.State, Refs: m.Refs, Taints: sysinfo.TaintLetters(m.Taints)}
		if m.NumSyms > 0 {
			row.Has = append(row.Has, "kallsyms")
		}
		if m.NumORC > 0 {
			row.Has = append(row.Has, "orc")
		}
		for _, r := range m.Mem {
			row.Memory = append(row.Memory, view.ModuleRange{Kind: r.Kind, Base: r.Base, Size: r.Size})
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

func namedModules(all []*module.Module, names []string) ([]*module.Module, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []*module.Module
	for _, name := range names {
		found := false
		for _, m := range all {
			if strings.ReplaceAll(m.Name, "-", "_") == strings.ReplaceAll(name, "-", "_") {
				out, found = append(out, m), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no module %s was loaded", name)
		}
	}
	return out, nil
}
