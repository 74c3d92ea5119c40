// Package vfs reads the kernel's view of files: names, dentries, mounts.
package vfs

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

type dentry struct {
	Parent  vmem.Addr `k:"d_parent"`
	NameLen uint32    `k:"d_name.len"`
	Name    vmem.Addr `k:"d_name.name"`
}

type mount struct {
	Parent     vmem.Addr `k:"mnt_parent"`
	Mountpoint vmem.Addr `k:"mnt_mountpoint"`
	Root       vmem.Addr `k:"mnt.mnt_root"`
}

// The kernel's own limits: a path of PATH_MAX bytes has at most half as many parts, a name at most NAME_MAX bytes.
const (
	maxParts = 4096
	maxName  = 255
)

// FilePath is the path of an open file, from the root of its mount namespace.
func FilePath(v *kernel.View, file vmem.Addr) (string, error) {
	bind, err := kernel.Bind[struct {
		Mnt    vmem.Addr `k:"f_path.mnt"`
		Dentry vmem.Addr `k:"f_path.dentry"`
	}](v.Kernel, "file")
	if err != nil {
		return "", err
	}
	f, err := bind.Read(v, file)
	if err != nil {
		return "", err
	}
	return Path(v, f.Mnt, f.Dentry)
}

// Path is the path of a dentry as it is seen through a mount: mnt is the address of a struct vfsmount. If part of it
// can't be read, what is known of its end comes with the error.
func Path(v *kernel.View, mnt, at vmem.Addr) (string, error) {
	ds, err := kernel.Bind[dentry](v.Kernel, "dentry")
	if err != nil {
		return "", err
	}
	ms, err := kernel.Bind[mount](v.Kernel, "mount")
	if err != nil {
		return "", err
	}
	off, ok := ms.Type().OffsetOf("mnt")
	if !ok {
		return "", fmt.Errorf("%s has no member mnt", ms.Type())
	}
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
	here := mnt - vmem.Addr(off)
	m, err := ms.Read(v, here)
	if err != nil {
		return "", err
	}
	for range maxParts {
		if at == m.Root {
			if m.Parent == here || m.Parent == 0 {
				return path(), nil
			}
			here, at = m.Parent, m.Mountpoint
			if m, err = ms.Read(v, here); err != nil {
				return path(), err
			}
			continue
		}
		d, err := ds.Read(v, at)
		if err != nil {
			return path(), err
		}
		if d.Parent == at { // the root of a file system that is mounted nowhere, such as that of pipes
			return path(), nil
		}
		name, err := v.CString(d.Name, int(min(d.NameLen, maxName)))
		if err != nil {
			return path(), fmt.Errorf("name of the dentry at %#x: %w", uint64(at), err)
		}
		parts = append(parts, name)
		at = d.Parent
	}
	return path(), errors.New("the path has more parts than paths can have: dentries loop or are damaged")
}
