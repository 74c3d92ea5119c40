package vfs

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// The kernel's own limits: a path of PATH_MAX bytes has at most half as many parts, a name at most NAME_MAX bytes.
const (
	maxParts = 4096
	maxName  = 255
)

var errTooDeep = errors.New("the path has more parts than paths can have: dentries or mounts loop or are damaged")

// FilePath is the name of an open file as d_path gives it, see Reader.Name.
func FilePath(v *kernel.View, file vmem.Addr) (string, error) {
	r, err := NewReader(v)
	if err != nil {
		return "", err
	}
	f, err := r.files.Read(v, file)
	if err != nil {
		return "", err
	}
	return r.Name(f.Mnt, f.Dentry)
}

// Path is the path of a dentry as it is seen through a mount: mnt is the address of a struct vfsmount. If part of it
// can't be read, what is known of its end comes with the error.
func Path(v *kernel.View, mnt, at vmem.Addr) (string, error) {
	r, err := NewReader(v)
	if err != nil {
		return "", err
	}
	return r.Path(mnt, at)
}

// place is a dentry as it is seen through a mount.
type place struct{ mnt, dentry vmem.Addr }

type named struct {
	name string
	err  error
}

// maxNames bounds what a Reader remembers of names, open files and tables.
const maxNames = 100_000

// Name is what the kernel calls the dentry (d_path): its path from the root of the mount namespace, with " (deleted)" if it
// has been unlinked; or what its file system makes of it, such as pipe:[4711] or anon_inode:[eventfd].
func (r *Reader) Name(mnt, at vmem.Addr) (string, error) {
	key := place{mnt, at}
	if n, ok := r.names[key]; ok {
		return n.name, n.err
	}
	name, err := r.name(mnt, at)
	if len(r.names) >= maxNames {
		clear(r.names)
	}
	r.names[key] = named{name, err}
	return name, err
}

func (r *Reader) name(mnt, at vmem.Addr) (string, error) {
	d, err := r.dentries.Read(r.v, at)
	if err != nil {
		return "", err
	}
	if name, ok, err := r.special(mnt, at, &d); ok || err != nil {
		return name, err
	}
	path, err := r.Path(mnt, at)
	if err == nil && d.unlinked(at) {
		path += " (deleted)"
	}
	return path, err
}

// Path is the path of a dentry through a mount, see the function Path; with mnt 0 it ends at the root of its file system.
func (r *Reader) Path(mnt, at vmem.Addr) (string, error) {
	if mnt == 0 {
		return r.path(0, at)
	}
	return r.path(mnt-r.mntOff, at)
}

// path goes up from a dentry; here is the struct mount, 0 to stay in the file system.
func (r *Reader) path(here, at vmem.Addr) (string, error) {
	var parts []string
	path := func() string {
		var b strings.Builder
		for i := len(parts) - 1; i >= 0; i-- {
			b.WriteString("/" + parts[i])
		}
		if b.Len() == 0 {
			return "/"
		}
		return b.String()
	}
	var m mountPlace
	var err error
	if here != 0 {
		if m, err = r.mountAt(here); err != nil {
			return "", err
		}
	}
	for range maxParts {
		if here != 0 && at == m.Root {
			if m.Parent == here || m.Parent == 0 {
				return path(), nil
			}
			here, at = m.Parent, m.Mountpoint
			if m, err = r.mountAt(here); err != nil {
				return path(), err
			}
			continue
		}
		d, err := r.dentries.Read(r.v, at)
		if err != nil {
			return path(), err
		}
		if d.Parent == at { // the root of a file system that is mounted nowhere, such as that of pipes
			return path(), nil
		}
		name, err := r.part(at, &d)
		if err != nil {
			return path(), err
		}
		parts = append(parts, name)
		at = d.Parent
	}
	return path(), errTooDeep
}

// part is the dentry's own name.
func (r *Reader) part(at vmem.Addr, d *dentry) (string, error) {
	name, err := r.v.CString(d.Name, int(min(d.NameLen, maxName)))
	if err != nil {
		return name, fmt.Errorf("name of the dentry at %#x: %w", uint64(at), err)
	}
	return name, nil
}

// mountAt reads where a mount stands, and remembers: every path goes through the same few.
func (r *Reader) mountAt(addr vmem.Addr) (mountPlace, error) {
	if m, ok := r.places[addr]; ok {
		return m, nil
	}
	m, err := r.mounts.Read(r.v, addr)
	if err != nil {
		return m, err
	}
	if len(r.places) >= maxNames {
		clear(r.places)
	}
	r.places[addr] = m
	return m, nil
}
