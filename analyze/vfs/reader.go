// Package vfs reads the kernel's view of files: names, dentries, inodes, open files, mounts, super blocks.
package vfs

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

type dentry struct {
	Parent  vmem.Addr `k:"d_parent"`
	NameLen uint32    `k:"d_name.len"`
	Name    vmem.Addr `k:"d_name.name"`
	Hashed  vmem.Addr `k:"d_hash.pprev,optional"`
	Inode   vmem.Addr `k:"d_inode,optional"`
	Ops     vmem.Addr `k:"d_op,optional"`
	Super   vmem.Addr `k:"d_sb,optional"`
	Data    vmem.Addr `k:"d_fsdata,optional"`
}

// unlinked: the name is gone, and only those who have the file open still hold it.
func (d *dentry) unlinked(at vmem.Addr) bool { return d.Hashed == 0 && d.Parent != at }

type inode struct {
	Mode    uint32    `k:"i_mode"`
	Ino     uint64    `k:"i_ino"`
	Mapping vmem.Addr `k:"i_mapping"`
	Super   vmem.Addr `k:"i_sb"`
	Dev     uint32    `k:"i_rdev"`
	Private vmem.Addr `k:"i_private"`
}

type file struct {
	Mnt    vmem.Addr `k:"f_path.mnt"`
	Dentry vmem.Addr `k:"f_path.dentry"`
	Inode  vmem.Addr `k:"f_inode,optional"`
}

// mountPlace is where a mount stands.
type mountPlace struct {
	Parent     vmem.Addr `k:"mnt_parent"`
	Mountpoint vmem.Addr `k:"mnt_mountpoint"`
	Root       vmem.Addr `k:"mnt.mnt_root"`
}

// Reader reads files and mounts. It remembers what many files share, and belongs to its View's goroutine.
type Reader struct {
	v        *kernel.View
	dentries kernel.Binding[dentry]
	inodes   kernel.Binding[inode]
	files    kernel.Binding[file]
	mounts   kernel.Binding[mountPlace]
	mntOff   vmem.Addr // of the vfsmount in struct mount

	names  map[place]named
	places map[vmem.Addr]mountPlace
	dnames map[vmem.Addr]string // by dentry_operations
	open   map[vmem.Addr]*OpenFile
	tables map[vmem.Addr]*table // by files_struct
	supers map[vmem.Addr]*Super
}

// NewReader makes a Reader; the error names the type or member that the kernel does not have.
func NewReader(v *kernel.View) (*Reader, error) {
	r := &Reader{v: v, names: make(map[place]named), places: make(map[vmem.Addr]mountPlace), dnames: make(map[vmem.Addr]string),
		open: make(map[vmem.Addr]*OpenFile), tables: make(map[vmem.Addr]*table), supers: make(map[vmem.Addr]*Super)}
	var err error
	if r.dentries, err = kernel.Bind[dentry](v.Kernel, "dentry"); err != nil {
		return nil, err
	}
	if r.inodes, err = kernel.Bind[inode](v.Kernel, "inode"); err != nil {
		return nil, err
	}
	if r.files, err = kernel.Bind[file](v.Kernel, "file"); err != nil {
		return nil, err
	}
	if r.mounts, err = kernel.Bind[mountPlace](v.Kernel, "mount"); err != nil {
		return nil, err
	}
	off, ok := r.mounts.Type().OffsetOf("mnt")
	if !ok {
		return nil, fmt.Errorf("%s has no member mnt", r.mounts.Type())
	}
	r.mntOff = vmem.Addr(off)
	return r, nil
}
