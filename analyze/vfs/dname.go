package vfs

import (
	"fmt"

	"kdx/analyze/vmem"
)

// special is the name of a dentry whose file system names it otherwise than by its place (dentry_operations.d_dname); ok is
// false for all others, and for the root of a mount. The function says which: each is known by its symbol.
func (r *Reader) special(mnt, at vmem.Addr, d *dentry) (name string, ok bool, err error) {
	if d.Ops == 0 || d.Inode == 0 {
		return "", false, nil
	}
	fn, known := r.dnames[d.Ops]
	if !known {
		if fn, err = r.dnameOf(d.Ops); err != nil {
			return "", false, err
		}
		r.dnames[d.Ops] = fn
	}
	if fn == "" {
		return "", false, nil
	}
	if d.Parent == at && mnt != 0 {
		m, err := r.mountAt(mnt - r.mntOff)
		if err != nil || m.Root == at {
			return "", false, err
		}
	}
	own, err := r.part(at, d)
	if err != nil {
		return "", false, err
	}
	switch fn {
	case "simple_dname": // shared memory, memfd and huge pages without a file of their own
		return "/" + own + " (deleted)", true, nil
	case "anon_inodefs_dname":
		return "anon_inode:" + own, true, nil
	case "pidfs_dname": // since 6.9; the name that it had before stays
		return "anon_inode:[pidfd]", true, nil
	case "dmabuffs_dname":
		return "/" + own + ":" + r.bufferName(d.Data), true, nil
	}
	i, err := r.inodes.Read(r.v, d.Inode)
	if err != nil {
		return "", false, err
	}
	switch fn {
	case "pipefs_dname":
		return fmt.Sprintf("pipe:[%d]", i.Ino), true, nil
	case "sockfs_dname":
		return fmt.Sprintf("socket:[%d]", i.Ino), true, nil
	case "ns_dname":
		kind, err := r.namespaceKind(i.Private)
		return fmt.Sprintf("%s:[%d]", kind, i.Ino), true, err
	}
	return "", false, nil
}

// dnameOf is the name of the function that names dentries with these operations, "" if they have none.
func (r *Reader) dnameOf(ops vmem.Addr) (string, error) {
	fn, err := r.v.ObjectOf("dentry_operations", ops).Field("d_dname").Pointer()
	if err != nil || fn == 0 {
		return "", err
	}
	s, err := r.v.SymbolAt(fn)
	if err != nil {
		return "", fmt.Errorf("how its file system names the dentry: there is no symbol at %#x", uint64(fn))
	}
	return s.Name, nil
}

// bufferName is what a driver called its dma_buf; most have no name.
func (r *Reader) bufferName(buf vmem.Addr) string {
	p, err := r.v.ObjectOf("dma_buf", buf).Field("name").Pointer()
	if err != nil || p == 0 {
		return ""
	}
	name, _ := r.v.CString(p, maxName)
	return name
}

// namespaceKind is "net", "mnt", …: what the namespace behind an nsfs inode says.
func (r *Reader) namespaceKind(ns vmem.Addr) (string, error) {
	p, err := r.v.ObjectOf("ns_common", ns).Field("ops").Field("name").Pointer()
	if err != nil {
		return "", err
	}
	return r.v.CString(p, maxName)
}
