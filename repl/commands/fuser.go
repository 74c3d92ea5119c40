package commands

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/mm"
	"kdx/analyze/task"
	"kdx/analyze/vfs"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func fuserCommand() *Command {
	return &Command{
		Name: "fuser", Group: "files and devices", Summary: "which tasks use a file", Needs: NeedsTypes,
		Usage: []string{"PATH | INODE"},
		Help: "Lists the tasks for which the file is the root or working directory (root, cwd), the program (exe), an open file (fd), or mapped into memory (mmap). " +
			"A file is its inode: who uses it by another name, through a hard link or a bind mount, is listed too. PATH is the name that `files` shows, with or " +
			"without (deleted); it must be in use by some task, else its inode is not known. pipe:[N] and socket:[N] are names too.",
		Examples: []Example{{"fuser /dev/console", "who has the console open"}, {"fuser /", "whose root or working directory is /"}},
		Run:      runFuser,
	}
}

func runFuser(c *Call) (view.Result, error) {
	if len(c.Args) != 1 {
		return nil, &UsageError{c.Cmd.Name, "want a path or the address of an inode"}
	}
	r, err := vfs.NewReader(c.View)
	if err != nil {
		return nil, err
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	uses := &fileUses{c: c, r: r, vmas: make(map[vmem.Addr][]vmem.Addr), exes: make(map[vmem.Addr]vmem.Addr), inodes: make(map[vmem.Addr]bool)}
	word := c.Args[0]
	if u, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64); err == nil && c.View.Arch().IsKernel(u) {
		uses.inodes[vmem.Addr(u)] = true
	} else {
		name := strings.TrimSuffix(word, " (deleted)")
		for _, x := range t.Tasks {
			uses.named(x, name)
		}
	}
	out := view.FileUsers{}
	for _, x := range t.Tasks {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		if u, ok := uses.of(x); ok {
			out = append(out, u)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no task uses %s", word)
	}
	return out, nil
}

// fileUses finds what tasks use. Threads share tables and address spaces, which are looked at once.
type fileUses struct {
	c      *Call
	r      *vfs.Reader
	inodes map[vmem.Addr]bool // the file: several if several of that name are in use
	vmas   map[vmem.Addr][]vmem.Addr
	exes   map[vmem.Addr]vmem.Addr
}

// each calls fn for all that the task uses: how, by which descriptor (else -1), and where it stands. Every gap is said once.
func (u *fileUses) each(x *task.Task, fn func(how string, fd int, mnt, dentry, inode vmem.Addr)) {
	gap := func(err error) { u.c.View.GapOnce(fmt.Sprintf("PID %d: files", x.PID), err) }
	root, cwd, ok, err := u.r.FS(x.Addr)
	gap(err)
	if ok && err == nil {
		for _, p := range []struct {
			how string
			vfs.Place
		}{{"root", root}, {"cwd", cwd}} {
			d, err := u.r.Dentry(p.Dentry)
			if err != nil {
				gap(err)
				continue
			}
			fn(p.how, -1, p.Mnt, p.Dentry, d.Inode)
		}
	}
	file := func(how string, at vmem.Addr) {
		f, err := u.r.File(at)
		if err != nil {
			gap(err)
			return
		}
		fn(how, -1, f.Mnt, f.Dentry, f.Inode)
	}
	if exe := u.exe(x); exe != 0 {
		file("exe", exe)
	}
	for d, err := range u.r.OfTask(x.Addr) {
		if err != nil {
			gap(err)
			continue
		}
		fn("fd", d.FD, d.File.Mnt, d.File.Dentry, d.File.Inode)
	}
	for _, at := range u.mapped(x) {
		file("mmap", at)
	}
}

// named adds the inodes of what the task uses under a name.
func (u *fileUses) named(x *task.Task, name string) {
	u.each(x, func(_ string, _ int, mnt, dentry, inode vmem.Addr) {
		if inode == 0 || u.inodes[inode] {
			return
		}
		got, err := u.r.Name(mnt, dentry)
		if err != nil {
			u.c.View.GapOnce("names of files", err)
			return
		}
		if strings.TrimSuffix(got, " (deleted)") == name {
			u.inodes[inode] = true
		}
	})
}

// of is how the task uses the file; ok is false if it does not.
func (u *fileUses) of(x *task.Task) (out view.FileUser, ok bool) {
	out = view.FileUser{PID: x.PID, TGID: x.TGID, Task: x.Addr, Comm: x.Comm}
	u.each(x, func(how string, fd int, _, _, inode vmem.Addr) {
		if !u.inodes[inode] {
			return
		}
		ok, out.Inode = true, inode
		if !slices.Contains(out.Usage, how) {
			out.Usage = append(out.Usage, how)
		}
		if fd >= 0 {
			out.FDs = append(out.FDs, fd)
		}
	})
	return out, ok
}

// exe is the file of the task's program.
func (u *fileUses) exe(x *task.Task) vmem.Addr {
	if x.MM == 0 {
		return 0
	}
	if at, ok := u.exes[x.MM]; ok {
		return at
	}
	at, err := u.c.View.ObjectOf("mm_struct", x.MM).Field("exe_file").Pointer()
	u.c.View.Gap(fmt.Sprintf("PID %d: program", x.PID), err)
	u.exes[x.MM] = at
	return at
}

// mapped are the files that the task has mapped.
func (u *fileUses) mapped(x *task.Task) []vmem.Addr {
	if x.MM == 0 {
		return nil
	}
	if at, ok := u.vmas[x.MM]; ok {
		return at
	}
	var out []vmem.Addr
	for a, err := range mm.VMAs(u.c.View, x.MM) {
		if err != nil {
			u.c.View.GapOnce(fmt.Sprintf("PID %d: mappings", x.PID), err)
			continue
		}
		if a.File != 0 && !slices.Contains(out, a.File) {
			out = append(out, a.File)
		}
	}
	u.vmas[x.MM] = out
	return out
}
