package objfile

import (
	"debug/elf"
	"maps"
)

// Place says where the sections of a relocatable file (a module's) were loaded, by name. It comes before the first question for
// a section, whose contents are then relocated. Sections that are not named have no place: what refers to them finds 0.
func (f *File) Place(addrs map[string]uint64) {
	if f.ELF.Type == elf.ET_REL {
		f.placed = maps.Clone(addrs)
	}
}

// Address is where a section was loaded, or linked to be; 0 if it has no place.
func (f *File) Address(name string) uint64 {
	s := f.find(name)
	if s == nil {
		return 0
	}
	addr, _ := f.address(s)
	return addr
}

// address of a section; ok is false if it is not in memory.
func (f *File) address(s *elf.Section) (addr uint64, ok bool) {
	if f.ELF.Type == elf.ET_REL {
		addr, ok = f.placed[s.Name]
		return addr, ok
	}
	return s.Addr, s.Flags&elf.SHF_ALLOC != 0
}

// Text are the ranges [begin, end) of the file's code, where it was loaded or linked to be.
func (f *File) Text() [][2]uint64 {
	var out [][2]uint64
	for _, s := range f.ELF.Sections {
		if s.Flags&elf.SHF_EXECINSTR == 0 || s.Size == 0 {
			continue
		}
		if addr, ok := f.address(s); ok && addr+s.Size > addr {
			out = append(out, [2]uint64{addr, addr + s.Size})
		}
	}
	return out
}
