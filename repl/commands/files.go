package commands

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/mm"
	"kdx/analyze/task"
	"kdx/analyze/vfs"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func filesCommand() *Command {
	return &Command{
		Name: "files", Group: "files and devices", Summary: "what tasks have open, and what of a file is in the page cache", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-c] [-R REFERENCE] [pid | task | name]…", "-d DENTRY", "-p INODE | -n INODE"},
		Flags: []Flag{
			{Name: "c", Help: "for each file its inode, address_space, and how many of its pages are in the page cache"},
			{Name: "R", Arg: "REFERENCE", Help: "only what refers to this: a descriptor's number, a name, or the address of a file, dentry, inode or address_space"},
			{Name: "d", Arg: "DENTRY", Help: "the inode, super block, type and path of the dentry at this address"},
			{Name: "p", Arg: "INODE", Help: "the pages that the page cache holds of the inode at this address"},
			{Name: "n", Arg: "INODE", Help: "on which memory nodes these pages lie"},
		},
		Help: "Under each task's header stand its root and working directory, and a line a descriptor. PATH is the name that /proc/PID/fd shows, from the root of " +
			"the mount namespace: with (deleted) behind it once the file is unlinked, and pipe:[N], socket:[N] or anon_inode:NAME for what has no path. " +
			"Before a socket's name stands its protocol.\n\n" +
			"-R takes a name or the end or middle of a path, in whole parts: pts/4 is /dev/pts/4, but not /dev/pts/42. A number is that of a descriptor; " +
			"in hexadecimal it is an address. Tasks without such a reference are left out.\n\n" +
			"-d shows the path by which the file system is mounted for the first process; a file system can be mounted in several places.",
		Examples: []Example{{"files 1", "what init has open"}, {"foreach files -R /tmp/t1/fifo", "who holds that pipe open"}, {"foreach UN files -c", "of blocked tasks"}},
		Run:      runFiles,
	}
}

func runFiles(c *Call) (view.Result, error) {
	r, err := vfs.NewReader(c.View)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Flags.Has("d"):
		return fileNames(c, r)
	case c.Flags.Has("p"):
		return filePages(c, r, c.Flags.Value("p"))
	case c.Flags.Has("n"):
		return fileNodes(c, r, c.Flags.Value("n"))
	}
	xs, err := selectTasks(c, c.Args)
	if err != nil {
		return nil, err
	}
	cache := c.Flags.Has("c")
	var only *fileRef
	if c.Flags.Has("R") {
		f := parseFileRef(c.Flags.Value("R"))
		only = &f
	}
	return &view.FileTables{Cache: cache, Tasks: func(yield func(*view.FileTable) bool) {
		for _, x := range xs {
			if c.View.Context().Err() != nil {
				return
			}
			t := fileTable(c, r, x, cache || only != nil)
			if only != nil && !only.filter(t) {
				continue
			}
			if !yield(t) {
				return
			}
		}
	}}, nil
}

// fileTable is what a task has open; counts asks for the numbers of cached pages.
func fileTable(c *Call, r *vfs.Reader, x *task.Task, counts bool) *view.FileTable {
	t := &view.FileTable{TaskHeader: header(x)}
	gap := func(what string, err error) { c.View.Gap(fmt.Sprintf("PID %d: %s", x.PID, what), err) }
	root, cwd, ok, err := r.FS(x.Addr)
	t.Gone = !ok && err == nil
	if err != nil {
		gap("root and working directory", err)
	} else if ok {
		t.Root, err = fileName(r, root.Mnt, root.Dentry)
		gap("root", err)
		t.CWD, err = fileName(r, cwd.Mnt, cwd.Dentry)
		gap("working directory", err)
	}
	for d, err := range r.OfTask(x.Addr) {
		if err != nil && c.View.Context().Err() != nil {
			return t
		}
		if d.FD < 0 {
			t.Lost = true
			gap("files", err)
			continue
		}
		what := fmt.Sprintf("file %d", d.FD)
		f := view.TaskFile{FD: d.FD, File: d.File.Addr}
		if err != nil {
			gap(what, err)
			t.Files = append(t.Files, f)
			continue
		}
		err = describeFile(r, d.File, &f, counts)
		gap(what, err)
		t.Files = append(t.Files, f)
	}
	return t
}

// describeFile fills in what is known of a file; the error says what is not.
func describeFile(r *vfs.Reader, o *vfs.OpenFile, f *view.TaskFile, counts bool) error {
	dentry, i := o.Dentry, o.Meta
	kind := i.Kind()
	f.Dentry, f.Type = &dentry, &kind
	var err, errPages, errSock error
	f.Path, err = fileName(r, o.Mnt, dentry)
	if o.Inode == 0 {
		return err
	}
	inode := o.Inode
	f.Inode, f.Number, f.Mode, f.Mapping = &inode, &i.Ino, &i.Mode, &i.Mapping
	if counts {
		var n uint64
		if n, errPages = r.CachedPages(i.Mapping); errPages == nil {
			f.Pages = &n
		}
	}
	if kind == "SOCK" {
		f.Protocol, f.Sock, errSock = socketOf(r, &o.Meta, inode)
	}
	return errors.Join(err, errPages, errSock)
}

// socketOf is the protocol of a socket that a task can hold, and its sock; a socket in the file system (of type SOCK too) has none.
func socketOf(r *vfs.Reader, i *vfs.Inode, inode vmem.Addr) (string, *vmem.Addr, error) {
	s, err := r.Super(i.Super)
	if err != nil || s.Type != "sockfs" {
		return "", nil, err
	}
	sock, protocol, err := r.Sock(inode)
	if sock == 0 {
		return protocol, nil, err
	}
	return protocol, &sock, err
}

// fileName is nil if not even a part of the name is known.
func fileName(r *vfs.Reader, mnt, dentry vmem.Addr) (*string, error) {
	name, err := r.Name(mnt, dentry)
	if err != nil && name == "" {
		return nil, err
	}
	return &name, err
}

// fileRef is what files -R looks for.
type fileRef struct {
	word string
	fd   int       // -1 if it is no number
	addr vmem.Addr // 0 if it is none
}

func parseFileRef(word string) fileRef {
	f := fileRef{word: word, fd: -1}
	if n, err := strconv.Atoi(word); err == nil && n >= 0 {
		f.fd = n
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64); err == nil {
		f.addr = vmem.Addr(u)
	}
	return f
}

// filter leaves what refers to f; false if nothing does.
func (f *fileRef) filter(t *view.FileTable) bool {
	t.Files = slices.DeleteFunc(t.Files, func(x view.TaskFile) bool {
		is := func(a *vmem.Addr) bool { return a != nil && *a == f.addr && f.addr != 0 }
		return x.FD != f.fd && !f.names(x.Path) && (x.File != f.addr || f.addr == 0) && !is(x.Dentry) && !is(x.Inode) && !is(x.Mapping)
	})
	return len(t.Files) > 0 || f.names(t.Root) || f.names(t.CWD)
}

// names: the word is the path, or stands in it in whole parts.
func (f *fileRef) names(path *string) bool {
	if path == nil || f.word == "" {
		return false
	}
	p := strings.TrimSuffix(*path, " (deleted)")
	return p == f.word || f.word != "/" && strings.Contains(p+"/", "/"+strings.Trim(f.word, "/")+"/")
}

func fileNames(c *Call, r *vfs.Reader) (view.Result, error) {
	mounts := firstMounts(c, r)
	var out view.FileNames
	for _, a := range c.Flags.Values("d") {
		at, err := c.address(a)
		if err != nil {
			return nil, err
		}
		d, err := r.Dentry(at)
		if err != nil {
			return nil, err
		}
		n := view.FileName{Dentry: at, Super: d.Super}
		if d.Inode == 0 {
			negative := "NEG"
			n.Type = &negative
		} else {
			n.Inode = &d.Inode
			c.View.Gap("inode", fileKind(c, r, &n))
		}
		n.Path, err = fileName(r, mounts[d.Super], at)
		c.View.Gap("path", err)
		out = append(out, n)
	}
	return out, nil
}

// fileKind fills in what the inode of a name says.
func fileKind(c *Call, r *vfs.Reader, n *view.FileName) error {
	i, err := r.Inode(*n.Inode)
	if err != nil {
		return err
	}
	kind := i.Kind()
	n.Type = &kind
	if kind == "SOCK" {
		n.Protocol, _, err = socketOf(r, &i, *n.Inode)
	}
	return err
}

// firstMounts are the vfsmounts through which a super block is seen whole in the namespace of the first process.
func firstMounts(c *Call, r *vfs.Reader) map[vmem.Addr]vmem.Addr {
	out := make(map[vmem.Addr]vmem.Addr)
	x, err := firstTask(c)
	if err != nil {
		c.View.Gap("mounts", err)
		return out
	}
	ns, err := r.Namespace(x.Addr)
	if err != nil || ns == 0 {
		c.View.Gap("mounts", err)
		return out
	}
	for m, err := range r.Mounts(ns) {
		if err != nil && m.Addr == 0 {
			c.View.Gap("mounts", err)
			continue
		}
		s, err := r.Super(m.SB)
		if _, there := out[m.SB]; err == nil && !there && m.Root == s.Root {
			out[m.SB] = m.VFSMount
		}
	}
	return out
}

// firstTask is process 1, or the current one in a dump that has lost it.
func firstTask(c *Call) (*task.Task, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	if x := t.ByPID(1); x != nil {
		return x, nil
	}
	return c.State.CurrentTask(c.View)
}

// inodeOf reads the inode of a flag's argument.
func inodeOf(c *Call, r *vfs.Reader, word string) (vmem.Addr, vfs.Inode, error) {
	at, err := c.address(word)
	if err != nil {
		return 0, vfs.Inode{}, err
	}
	i, err := r.Inode(at)
	return at, i, err
}

func filePages(c *Call, r *vfs.Reader, word string) (view.Result, error) {
	at, i, err := inodeOf(c, r, word)
	if err != nil {
		return nil, err
	}
	pages, err := mm.NewPages(c.View)
	if err != nil {
		return nil, err
	}
	out := &view.FilePages{Inode: at, Pages: func(yield func(view.PageLine) bool) {
		for p := range cachedPages(c, r, pages, i.Mapping) {
			if !yield(*pageLine(pages, &p)) {
				return
			}
		}
	}}
	n, err := r.CachedPages(i.Mapping)
	if err == nil {
		out.Count = &n
	}
	c.View.Gap("count of pages", err)
	return out, nil
}

func fileNodes(c *Call, r *vfs.Reader, word string) (view.Result, error) {
	at, i, err := inodeOf(c, r, word)
	if err != nil {
		return nil, err
	}
	pages, err := mm.NewPages(c.View)
	if err != nil {
		return nil, err
	}
	out := &view.FileNodes{Inode: at, Nodes: []view.NodePages{}}
	n, err := r.CachedPages(i.Mapping)
	if err == nil {
		out.Count = &n
	}
	c.View.Gap("count of pages", err)
	on := make(map[int]uint64)
	for p := range cachedPages(c, r, pages, i.Mapping) {
		node, ok := mm.NodeOf(c.View, p.PFN)
		if !ok {
			c.View.GapOnce("memory nodes", fmt.Errorf("the node of page %#x is not known", p.PFN))
			continue
		}
		on[node]++
	}
	for node, count := range on {
		out.Nodes = append(out.Nodes, view.NodePages{Node: node, Pages: count})
	}
	slices.SortFunc(out.Nodes, func(a, b view.NodePages) int { return a.Node - b.Node })
	return out, c.View.Context().Err()
}

// maxFolio pages have one entry in the page cache; no folio is larger than a huge page of 1 GiB.
const maxFolio = 1 << 18

// cachedPages are all pages behind the entries of the page cache, with those that large folios have beside their first. What can't
// be read is a gap.
func cachedPages(c *Call, r *vfs.Reader, pages *mm.Pages, mapping vmem.Addr) iter.Seq[mm.Page] {
	return func(yield func(mm.Page) bool) {
		for e, err := range r.Cached(mapping) {
			if err != nil {
				c.View.Gap("page cache", err)
				continue
			}
			pfn, ok := pages.PFN(vmem.Addr(e.Value))
			if !ok {
				c.View.Gap("page cache", fmt.Errorf("entry %d: %#x is no struct page", e.Index, e.Value))
				continue
			}
			p, err := pages.Read(c.View, pfn)
			if err != nil {
				c.View.Gap("page cache", err)
				continue
			}
			if !yield(p) {
				return
			}
			for n := uint64(1); n < maxFolio && pfn+n < pages.Max(); n++ {
				tail, err := pages.Read(c.View, pfn+n)
				if err != nil || tail.Head != p.Addr {
					break
				}
				if tail.Mapping, tail.Index = mapping, e.Index+n; !yield(tail) {
					return
				}
			}
		}
	}
}
