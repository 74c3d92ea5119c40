package commands

import (
	"fmt"
	"iter"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/swap"
	"kdx/analyze/task"
	"kdx/analyze/vfs"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func vmCommand() *Command {
	return &Command{
		Name: "vm", Group: "memory", Summary: "the memory mappings of a task", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-p | -P VMA | -v | -m] [-M MM] [-R REF] [-xd] [pid | task | name]…", "-f FLAGS…"},
		Flags: []Flag{
			{Name: "p", Help: "each page of each mapping: its physical address, its place in swap, or in its file"},
			{Name: "P", Arg: "VMA", Help: "as -p, of the mapping whose vm_area_struct lies there"},
			{Name: "v", Help: "each vm_area_struct, member by member"},
			{Name: "m", Help: "the mm_struct, member by member"},
			{Name: "M", Arg: "MM", Help: "this mm_struct, not the task's: one that the task has already given up, or another's"},
			{Name: "R", Arg: "REF", Help: "only mappings of files whose path holds REF, or which REF, a hexadecimal number, means: the address of a vm_area_struct, or of a page, virtual or physical, which then shows"},
			{Name: "f", Arg: "FLAGS", Help: "name the bits of this value of vm_flags", Needs: NeedsNothing},
			{Name: "x", Help: "numbers of -v and -m in hexadecimal"},
			{Name: "d", Help: "numbers of -v and -m in decimal"},
		},
		Help: "RSS and TOTAL_VM are those of ps. A page that is not mapped shows where the kernel would read it from: `SWAP: DEVICE  OFFSET: PAGES` (decimal), `FILE: PATH  OFFSET: BYTES` (hexadecimal), " +
			"else `(not mapped)`; `-` if the page tables are not in the dump.\n\n" +
			"Kernel threads have no mappings, and MM 0.",
		Examples: []Example{{"vm", "the task that crashed"}, {"vm -p 269", "where each of its pages is"}, {"foreach vm -R busybox", "who has this library mapped, and where"},
			{"vm -f 8100073", "what these flags mean"}},
		Run: runVM,
	}
}

func runVM(c *Call) (view.Result, error) {
	if c.Flags.Has("f") {
		return c.vmFlags()
	}
	if err := onlyOne(c, "p", "P", "v", "m"); err != nil {
		return nil, err
	}
	xs, err := selectTasks(c, c.Args)
	if err != nil {
		return nil, err
	}
	given, err := c.vmAddress("M")
	if err != nil {
		return nil, err
	}
	if c.Flags.Has("v") || c.Flags.Has("m") {
		return c.vmStructs(xs, given)
	}
	q := &vmQuery{c: c, names: swap.NewNames(c.View), files: make(map[vmem.Addr]*string), all: c.Flags.Has("p") || c.Flags.Has("P"), ref: c.Flags.Value("R")}
	if q.only, err = c.vmAddress("P"); err != nil {
		return nil, err
	}
	q.refAddr, q.isAddr = parseHex(q.ref)
	q.pages = q.all || q.isAddr
	cached, err := c.cachedRSS()
	if err != nil {
		return nil, err
	}
	return &view.VMs{Tasks: func(yield func(*view.VM, error) bool) {
		for _, x := range xs {
			if err := c.View.Context().Err(); err != nil {
				yield(nil, err)
				return
			}
			vm := q.task(x, given, cached)
			if vm != nil && !yield(vm, nil) {
				return
			}
		}
	}}, nil
}

// cachedRSS is what threads have not yet added to their process's counters, by mm; nil on kernels where counters are exact.
func (c *Call) cachedRSS() (map[vmem.Addr]int64, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	return task.CachedRSS(c.View, t), nil
}

// vmFlags is -f.
func (c *Call) vmFlags() (view.Result, error) {
	var out view.VMAFlags
	for _, w := range append(c.Flags.Values("f"), c.Args...) {
		u, ok := parseHex(w)
		if !ok {
			return nil, &UsageError{c.Cmd.Name, w + " is no hexadecimal number"}
		}
		out = append(out, view.VMAFlagSet{Value: vmem.Addr(u), Flags: mm.VMAFlagNames(c.View, u)})
	}
	return out, nil
}

// vmAddress is the address that a flag gives, 0 without.
func (c *Call) vmAddress(flag string) (vmem.Addr, error) {
	text := c.Flags.Value(flag)
	if text == "" {
		return 0, nil
	}
	a, err := c.address(text)
	if err == nil && !c.View.Arch().IsKernel(uint64(a)) {
		err = &UsageError{c.Cmd.Name, fmt.Sprintf("-%s: %s is no address of the kernel", flag, text)}
	}
	return a, err
}

// vmStructs is -v and -m.
func (c *Call) vmStructs(xs []*task.Task, given vmem.Addr) (view.Result, error) {
	tag := "mm_struct"
	if c.Flags.Has("v") {
		tag = "vm_area_struct"
	}
	t, err := c.View.Struct(tag)
	if err != nil {
		return nil, err
	}
	out := view.TaskResults{}
	for _, x := range xs {
		o := &view.Objects{Type: t, Style: view.Style{Hex: c.hex()}}
		add := func(a vmem.Addr) {
			o.List = append(o.List, view.Object{CPU: -1, First: true, Addr: a, Value: c.View.Object(t, a)})
		}
		space := x.MM
		if given != 0 {
			space = given
		}
		switch {
		case space == 0:
		case c.Flags.Has("v"):
			for m, err := range mm.VMAs(c.View, space) {
				if err != nil {
					c.View.Gap(fmt.Sprintf("PID %d: mappings", x.PID), err)
					continue
				}
				add(m.Addr)
			}
		default:
			add(space)
		}
		out = append(out, view.TaskResult{TaskHeader: header(x), Result: o})
	}
	return out, nil
}

// vmQuery is one call of vm: what to show, and what was found on the way.
type vmQuery struct {
	c       *Call
	names   *swap.Names
	files   map[vmem.Addr]*string // paths by struct file
	pages   bool                  // mappings have their pages
	all     bool                  // and all of them are to be shown
	only    vmem.Addr             // -P
	ref     string
	refAddr uint64
	isAddr  bool
}

// task is the answer for one; nil if -R leaves nothing of it.
func (q *vmQuery) task(x *task.Task, given vmem.Addr, cached map[vmem.Addr]int64) *view.VM {
	v := q.c.View
	vm := &view.VM{TaskHeader: header(x), One: q.only != 0}
	of := *x
	if given != 0 {
		of.MM = given
	}
	if of.MM == 0 {
		if q.ref != "" {
			return nil
		}
		return vm
	}
	vm.MM = &of.MM
	what := fmt.Sprintf("PID %d (%s): memory", x.PID, x.Comm)
	if pgd, err := v.ObjectOf("mm_struct", of.MM).Field("pgd").Pointer(); err != nil {
		v.Gap(what, err)
	} else {
		vm.PGD = &pgd
	}
	if m, err := task.MemoryOf(v, &of); err != nil {
		v.Gap("", err)
	} else {
		vm.TotalVM = &m.Virtual
		rss := uint64(max(0, int64(m.Resident)+cached[of.MM]))
		vm.RSS = &rss
	}
	if q.ref == "" {
		vm.Mappings = q.mappings(&of, what)
		return vm
	}
	var found []*view.VMAEntry
	for m, err := range q.mappings(&of, what) {
		if err != nil {
			v.Gap(what, err)
			break
		}
		if q.referenced(m) {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return nil
	}
	vm.Mappings = func(yield func(*view.VMAEntry, error) bool) {
		for _, m := range found {
			if !yield(m, nil) {
				return
			}
		}
	}
	return vm
}

// referenced reports whether -R means a mapping; of its pages only those are left that it means, if it means any.
func (q *vmQuery) referenced(m *view.VMAEntry) bool {
	if m.File != nil && strings.Contains(*m.File, q.ref) || q.isAddr && q.refAddr == uint64(m.Addr) {
		if !q.all {
			m.Pages = nil
		}
		return true
	}
	if !q.isAddr || q.c.View.Arch().IsKernel(q.refAddr) {
		return false
	}
	if m.Pages == nil { // the page tables can't be read
		return q.refAddr >= uint64(m.Start) && q.refAddr < uint64(m.End)
	}
	size := q.c.View.PageSize()
	page := q.refAddr &^ (size - 1)
	var kept []view.VMAPage
	for p, err := range m.Pages {
		if err != nil {
			q.c.View.Gap("pages", err)
			break
		}
		if uint64(p.Virtual) == page || p.Physical != nil && uint64(*p.Physical) == page {
			kept = append(kept, p)
		}
	}
	m.Pages = func(yield func(view.VMAPage, error) bool) {
		for _, p := range kept {
			if !yield(p, nil) {
				return
			}
		}
	}
	return len(kept) > 0
}

func (q *vmQuery) mappings(x *task.Task, what string) iter.Seq2[*view.VMAEntry, error] {
	v := q.c.View
	return func(yield func(*view.VMAEntry, error) bool) {
		var space vmem.Space
		if q.pages {
			s, err := task.UserSpace(v, x)
			v.Gap(what, err)
			space = s
		}
		for a, err := range mm.VMAs(v, x.MM) {
			if cancelled := v.Context().Err(); cancelled != nil {
				yield(nil, cancelled)
				return
			}
			if err != nil {
				v.Gap(what, err)
				continue
			}
			if q.only != 0 && a.Addr != q.only {
				continue
			}
			m := &view.VMAEntry{VMALine: view.VMALine{Addr: a.Addr, Start: vmem.Addr(a.Start), End: vmem.Addr(a.End), Flags: vmem.Addr(a.Flags)}}
			if a.File != 0 {
				off := a.PageOffset * v.PageSize()
				m.File, m.Offset = q.file(a.File, what), &off
			}
			if space != nil {
				m.Pages = q.pagesOf(space, a, m, what)
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// file is the path of a struct file, nil if that can't be told; each is looked up once.
func (q *vmQuery) file(at vmem.Addr, what string) *string {
	if name, ok := q.files[at]; ok {
		return name
	}
	var found *string
	name, err := mappedFile(q.c.View, at)
	q.c.View.Gap(what+": file of a mapping", err)
	if err == nil {
		found = &name
	}
	q.files[at] = found
	return found
}

// mappedFile is the path of a file that is mapped. Shared memory and memfds have no path: their name is shown, as crash does.
func mappedFile(v *kernel.View, file vmem.Addr) (string, error) {
	path, err := vfs.FilePath(v, file)
	if err != nil || path != "/" {
		return path, err
	}
	name := v.ObjectOf("file", file).Field("f_path.dentry").Deref().Field("d_name")
	at, err := name.Field("name").Pointer()
	if err != nil {
		return path, err
	}
	n, err := name.Field("len").Uint()
	if err != nil {
		return path, err
	}
	const maxName = 255
	text, err := v.CString(at, int(min(n, maxName)))
	if err != nil || text == "" {
		return path, err
	}
	return text, nil
}

func (q *vmQuery) pagesOf(space vmem.Space, a mm.VMA, m *view.VMAEntry, what string) iter.Seq2[view.VMAPage, error] {
	v := q.c.View
	return func(yield func(view.VMAPage, error) bool) {
		unknown := 0
		for p, err := range mm.VirtualPages(v, space, a.Start, a.End) {
			if err != nil {
				yield(view.VMAPage{}, err)
				return
			}
			out := view.VMAPage{Virtual: p.Addr}
			switch {
			case p.Err != nil:
				out.Unknown = true
				if unknown++; unknown == 1 {
					v.Gap(what+": pages", p.Err)
				}
			case p.Phys != nil:
				phys := vmem.Addr(*p.Phys)
				out.Physical = &phys
			case p.Swap != nil:
				out.Swap = &view.SwapPlace{Device: p.Swap.Device, Offset: p.Swap.Offset, File: q.names.Of(p.Swap.Device)}
			case m.File != nil:
				off := a.PageOffset*v.PageSize() + uint64(p.Addr-a.Start)
				out.File, out.Offset = m.File, &off
			}
			if !yield(out, nil) {
				return
			}
		}
		if unknown > 1 {
			v.Gap(what+": pages", fmt.Errorf("%d further pages of the mapping at %#x can't be told either", unknown-1, uint64(a.Start)))
		}
	}
}
