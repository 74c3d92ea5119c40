package commands

import (
	"fmt"
	"iter"
	"strings"

	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

func treeCommand() *Command {
	return &Command{
		Name: "tree", Group: "symbols and types", Summary: "go through a red-black tree, xarray, radix tree or maple tree", Needs: NeedsTypes, Complete: "symbol",
		Usage: []string{"[-t TYPE] [-r OFFSET] [-o OFFSET] [-s STRUCT[.MEMBER[,MEMBER]…]] [-lpvxda] [-N] START"},
		Flags: []Flag{
			{Name: "t", Arg: "TYPE", Help: "rbtree (the default), xarray, radix or maple; rb, x, ra and m will do"},
			{Name: "r", Arg: "OFFSET", Help: "START is a structure with the root at this offset: struct.member, or bytes"},
			{Name: "o", Arg: "OFFSET", Help: "of the rb_node in its container"},
			{Name: "s", Arg: "STRUCT", Help: "show each entry as this struct, or some of its members"},
			{Name: "S", Arg: "STRUCT", Help: "as -s, members as plain values"},
			{Name: "l", Help: "a red-black tree from left to right, not from its root down"},
			{Name: "p", Help: "with the place of each entry: the way from the root, and its index"},
			{Name: "v", Help: "each node of a maple tree, with the ranges of its slots"},
			{Name: "N", Help: "START is a node, not a root; of a maple tree an encoded pointer to one"},
			{Name: "x", Help: "numbers in hexadecimal"},
			{Name: "d", Help: "numbers in decimal"},
			annotateFlag(),
		},
		Help: "Entries are shown by address. An entry of an xarray that is a number (the page cache keeps such for pages in swap) shows as it is stored, its lowest bit set.",
		Examples: []Example{{"tree -t xarray -r address_space.i_pages ffff8984c1c0ba58 -p", "the pages of a file, with their indexes"},
			{"tree -t maple -r mm_struct.mm_mt ffff8984c106a100 -s vm_area_struct.vm_start,vm_end", "the mappings of a process (6.1 and above)"},
			{"tree -r proc_dir_entry.subdir -o proc_dir_entry.subdir_node -s proc_dir_entry.name proc_root", "a red-black tree: what is in /proc"}},
		Run: runTree,
	}
}

func runTree(c *Call) (view.Result, error) {
	if len(c.Args) != 1 {
		return nil, &UsageError{c.Cmd.Name, "want one address"}
	}
	kind, err := c.treeType()
	if err != nil {
		return nil, err
	}
	start, err := c.treeStart()
	if err != nil {
		return nil, err
	}
	e := &view.Entries{View: c.View, Style: view.Style{Hex: c.hexOffsets(), Pointee: c.pointees()}}
	if err := c.shown(e); err != nil {
		return nil, err
	}
	rbOnly := []string{"o", "l"}
	for _, f := range rbOnly {
		if c.Flags.Has(f) && kind != "rbtree" {
			return nil, &UsageError{c.Cmd.Name, "-" + f + " is for red-black trees"}
		}
	}
	if c.Flags.Has("v") && kind != "maple" {
		return nil, &UsageError{c.Cmd.Name, "-v is for maple trees"}
	}
	switch kind {
	case "rbtree":
		e.Walk, err = c.rbEntries(start)
	case "maple":
		e.Walk = c.mapleEntries(start)
	default:
		e.Walk = c.xarrayEntries(start)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (c *Call) treeType() (string, error) {
	given := c.Flags.Value("t")
	if given == "" {
		return "rbtree", nil
	}
	for _, name := range []string{"rbtree", "radix", "xarray", "maple"} {
		if strings.HasPrefix(name, given) && given != "r" {
			return name, nil
		}
	}
	return "", &UsageError{c.Cmd.Name, given + " is no type of tree: want rbtree, xarray, radix or maple"}
}

func (c *Call) treeStart() (vmem.Addr, error) {
	start, err := c.address(c.Args[0])
	if err != nil {
		return 0, err
	}
	r := c.Flags.Value("r")
	if r == "" {
		return start, nil
	}
	if c.Flags.Has("N") {
		return 0, &UsageError{c.Cmd.Name, "-r is for roots, -N for nodes"}
	}
	off, err := c.offset(r)
	return start + vmem.Addr(off), err
}

func (c *Call) rbEntries(start vmem.Addr) (iter.Seq2[view.Entry, error], error) {
	offset := uint64(0)
	if o := c.Flags.Value("o"); o != "" {
		var err error
		if offset, err = c.offset(o); err != nil {
			return nil, err
		}
	}
	top := start
	if !c.Flags.Has("N") {
		p, err := c.View.Word(start)
		if err != nil {
			return nil, err
		}
		if top = vmem.Addr(p); top == 0 {
			return func(func(view.Entry, error) bool) {}, nil
		}
	}
	position := c.Flags.Has("p")
	if c.Flags.Has("l") && !position {
		return func(yield func(view.Entry, error) bool) {
			for a, err := range walk.RBNode(c.View, top, offset) {
				if !yield(view.Entry{Addr: a, Object: a}, err) {
					return
				}
			}
		}, nil
	}
	places := walk.RBPlaces
	if c.Flags.Has("l") {
		places = walk.RBPlacesInOrder
	}
	return func(yield func(view.Entry, error) bool) {
		for p, err := range places(c.View, top, offset) {
			e := view.Entry{Addr: p.Addr, Object: p.Addr}
			if position {
				e.Position = "root"
				for _, step := range p.Path {
					e.Position += "/" + string(step)
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

func (c *Call) xarrayEntries(start vmem.Addr) iter.Seq2[view.Entry, error] {
	seq := walk.XArrayPlaces(c.View, start)
	if c.Flags.Has("N") {
		seq = walk.XANodePlaces(c.View, uint64(start))
	}
	position := c.Flags.Has("p")
	return func(yield func(view.Entry, error) bool) {
		for p, err := range seq {
			e := view.Entry{Addr: vmem.Addr(p.Value), Object: vmem.Addr(p.Value)}
			if position && err == nil {
				e.Position, e.Index = slotPath(p.Path), &p.Index
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func slotPath(path []int) string {
	s := "root"
	for _, i := range path {
		s += fmt.Sprintf("/%d", i)
	}
	return s
}

func (c *Call) mapleEntries(start vmem.Addr) iter.Seq2[view.Entry, error] {
	position, verbose := c.Flags.Has("p"), c.Flags.Has("v")
	return func(yield func(view.Entry, error) bool) {
		n := uint64(0)
		for i, err := range walk.MapleItems(c.View, uint64(start), c.Flags.Has("N")) {
			empty := i.IsNode || i.Entry == 0 || i.Entry&3 == 2
			if err == nil && !verbose && empty {
				continue
			}
			e := view.Entry{Addr: vmem.Addr(i.Entry), Object: vmem.Addr(i.Entry), First: &i.First, Last: &i.Last}
			if position && !empty && err == nil {
				n++
				count := n
				e.Position, e.Index = slotPath(i.Path), &count
			}
			if verbose {
				e.Line = mapleLine(&i, c.hexOffsets())
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// mapleLine is a line of -v, indented by its depth.
func mapleLine(i *walk.MapleItem, hex bool) string {
	limits := fmt.Sprintf("%d-%d", i.First, i.Last)
	if hex {
		limits = fmt.Sprintf("%#x-%#x", i.First, i.Last)
	}
	indent := strings.Repeat("  ", len(i.Path))
	if !i.IsNode {
		return fmt.Sprintf("%s%s: %#x", indent, limits, i.Entry)
	}
	return fmt.Sprintf("%s%s: node %#x depth %d type %d parent %#x", indent, limits, uint64(i.Node), len(i.Path), i.Type, i.Parent)
}
