package commands

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"kdx/analyze/mm"
	"kdx/analyze/search"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func searchCommand() *Command {
	return &Command{
		Name: "search", Group: "symbols and types", Summary: "find values or strings in memory", Needs: NeedsNothing, Complete: "symbol",
		Usage: []string{"[-k | -K | -V | -u | -p | -t | -T] [-s START] [-e END | -l LENGTH] [-m MASK] [-w | -h] [-x COUNT] [-S] VALUE…",
			"[-k | -K | -V | -u | -p | -t | -T] [-s START] [-e END | -l LENGTH] [-S] -c STRING…"},
		Flags: []Flag{
			{Name: "k", Help: "all memory of the kernel, by its addresses there; so without any of these flags"},
			{Name: "K", Help: "of the kernel: all memory but what vmalloc, modules and the map of pages show once more"},
			{Name: "V", Help: "of the kernel: only vmalloc, modules, the map of pages, and what else its page tables map by single pages"},
			{Name: "u", Help: "user memory of the current task", Needs: NeedsTypes},
			{Name: "p", Help: "physical memory"},
			{Name: "t", Help: "the kernel stacks of all tasks, each under its task", Needs: NeedsTypes},
			{Name: "T", Help: "the kernel stacks of the tasks that ran on a CPU at the crash", Needs: NeedsTypes},
			{Name: "s", Arg: "START", Help: "begin at this address, symbol or (expression); one of user space means -u"},
			{Name: "e", Arg: "END", Help: "look no further than the byte before this one"},
			{Name: "l", Arg: "LENGTH", Help: "look through so many bytes; k, m and g behind it count in KiB, MiB and GiB; 0x before it, or a digit from a to f, makes it hexadecimal"},
			{Name: "m", Arg: "MASK", Help: "bits (hexadecimal) that do not matter"},
			{Name: "c", Help: "what is sought are strings, at any byte, over the edges of pages too"},
			{Name: "w", Help: "values of 32 bits"},
			{Name: "h", Help: "values of 16 bits"},
			{Name: "x", Arg: "COUNT", Help: "and so many values before and behind each, as rd shows them"},
			{Name: "S", Help: "and what lies there: a symbol, [an object of a slab cache], the stack of a task", Needs: NeedsTypes},
		},
		Help: "A VALUE is hexadecimal, a symbol, or an (expression); any number of them is sought at once. Values lie at multiples of their size, which is a word's.\n\n" +
			"Memory is read past all caches on all cores, and hits come in the order of addresses. What the dump lacks can't be searched: how many pages that were is told once, at the end.\n\n" +
			"The kernel sees memory at two places: in the direct map of all memory, and again where vmalloc, a module or its own image has it.",
		Examples: []Example{{"search -k init_task", "who points to init_task"}, {"search -S ffff8984dee0c8c0", "who points to an object, and what they are"},
			{"search -u -c libc.so", "a string in the current task's memory"}, {"search -s ffff8984dee0c8c0 -l 1840 -m fff ffff8984dee0c000", "pointers into a page, in one struct"}},
		Run: runSearch,
	}
}

// searchPlace is the memory to look through: extents one after the other, each part of a task or of none.
type searchPlace struct {
	parts  []searchPart
	read   readAt
	missed search.Missed
}

type searchPart struct {
	extents []search.Extent
	task    *view.TaskHeader
}

func runSearch(c *Call) (view.Result, error) {
	q, names, err := c.searchQuery()
	if err != nil {
		return nil, err
	}
	context, err := c.searchContext()
	if err != nil {
		return nil, err
	}
	p, err := c.searchPlace()
	if err != nil {
		return nil, err
	}
	var where func(uint64) string
	if c.Flags.Has("S") {
		if where, err = c.searchWhere(); err != nil {
			return nil, err
		}
	}
	return &view.Search{View: c.View, Unit: q.Unit, Context: context, Read: p.read, Hits: c.searchHits(q, names, p, where)}, nil
}

func (c *Call) searchHits(q search.Query, names []string, p *searchPlace, where func(uint64) string) iter.Seq2[view.SearchHit, error] {
	return func(yield func(view.SearchHit, error) bool) {
		defer func() { p.missed.Report(c.View) }()
		for _, part := range p.parts {
			for h, err := range search.Run(c.View, q, part.extents, &p.missed) {
				if err != nil {
					yield(view.SearchHit{}, err)
					return
				}
				hit := view.SearchHit{Addr: vmem.Addr(h.Addr), Task: part.task}
				if len(q.Strings) > 0 {
					text := p.text(h.Addr)
					hit.Text = &text
				} else {
					value := vmem.Addr(h.Value)
					hit.Value, hit.Name = &value, names[h.Which]
				}
				if where != nil {
					hit.Where = where(h.Addr)
				}
				if !yield(hit, nil) {
					return
				}
			}
		}
	}
}

// text is what stands at the hit of a string.
func (p *searchPlace) text(addr uint64) string {
	var b [56]byte // as many as crash shows
	n, _ := p.read(b[:], addr)
	return view.SearchText(b[:n])
}

// searchQuery reads what to look for; names are the symbols and expressions among the values, "" for numbers.
func (c *Call) searchQuery() (q search.Query, names []string, err error) {
	fail := func(format string, args ...any) (search.Query, []string, error) {
		return q, nil, &UsageError{c.Cmd.Name, fmt.Sprintf(format, args...)}
	}
	q.Unit = c.View.WordSize()
	switch {
	case c.Flags.Has("w") && c.Flags.Has("h"):
		return fail("-w and -h exclude each other")
	case c.Flags.Has("w"):
		q.Unit = 4
	case c.Flags.Has("h"):
		q.Unit = 2
	}
	if len(c.Args) == 0 {
		return fail("want a value to look for, or with -c a string")
	}
	if c.Flags.Has("c") {
		for _, f := range []string{"m", "w", "h", "x"} {
			if c.Flags.Has(f) {
				return fail("-%s is for values, -c for strings", f)
			}
		}
		const longest = 1024
		for _, s := range c.Args {
			if s == "" || len(s) > longest {
				return fail("a string to look for has 1 to %d bytes", longest)
			}
		}
		q.Strings = c.Args
		return q, nil, nil
	}
	if m := c.Flags.Value("m"); m != "" {
		mask, ok := parseHex(m)
		if !ok {
			return fail("-m: %s is no hexadecimal number", m)
		}
		q.Mask = mask
	}
	for _, a := range c.Args {
		name := ""
		u, ok := parseHex(a)
		if !ok {
			addr, err := c.address(a)
			if err != nil {
				return q, nil, err
			}
			u, name = uint64(addr), strings.TrimSuffix(strings.TrimPrefix(a, "("), ")")
		}
		if q.Unit < 8 && u>>(8*q.Unit) != 0 {
			return fail("%s has more than %d bits", a, 8*q.Unit)
		}
		if q.Mask != 0 {
			name = "" // other values match, too
		}
		q.Values = append(q.Values, u)
		names = append(names, name)
	}
	return q, names, nil
}

// searchContext is the count of -x.
func (c *Call) searchContext() (uint64, error) {
	text := c.Flags.Value("x")
	if text == "" {
		return 0, nil
	}
	n, err := c.number(text)
	const most = 4096
	if err == nil && (n == 0 || n > most) {
		err = &UsageError{c.Cmd.Name, fmt.Sprintf("-x wants a count from 1 to %d", most)}
	}
	return n, err
}

// searchWhere tells what lies at a kernel address. What can't be told is left out.
func (c *Call) searchWhere() (func(uint64) string, error) {
	w, err := c.newWhere(false)
	if err != nil {
		return nil, err
	}
	return func(addr uint64) string {
		p, ok := w.at(addr)
		switch {
		case !ok:
			return ""
		case p.Stack:
			return fmt.Sprintf("stack of %d (%s)", p.Task.PID, p.Task.Comm)
		case p.Cache != "":
			return fmt.Sprintf("[%x:%s+%d]", uint64(p.Object), p.Cache, p.Offset)
		}
		return p.Symbol
	}, nil
}

// searchRange is what -s, -e and -l say: last is the last address. user says that START is one of user space.
func (c *Call) searchRange() (start, last uint64, user bool, err error) {
	last = ^uint64(0)
	if s := c.Flags.Value("s"); s != "" {
		a, err := c.address(s)
		if err != nil {
			return 0, 0, false, err
		}
		start = uint64(a)
		user = !c.View.Arch().IsKernel(start) && !c.Flags.Has("p")
	}
	if c.Flags.Has("e") && c.Flags.Has("l") {
		return 0, 0, false, &UsageError{c.Cmd.Name, "-e and -l exclude each other"}
	}
	if e := c.Flags.Value("e"); e != "" {
		a, err := c.address(e)
		if err != nil {
			return 0, 0, false, err
		}
		if uint64(a) <= start {
			return 0, 0, false, &UsageError{c.Cmd.Name, fmt.Sprintf("-e %s: the end does not lie behind the start", e)}
		}
		last = uint64(a) - 1
	}
	if l := c.Flags.Value("l"); l != "" {
		n, err := lengthOf(l)
		if err != nil || n == 0 {
			return 0, 0, false, &UsageError{c.Cmd.Name, "-l wants a count of bytes, such as 4096, 0x1000 or 64k"}
		}
		if !c.Flags.Has("s") {
			return 0, 0, false, &UsageError{c.Cmd.Name, "-l goes with -s"}
		}
		last = start + n - 1
		if last < start {
			last = ^uint64(0)
		}
	}
	return start, last, user, nil
}

// lengthOf reads a number of bytes as crash does: decimal, also with a unit behind it; hexadecimal after 0x, or if it has such digits.
func lengthOf(text string) (uint64, error) {
	if i := strings.IndexByte("kmgKMG", text[len(text)-1]); i >= 0 {
		n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
		return n << (10 * (i%3 + 1)), err
	}
	return decimalOrHex(text)
}

// searchPlace finds the memory that the flags mean.
func (c *Call) searchPlace() (*searchPlace, error) {
	kind := ""
	for _, f := range []string{"k", "K", "V", "u", "p", "t", "T"} {
		if !c.Flags.Has(f) {
			continue
		}
		if kind != "" {
			return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("-%s and -%s exclude each other", kind, f)}
		}
		kind = f
	}
	start, last, user, err := c.searchRange()
	if err != nil {
		return nil, err
	}
	switch {
	case kind == "" && user:
		kind = "u"
	case kind == "":
		kind = "k"
	case user && kind != "u":
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("%#x is no address of the kernel", start)}
	case kind == "u" && c.Flags.Has("s") && !user:
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("%#x is no address of user space", start)}
	}
	p := &searchPlace{read: c.readKernel}
	switch kind {
	case "u":
		return p, c.searchUser(p, start, last)
	case "p":
		p.read = c.readPhys
		p.parts = []searchPart{{extents: search.Physical(c.View, start, last)}}
		return p, nil
	case "t", "T":
		return p, c.searchStacks(p, kind == "T", start, last)
	}
	extents, err := search.Kernel(c.View, search.Kinds{Direct: kind != "V", Image: kind != "V", Mapped: kind != "K"}, start, last)
	p.parts = []searchPart{{extents: extents}}
	return p, err
}

// searchUser is -u: what the current task's mappings have in memory.
func (c *Call) searchUser(p *searchPlace, start, last uint64) error {
	space, x, err := c.userSpace("")
	if err != nil {
		return err
	}
	if p.read, err = c.readUser(); err != nil {
		return err
	}
	var all []search.Extent
	for m, err := range mm.VMAs(c.View, x.MM) {
		if err != nil {
			c.View.Gap(fmt.Sprintf("PID %d: mappings", x.PID), err)
			continue
		}
		from, to := max(start, uint64(m.Start)), min(last, uint64(m.End)-1)
		if from > to {
			continue
		}
		extents, err := search.Virtual(c.View, space, from, to, &p.missed)
		if err != nil {
			return err
		}
		all = append(all, extents...)
	}
	p.parts = []searchPart{{extents: all}}
	return nil
}

// searchStacks is -t and -T.
func (c *Call) searchStacks(p *searchPlace, active bool, start, last uint64) error {
	tr, err := c.State.Tracer(c.View)
	if err != nil {
		return err
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return err
	}
	for _, x := range t.Tasks {
		if active && !x.OnCPU || x.Stack == 0 {
			continue
		}
		from, to := max(start, uint64(x.Stack)), min(last, uint64(x.Stack)+tr.StackSize()-1)
		if from > to {
			continue
		}
		extents, err := search.Virtual(c.View, c.View.Arch().Kernel(), from, to, &p.missed)
		if err != nil {
			return err
		}
		h := header(x)
		p.parts = append(p.parts, searchPart{extents, &h})
	}
	return nil
}
