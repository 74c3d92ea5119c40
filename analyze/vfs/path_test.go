package vfs_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vfs"
	"kdx/analyze/vmem"
)

const decls = `
struct qstr { unsigned int hash, len; const char *name; };
struct hlist_bl_node { struct hlist_bl_node *next, **pprev; };
struct super_block;
struct dentry { unsigned int d_flags; struct hlist_bl_node d_hash; struct dentry *d_parent; struct qstr d_name; };
struct inode { unsigned short i_mode; unsigned int i_rdev; struct super_block *i_sb; void *i_mapping; unsigned long i_ino; void *i_private; };
struct vfsmount { struct dentry *mnt_root; void *mnt_sb; };
struct mount { void *mnt_hash; struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file { int f_mode; struct path f_path; };
`

type tree struct{ *kerneltest.Machine }

func (m tree) dentry(parent vmem.Addr, name string) vmem.Addr {
	d, n := m.AllocPage(), m.Alloc(256)
	if parent == 0 {
		parent = d
	}
	m.Set(d, "dentry", "d_parent", uint64(parent))
	m.Set(d, "dentry", "d_hash.pprev", uint64(d)) // in the hash of names: not unlinked
	m.Write(n, []byte(name))
	m.Set(d, "dentry", "d_name.name", uint64(n))
	m.Set(d, "dentry", "d_name.len", uint64(len(name)))
	return d
}

func (m tree) mount(parent, at, root vmem.Addr) vmem.Addr {
	x := m.Alloc(64)
	if parent == 0 {
		parent = x
	}
	m.Set(x, "mount", "mnt_parent", uint64(parent))
	m.Set(x, "mount", "mnt_mountpoint", uint64(at))
	m.Set(x, "mount", "mnt.mnt_root", uint64(root))
	return x
}

func TestFilePath(t *testing.T) {
	m := tree{kerneltest.New(t, decls)}
	root := m.dentry(0, "/")
	mnt := m.dentry(root, "mnt")
	disk := m.dentry(0, "/")
	dir := m.dentry(disk, "a dir")
	file := m.dentry(dir, "f.txt")
	top := m.mount(0, root, root)
	sub := m.mount(top, mnt, disk)
	off := vmem.Addr(m.Offset("mount", "mnt"))
	open := func(mount, d vmem.Addr) vmem.Addr {
		f := m.Alloc(64)
		m.Set(f, "file", "f_path.mnt", uint64(mount+off))
		m.Set(f, "file", "f_path.dentry", uint64(d))
		return f
	}
	a, b, c := open(sub, file), open(sub, disk), open(top, root)
	lost := m.dentry(dir, "lost")
	child := open(sub, m.dentry(lost, "child"))
	m.Exclude(lost)
	x, y := m.dentry(root, "x"), m.dentry(root, "y")
	m.Set(x, "dentry", "d_parent", uint64(y))
	m.Set(y, "dentry", "d_parent", uint64(x))
	loop := open(top, x)
	stray, unnamed := m.dentry(dir, "stray"), m.dentry(dir, "unnamed")
	m.Set(stray, "dentry", "d_parent", 0x4141414141414141)
	m.Set(unnamed, "dentry", "d_name.name", 0x4141414141414141)
	wild := map[vmem.Addr]string{open(sub, stray): "/stray", open(sub, unnamed): "/"}
	v := m.View()
	for f, want := range map[vmem.Addr]string{a: "/mnt/a dir/f.txt", b: "/mnt", c: "/"} {
		if got, err := vfs.FilePath(v, f); err != nil || got != want {
			t.Errorf("FilePath = %q, %v; want %q", got, err, want)
		}
	}
	if got, err := vfs.FilePath(v, child); err == nil || got != "/child" || !strings.Contains(err.Error(), "excluded") {
		t.Errorf("FilePath through an excluded dentry = %q, %v; want /child and why no more", got, err)
	}
	for f, want := range wild {
		if got, err := vfs.FilePath(v, f); err == nil || got != want || !strings.Contains(err.Error(), "no address of the kernel") {
			t.Errorf("FilePath through a wild pointer = %q, %v; want %q and why no more", got, err, want)
		}
	}
	if _, err := vfs.FilePath(v, loop); err == nil {
		t.Error("FilePath through dentries that loop: no error")
	}
}
