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

// treeRoot is where the source tree of u lay when it was compiled: "/build/linux-6.1/"; "" if that can't be told. Assemblers give
// absolute paths to what the unit calls by a relative name.
func (h *header) treeRoot(u *dwarfinfo.Unit) string {
	name := path.Clean(u.Name())
	if name == "." || path.IsAbs(name) || strings.HasPrefix(name, "../") {
		return ""
	}
	for i := range min(2, len(h.files)) {
		p := h.pathOf(u, uint64(i))
		if root, ok := strings.CutSuffix(p, "/"+name); ok && path.IsAbs(p) {
			return root + "/"
		}
	}
	return ""
}

// mainFile is in every kernel; its absolute name tells where the tree lay.
const mainFile = "/init/main.c"

// kernelRoot is where the kernel's tree lay, told by the unit of init/main.c; "" if that is not absolute, or not there.
func kernelRoot(d *dwarfinfo.Data) string {
	for _, u := range d.Units() {
		name := path.Clean(u.Name())
		if root, ok := strings.CutSuffix(name, mainFile); ok && path.IsAbs(name) {
			return root + "/"
		}
	}
	return ""
}

// relative makes a compiled path relative to the tree's root: "kernel/sched/core.c". What lies elsewhere stays as it is.
func (f *Finder) relative(u *dwarfinfo.Unit, root, p string) string {
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
	for _, r := range []string{root, f.kernelRoot()} {
		if rest, ok := strings.CutPrefix(p, r); ok && r != "" {
			return rest
		}
	}
	return p
}
