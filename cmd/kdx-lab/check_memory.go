package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// near says whether a count that moves all the time is what the guest said, give or take a tenth and a little: taking the truth,
// writing it to the disk and dying use memory themselves.
func near(got, want, little uint64) bool {
	diff := max(got, want) - min(got, want)
	return diff <= little+want/10
}

// checkMemory holds kmem -i against /proc/meminfo. What is set at boot or by the workload is exact; what moves may have moved.
func checkMemory(ctx context.Context, s *subject) (string, error) {
	var mem struct {
		PageSize uint64             `json:"page_size"`
		Pages    map[string]*uint64 `json:"pages"`
	}
	if err := s.ask(ctx, []string{"kmem -i"}, &mem); err != nil {
		return "", err
	}
	said := parseMeminfo(s.truth.Proc["/proc/meminfo"])
	huge := said["Hugepagesize"] // bytes; the counts of huge pages have no unit
	var d differences
	check := func(name string, want uint64, exact bool) {
		p := mem.Pages[name]
		if p == nil {
			d.add("%s is missing", name)
			return
		}
		got := *p * mem.PageSize
		if exact && got == want || !exact && (s.way.name == "oom" || near(got, want, 8<<20)) {
			return
		}
		d.add("%s = %d KiB; want %d KiB", name, got>>10, want>>10)
	}
	check("total", said["MemTotal"], true)
	check("huge_total", said["HugePages_Total"]*huge, true)
	check("huge_free", said["HugePages_Free"]*huge, true)
	check("swap_total", said["SwapTotal"], true)
	check("commit_limit", said["CommitLimit"], true)
	check("free", said["MemFree"], false)
	check("buffers", said["Buffers"], false)
	check("cached", said["Cached"], false)
	check("slab", said["Slab"], false)
	check("anon_pages", said["AnonPages"], false)
	check("mapped", said["Mapped"], false)
	check("page_tables", said["PageTables"], false)
	check("kernel_stack", said["KernelStack"], false)
	check("swap_used", said["SwapTotal"]-said["SwapFree"], false)
	check("committed", said["Committed_AS"], false)
	return fmt.Sprintf("%d MiB, %d MiB swapped out", said["MemTotal"]>>20, (said["SwapTotal"]-said["SwapFree"])>>20), d.err()
}

// maxMoved caches of some 200 may have changed by more than their slack between the guest's word and its end: a program
// that exits then gives back hundreds of open files at once. A wrong count would be wrong in many.
const maxMoved = 3

// checkSlabs holds kmem -s against /proc/slabinfo: the same caches with the same sizes; counts may have moved.
func checkSlabs(ctx context.Context, s *subject) (string, error) {
	var caches []struct {
		Name     string  `json:"name"`
		Size     uint64  `json:"size"`
		SlabSize uint64  `json:"slab_size"`
		PerSlab  uint64  `json:"objects_per_slab"`
		Active   *uint64 `json:"active"`
		Total    *uint64 `json:"total"`
		Slabs    *uint64 `json:"slabs"`
	}
	if err := s.ask(ctx, []string{"kmem -s"}, &caches); err != nil {
		return "", err
	}
	want, err := parseSlabinfo(s.truth.Proc["/proc/slabinfo"])
	if err != nil {
		return "", err
	}
	var d, moved differences
	var names []string
	// Several caches may share a name: the kernel asks for no unique ones.
	type shape struct {
		name                 string
		size, perSlab, bytes uint64
	}
	got := map[shape]int{}
	for i, c := range caches {
		got[shape{c.Name, c.Size, c.PerSlab, c.SlabSize}] = i
	}
	var objects uint64
	for _, w := range want {
		i, ok := got[shape{w.Name, w.Size, w.PerSlab, w.Pages * uint64(s.truth.PageSize)}]
		if !ok {
			d.add("no cache %s of %d bytes an object, %d objects and %d pages a slab", w.Name, w.Size, w.PerSlab, w.Pages)
			continue
		}
		c := caches[i]
		if c.Active == nil || c.Total == nil || c.Slabs == nil {
			d.add("%s: counts are missing", w.Name)
			continue
		}
		objects += *c.Total
		if s.way.name == "oom" {
			continue // the kernel shrank what it could
		}
		slack := 4*w.PerSlab + 64
		freed := w.Name == "buffer_head" && *c.Active < w.Active // they go with pages of block devices, by the thousand
		if !freed && (!near(*c.Total, w.Total, slack) || !near(*c.Active, w.Active, slack) || !near(*c.Slabs, w.Slabs, 6)) {
			moved.add("%s = %d of %d objects in %d slabs; want %d of %d in %d", w.Name, *c.Active, *c.Total, *c.Slabs, w.Active, w.Total, w.Slabs)
			names = append(names, w.Name)
		}
		if *c.Total > *c.Slabs*w.PerSlab {
			d.add("%s: %d objects in %d slabs of %d", w.Name, *c.Total, *c.Slabs, w.PerSlab)
		}
	}
	if len(names) > maxMoved {
		return "", errors.Join(d.err(), moved.err())
	}
	if len(caches) != len(want) {
		d.add("%d caches; want %d", len(caches), len(want))
	}
	note := fmt.Sprintf("%d caches, %d objects", len(caches), objects)
	if len(names) > 0 {
		note += "; changed between the guest's word and its end: " + strings.Join(names, ", ")
	}
	return note, d.err()
}
