package analyze

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/symbols"
	"kdx/symbols/debuginfo"
	"kdx/symbols/objfile"
)

// ModuleMismatchError: a debug file is of another module, or of another build, than what was loaded.
type ModuleMismatchError struct {
	Path, Module   string
	What           string // "build-id", "srcversion", "kernel release", "name", "machine"
	InFile, InDump string
}

func (e *ModuleMismatchError) Error() string {
	return fmt.Sprintf("%s is not of the module %s that was loaded: its %s is %s, the module's is %s (--force takes it all the same)", e.Path, e.Module, e.What, e.InFile, e.InDump)
}

// checkModule compares identities, the surest first: what one of the two does not say can't be compared. obj has its place.
func checkModule(v *kernel.View, m *module.Module, obj *objfile.File) error {
	fail := func(what, inFile, inDump string) error {
		return &ModuleMismatchError{obj.Path, m.Name, what, inFile, inDump}
	}
	if want := debuginfo.Machine(string(v.Image().Info().Machine)); want != elf.EM_NONE && obj.ELF.Machine != want {
		return fail("machine", obj.ELF.Machine.String(), want.String())
	}
	inDump, _ := module.BuildID(v, m) // without one there is more to compare
	if inFile := obj.BuildID(); inFile != "" && inDump != "" {
		if inFile != inDump {
			return fail("build-id", inFile, inDump)
		}
		return nil
	}
	info := modinfo(obj)
	if name := strings.ReplaceAll(info["name"], "-", "_"); name != "" && name != strings.ReplaceAll(m.Name, "-", "_") {
		return fail("name", info["name"], m.Name)
	}
	loaded, _ := v.ObjectOf("module", m.Addr).Field("srcversion").CString(64) // NULL without CONFIG_MODULE_SRCVERSION_ALL
	if s := info["srcversion"]; s != "" && loaded != "" {
		if s != loaded {
			return fail("srcversion", s, loaded)
		}
		return nil
	}
	built, _, _ := strings.Cut(info["vermagic"], " ")
	if r := release(v.Kernel); built != "" && r != "" && built != r {
		return fail("kernel release", built, r)
	}
	return nil
}

// modinfo are the words of a module's .modinfo.
func modinfo(obj *objfile.File) map[string]string {
	out := make(map[string]string)
	b, err := obj.Section(".modinfo") // separate debug files have none
	if err != nil {
		return out
	}
	for word := range bytes.SplitSeq(b, []byte{0}) {
		if key, value, ok := strings.Cut(string(word), "="); ok {
			out[key] = value
		}
	}
	return out
}

// placeModule tells obj where its sections were loaded. named knows the symbols of modules.
func placeModule(v *kernel.View, m *module.Module, obj *objfile.File, named func(string) ([]symbols.Symbol, error)) error {
	if obj.ELF.Type != elf.ET_REL {
		return fmt.Errorf("%s is no kernel module: it is not relocatable (%v)", obj.Path, obj.ELF.Type)
	}
	secs, err := module.Sections(v, m)
	if err != nil && len(secs) == 0 {
		return fmt.Errorf("%s can't be placed: where the sections of module %s lie: %w", obj.Path, m.Name, err)
	}
	place := make(map[string]uint64)
	for _, s := range secs {
		if s.Name != nil && m.Contains(s.Addr) { // those for initialisation were freed, and their memory may be another's now
			place[*s.Name] = uint64(s.Addr)
		}
	}
	if len(place) == 0 {
		addBySymbols(m, obj, named, place)
	}
	if len(place) == 0 {
		return fmt.Errorf("%s can't be placed: the dump does not say where the sections of module %s lie", obj.Path, m.Name)
	}
	// Per-CPU variables are not in the module's memory: their addresses are offsets into each CPU's area.
	if p, err := v.ObjectOf("module", m.Addr).Field("percpu").Pointer(); err == nil && p != 0 {
		place[".data..percpu"] = uint64(p)
	}
	obj.Place(place)
	return nil
}

// addBySymbols finds sections through symbols that the loaded module and the file have both (kernels without CONFIG_SYSFS or
// CONFIG_KALLSYMS keep no addresses of sections). A section is believed if all its symbols agree.
func addBySymbols(m *module.Module, obj *objfile.File, named func(string) ([]symbols.Symbol, error), place map[string]uint64) {
	syms, err := obj.ELF.Symbols()
	if err != nil {
		return
	}
	const enough = 64 // symbols of a section
	agree := make(map[elf.SectionIndex]int)
	base := make(map[elf.SectionIndex]uint64)
	for _, s := range syms {
		t := elf.ST_TYPE(s.Info)
		if t != elf.STT_FUNC && t != elf.STT_OBJECT || int(s.Section) >= len(obj.ELF.Sections) || agree[s.Section] < 0 || agree[s.Section] >= enough {
			continue
		}
		found, err := named(s.Name)
		if err != nil {
			continue
		}
		at, n := uint64(0), 0
		for _, f := range found {
			if f.Module == m.Name {
				at, n = f.Addr-s.Value, n+1
			}
		}
		switch {
		case n != 1: // static names repeat
		case agree[s.Section] > 0 && base[s.Section] != at:
			agree[s.Section] = -1
		default:
			base[s.Section] = at
			agree[s.Section]++
		}
	}
	for i, n := range agree {
		if n > 0 {
			place[obj.ELF.Sections[i].Name] = base[i]
		}
	}
}
