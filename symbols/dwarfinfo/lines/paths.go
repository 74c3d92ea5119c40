package lines

import (
	"path"
	"strings"

	"kdx/symbols/dwarfinfo"
)

// pathOf is the path of a file of u's table as it was compiled: clean, relative to the unit's directory or absolute. It is ""
// for an index without an entry.
func (h *header) pathOf(u *dwarfinfo.Unit, index uint64) string {
	if index >= uint64(len(h.files)) {
		return ""
	}
	f := &h.files[index]
	if h.version < 5 && index == 0 {
		return path.Clean(u.Name())
	}
	if len(f.name) == 0 {
		return ""
	}
	name := string(f.name)
	if strings.HasPrefix(name, "/") || f.dir == 0 || f.dir >= uint64(len(h.dirs)) { // directory 0 is the unit's own
		return path.Clean(name)
	}
	return path.Clean(string(h.dirs[f.dir]) + "/" + name)
}

// treeRoot is where d's source tree lay when it was compiled, "/build/linux-6.1/"; "" if that can't be told. Units whose names are
// relative to the tree tell it of those, assembled ones mostly, whose names are not.
func treeRoot(d *dwarfinfo.Data) string {
	const mainFile = "/init/main.c" // in every kernel
	dirs := make(map[string]bool)
	var absolute []string
	for _, u := range d.Units() {
		name := path.Clean(u.Name())
		dir := path.Dir(name)
		switch {
		case strings.HasSuffix(name, mainFile) && path.IsAbs(name):
			return strings.TrimSuffix(name, mainFile) + "/"
		case path.IsAbs(name) && len(absolute) < maxAbsolute:
			absolute = append(absolute, name)
		case path.IsAbs(name), dirs[dir], !strings.Contains(dir, "/"), strings.HasPrefix(dir, "../"):
			continue // "kernel" alone would be found in arch/x86/kernel
		default:
			dirs[dir] = true
		}
		for _, a := range absolute {
			if root, ok := rootOf(a, dirs); ok {
				return root
			}
		}
	}
	return ""
}

const maxAbsolute = 4 // names that treeRoot tries to explain

// rootOf is what precedes one of dirs in the absolute path of a file in it.
func rootOf(file string, dirs map[string]bool) (string, bool) {
	dir := path.Dir(file)
	for i, c := range dir {
		if c == '/' && dirs[dir[i+1:]] {
			return dir[:i+1], true
		}
	}
	return "", false
}

// relative makes a compiled path relative to the tree's root: "kernel/sched/core.c". What lies elsewhere stays as it is.
func (f *Finder) relative(u *dwarfinfo.Unit, p string) string {
	if !path.IsAbs(p) {
		for strings.HasPrefix(p, "../") { // the kernel was built in a directory of its own below its tree
			p = p[len("../"):]
		}
		return p
	}
	if dir := u.CompDir(); path.IsAbs(dir) {
		if rest, ok := strings.CutPrefix(p, path.Clean(dir)+"/"); ok {
			return rest
		}
	}
	if root := f.root(); root != "" {
		return strings.TrimPrefix(p, root)
	}
	return p
}
