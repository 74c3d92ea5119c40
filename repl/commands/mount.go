package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/task"
	"kdx/analyze/vfs"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func mountCommand() *Command {
	return &Command{
		Name: "mount", Group: "files and devices", Summary: "what is mounted where", Needs: NeedsTypes,
		Usage: []string{"[-f] [-i] [-n TASK | -a] [MOUNT | SUPERBLOCK | DENTRY | INODE | DEVICE | DIRECTORY | TYPE]…"},
		Flags: []Flag{
			{Name: "n", Arg: "TASK", Help: "as this task sees it (pid, task_struct or name), not the first process"},
			{Name: "a", Help: "of all mount namespaces that tasks are in"},
			{Name: "f", Help: "the files that tasks have open through each mount"},
			{Name: "i", Help: "the inodes of each file system that wait to be written"},
		},
		Help: "DIRNAME is the place from the root of the mount namespace. A mount on whose place another one stands is marked as overmounted: " +
			"no path leads there. JSON has what /proc/PID/mountinfo says: ids, device, the directory of the file system that is seen (for bind mounts), and options.\n\n" +
			"An argument chooses mounts: by the address of a struct mount, vfsmount or super_block, or of a dentry or inode of the file system, by what was mounted, " +
			"where, or by type.",
		Examples: []Example{{"mount ext4", "file systems of a type"}, {"mount -n 266", "as a container sees it"}, {"mount -f /mnt", "what keeps it busy"}},
		Run:      runMount,
	}
}

// mountSpace is a mount namespace, and a task in it.
type mountSpace struct {
	ns  vmem.Addr
	who *task.Task
}

func runMount(c *Call) (view.Result, error) {
	if c.Flags.Has("n") && c.Flags.Has("a") {
		return nil, &UsageError{c.Cmd.Name, "-n is one task's mounts, -a are all"}
	}
	r, err := vfs.NewReader(c.View)
	if err != nil {
		return nil, err
	}
	spaces, err := mountSpaces(c, r)
	if err != nil {
		return nil, err
	}
	out := &view.Mounts{Groups: c.Flags.Has("a"), Files: c.Flags.Has("f"), Dirty: c.Flags.Has("i")}
	for _, s := range spaces {
		out.Rows = append(out.Rows, mountsOf(c, r, s)...)
	}
	if err := c.View.Context().Err(); err != nil {
		return nil, err
	}
	if len(c.Args) > 0 {
		if out.Rows, err = chooseMounts(c, r, out.Rows); err != nil {
			return nil, err
		}
	}
	if out.Files {
		if err := openThrough(c, r, out.Rows); err != nil {
			return nil, err
		}
	}
	for i := range out.Rows {
		if m := &out.Rows[i]; out.Dirty {
			m.Dirty = dirtyInodes(c, r, m.Super)
		}
	}
	return out, c.View.Context().Err()
}

func mountSpaces(c *Call, r *vfs.Reader) ([]mountSpace, error) {
	if c.Flags.Has("a") {
		return allMountSpaces(c, r)
	}
	var x *task.Task
	var err error
	if c.Flags.Has("n") {
		xs, err := selectTasks(c, []string{c.Flags.Value("n")})
		if err != nil {
			return nil, err
		}
		x = xs[0]
	} else if x, err = firstTask(c); err != nil {
		return nil, err
	}
	ns, err := r.Namespace(x.Addr)
	if err != nil {
		return nil, fmt.Errorf("mount namespace of PID %d: %w", x.PID, err)
	}
	if ns == 0 {
		return nil, fmt.Errorf("PID %d (%s) has no mount namespace any more: it has ended", x.PID, view.Printable(x.Comm))
	}
	return []mountSpace{{ns, x}}, nil
}

func allMountSpaces(c *Call, r *vfs.Reader) ([]mountSpace, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	var out []mountSpace
	seen := make(map[vmem.Addr]bool)
	for _, x := range t.Tasks {
		ns, err := r.Namespace(x.Addr)
		if err != nil {
			c.View.Gap(fmt.Sprintf("mount namespace of PID %d", x.PID), err)
			continue
		}
		if ns == 0 || seen[ns] || x.Idle {
			continue
		}
		seen[ns] = true
		out = append(out, mountSpace{ns, x})
	}
	return out, nil
}

func mountsOf(c *Call, r *vfs.Reader, s mountSpace) []view.Mount {
	who := header(s.who)
	var number *uint64
	if n, err := r.NamespaceID(s.ns); err != nil {
		c.View.Gap("number of the mount namespace", err)
	} else {
		number = &n
	}
	type spot struct{ mount, dentry vmem.Addr }
	above := make(map[spot]bool)
	var out []view.Mount
	var roots []vmem.Addr
	for m, err := range r.Mounts(s.ns) {
		if err != nil {
			c.View.Gap("mounts", err)
		}
		if m.VFSMount == 0 {
			continue
		}
		if m.Parent != m.Addr {
			above[spot{m.Parent, m.Mountpoint}] = true
		}
		row := mountRow(c, r, &m)
		row.Namespace, row.NSNumber, row.Who = s.ns, number, &who
		out = append(out, row)
		roots = append(roots, m.Root)
	}
	for i := range out {
		out[i].Covered = above[spot{out[i].Addr, roots[i]}]
	}
	return out
}

func mountRow(c *Call, r *vfs.Reader, m *vfs.Mount) view.Mount {
	row := view.Mount{Addr: m.Addr, VFSMount: m.VFSMount, Super: m.SB, ID: m.ID, Options: m.Options()}
	what := fmt.Sprintf("mount %d", m.ID)
	if m.Source != "" {
		row.Source = &m.Source
	}
	if m.Path != "" {
		row.Path = &m.Path
	}
	if id, err := r.MountID(m.Parent); err != nil {
		c.View.Gap(what+": parent", err)
	} else {
		row.ParentID = &id
	}
	if root, err := r.Path(0, m.Root); err != nil {
		c.View.Gap(what+": root", err)
	} else {
		row.Root = &root
	}
	s, err := r.Super(m.SB)
	if err != nil {
		c.View.Gap(what, err)
	}
	if s != nil {
		dev, ro := fmt.Sprintf("%d:%d", vfs.Major(s.Dev), vfs.Minor(s.Dev)), s.ReadOnly()
		row.Device, row.ReadOnly = &dev, &ro
		if s.Type != "" {
			row.Type = &s.Type
		}
	}
	return row
}

// chooseMounts keeps what an argument names, in the order of the mounts.
func chooseMounts(c *Call, r *vfs.Reader, rows []view.Mount) ([]view.Mount, error) {
	wanted := make([]bool, len(rows))
	for _, a := range c.Args {
		found := false
		super := superOf(r, rows, a)
		for i := range rows {
			m := &rows[i]
			is := func(s *string) bool { return s != nil && *s == a }
			if is(m.Path) || is(m.Source) || is(m.Type) || super != 0 && m.Super == super || isAddr(a, m.Addr, m.VFSMount, m.Super) {
				wanted[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s is no mount, super block, dentry or inode of a mounted file system, and nothing of that name is mounted", a)
		}
	}
	var out []view.Mount
	for i, w := range wanted {
		if w {
			out = append(out, rows[i])
		}
	}
	return out, nil
}

func isAddr(word string, addrs ...vmem.Addr) bool {
	u, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64)
	for _, a := range addrs {
		if err == nil && vmem.Addr(u) == a {
			return true
		}
	}
	return false
}

// superOf is the super block of the dentry or inode at an address, if it is one of those that are mounted; else 0.
func superOf(r *vfs.Reader, rows []view.Mount, word string) vmem.Addr {
	u, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64)
	if err != nil {
		return 0
	}
	mounted := func(sb vmem.Addr) bool {
		for i := range rows {
			if rows[i].Super == sb {
				return true
			}
		}
		return false
	}
	if i, err := r.Inode(vmem.Addr(u)); err == nil && mounted(i.Super) {
		return i.Super
	}
	if d, err := r.Dentry(vmem.Addr(u)); err == nil && mounted(d.Super) {
		return d.Super
	}
	return 0
}

// openThrough finds the files that tasks have open through the mounts, each once.
func openThrough(c *Call, r *vfs.Reader, rows []view.Mount) error {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return err
	}
	index := make(map[vmem.Addr][]int)
	for i := range rows {
		index[rows[i].VFSMount] = append(index[rows[i].VFSMount], i)
	}
	type name struct{ mnt, dentry vmem.Addr }
	seen := make(map[name]bool)
	for _, x := range t.Tasks {
		for d, err := range r.OfTask(x.Addr) {
			if err != nil {
				if c.View.Context().Err() != nil {
					return err
				}
				c.View.GapOnce("open files", err)
				continue
			}
			f := d.File
			key := name{f.Mnt, f.Dentry}
			if len(index[f.Mnt]) == 0 || seen[key] {
				continue
			}
			seen[key] = true
			o := view.OpenFile{Dentry: f.Dentry, Inode: f.Inode, Type: f.Meta.Kind()}
			o.Path, err = fileName(r, f.Mnt, f.Dentry)
			c.View.Gap("open files", err)
			for _, i := range index[f.Mnt] {
				rows[i].OpenFiles = append(rows[i].OpenFiles, o)
			}
		}
	}
	return nil
}

func dirtyInodes(c *Call, r *vfs.Reader, super vmem.Addr) []view.Dirty {
	var out []view.Dirty
	for at, err := range r.Dirty(super) {
		if err != nil {
			c.View.GapOnce("dirty inodes", err)
			if errors.Is(err, c.View.Context().Err()) {
				return out
			}
			continue
		}
		d := view.Dirty{Inode: at}
		if i, err := r.Inode(at); err != nil {
			c.View.Gap("dirty inodes", err)
		} else {
			d.Number = &i.Ino
		}
		out = append(out, d)
	}
	return out
}
