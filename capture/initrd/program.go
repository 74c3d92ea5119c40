package initrd

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// programs brings programs into the initrd with what they need to start: interpreters of scripts, the dynamic loader, shared libraries.
// What a program opens by itself later (plugins, NSS) nobody can know; it is named as hook-file.
type programs struct {
	host  *host
	files fileset
	// confDirs are the directories of /etc/ld.so.conf; nil until they are asked for.
	confDirs []string
	read     bool
	// loaders are the names of loaders that are in: they count as libraries, too.
	loaders map[string]bool
}

const maxTree = 4096 // files in a directory that is named as hook-file

// add brings in a file or a directory by its path on the host, for what.
func (p *programs) add(what, name string) error {
	if !path.IsAbs(name) {
		return fmt.Errorf("%s: its path is not absolute", name)
	}
	name = path.Clean(name)
	switch first, _, _ := strings.Cut(name[1:], "/"); first {
	case "kdx", "init", "proc", "sys", "dev", "run", "":
		return fmt.Errorf("%s: that path is taken in the capture initrd", name)
	}
	st, err := os.Stat(p.host.path(name))
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return p.file(what, name, 0)
	}
	n := 0
	base := p.host.path(name)
	return filepath.WalkDir(base, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if n++; n > maxTree {
			return fmt.Errorf("%s has more than %d files", name, maxTree)
		}
		rel, err := filepath.Rel(base, at)
		if err != nil {
			return err
		}
		in := path.Join(name, filepath.ToSlash(rel))
		if st, err := os.Stat(p.host.path(in)); err != nil || !st.Mode().IsRegular() {
			return nil // sockets, broken links
		}
		return p.file(what, in, 0)
	})
}

// hook brings in a command of the configuration.
func (p *programs) hook(what, command string) error {
	name := strings.Fields(command)[0]
	st, err := os.Stat(p.host.path(name))
	if err != nil {
		return err
	}
	if st.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable (chmod +x)", name)
	}
	return p.add(what, name)
}

func (p *programs) file(what, name string, depth int) error {
	if p.files.has(name) {
		return nil
	}
	const deepest = 32 // libraries of libraries
	if depth > deepest {
		return fmt.Errorf("%s: %d programs and libraries that each need the next", name, depth)
	}
	data, fi, err := p.host.take(what, p.host.path(name))
	if err != nil {
		return err
	}
	if err := p.files.add(name, uint32(fi.Mode().Perm()), data); err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(data, []byte("#!")):
		err = p.script(what, data, depth)
	case bytes.HasPrefix(data, []byte(elf.ELFMAG)):
		err = p.libraries(what, name, data, depth)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// script brings in the interpreter that the first line names; that of env is looked for as env does.
func (p *programs) script(what string, data []byte, depth int) error {
	line, _, _ := bytes.Cut(data[2:min(len(data), 256)], []byte{'\n'})
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return errors.New("its first line is #! without an interpreter")
	}
	if err := p.file(what, words[0], depth+1); err != nil {
		return fmt.Errorf("its interpreter: %w", err)
	}
	if path.Base(words[0]) != "env" {
		return nil
	}
	for _, w := range words[1:] {
		if strings.HasPrefix(w, "-") || strings.Contains(w, "=") {
			continue
		}
		for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
			name := path.Join(dir, w)
			if st, err := os.Stat(p.host.path(name)); err == nil && st.Mode().IsRegular() {
				return p.file(what, name, depth+1)
			}
		}
		return fmt.Errorf("its interpreter %s is in no directory of programs", w)
	}
	return nil
}

// libraries brings in the loader and the libraries that an ELF file names.
func (p *programs) libraries(what, name string, data []byte, depth int) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("a damaged ELF file: %w", err)
	}
	for _, s := range f.Progs {
		if s.Type != elf.PT_INTERP || s.Filesz > 4096 {
			continue
		}
		b := make([]byte, s.Filesz)
		if _, err := s.ReadAt(b, 0); err != nil {
			return err
		}
		loader := string(bytes.TrimRight(b, "\x00"))
		if !path.IsAbs(loader) {
			return fmt.Errorf("its loader %q is no absolute path", loader)
		}
		if err := p.file(what, loader, depth+1); err != nil {
			return fmt.Errorf("its loader: %w", err)
		}
		p.loaders[path.Base(loader)] = true
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("its list of libraries: %w", err)
	}
	dirs := p.searchPath(f, name)
	for _, lib := range needed {
		if err := p.library(what, lib, dirs, f, depth); err != nil {
			return err
		}
	}
	return nil
}

func (p *programs) library(what, lib string, dirs []string, of *elf.File, depth int) error {
	if strings.Contains(lib, "/") {
		return p.file(what, path.Clean("/"+lib), depth+1)
	}
	if p.loaders[lib] {
		return nil
	}
	for _, d := range dirs {
		name := path.Join(d, lib)
		if !p.fits(name, of) {
			continue
		}
		if err := p.file(what, name, depth+1); err != nil {
			return err
		}
		if slices.Contains(p.confDirs, d) { // the loader finds it by its cache only
			if cache := "/etc/ld.so.cache"; !p.files.has(cache) {
				return p.file(what, cache, depth+1)
			}
		}
		return nil
	}
	return fmt.Errorf("its library %s was not found in %s", lib, strings.Join(dirs, ", "))
}

// fits says whether a file is a library for the same kind of machine.
func (p *programs) fits(name string, of *elf.File) bool {
	f, err := elf.Open(p.host.path(name))
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Class == of.Class && f.Machine == of.Machine
}

// multiarch are Debian's directories of libraries.
var multiarch = map[elf.Machine]string{
	elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu", elf.EM_386: "i386-linux-gnu", elf.EM_ARM: "arm-linux-gnueabihf",
	elf.EM_PPC64: "powerpc64le-linux-gnu", elf.EM_S390: "s390x-linux-gnu", elf.EM_RISCV: "riscv64-linux-gnu", elf.EM_LOONGARCH: "loongarch64-linux-gnu",
}

// searchPath lists where the loader looks for libraries of a file (ld.so(8)).
func (p *programs) searchPath(f *elf.File, name string) []string {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			continue
		}
		for _, v := range values {
			for _, d := range strings.Split(v, ":") {
				d = strings.NewReplacer("${ORIGIN}", path.Dir(name), "$ORIGIN", path.Dir(name)).Replace(d)
				if path.IsAbs(d) && !strings.Contains(d, "$") {
					dirs = append(dirs, path.Clean(d))
				}
			}
		}
	}
	if m := multiarch[f.Machine]; m != "" {
		dirs = append(dirs, "/lib/"+m, "/usr/lib/"+m)
	}
	if f.Class == elf.ELFCLASS64 {
		dirs = append(dirs, "/lib64", "/usr/lib64")
	}
	dirs = append(dirs, "/lib", "/usr/lib")
	if !p.read {
		p.read = true
		for _, d := range p.readConf("/etc/ld.so.conf", 0) {
			if !slices.Contains(dirs, d) {
				p.confDirs = append(p.confDirs, d)
			}
		}
	}
	return append(dirs, p.confDirs...)
}

// readConf reads /etc/ld.so.conf: directories, and files to include.
func (p *programs) readConf(name string, depth int) []string {
	b, err := readSmall(p.host.path(name), 1<<20)
	if err != nil || depth > 4 {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		w := strings.Fields(line)
		switch {
		case len(w) == 2 && w[0] == "include":
			pattern := w[1]
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(name), pattern)
			}
			found, err := filepath.Glob(p.host.root + pattern)
			if err != nil {
				continue
			}
			for _, f := range found {
				out = append(out, p.readConf(strings.TrimPrefix(f, p.host.root), depth+1)...)
			}
		case len(w) == 1 && path.IsAbs(w[0]):
			out = append(out, path.Clean(w[0]))
		}
	}
	return out
}
