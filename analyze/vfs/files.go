package vfs

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"kdx/analyze/vmem"
)

// OpenFile is a struct file. Inode is 0 for a file that has none (yet).
type OpenFile struct {
	Addr   vmem.Addr
	Mnt    vmem.Addr // struct vfsmount
	Dentry vmem.Addr
	Inode  vmem.Addr
	Meta   Inode
}

// Inode is what an inode says of itself.
type Inode struct {
	Mode    uint32    // type and permissions, as stat gives them
	Ino     uint64    // inode number
	Mapping vmem.Addr // struct address_space
	Super   vmem.Addr // struct super_block
	Dev     uint32    // kernel's dev_t of a device file, see Major and Minor
}

// Descriptor is an open file of a task.
type Descriptor struct {
	FD   int
	File *OpenFile // never nil; with an error its Addr alone is known
}

// Major and Minor take the kernel's own dev_t apart (that of user space differs).
func Major(dev uint32) uint32 { return dev >> 20 }

// Minor is the other half, see Major.
func Minor(dev uint32) uint32 { return dev & (1<<20 - 1) }

// Kind is the type of an inode in crash's letters: REG, DIR, CHR, BLK, FIFO, SOCK, LNK, and UNKN for those of anonymous
// inodes, which have none.
func (i *Inode) Kind() string {
	switch i.Mode >> 12 & 15 {
	case 1:
		return "FIFO"
	case 2:
		return "CHR"
	case 4:
		return "DIR"
	case 6:
		return "BLK"
	case 8:
		return "REG"
	case 10:
		return "LNK"
	case 12:
		return "SOCK"
	}
	return "UNKN"
}

// Inode reads the inode at addr.
func (r *Reader) Inode(addr vmem.Addr) (Inode, error) {
	i, err := r.inodes.Read(r.v, addr)
	return Inode{Mode: i.Mode, Ino: i.Ino, Mapping: i.Mapping, Super: i.Super, Dev: i.Dev}, err
}

// Dentry is a name of an inode; Inode is 0 for the name of a file that does not exist (a negative dentry).
type Dentry struct {
	Addr, Parent, Inode, Super vmem.Addr
}

// Dentry reads the dentry at addr.
func (r *Reader) Dentry(addr vmem.Addr) (Dentry, error) {
	d, err := r.dentries.Read(r.v, addr)
	return Dentry{Addr: addr, Parent: d.Parent, Inode: d.Inode, Super: d.Super}, err
}

// File reads the struct file at addr.
func (r *Reader) File(addr vmem.Addr) (*OpenFile, error) {
	if f := r.open[addr]; f != nil {
		return f, nil
	}
	s, err := r.files.Read(r.v, addr)
	if err != nil {
		return &OpenFile{Addr: addr}, err
	}
	f := &OpenFile{Addr: addr, Mnt: s.Mnt, Dentry: s.Dentry, Inode: s.Inode}
	if f.Inode != 0 {
		if f.Meta, err = r.Inode(f.Inode); err != nil {
			return f, err
		}
	}
	if len(r.open) >= maxNames {
		clear(r.open)
	}
	r.open[addr] = f
	return f, nil
}

// table is what is open in a files_struct, which threads share.
type table struct {
	list []Descriptor
	errs []tableError
}

// tableError stands before the descriptor of that index in list.
type tableError struct {
	before int
	fd     Descriptor
	err    error
}

// OfTask yields the open files of the task whose task_struct lies at addr, by rising number. An error comes with what is
// known of the descriptor: its number, -1 if it is about the table; and the address of its struct file.
func (r *Reader) OfTask(addr vmem.Addr) iter.Seq2[Descriptor, error] {
	return func(yield func(Descriptor, error) bool) {
		whole := Descriptor{FD: -1, File: &OpenFile{}}
		files, err := r.v.ObjectOf("task_struct", addr).Field("files").Pointer()
		if err != nil {
			yield(whole, err)
			return
		}
		if files == 0 { // a kernel thread's may be, a dead task's is
			return
		}
		t := r.tables[files]
		if t == nil {
			t = r.readTable(files)
			if r.v.Context().Err() != nil {
				yield(whole, r.v.Context().Err())
				return
			}
			if len(r.tables) >= maxNames/64 {
				clear(r.tables)
			}
			r.tables[files] = t
		}
		errs := t.errs
		for i, d := range t.list {
			for ; len(errs) > 0 && errs[0].before <= i; errs = errs[1:] {
				if !yield(errs[0].fd, errs[0].err) {
					return
				}
			}
			if !yield(d, nil) {
				return
			}
		}
		for _, e := range errs {
			if !yield(e.fd, e.err) {
				return
			}
		}
	}
}

// maxLost descriptors that can't be read in one table: such a table is damaged, or its pages were left out.
const maxLost = 256

func (r *Reader) readTable(files vmem.Addr) *table {
	t := &table{}
	lost := 0
	// fail notes what can't be read; false: enough of that.
	fail := func(fd int, f *OpenFile, err error) bool {
		t.errs = append(t.errs, tableError{len(t.list), Descriptor{fd, f}, err})
		lost++
		return lost < maxLost
	}
	fdt := r.v.ObjectOf("files_struct", files).Field("fdt")
	limit, err := fdt.Field("max_fds").Uint()
	if err != nil {
		fail(-1, &OpenFile{}, fmt.Errorf("files_struct at %#x: %w", uint64(files), err))
		return t
	}
	fds, err1 := fdt.Field("fd").Pointer()
	used, err2 := fdt.Field("open_fds").Pointer()
	if err := errors.Join(err1, err2); err != nil {
		fail(-1, &OpenFile{}, fmt.Errorf("fdtable of the files_struct at %#x: %w", uint64(files), err))
		return t
	}
	ws := r.v.WordSize()
	if limit > r.v.Image().Info().MaxPFN*r.v.PageSize()/ws {
		fail(-1, &OpenFile{}, fmt.Errorf("fdtable of the files_struct at %#x: %d descriptors have no room in this machine's memory: damaged", uint64(files), limit))
		return t
	}
	per := int(ws * 8)
	pointers := make([]byte, uint64(per)*ws)
	for base := 0; base < int(limit); base += per {
		set, err := r.v.Word(used + vmem.Addr(base/8))
		if err == nil && r.v.Step() != nil {
			return t
		}
		if err == nil && set == 0 {
			continue
		}
		if err == nil {
			err = r.v.Read(pointers, fds+vmem.Addr(uint64(base)*ws))
		}
		if err != nil {
			if !fail(-1, &OpenFile{}, fmt.Errorf("fdtable of the files_struct at %#x, descriptors from %d: %w", uint64(files), base, err)) {
				return t
			}
			continue
		}
		for ; set != 0; set &= set - 1 {
			i := bits.TrailingZeros64(set)
			p := r.pointer(pointers[uint64(i)*ws:])
			if p == 0 || base+i >= int(limit) { // a number that was taken, and whose file is not there yet
				continue
			}
			f, err := r.File(p)
			if err == nil {
				t.list = append(t.list, Descriptor{base + i, f})
				continue
			}
			if !fail(base+i, f, err) {
				fail(-1, &OpenFile{}, fmt.Errorf("fdtable of the files_struct at %#x: more than %d files can't be read: the rest is left out", uint64(files), maxLost))
				return t
			}
		}
	}
	return t
}

func (r *Reader) pointer(p []byte) vmem.Addr {
	if r.v.WordSize() == 4 {
		return vmem.Addr(r.v.ByteOrder().Uint32(p))
	}
	return vmem.Addr(r.v.ByteOrder().Uint64(p))
}

// Place is a directory of a task: struct path.
type Place struct {
	Mnt, Dentry vmem.Addr
}

// FS are a task's root and working directory; ok is false for a task that has none (any more).
func (r *Reader) FS(task vmem.Addr) (root, cwd Place, ok bool, err error) {
	fs, err := r.v.ObjectOf("task_struct", task).Field("fs").Pointer()
	if err != nil || fs == 0 {
		return root, cwd, false, err
	}
	o := r.v.ObjectOf("fs_struct", fs)
	for _, x := range []struct {
		path string
		to   *vmem.Addr
	}{{"root.mnt", &root.Mnt}, {"root.dentry", &root.Dentry}, {"pwd.mnt", &cwd.Mnt}, {"pwd.dentry", &cwd.Dentry}} {
		if *x.to, err = o.Field(x.path).Pointer(); err != nil {
			return root, cwd, false, fmt.Errorf("fs_struct at %#x: %w", uint64(fs), err)
		}
	}
	return root, cwd, true, nil
}

// Socket is the struct socket of a socket's inode.
func (r *Reader) Socket(inode vmem.Addr) (vmem.Addr, error) {
	at, ok1 := r.v.OffsetOf("socket_alloc", "vfs_inode")
	sock, ok2 := r.v.OffsetOf("socket_alloc", "socket")
	if !ok1 || !ok2 {
		return 0, errors.New("struct socket_alloc of this kernel has no members socket and vfs_inode")
	}
	return inode - vmem.Addr(at) + vmem.Addr(sock), nil
}

// Sock is the struct sock behind a socket's inode, and Protocol the name of its protocol: TCP, UDPv6, UNIX-STREAM. Both are
// empty for a socket that is closed.
func (r *Reader) Sock(inode vmem.Addr) (sock vmem.Addr, protocol string, err error) {
	s, err := r.Socket(inode)
	if err != nil {
		return 0, "", err
	}
	if sock, err = r.v.ObjectOf("socket", s).Field("sk").Pointer(); err != nil || sock == 0 {
		return 0, "", err
	}
	prot, err := r.v.ObjectOf("sock", sock).Field("__sk_common.skc_prot").Pointer()
	if err != nil {
		return sock, "", err
	}
	protocol, err = r.v.ObjectOf("proto", prot).Field("name").CString(64)
	return sock, protocol, err
}
