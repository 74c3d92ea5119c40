package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/sbitmap"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func sbitmapqCommand() *Command {
	return &Command{
		Name: "sbitmapq", Group: "kernel", Summary: "a sbitmap_queue: which tags are taken, and who waits for one", Needs: NeedsTypes, Complete: "symbol",
		Usage: []string{"[-x|-d] ADDRESS", "-s STRUCT[.MEMBER[,MEMBER]…] -a ARRAY [-p] [-v] [-x|-d] ADDRESS"},
		Flags: []Flag{
			{Name: "s", Arg: "STRUCT", Help: "the struct of each tag that is taken, out of an array"},
			{Name: "a", Arg: "ARRAY", Help: "address of the array, with -s"},
			{Name: "p", Help: "the array holds pointers to the structs"},
			{Name: "v", Help: "with -s: the structs' members"},
			{Name: "x", Help: "integers in hexadecimal"},
			{Name: "d", Help: "integers in decimal"},
		},
		Help: "busy counts the bits that are taken. Those that are given back and still set, as they are cleared a word at a time, count as cleared and are not shown in the bitmap.",
		Examples: []Example{{"sbitmapq ffff8984c18f1e50", "the tags of a block device: blk_mq_tags.bitmap_tags"},
			{"sbitmapq -s request -a ffff8984c13e6000 -p ffff8984c18f1e50", "the requests that hold them: blk_mq_tags.rqs is an array of pointers"}},
		Run: runSbitmapq,
	}
}

func runSbitmapq(c *Call) (view.Result, error) {
	if len(c.Args) != 1 {
		return nil, &UsageError{"sbitmapq", "want the address of one sbitmap_queue"}
	}
	if !c.Flags.Has("s") && (c.Flags.Has("a") || c.Flags.Has("p") || c.Flags.Has("v")) || c.Flags.Has("s") && !c.Flags.Has("a") {
		return nil, &UsageError{"sbitmapq", "-a, -p and -v go with -s, and -s needs -a"}
	}
	addr, err := c.address(c.Args[0])
	if err != nil {
		return nil, err
	}
	q, err := sbitmap.Read(c.View, addr)
	if q == nil {
		return nil, err
	}
	c.View.Gap(fmt.Sprintf("sbitmap_queue at %#x", uint64(addr)), err)
	if c.Flags.Has("s") {
		return sbitmapEntries(c, q)
	}
	out := &view.Sbitmap{Addr: addr, Depth: q.Depth, WordBits: 1 << q.Shift, Words: q.Words, Hints: q.Hints, WakeBatch: q.WakeBatch, WakeIndex: q.WakeIndex,
		Active: q.Active, RoundRobin: q.RoundRobin, MinDepth: q.MinDepth, Hex: c.hex(), Waits: []view.SbitmapWait{}, Set: []int{}}
	for _, w := range q.Waits {
		out.Waits = append(out.Waits, view.SbitmapWait{Count: w.Count, Active: w.Active})
	}
	if q.Set == nil { // the words could not be read
		return out, nil
	}
	out.Busy, out.Cleared, out.Bytes = &q.Busy, &q.Cleared, make([]byte, (len(q.Set)+7)/8)
	for i, taken := range q.Set {
		if taken {
			out.Set = append(out.Set, i)
			out.Bytes[i/8] |= 1 << (i % 8)
		}
	}
	return out, nil
}

func sbitmapEntries(c *Call, q *sbitmap.Queue) (view.Result, error) {
	name, members, _ := strings.Cut(c.Flags.Value("s"), ".")
	t, err := c.View.Struct(name)
	if err != nil {
		return nil, fmt.Errorf("struct %s: %w", name, err)
	}
	array, err := c.address(c.Flags.Value("a"))
	if err != nil {
		return nil, err
	}
	var paths []string
	if members != "" {
		paths = strings.Split(members, ",")
	}
	for _, m := range paths {
		if _, ok := t.Path(m); !ok {
			return nil, fmt.Errorf("struct %s has no member %s", name, m)
		}
	}
	out := view.SbitmapEntries{}
	for i, taken := range q.Set {
		if !taken {
			continue
		}
		at := array + vmem.Addr(uint64(i)*t.Size)
		if c.Flags.Has("p") {
			p, err := c.View.Word(array + vmem.Addr(uint64(i)*c.View.WordSize()))
			if err != nil {
				c.View.Gap(fmt.Sprintf("pointer of bit %d", i), err)
				continue
			}
			at = vmem.Addr(p)
		}
		e := view.SbitmapEntry{Bit: i, Addr: at}
		if c.Flags.Has("v") {
			e.Object = &view.Objects{Type: t, Members: paths, Style: view.Style{Hex: c.hex()}, List: []view.Object{{CPU: -1, First: true, Addr: at, Value: c.View.Object(t, at)}}}
		}
		out = append(out, e)
	}
	return out, nil
}
