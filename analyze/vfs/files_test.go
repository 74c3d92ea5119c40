package vfs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vfs"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// What all kernels from 5.10 to 7.2 have in common.
const common = `
struct list_head { struct list_head *next, *prev; };
struct rb_node { unsigned long __rb_parent_color; struct rb_node *rb_right, *rb_left; };
struct rb_root { struct rb_node *rb_node; };
struct hlist_bl_node { struct hlist_bl_node *next, **pprev; };
struct qstr { unsigned int hash, len; const char *name; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct dentry_operations { void *d_revalidate, *d_dname; };
struct file_system_type { const char *name; int fs_flags; };
struct super_block { struct list_head s_list; unsigned int s_dev; struct file_system_type *s_type; unsigned long s_flags; struct dentry *s_root; char s_id[32];
	const char *s_subtype; struct list_head s_inodes; };
struct address_space { void *host; struct xarray { unsigned int xa_lock, xa_flags; void *xa_head; } i_pages; unsigned long nrpages; };
struct xa_node { unsigned char shift, offset, count, nr_values; struct xa_node *parent; void *array; struct list_head private_list; void *slots[64]; };
struct fdtable { unsigned int max_fds; struct file **fd; unsigned long *close_on_exec, *open_fds; };
struct files_struct { int count; struct fdtable *fdt; };
struct fs_struct { int users; struct path root, pwd; };
struct ns_common { void *ops; unsigned int inum; };
struct nsproxy { int count; struct mnt_namespace *mnt_ns; };
struct task_struct { unsigned int __state; struct fs_struct *fs; struct files_struct *files; struct nsproxy *nsproxy; };
struct vfsmount { struct dentry *mnt_root; struct super_block *mnt_sb; int mnt_flags; };
struct proto { void *close; char name[32]; };
struct sock_common { unsigned short skc_family; struct proto *skc_prot; };
struct sock { struct sock_common __sk_common; };
struct socket { int state; void *file; struct sock *sk; };
`

// layouts are the kernels' own, shortened: what moved, and what came and went.
var layouts = map[string]string{
	"5.10": `struct file { void *f_u; struct path f_path; struct inode *f_inode; void *private_data; };
		struct dentry { unsigned int d_flags; struct hlist_bl_node d_hash; struct dentry *d_parent; struct qstr d_name; struct inode *d_inode; unsigned char d_iname[32];
			struct dentry_operations *d_op; struct super_block *d_sb; void *d_fsdata; };
		struct inode { unsigned short i_mode; struct super_block *i_sb; struct address_space *i_mapping; unsigned long i_ino; unsigned int i_rdev; unsigned long i_state;
			struct list_head i_io_list, i_sb_list; void *i_private; };
		struct mount { void *mnt_hash[2]; struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; const char *mnt_devname; struct list_head mnt_list;
			struct mnt_namespace *mnt_ns; int mnt_id; };
		struct mnt_namespace { int count; struct ns_common ns; struct mount *root; struct list_head list; unsigned int mounts; };`,
	"6.12": `struct file { long f_count; void *private_data; struct inode *f_inode; struct path f_path; };
		struct dentry { unsigned int d_flags; struct hlist_bl_node d_hash; struct dentry *d_parent; struct qstr d_name; struct inode *d_inode; unsigned char d_iname[40];
			struct dentry_operations *d_op; struct super_block *d_sb; void *d_fsdata; };
		struct inode { unsigned short i_mode; struct super_block *i_sb; struct address_space *i_mapping; unsigned long i_ino; unsigned int i_rdev; unsigned int i_state;
			struct list_head i_io_list, i_sb_list; void *i_private; };
		struct mount { void *mnt_hash[2]; struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; union { struct rb_node mnt_node; void *mnt_rcu; };
			const char *mnt_devname; struct list_head mnt_list; struct mnt_namespace *mnt_ns; int mnt_id; u64 mnt_id_unique; };
		struct mnt_namespace { struct ns_common ns; struct mount *root; struct rb_root mounts; unsigned int nr_mounts; };`,
	"7.2": `struct inode_state_flags { unsigned int __state; };
		struct file { int f_mode; void *private_data; struct inode *f_inode; union { struct path f_path; struct path __f_path; }; };
		struct dentry { unsigned int d_flags; struct hlist_bl_node d_hash; struct dentry *d_parent; union { struct qstr __d_name; struct qstr d_name; }; struct inode *d_inode;
			unsigned long d_shortname[5]; struct dentry_operations *d_op; struct super_block *d_sb; void *d_fsdata; };
		struct inode { unsigned short i_mode; struct super_block *i_sb; struct address_space *i_mapping; u64 i_ino; unsigned int i_rdev; struct inode_state_flags i_state;
			struct list_head i_io_list, i_sb_list; void *i_private; };
		struct mount { void *mnt_hash[2]; struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; union { struct rb_node mnt_node; void *mnt_rcu; };
			struct mount *mnt_next_for_sb; const char *mnt_devname; struct list_head mnt_list; struct mnt_namespace *mnt_ns; int mnt_id; struct mount *overmount; };
		struct mnt_namespace { struct ns_common ns; struct mount *root; struct { struct rb_root mounts; struct rb_node *mnt_last_node; }; unsigned int nr_mounts; };`,
}

// kern is a kernel in the making.
type kern struct {
	*kerneltest.Machine
	next uint64
}

func newKern(t *testing.T, release string) *kern {
	return &kern{Machine: kerneltest.New(t, common+layouts[release]+"struct socket_alloc { struct socket socket; struct inode vfs_inode; };")}
}

func (k *kern) text(s string) uint64 {
	p := k.Alloc(uint64(len(s)) + 1)
	k.Write(p, append([]byte(s), 0))
	return uint64(p)
}

// ring makes the list_heads a ring; the first is its head.
func (k *kern) ring(at ...vmem.Addr) {
	for i, a := range at {
		b := at[(i+1)%len(at)]
		k.Word(a, uint64(b))
		k.Word(b+8, uint64(a))
	}
}

func (k *kern) member(at vmem.Addr, tag, path string) vmem.Addr {
	return at + vmem.Addr(k.Offset(tag, path))
}

func (k *kern) super(kind string, dev uint64) vmem.Addr {
	sb, fs := k.Alloc(256), k.Alloc(32)
	k.Set(fs, "file_system_type", "name", k.text(kind))
	k.Set(sb, "super_block", "s_type", uint64(fs))
	k.Set(sb, "super_block", "s_dev", dev)
	k.ring(k.member(sb, "super_block", "s_inodes"))
	return sb
}

func (k *kern) inode(sb vmem.Addr, mode uint64) vmem.Addr {
	k.next++
	i, m := k.Alloc(256), k.Alloc(64)
	k.Set(i, "inode", "i_mode", mode)
	k.Set(i, "inode", "i_sb", uint64(sb))
	k.Set(i, "inode", "i_ino", 4000+k.next)
	k.Set(i, "inode", "i_mapping", uint64(m))
	k.ring(k.member(i, "inode", "i_io_list"))
	return i
}

func (k *kern) dentry(parent vmem.Addr, name string, inode, sb vmem.Addr) vmem.Addr {
	d := k.Alloc(256)
	if parent == 0 {
		parent = d
	}
	k.Set(d, "dentry", "d_parent", uint64(parent))
	k.Set(d, "dentry", "d_name.len", uint64(len(name)))
	k.Set(d, "dentry", "d_name.name", k.text(name))
	k.Set(d, "dentry", "d_inode", uint64(inode))
	k.Set(d, "dentry", "d_sb", uint64(sb))
	k.Set(d, "dentry", "d_hash.pprev", uint64(d))
	return d
}

func (k *kern) mount(id uint64, parent, at, root, sb vmem.Addr) vmem.Addr {
	m := k.Alloc(256)
	if parent == 0 {
		parent, at = m, root
	}
	k.Set(m, "mount", "mnt_parent", uint64(parent))
	k.Set(m, "mount", "mnt_mountpoint", uint64(at))
	k.Set(m, "mount", "mnt.mnt_root", uint64(root))
	k.Set(m, "mount", "mnt.mnt_sb", uint64(sb))
	k.Set(m, "mount", "mnt_devname", k.text(fmt.Sprintf("dev%d", id)))
	k.Set(m, "mount", "mnt_id", id)
	return m
}

// namespace puts mounts into a namespace, as a list or as a tree that is a chain to the right.
func (k *kern) namespace(tree bool, mounts ...vmem.Addr) vmem.Addr {
	ns := k.Alloc(256)
	k.Set(ns, "mnt_namespace", "ns.inum", 4026531841)
	if !tree {
		at := []vmem.Addr{k.member(ns, "mnt_namespace", "list")}
		for _, m := range mounts {
			at = append(at, k.member(m, "mount", "mnt_list"))
		}
		k.ring(at...)
		return ns
	}
	link, parent := k.member(ns, "mnt_namespace", "mounts"), vmem.Addr(0)
	for _, m := range mounts {
		node := k.member(m, "mount", "mnt_node")
		k.Word(link, uint64(node))
		k.Word(node, uint64(parent)|1)
		parent, link = node, node+8
	}
	return ns
}

func (k *kern) file(mnt, dentry, inode vmem.Addr) vmem.Addr {
	f := k.Alloc(128)
	k.Set(f, "file", "f_path.mnt", uint64(k.member(mnt, "mount", "mnt")))
	k.Set(f, "file", "f_path.dentry", uint64(dentry))
	k.Set(f, "file", "f_inode", uint64(inode))
	return f
}

// task has files open, by descriptor.
func (k *kern) task(limit uint64, open map[int]vmem.Addr) (task, fdt vmem.Addr) {
	x, fs, fdt := k.Alloc(64), k.Alloc(64), k.Alloc(64)
	fds, set := k.Alloc(8*256), k.Alloc(32)
	k.Set(x, "task_struct", "files", uint64(fs))
	k.Set(fs, "files_struct", "fdt", uint64(fdt))
	k.Set(fdt, "fdtable", "max_fds", limit)
	k.Set(fdt, "fdtable", "fd", uint64(fds))
	k.Set(fdt, "fdtable", "open_fds", uint64(set))
	var words [4]uint64
	for fd, f := range open {
		words[fd/64] |= 1 << (fd % 64)
		k.Word(fds+vmem.Addr(8*fd), uint64(f))
	}
	for i, w := range words {
		k.Word(set+vmem.Addr(8*i), w)
	}
	return x, fdt
}

func (k *kern) reader(t *testing.T) *vfs.Reader {
	t.Helper()
	r, err := vfs.NewReader(k.View())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFiles(t *testing.T) {
	for release := range layouts {
		t.Run(release, func(t *testing.T) {
			k := newKern(t, release)
			special := func(fn string, d vmem.Addr) vmem.Addr {
				at, ops := k.Alloc(16), k.Alloc(32)
				k.Symbol(symbols.Symbol{Name: fn, Addr: uint64(at), Size: 16, Letter: 't'})
				k.Set(ops, "dentry_operations", "d_dname", uint64(at))
				k.Set(d, "dentry", "d_op", uint64(ops))
				return d
			}
			sb, pipes := k.super("tmpfs", 0), k.super("pipefs", 0)
			root := k.dentry(0, "/", k.inode(sb, 0o40755), sb)
			top := k.mount(1, 0, 0, root, sb)
			reg, gone := k.inode(sb, 0o100644), k.inode(sb, 0o100644)
			file := k.dentry(k.dentry(root, "a", k.inode(sb, 0o40755), sb), "b", reg, sb)
			deleted := k.dentry(root, "gone", gone, sb)
			k.Set(deleted, "dentry", "d_hash.pprev", 0)
			pfile := k.inode(pipes, 0o10600)
			number := 4000 + k.next
			pipe := special("pipefs_dname", k.dentry(0, "", pfile, pipes))
			none := k.mount(2, 0, 0, k.dentry(0, "", k.inode(pipes, 0), pipes), pipes)
			memfd := special("simple_dname", k.dentry(0, "memfd:x", k.inode(pipes, 0o100600), pipes))
			anon := special("anon_inodefs_dname", k.dentry(0, "[eventfd]", k.inode(pipes, 0o600), pipes))
			sa := k.Alloc(256)
			sk, prot := k.Alloc(64), k.Alloc(64)
			k.Set(sa, "socket_alloc", "socket.sk", uint64(sk))
			k.Set(sk, "sock", "__sk_common.skc_prot", uint64(prot))
			k.Write(k.member(prot, "proto", "name"), []byte("TCPv6\x00"))
			sock := k.member(sa, "socket_alloc", "vfs_inode")
			k.Set(sock, "inode", "i_mode", 0o140777)
			k.Set(sock, "inode", "i_ino", 77)
			sname := special("sockfs_dname", k.dentry(0, "", sock, pipes))
			task, _ := k.task(128, map[int]vmem.Addr{0: k.file(top, file, reg), 3: k.file(top, deleted, gone), 63: k.file(none, pipe, pfile),
				64: k.file(none, memfd, 0), 65: k.file(none, anon, 0), 100: k.file(none, sname, sock), 127: 0})
			r := k.reader(t)
			want := map[int][2]string{0: {"REG", "/a/b"}, 3: {"REG", "/gone (deleted)"}, 63: {"FIFO", fmt.Sprintf("pipe:[%d]", number)}, 64: {"UNKN", "/memfd:x (deleted)"},
				65: {"UNKN", "anon_inode:[eventfd]"}, 100: {"SOCK", "socket:[77]"}}
			for range 2 { // the second time from what is remembered
				got := 0
				for d, err := range r.OfTask(task) {
					if err != nil {
						t.Fatal(err)
					}
					got++
					name, err := r.Name(d.File.Mnt, d.File.Dentry)
					if w := want[d.FD]; err != nil || name != w[1] || d.File.Meta.Kind() != w[0] {
						t.Errorf("file %d = %s %q, %v; want %v", d.FD, d.File.Meta.Kind(), name, err, w)
					}
				}
				if got != len(want) {
					t.Errorf("%d files; want %d", got, len(want))
				}
			}
			if at, name, err := r.Sock(sock); at != sk || name != "TCPv6" || err != nil {
				t.Errorf("Sock = %#x, %q, %v; want %#x, TCPv6", at, name, err, sk)
			}
		})
	}
}

// A table of descriptors that lies, and files that lead nowhere, are said and end.
func TestBadTables(t *testing.T) {
	k := newKern(t, "6.12")
	sb := k.super("tmpfs", 0)
	root := k.dentry(0, "/", k.inode(sb, 0o40755), sb)
	top := k.mount(1, 0, 0, root, sb)
	good := k.file(top, root, k.inode(sb, 0o40755))
	lost := k.AllocPage()
	k.Exclude(lost)
	wild, _ := k.task(64, map[int]vmem.Addr{1: 0x4141414141414141, 2: good, 3: lost})
	huge, _ := k.task(0xffffffff, map[int]vmem.Addr{0: good})
	astray, fdt := k.task(64, map[int]vmem.Addr{0: good})
	k.Set(fdt, "fdtable", "open_fds", uint64(lost))
	nowhere := k.Alloc(64)
	k.Set(nowhere, "task_struct", "files", 0x1234)
	for _, x := range []struct {
		what string
		task vmem.Addr
		good int
		say  []string
	}{{"wild pointers", wild, 1, []string{"is no address", "excluded"}}, {"max_fds", huge, 0, []string{"damaged"}},
		{"open_fds", astray, 0, []string{"excluded"}}, {"files", nowhere, 0, []string{"is no address"}}} {
		r := k.reader(t)
		good, said := 0, ""
		for d, err := range r.OfTask(x.task) {
			if d.File == nil {
				t.Fatalf("%s: no file", x.what)
			}
			if err != nil {
				said += err.Error() + "\n"
				continue
			}
			good++
		}
		for _, s := range x.say {
			if !strings.Contains(said, s) {
				t.Errorf("%s: said %q; want %q in it", x.what, said, s)
			}
		}
		if good != x.good {
			t.Errorf("%s: %d files; want %d", x.what, good, x.good)
		}
	}
}

// Thousands of wild pointers are not thousands of errors.
func TestManyBadFiles(t *testing.T) {
	k := newKern(t, "7.2")
	x, fdt := k.task(4096, nil)
	fds, set := k.Alloc(8*4096), k.Alloc(512)
	k.Set(fdt, "fdtable", "fd", uint64(fds))
	k.Set(fdt, "fdtable", "open_fds", uint64(set))
	for i := range 4096 {
		k.Word(fds+vmem.Addr(8*i), 0x10+uint64(i))
	}
	for i := range 64 {
		k.Word(set+vmem.Addr(8*i), ^uint64(0))
	}
	n := 0
	for _, err := range k.reader(t).OfTask(x) {
		if err != nil {
			n++
		}
	}
	if n < 256 || n > 300 {
		t.Errorf("%d errors; want some 256, then one that says that the rest is left out", n)
	}
}

func TestMounts(t *testing.T) {
	for release := range layouts {
		t.Run(release, func(t *testing.T) {
			k := newKern(t, release)
			rootfs, disk := k.super("rootfs", 2), k.super("ext4", 8<<20|1)
			k.Set(disk, "super_block", "s_subtype", k.text("sub"))
			root := k.dentry(0, "/", k.inode(rootfs, 0o40755), rootfs)
			mnt := k.dentry(root, "mnt", k.inode(rootfs, 0o40755), rootfs)
			droot := k.dentry(0, "/", k.inode(disk, 0o40755), disk)
			dir := k.dentry(droot, "dir", k.inode(disk, 0o40755), disk)
			top := k.mount(1, 0, 0, root, rootfs)
			first := k.mount(20, top, mnt, droot, disk)
			over := k.mount(21, first, droot, dir, disk) // on top of it, a directory of the same disk
			in := k.mount(22, over, k.dentry(dir, "in", k.inode(disk, 0o40755), disk), droot, disk)
			k.Set(over, "mount", "mnt.mnt_flags", 0x40|0x20)
			list := []vmem.Addr{top, first, over, in}
			tree := release != "5.10"
			if !tree { // a reader's place in the list
				cursor := k.Alloc(256)
				k.Set(cursor, "mount", "mnt.mnt_flags", 0x10000000)
				list = append(list[:2:2], append([]vmem.Addr{cursor}, list[2:]...)...)
			}
			ns := k.namespace(tree, list...)
			task, proxy := k.Alloc(64), k.Alloc(32)
			k.Set(task, "task_struct", "nsproxy", uint64(proxy))
			k.Set(proxy, "nsproxy", "mnt_ns", uint64(ns))
			r := k.reader(t)
			if got, err := r.Namespace(task); got != ns || err != nil {
				t.Fatalf("Namespace = %#x, %v; want %#x", got, err, ns)
			}
			if n, err := r.NamespaceID(ns); n != 4026531841 || err != nil {
				t.Errorf("NamespaceID = %d, %v", n, err)
			}
			want := []string{"1 / dev1 rw", "20 /mnt dev20 rw", "21 /mnt dev21 ro,relatime", "22 /mnt/in dev22 rw"}
			var got []string
			for m, err := range r.Mounts(ns) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%d %s %s %s", m.ID, m.Path, m.Source, strings.Join(m.Options(), ",")))
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("mounts %q; want %q", got, want)
			}
			s, err := r.Super(disk)
			if err != nil || s.Type != "ext4.sub" || vfs.Major(s.Dev) != 8 || vfs.Minor(s.Dev) != 1 {
				t.Errorf("Super = %+v, %v; want ext4.sub on 8:1", s, err)
			}
			if p, err := r.Path(0, dir); p != "/dir" || err != nil {
				t.Errorf("Path inside the file system = %q, %v; want /dir", p, err)
			}
		})
	}
}

// Mounts that hang on each other, lists and trees that loop, and pointers to nowhere end, and are said.
func TestBadMounts(t *testing.T) {
	for _, release := range []string{"5.10", "6.12"} {
		k := newKern(t, release)
		tree := release != "5.10"
		sb := k.super("tmpfs", 0)
		root := k.dentry(0, "/", k.inode(sb, 0o40755), sb)
		a, b := k.mount(1, 0, 0, root, sb), k.mount(2, 0, 0, root, sb)
		k.Set(a, "mount", "mnt_parent", uint64(b))
		k.Set(b, "mount", "mnt_parent", uint64(a))
		wild := k.mount(3, 0x4141414141414141, root, root, sb)
		ns := k.namespace(tree, a, b, wild)
		r := k.reader(t)
		var errs []string
		for m, err := range r.Mounts(ns) {
			if err == nil {
				t.Errorf("%s: mount %d at %q: no error", release, m.ID, m.Path)
				continue
			}
			errs = append(errs, err.Error())
		}
		if len(errs) != 3 || !strings.Contains(errs[0], "loop") || !strings.Contains(errs[2], "no address") {
			t.Errorf("%s: errors %q; want two loops and a wild pointer", release, errs)
		}
		// The container itself comes back to where it was.
		k = newKern(t, release)
		sb = k.super("tmpfs", 0)
		root = k.dentry(0, "/", k.inode(sb, 0o40755), sb)
		a, b = k.mount(1, 0, 0, root, sb), k.mount(2, 0, 0, root, sb)
		broken := k.namespace(tree, a, b)
		if tree {
			k.Word(k.member(b, "mount", "mnt_node")+16, uint64(k.member(a, "mount", "mnt_node")))
		} else {
			k.Word(k.member(b, "mount", "mnt_list"), uint64(k.member(a, "mount", "mnt_list")))
		}
		n, loop := 0, false
		for _, err := range k.reader(t).Mounts(broken) {
			n++
			loop = loop || errors.Is(err, walk.ErrLoop)
		}
		if !loop || n > 8 {
			t.Errorf("%s: a container that loops: %d items, loop said: %v", release, n, loop)
		}
	}
}

func TestDirty(t *testing.T) {
	k := newKern(t, "7.2")
	sb := k.super("ext4", 0)
	clean, dirty := k.inode(sb, 0o100644), k.inode(sb, 0o100644)
	wb := k.Alloc(16)
	k.ring(wb, k.member(dirty, "inode", "i_io_list"))
	head := k.member(sb, "super_block", "s_inodes")
	links := []vmem.Addr{head, k.member(clean, "inode", "i_sb_list"), k.member(dirty, "inode", "i_sb_list")}
	k.ring(links...)
	bad := k.super("ext4", 0)
	x, y := k.inode(bad, 0), k.inode(bad, 0)
	k.ring(k.member(bad, "super_block", "s_inodes"), k.member(x, "inode", "i_sb_list"), k.member(y, "inode", "i_sb_list"))
	k.Word(k.member(y, "inode", "i_sb_list"), uint64(k.member(x, "inode", "i_sb_list"))) // back to x
	wild := k.super("ext4", 0)
	k.Word(k.member(wild, "super_block", "s_inodes"), 0x4141414141414141)
	r := k.reader(t)
	n := 0
	for at, err := range r.Dirty(sb) {
		if n++; at != dirty || err != nil {
			t.Errorf("Dirty: %#x, %v; want %#x", at, err, dirty)
		}
	}
	if n != 1 {
		t.Errorf("%d dirty inodes; want 1", n)
	}
	for what, sb := range map[string]vmem.Addr{"loop": bad, "wild pointer": wild} {
		n, said := 0, false
		for _, err := range r.Dirty(sb) {
			n++
			said = said || err != nil
		}
		if !said || n > 4 {
			t.Errorf("inodes of a super block, %s: %d items, said: %v", what, n, said)
		}
	}
}

func TestCached(t *testing.T) {
	k := newKern(t, "6.12")
	i, mapping := k.inode(k.super("ext4", 0), 0o100644), k.Alloc(64)
	k.Set(i, "inode", "i_mapping", uint64(mapping))
	node := k.Alloc(1024)
	k.Set(mapping, "address_space", "nrpages", 2)
	k.Set(mapping, "address_space", "i_pages.xa_head", uint64(node)|2)
	slots := k.member(node, "xa_node", "slots")
	k.Word(slots, 0xffffea0000000040)
	k.Word(slots+8, 0x123<<1|1) // a page that is gone
	k.Word(slots+16, 0xffffea0000000080)
	r := k.reader(t)
	meta, err := r.Inode(i)
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for e, err := range r.Cached(meta.Mapping) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Index)
	}
	if n, err := r.CachedPages(meta.Mapping); n != 2 || err != nil || len(got) != 2 || got[0] != 0 || got[1] != 2 {
		t.Errorf("pages at %v, count %d, %v; want those at 0 and 2", got, n, err)
	}
}

// What was cancelled is not remembered as all there is.
func TestFilesCancelled(t *testing.T) {
	k := newKern(t, "6.12")
	x, _ := k.task(64, map[int]vmem.Addr{0: k.Alloc(128)})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, err := vfs.NewReader(k.ViewContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.OfTask(x) {
		if err == nil {
			t.Error("a file from a command that was cancelled")
		}
	}
}
