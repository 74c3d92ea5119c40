package commands

import (
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/mm"
	"kdx/analyze/swap"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func vtopCommand() *Command {
	return &Command{
		Name: "vtop", Group: "memory", Summary: "virtual addresses to physical ones, level by level", Needs: NeedsNothing, Complete: "symbol", TaskFlag: "c",
		Usage: []string{"[-k | -u] [-c TASK] ADDRESS…"},
		Flags: []Flag{
			{Name: "k", Help: "the address is the kernel's, whatever it looks like"},
			{Name: "u", Help: "the address is one of user space", Needs: NeedsTypes},
			{Name: "c", Arg: "TASK", Help: "of this task (pid or task_struct address), not the current one", Needs: NeedsTypes},
		},
		Help: "Shows each entry of the page tables on the way, `TABLE: where it lies => what it holds`, the flags of the last, and the page. " +
			"An address of user space also shows its mapping, and a page that is in swap the device and the offset there, in pages.",
		Examples: []Example{{"vtop ffff8984dee0c8c0", "a kernel address"}, {"vtop -c 269 5e2000", "an address of process 269"}},
		Run:      runVtop,
	}
}

func runVtop(c *Call) (view.Result, error) {
	if len(c.Args) == 0 {
		return nil, &UsageError{c.Cmd.Name, "want an address"}
	}
	if c.Flags.Has("k") && c.Flags.Has("u") {
		return nil, &UsageError{c.Cmd.Name, "-k is the kernel's space, -u a task's"}
	}
	pages, err := mm.NewPages(c.View)
	if err != nil {
		c.View.Gap("pages", err)
		pages = nil
	}
	var out view.Translations
	for _, a := range c.Args {
		addr, err := c.address(a)
		if err != nil {
			return nil, err
		}
		t, err := c.translate(uint64(addr), pages)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func (c *Call) translate(addr uint64, pages *mm.Pages) (view.Translation, error) {
	t := view.Translation{Virtual: vmem.Addr(addr)}
	space := c.View.Arch().Kernel()
	if c.Flags.Has("u") || !c.Flags.Has("k") && !c.View.Arch().IsKernel(addr) {
		var x *task.Task
		var err error
		if space, x, err = c.userSpace(c.Flags.Value("c")); err != nil {
			return t, err
		}
		t.User = true
		t.PID = &x.PID
		t.VMA = c.vmaOf(x.MM, addr)
	}
	w, err := space.Walk(addr)
	for _, s := range w.Steps {
		t.Steps = append(t.Steps, view.TableStep{Level: s.Level, Addr: vmem.Addr(s.Addr), Entry: vmem.Addr(s.Entry)})
	}
	if err != nil {
		// The page tables may be excluded where the direct map needs none.
		f, ferr := space.Translate(addr)
		if ferr != nil {
			return t, err
		}
		c.View.Gap(fmt.Sprintf("page tables of %#x", addr), err)
		p := vmem.Addr(f.Phys)
		t.Physical = &p
		t.Page = c.pageOf(pages, uint64(f.Phys))
		return t, nil
	}
	if n := len(w.Steps); n > 0 {
		last := w.Steps[n-1]
		e := c.entry(last.Level, last.Entry)
		t.Entry = &e
	}
	if !w.Present {
		return t, nil
	}
	p := vmem.Addr(w.Frame.Phys)
	t.Physical, t.PageSize = &p, w.PageSize
	t.Page = c.pageOf(pages, uint64(w.Frame.Phys))
	return t, nil
}

// vmaOf is the mapping that covers a user address; nil if there is none.
func (c *Call) vmaOf(space vmem.Addr, addr uint64) *view.VMALine {
	for a, err := range mm.VMAs(c.View, space) {
		if err != nil {
			c.View.Gap("mappings", err)
			continue
		}
		if addr < uint64(a.Start) || addr >= uint64(a.End) {
			continue
		}
		l := &view.VMALine{Addr: a.Addr, Start: vmem.Addr(a.Start), End: vmem.Addr(a.End), Flags: vmem.Addr(a.Flags)}
		if a.File == 0 {
			return l
		}
		off := a.PageOffset*c.View.PageSize() + addr - uint64(a.Start)
		l.Offset = &off
		name, err := mappedFile(c.View, a.File)
		if err != nil {
			c.View.Gap("file of the mapping", err)
			return l
		}
		l.File = &name
		return l
	}
	return nil
}

func (c *Call) pageOf(pages *mm.Pages, phys uint64) *view.PageLine {
	if pages == nil {
		return nil
	}
	pfn := phys / c.View.PageSize()
	if pfn >= c.View.Image().Info().MaxPFN {
		return nil // a device's memory
	}
	p, err := pages.Read(c.View, pfn)
	if err != nil {
		c.View.Gap("", err)
		return nil
	}
	return pageLine(pages, &p)
}

func (c *Call) entry(level string, e uint64) view.TableEntry {
	t := view.TableEntry{Entry: vmem.Addr(e), Flags: c.View.Arch().PTEFlags(level, e)}
	if phys, ok := c.View.Arch().(interface {
		EntryPhys(level string, entry uint64) (uint64, bool)
	}); ok {
		if p, ok := phys.EntryPhys(level, e); ok {
			a := vmem.Addr(p)
			t.Physical = &a
		}
	}
	if t.Physical != nil || e == 0 {
		return t
	}
	if slot := mm.SwapOf(c.View, e); slot != nil {
		t.Swap = &view.SwapPlace{Device: slot.Device, Offset: slot.Offset, File: swap.NewNames(c.View).Of(slot.Device)}
	}
	return t
}

func pteCommand() *Command {
	return &Command{
		Name: "pte", Group: "memory", Summary: "take a page-table entry apart", Needs: NeedsNothing,
		Usage:    []string{"ENTRY…"},
		Help:     "ENTRY is the hexadecimal value of an entry of the lowest level.",
		Examples: []Example{{"pte 8000000001234163", "its page and flags"}, {"pte 7ffffffffdb9600", "a page in swap"}},
		Run: func(c *Call) (view.Result, error) {
			if len(c.Args) == 0 {
				return nil, &UsageError{c.Cmd.Name, "want an entry"}
			}
			var out view.TableEntries
			for _, a := range c.Args {
				u, err := strconv.ParseUint(strings.TrimPrefix(a, "0x"), 16, 64)
				if err != nil {
					return nil, &UsageError{c.Cmd.Name, a + " is no hexadecimal number"}
				}
				out = append(out, c.entry("PTE", u))
			}
			return out, nil
		},
	}
}

func ptovCommand() *Command {
	return &Command{
		Name: "ptov", Group: "memory", Summary: "physical addresses to kernel addresses; per-CPU offsets to each CPU's", Needs: NeedsNothing,
		Usage:    []string{"{PHYSICAL | OFFSET:CPUS}…"},
		Help:     "A physical address is given as its place in the direct map of memory. OFFSET:CPUS, such as 35e80:0,2-3 or 35e80:a, adds the CPUs' per-CPU offsets.",
		Examples: []Example{{"ptov 1234000", "where the kernel sees that page"}, {"ptov 35e80:a", "all CPUs' copies of a per-CPU variable"}},
		Run:      runPtov,
	}
}

func runPtov(c *Call) (view.Result, error) {
	if len(c.Args) == 0 {
		return nil, &UsageError{c.Cmd.Name, "want a physical address"}
	}
	var out view.Mappings
	for _, a := range c.Args {
		word, cpus, perCPU := strings.Cut(a, ":")
		u, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64)
		if err != nil {
			if u, err = evaluate(c.View, word, 10); err != nil {
				return nil, err
			}
		}
		if perCPU {
			m, err := c.perCPUMappings(u, word, cpus)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
			continue
		}
		base, ok := c.View.Arch().DirectMap()
		if !ok {
			return nil, fmt.Errorf("the kernel's direct map of memory is not known")
		}
		if u >= c.View.Image().Info().MaxPFN*c.View.PageSize() {
			c.View.Gap(fmt.Sprintf("%#x", u), fmt.Errorf("lies beyond the memory that the dump describes"))
		}
		out = append(out, view.Mapping{Physical: vmem.Addr(u), Virtual: []view.MappedAt{{Addr: base + vmem.Addr(u)}}})
	}
	return out, nil
}

func (c *Call) perCPUMappings(offset uint64, word, cpus string) (view.Mapping, error) {
	m := view.Mapping{Physical: vmem.Addr(offset), PerCPU: true}
	_, list, _, err := c.cpuSpec(word + ":" + cpus)
	if err != nil {
		return m, err
	}
	for _, cpu := range list {
		off, err := c.View.PerCPUOffset(cpu)
		if err != nil {
			return m, err
		}
		m.Virtual = append(m.Virtual, view.MappedAt{CPU: cpu, Addr: vmem.Addr(offset + off)})
	}
	return m, nil
}
