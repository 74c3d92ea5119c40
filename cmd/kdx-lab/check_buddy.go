package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// parseBuddyinfo takes the lines "Node 0, zone DMA32 1 0 …" apart: free blocks of each order by "node zone".
func parseBuddyinfo(text string) (map[string][]uint64, error) {
	out := map[string][]uint64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(strings.ReplaceAll(line, ",", ""))
		if len(f) < 5 || f[0] != "Node" || f[2] != "zone" {
			return nil, fmt.Errorf("/proc/buddyinfo: %q", line)
		}
		var blocks []uint64
		for _, word := range f[4:] {
			n, err := strconv.ParseUint(word, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/buddyinfo: %w", err)
			}
			blocks = append(blocks, n)
		}
		out[f[1]+" "+f[3]] = blocks
	}
	return out, nil
}

// checkBuddy holds kmem -f and kmem -z against /proc/buddyinfo, zone by zone and order by order. At least one zone (the lowest: nobody takes from it while there is
// another) has as many blocks of each order as then; the others have as many pages, within what the guest took to write down its truth and to die.
func checkBuddy(ctx context.Context, s *subject) (string, error) {
	said, err := parseBuddyinfo(s.truth.Proc["/proc/buddyinfo"])
	if err != nil {
		return "", err
	}
	if len(said) == 0 {
		return "", skip("the guest recorded no /proc/buddyinfo")
	}
	var free kmemFree
	var zones []struct {
		Node     int               `json:"node"`
		Name     string            `json:"name"`
		Present  uint64            `json:"present"`
		Counters map[string]uint64 `json:"counters"`
	}
	if err := s.ask(ctx, []string{"kmem -f", "kmem -z"}, &free, &zones); err != nil {
		return "", err
	}
	var d differences
	counted := map[string]uint64{}
	populated := 0
	for _, z := range zones {
		counted[fmt.Sprintf("%d %s", z.Node, z.Name)] = z.Counters["NR_FREE_PAGES"]
		if z.Present > 0 {
			populated++
		}
	}
	if populated != len(said) {
		d.add("%d zones have pages; the guest has %d", populated, len(said))
	}
	const moved = 32 << 20 // bytes
	orders, still := 0, 0
	for _, z := range free.Zones {
		name := fmt.Sprintf("%d %s", z.Node, z.Name)
		want, ok := said[name]
		if !ok {
			if len(z.Areas) > 0 {
				d.add("the guest has no zone %s", name)
			}
			continue
		}
		delete(said, name)
		if len(z.Areas) != len(want) {
			d.add("zone %s has %d orders; want %d", name, len(z.Areas), len(want))
			continue
		}
		had, has := uint64(0), uint64(0)
		var blocks []uint64
		for i, a := range z.Areas {
			n := uint64(0)
			for _, l := range a.Lists {
				if l.Blocks != nil {
					n += *l.Blocks
				}
			}
			if n != a.NrFree || a.Order != i {
				d.add("zone %s, order %d: %d blocks on its lists; it counts %d", name, i, n, a.NrFree)
			}
			blocks = append(blocks, n)
			had += want[i] << i
			has += n << i
		}
		orders += len(want)
		// Processors add to a zone's count by the batch.
		if !near(counted[name], has, uint64(s.truth.CPUs)*128) {
			d.add("zone %s: kmem -z counts %d free pages, on the lists of kmem -f are %d", name, counted[name], has)
		}
		switch {
		case has == had && fmt.Sprint(blocks) == fmt.Sprint(want):
			still++
		case s.way.name != "oom" && !near(has, had, moved/uint64(s.truth.PageSize)):
			d.add("zone %s has %v free blocks; want %v, or some less", name, blocks, want)
		}
	}
	for name := range said {
		d.add("no zone %s", name)
	}
	if still == 0 && s.way.name != "oom" {
		d.add("no zone has the blocks that the guest said")
	}
	return fmt.Sprintf("%d orders of %d zones, all as they were in %d", orders, populated, still), d.err()
}
