package vfs

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Mount is a file system at a place in a mount namespace. ParentID and Path are known only if the parent could be read.
type Mount struct {
	Addr       vmem.Addr // struct mount
	VFSMount   vmem.Addr // the vfsmount inside it
	Parent     vmem.Addr // struct mount; itself for a mount that hangs nowhere
	Mountpoint vmem.Addr // dentry of the parent's file system
	Root       vmem.Addr // dentry that stands at Path: not the file system's root for a bind mount
	SB         vmem.Addr // struct super_block
	Namespace  vmem.Addr
	ID         int32
	Flags      uint32 // MNT_*
	Source     string // what was mounted: a device, or a word
	Path       string // from the root of the namespace
}

type mount struct {
	Parent     vmem.Addr `k:"mnt_parent"`
	Mountpoint vmem.Addr `k:"mnt_mountpoint"`
	VFS        vmem.Addr `k:"&mnt"`
	Root       vmem.Addr `k:"mnt.mnt_root"`
	SB         vmem.Addr `k:"mnt.mnt_sb"`
	Flags      uint32    `k:"mnt.mnt_flags"`
	Source     vmem.Addr `k:"mnt_devname"`
	Namespace  vmem.Addr `k:"mnt_ns"`
	ID         int32     `k:"mnt_id"`
}

// mntCursor marks an entry of the list of mounts that is a reader's place in it and no mount (5.8 to 6.7).
const mntCursor = 0x10000000

// maxSource bounds what was given as the source of a mount: mount(2) takes a page at most.
const maxSource = 4096

// Namespace is the mount namespace of the task whose task_struct lies at addr, 0 if it has left it.
func (r *Reader) Namespace(task vmem.Addr) (vmem.Addr, error) {
	p, err := r.v.ObjectOf("task_struct", task).Field("nsproxy").Pointer()
	if err != nil || p == 0 {
		return 0, err
	}
	return r.v.ObjectOf("nsproxy", p).Field("mnt_ns").Pointer()
}

// NamespaceID is the number of a mount namespace, as /proc/PID/ns/mnt shows it.
func (r *Reader) NamespaceID(ns vmem.Addr) (uint64, error) {
	return r.v.ObjectOf("mnt_namespace", ns).Field("ns.inum").Uint()
}

// Mounts yields the mounts of a namespace: in the order of its list, or since 6.8 of its tree, by their ids. A mount whose
// path could not be found out in full comes with the error.
func (r *Reader) Mounts(ns vmem.Addr) iter.Seq2[Mount, error] {
	return func(yield func(Mount, error) bool) {
		for at, err := range r.mountsOf(ns) {
			if err != nil {
				if !yield(Mount{}, err) {
					return
				}
				continue
			}
			m, cursor, err := r.Mount(at)
			if cursor {
				continue
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// mountsOf yields the struct mounts of a namespace.
func (r *Reader) mountsOf(ns vmem.Addr) iter.Seq2[vmem.Addr, error] {
	if node, ok := r.mounts.Type().OffsetOf("mnt_node"); ok { // since 6.8
		if root, ok := r.v.OffsetOf("mnt_namespace", "mounts"); ok {
			return walk.RBTree(r.v, ns+vmem.Addr(root), node)
		}
	}
	head, ok1 := r.v.OffsetOf("mnt_namespace", "list")
	link, ok2 := r.mounts.Type().OffsetOf("mnt_list")
	if !ok1 || !ok2 {
		return func(yield func(vmem.Addr, error) bool) {
			yield(0, errors.New("struct mnt_namespace of this kernel has neither a tree nor a list of mounts"))
		}
	}
	return walk.List(r.v, ns+vmem.Addr(head), link)
}

// Mount reads the struct mount at addr; cursor says that it is none, see Mounts.
func (r *Reader) Mount(addr vmem.Addr) (m Mount, cursor bool, err error) {
	s, err := kernel.ReadStruct[mount](r.v, "mount", addr)
	if err != nil {
		return Mount{Addr: addr}, false, err
	}
	if s.Flags&mntCursor != 0 {
		return Mount{}, true, nil
	}
	m = Mount{Addr: addr, VFSMount: s.VFS, Parent: s.Parent, Mountpoint: s.Mountpoint, Root: s.Root, SB: s.SB, Namespace: s.Namespace,
		ID: s.ID, Flags: s.Flags}
	if s.Source != 0 {
		if m.Source, err = r.v.CString(s.Source, maxSource); err != nil {
			err = fmt.Errorf("source of the mount at %#x: %w", uint64(addr), err)
		}
	}
	path, perr := r.path(addr, s.Root)
	if m.Path = path; perr != nil {
		m.Path, err = "", fmt.Errorf("place of the mount at %#x: %w", uint64(addr), perr)
	}
	return m, false, err
}

// MountID is the id of the mount at addr.
func (r *Reader) MountID(addr vmem.Addr) (int32, error) {
	id, err := r.v.ObjectOf("mount", addr).Field("mnt_id").Int()
	return int32(id), err
}

// Options are a mount's own options in the words of mountinfo.
func (m *Mount) Options() []string {
	const readOnly, noSymFollow = 0x40, 0x80
	out := []string{"rw"}
	if m.Flags&readOnly != 0 {
		out[0] = "ro"
	}
	for _, o := range []struct {
		bit  uint32
		name string
	}{{1, "nosuid"}, {2, "nodev"}, {4, "noexec"}, {8, "noatime"}, {0x10, "nodiratime"}, {0x20, "relatime"}, {noSymFollow, "nosymfollow"}} {
		if m.Flags&o.bit != 0 {
			out = append(out, o.name)
		}
	}
	return out
}

// Super is a super block: one file system, wherever it is mounted.
type Super struct {
	Addr  vmem.Addr
	Type  string // "ext4", "fuse.sshfs"
	ID    string // s_id: the device's name, or the type's
	Dev   uint32 // kernel's dev_t
	Flags uint64 // SB_*
	Root  vmem.Addr
}

type superBlock struct {
	Type    vmem.Addr `k:"s_type"`
	Subtype vmem.Addr `k:"s_subtype,optional"`
	ID      string    `k:"s_id"`
	Dev     uint32    `k:"s_dev"`
	Flags   uint64    `k:"s_flags"`
	Root    vmem.Addr `k:"s_root"`
}

// ReadOnly: nothing can be written to the file system.
func (s *Super) ReadOnly() bool { return s.Flags&1 != 0 }

// Super reads the super block at addr.
func (r *Reader) Super(addr vmem.Addr) (*Super, error) {
	if s := r.supers[addr]; s != nil {
		return s, nil
	}
	b, err := kernel.ReadStruct[superBlock](r.v, "super_block", addr)
	if err != nil {
		return nil, err
	}
	s := &Super{Addr: addr, ID: b.ID, Dev: b.Dev, Flags: b.Flags, Root: b.Root}
	p, err := r.v.ObjectOf("file_system_type", b.Type).Field("name").Pointer()
	if err == nil {
		s.Type, err = r.v.CString(p, maxName)
	}
	if err != nil {
		return s, fmt.Errorf("type of the super block at %#x: %w", uint64(addr), err)
	}
	if b.Subtype != 0 {
		if sub, err := r.v.CString(b.Subtype, maxName); err == nil && sub != "" && !strings.ContainsAny(sub, " \n") {
			s.Type += "." + sub
		}
	}
	if len(r.supers) >= maxNames {
		clear(r.supers)
	}
	r.supers[addr] = s
	return s, nil
}

// Dirty yields the inodes of a super block that wait to be written, or are being written: those on a list of their device's
// write-back. Their sb list is walked, so a broken one names the place.
func (r *Reader) Dirty(sb vmem.Addr) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		head, ok1 := r.v.OffsetOf("super_block", "s_inodes")
		link, ok2 := r.inodes.Type().OffsetOf("i_sb_list")
		io, ok3 := r.inodes.Type().OffsetOf("i_io_list")
		if !ok1 || !ok2 || !ok3 {
			yield(0, errors.New("struct super_block and struct inode of this kernel have no list of inodes, or none of those to be written"))
			return
		}
		for at, err := range walk.List(r.v, sb+vmem.Addr(head), link) {
			if err != nil {
				if !yield(0, fmt.Errorf("inodes of the super block at %#x: %w", uint64(sb), err)) {
					return
				}
				continue
			}
			next, err := r.v.Word(at + vmem.Addr(io))
			if err == nil && vmem.Addr(next) == at+vmem.Addr(io) {
				continue
			}
			if !yield(at, err) {
				return
			}
		}
	}
}
