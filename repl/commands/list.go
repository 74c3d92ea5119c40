package commands

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

func listCommand() *Command {
	return &Command{
		Name: "list", Group: "symbols and types", Summary: "follow a linked list", Needs: NeedsSymbols, Complete: "symbol",
		Usage: []string{"[[-o] OFFSET] [-e END] [-s STRUCT[.MEMBER[,MEMBER]…] [-l OFFSET]] [-rBxda] [-h [-O OFFSET] | -H] START"},
		Flags: []Flag{
			{Name: "o", Arg: "OFFSET", Help: "of the pointer or list_head in a structure: struct.member, or bytes; struct.member needs no -o"},
			{Name: "e", Arg: "END", Help: "stop at this address"},
			{Name: "s", Arg: "STRUCT", Help: "show each entry as this struct, or some of its members", Needs: NeedsTypes},
			{Name: "S", Arg: "STRUCT", Help: "as -s, members as plain values", Needs: NeedsTypes},
			{Name: "l", Arg: "OFFSET", Help: "with -s: the addresses are those of links at this offset"},
			{Name: "h", Help: "START is a structure of the list, with a list_head in it"},
			{Name: "O", Arg: "OFFSET", Help: "with -h: the list_head in START is at this offset, as START is of another kind than the entries; it is not shown"},
			{Name: "H", Help: "START is a list_head outside of the entries, such as LIST_HEAD makes; it is not shown"},
			{Name: "r", Help: "backwards, by the prev pointers of list_heads"},
			{Name: "B", Help: "find loops by Brent's algorithm, in constant memory; it tells the loop's length and start"},
			{Name: "x", Help: "numbers in hexadecimal"},
			{Name: "d", Help: "numbers in decimal"},
			annotateFlag(),
		},
		Help: "Without -h and -H, START is the first structure, and the pointer at OFFSET leads to the next. The list ends at NULL, at START, at the second entry, " +
			"at an entry that points to itself, or at END. A list that comes back to any other entry is damaged, and that ends it too. " +
			"Where an entry of list_heads can't be read, the rest is reached from the other end.",
		Examples: []Example{{"list -H modules -o module.list -s module.name", "all modules"}, {"list task_struct.tasks -h init_task -S task_struct.pid,comm", "all processes"},
			{"list -h -O task_struct.children -o task_struct.sibling init_task", "the children of a task"}},
		Run: runList,
	}
}

type listSpec struct {
	start, link vmem.Addr // link: where the first pointer lies
	end         vmem.Addr
	hasEnd      bool
	offset      uint64 // of the link in a structure
	prev        uint64 // bytes from a list_head's start to the pointer to follow
	heads       bool   // pointers lead to links, not to structures
	skipStart   bool   // START is no entry
	brent       bool
}

func runList(c *Call) (view.Result, error) {
	s, err := c.listSpec()
	if err != nil {
		return nil, err
	}
	e := &view.Entries{View: c.View, Style: view.Style{Hex: c.hexOffsets(), Pointee: c.pointees()}}
	if err := c.shown(e); err != nil {
		return nil, err
	}
	shift := uint64(0)
	if l := c.Flags.Value("l"); l != "" {
		if len(e.Shown) == 0 {
			return nil, &UsageError{c.Cmd.Name, "-l goes with -s or -S"}
		}
		if shift, err = c.offset(l); err != nil {
			return nil, err
		}
	}
	e.Walk = func(yield func(view.Entry, error) bool) {
		for a, err := range c.followList(s) {
			if !yield(view.Entry{Addr: a, Object: a - vmem.Addr(shift)}, err) {
				return
			}
		}
	}
	return e, nil
}

// shown reads -s and -S: STRUCT[.MEMBER[,MEMBER]…].
func (c *Call) shown(e *view.Entries) error {
	specs := c.Flags.Values("s")
	if direct := c.Flags.Values("S"); len(direct) > 0 {
		specs, e.Direct = append(specs, direct...), true
	}
	for _, spec := range specs {
		t, members, err := c.typeAndMembers(strings.TrimPrefix(spec, "struct "), symbols.Struct)
		if err != nil {
			return err
		}
		e.Shown = append(e.Shown, view.Shown{Type: t, Members: members})
	}
	return nil
}

func (c *Call) listSpec() (listSpec, error) {
	var s listSpec
	usage := func(format string, args ...any) (listSpec, error) {
		return s, &UsageError{c.Cmd.Name, fmt.Sprintf(format, args...)}
	}
	offset, start := c.Flags.Value("o"), ""
	for _, a := range c.Args {
		switch {
		case offset == "" && c.isOffset(a):
			offset = a
		case start == "":
			start = a
		default:
			return usage("%s is one argument too many", a)
		}
	}
	if start == "" && offset != "" && c.Flags.Value("o") == "" {
		start, offset = offset, "" // a single small number is an address all the same
	}
	if start == "" {
		return usage("want the address where the list begins")
	}
	if c.Flags.Has("h") && c.Flags.Has("H") {
		return usage("-h and -H exclude each other")
	}
	var err error
	if offset != "" {
		if s.offset, err = c.offset(offset); err != nil {
			return s, err
		}
	}
	if s.start, err = c.address(start); err != nil {
		return s, err
	}
	if e := c.Flags.Value("e"); e != "" {
		s.hasEnd = true
		if s.end, err = c.address(e); err != nil {
			return s, err
		}
	}
	s.brent = c.Flags.Has("B")
	s.heads = c.Flags.Has("h") || c.Flags.Has("H")
	if c.Flags.Has("r") {
		s.prev = c.View.WordSize()
	}
	s.link = s.start + vmem.Addr(s.offset)
	switch o := c.Flags.Value("O"); {
	case o != "" && !c.Flags.Has("h"):
		return usage("-O goes with -h")
	case o != "":
		head, err := c.offset(o)
		if err != nil {
			return s, err
		}
		s.link, s.skipStart = s.start+vmem.Addr(head), true
	case c.Flags.Has("H"):
		s.link, s.skipStart = s.start, true
	}
	return s, nil
}

// isOffset tells struct.member and small numbers from addresses.
func (c *Call) isOffset(word string) bool {
	if tag, _, ok := strings.Cut(word, "."); ok {
		_, err := typeByTag(c.View, tag)
		return !errors.Is(err, symbols.ErrNotFound) // types that can't be read are the offset's error
	}
	n, err := strconv.ParseUint(word, 0, 64)
	return err == nil && n < c.View.PageSize() && !c.View.HasSymbol(word)
}

// followList yields the addresses to show.
func (c *Call) followList(s listSpec) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		if !s.skipStart && !yield(s.start, nil) {
			return
		}
		next := func(link vmem.Addr) (vmem.Addr, error) {
			if err := c.View.Step(); err != nil {
				return 0, err
			}
			p, err := c.View.Word(link + vmem.Addr(s.prev))
			return vmem.Addr(p), err
		}
		// cur and first are pointers as memory has them: to structures, or to links in them.
		cur, err := next(s.link)
		first := cur
		loops := newLoopFinder(s.brent)
		base := s.start
		if s.heads {
			base = s.link
		}
		last := base
		for err == nil {
			// A list of list_heads is a ring, which comes back to where it began and to no other entry; of others an entry that
			// points to itself or the first is an end.
			if cur == 0 || cur == base || !s.heads && cur == last || s.hasEnd && (cur == s.end || s.heads && cur-vmem.Addr(s.offset) == s.end) {
				return
			}
			if !s.heads && last != base && cur == first {
				return
			}
			if loops.seen(cur) {
				yield(0, loops.describe(base, cur, func(p vmem.Addr) (vmem.Addr, error) { return next(s.linkOf(p)) }, first))
				return
			}
			show := cur
			if s.heads {
				show -= vmem.Addr(s.offset)
			}
			// An address that can't be read is still one that the list leads to.
			last = cur
			cur, err = next(s.linkOf(cur))
			if !yield(show, nil) {
				return
			}
		}
		if !yield(0, fmt.Errorf("list: after %#x: %w", uint64(last), err)) || !s.heads || s.hasEnd || loops.all == nil {
			return
		}
		for _, link := range c.otherEnd(s, base, loops.all) {
			if !yield(link-vmem.Addr(s.offset), nil) {
				return
			}
		}
	}
}

// otherEnd collects what lies between an entry that can't be read and the head, by the list_heads' other pointers; in
// the list's order.
func (c *Call) otherEnd(s listSpec, base vmem.Addr, seen map[vmem.Addr]bool) []vmem.Addr {
	var out []vmem.Addr
	for cur := base; ; {
		p, err := c.View.Word(cur + vmem.Addr(c.View.WordSize()-s.prev))
		link := vmem.Addr(p)
		if err != nil || link == 0 || link == base || seen[link] || c.View.Step() != nil {
			break
		}
		seen[link] = true
		out = append(out, link)
		cur = link
	}
	slices.Reverse(out)
	return out
}

// linkOf is where the next pointer lies, given a pointer to the current entry.
func (s *listSpec) linkOf(p vmem.Addr) vmem.Addr {
	if s.heads {
		return p
	}
	return p + vmem.Addr(s.offset)
}

// loopFinder remembers all addresses, or as Brent does only one, which moves ahead at each power of two.
type loopFinder struct {
	all          map[vmem.Addr]bool
	tortoise     vmem.Addr
	power, steps int
}

func newLoopFinder(brent bool) *loopFinder {
	if brent {
		return &loopFinder{power: 1}
	}
	return &loopFinder{all: make(map[vmem.Addr]bool)}
}

func (l *loopFinder) seen(a vmem.Addr) bool {
	if l.all != nil {
		if l.all[a] {
			return true
		}
		l.all[a] = true
		return false
	}
	if l.tortoise == 0 {
		l.tortoise = a
		return false
	}
	l.steps++
	if a == l.tortoise {
		return true
	}
	if l.steps == l.power {
		l.tortoise, l.power, l.steps = a, l.power*2, 0
	}
	return false
}

// describe says where the loop is. With Brent's algorithm some entries of the loop were yielded more than once.
func (l *loopFinder) describe(base, at vmem.Addr, next func(vmem.Addr) (vmem.Addr, error), first vmem.Addr) error {
	if l.all != nil {
		return fmt.Errorf("list: %#x: %w", uint64(at), walk.ErrLoop)
	}
	length := l.steps
	hare := first
	var err error
	for range length {
		if hare, err = next(hare); err != nil {
			return errors.Join(walk.ErrLoop, err)
		}
	}
	slow, n := first, 0
	for slow != hare {
		if slow, err = next(slow); err != nil {
			break
		}
		if hare, err = next(hare); err != nil {
			break
		}
		n++
	}
	return fmt.Errorf("list: loop of %d entries, which begins %d entries behind the first, at %#x: %w", length, n, uint64(slow), walk.ErrLoop)
}
