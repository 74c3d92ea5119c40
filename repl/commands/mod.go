package commands

import (
	"fmt"
	"os"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/analyze/sysinfo"
	"kdx/analyze/view"
)

func modCommand() *Command {
	return &Command{
		Name: "mod", Aliases: []string{"lsmod"}, Group: "kernel", Summary: "the loaded modules", Needs: NeedsTypes,
		Usage: []string{"[-t] [module]…", "-g [module]…", "-s module [file]", "-S [dir]", "-d module…", "-D"},
		Flags: []Flag{
			{Name: "t", Help: "only modules that tainted the kernel, and how"},
			{Name: "g", Help: "the addresses of each module's sections"},
			{Name: "s", Help: "attach the module's debug file, or this one"},
			{Name: "S", Help: "attach the debug files of all modules, those in this directory first"},
			{Name: "d", Help: "detach the debug files of these modules, and look for none"},
			{Name: "D", Help: "detach the debug files of all modules"},
			{Name: "force", Help: "with -s: take the file although it is of another build"},
		},
		Help: "Symbols, types and unwind tables of modules are read from the dump's memory by themselves: nothing need be loaded. [CONFIG_KALLSYMS] in the last column says " +
			"that the dump has a module's symbols; JSON also, whether it has its unwind table (orc).\n\n" +
			"Source lines and variables of modules are in their debug files. A module's file (.ko, .ko.debug, also .xz, .gz and .zst) is looked for by itself when its lines or variables " +
			"are asked for, in the places that `kdx debuginfo` lists; -s and -S do it at once, and -s takes a file from anywhere. The file must be of the build that was loaded: build-ids are compared, " +
			"and where one of the two has none, srcversion or the kernel's release. The path of an attached file stands in the last column.",
		Examples: []Example{{"mod", "all modules"}, {"mod -t", "out-of-tree and other tainting modules"}, {"mod -g overlay", "where its sections lie"},
			{"mod -s nvme /tmp/nvme.ko.debug", "its debug information from this file"}, {"mod -S", "the debug files of all modules, before `bt -l` of many tasks"}},
		Run: runMod,
	}
}

func runMod(c *Call) (view.Result, error) {
	all, err := module.Read(c.View)
	if err != nil {
		return nil, err
	}
	files := c.View.ModuleFiles()
	if files != nil && (c.Flags.Has("s") || c.Flags.Has("S") || c.Flags.Has("d") || c.Flags.Has("D")) {
		return attachModules(c, files, all)
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
	return moduleTable(mods, files), nil
}

// attachModules answers -s, -S, -d and -D with the modules in question as they are then.
func attachModules(c *Call, files kernel.ModuleFiles, all []*module.Module) (view.Result, error) {
	args := c.Args
	switch {
	case c.Flags.Has("s"):
		if len(args) == 0 || len(args) > 2 {
			return nil, &UsageError{"mod", "-s takes a module and, if need be, a file"}
		}
		path := ""
		if len(args) == 2 {
			path, args = args[1], args[:1]
		}
		if _, err := files.Attach(c.View.Context(), args[0], path, c.Flags.Has("force")); err != nil {
			return nil, err
		}
	case c.Flags.Has("S"):
		if len(args) > 1 {
			return nil, &UsageError{"mod", "-S takes one directory, or none"}
		}
		dir := strings.Join(args, "")
		if st, err := os.Stat(dir); dir != "" && (err != nil || !st.IsDir()) {
			return nil, fmt.Errorf("%s is no directory", dir)
		}
		args = nil
		err := files.AttachAll(c.View.Context(), moduleNames(all), dir, func(name, _ string, err error) {
			c.View.Gap("module "+name, err)
		})
		if err != nil {
			return nil, err
		}
	default:
		if c.Flags.Has("D") {
			args = moduleNames(all)
		}
		if len(args) == 0 {
			return nil, &UsageError{"mod", "-d takes modules"}
		}
		for _, name := range args {
			if err := files.Detach(name); err != nil {
				return nil, err
			}
		}
	}
	mods, err := namedModules(all, args)
	if err != nil {
		return nil, err
	}
	return moduleTable(mods, files), nil
}

func moduleNames(mods []*module.Module) []string {
	var out []string
	for _, m := range mods {
		out = append(out, m.Name)
	}
	return out
}

func moduleTable(mods []*module.Module, files kernel.ModuleFiles) *view.ModuleTable {
	out := &view.ModuleTable{Rows: []view.Module{}}
	for _, m := range mods {
		row := view.Module{Module: m.Addr, Name: m.Name, Base: m.Base, Size: m.Size, State: m.State, Refs: m.Refs, Taints: sysinfo.TaintLetters(m.Taints)}
		if m.NumSyms > 0 {
			row.Has = append(row.Has, "kallsyms")
		}
		if m.NumORC > 0 {
			row.Has = append(row.Has, "orc")
		}
		if files != nil {
			row.DebugFile = files.Attached(m.Name)
		}
		for _, r := range m.Mem {
			row.Memory = append(row.Memory, view.ModuleRange{Kind: r.Kind, Base: r.Base, Size: r.Size})
		}
		out.Rows = append(out.Rows, row)
	}
	return out
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
