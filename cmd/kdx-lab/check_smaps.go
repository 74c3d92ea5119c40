package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// saidUsage is what smaps says of a mapping, in KiB.
type saidUsage struct {
	Start, End            uint64
	Size, Rss, Swap, Huge uint64
	shared                bool // what smaps says of swap is the file's: writes to it are, or there are none
	path                  string
}

// parseSmaps reads the lines of /proc/PID/smaps that takeSmaps kept.
func parseSmaps(text string) ([]saidUsage, error) {
	var out []saidUsage
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		f := strings.Fields(value)
		if !ok || strings.Contains(name, " ") { // a mapping's own line, as in maps
			maps, err := parseMaps(line)
			if err != nil {
				return nil, err
			}
			u := saidUsage{}
			if len(maps) > 0 {
				u = saidUsage{Start: maps[0].Start, End: maps[0].End, shared: maps[0].Perms[3] == 's' || maps[0].Path != "" && maps[0].Perms[1] != 'w', path: maps[0].Path}
			}
			out = append(out, u)
			continue
		}
		if len(out) == 0 || len(f) == 0 {
			return nil, fmt.Errorf("smaps: %q", line)
		}
		n, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("smaps: %q", line)
		}
		u := &out[len(out)-1]
		switch name {
		case "Size":
			u.Size = n
		case "Rss":
			u.Rss = n
		case "Swap":
			u.Swap = n
		case "Shared_Hugetlb", "Private_Hugetlb":
			u.Huge += n
		}
	}
	return out, nil
}

// pagesAnswer is a mapping of vm -p in JSON.
type pagesAnswer struct {
	Start string `json:"start"`
	End   string `json:"end"`
	Flags string `json:"flags"`
	Pages []struct {
		Physical *string   `json:"physical"`
		Swap     *struct{} `json:"swap"`
	} `json:"pages"`
}

// checkSmaps holds the pages that vm -p finds of processes that did nothing since against /proc/PID/smaps: how much of each mapping is in memory, and in swap.
func checkSmaps(ctx context.Context, s *subject) (string, error) {
	const largest = 64 << 10 // KiB: Go's programs reserve gigabytes, each page of which is a row. One of them is in swap, and enough
	swapped := false
	byPID := map[int][]saidUsage{}
	line := "foreach"
	for _, t := range s.truth.Tasks {
		if !t.Quiet || t.Leader["smaps"] == "" {
			continue
		}
		said, err := parseSmaps(t.Leader["smaps"])
		if err != nil {
			return "", err
		}
		var size, swap uint64
		for _, u := range said {
			size, swap = size+u.Size, swap+u.Swap
		}
		if size <= largest || swap > 0 && !swapped {
			swapped = swapped || swap > 0
			byPID[t.TID] = said
			line += fmt.Sprintf(" %d", t.TID)
		}
	}
	if len(byPID) == 0 {
		return "", skip("the guest that left this dump did not say what of its processes was in memory")
	}
	zero, err := s.zeroPage(ctx)
	if err != nil {
		return "", err
	}
	var tasks []struct {
		PID      int           `json:"pid"`
		Mappings []pagesAnswer `json:"mappings"`
	}
	if err := s.ask(ctx, []string{line + " vm -p"}, &tasks); err != nil {
		return "", err
	}
	var d differences
	processes, mappings := 0, 0
	var inMemory, inSwap uint64
	for _, t := range tasks {
		at := map[uint64]saidUsage{}
		for _, u := range byPID[t.PID] {
			at[u.Start] = u
		}
		processes++
		for _, m := range t.Mappings {
			u, ok := at[hexNumber(m.Start)]
			const pfnMap, mapIO = 0x400, 0x4000
			flags := hexNumber(m.Flags)
			if !ok || u.End != hexNumber(m.End) {
				d.add("PID %d: the guest has no mapping %s-%s", t.PID, m.Start, m.End)
				continue
			}
			if size := (hexNumber(m.End) - hexNumber(m.Start)) >> 10; u.Size != size {
				d.add("PID %d: the mapping at %s has %d KiB; want %d", t.PID, m.Start, size, u.Size)
			}
			if flags&(pfnMap|mapIO) != 0 {
				continue // memory without struct pages is none of a process's
			}
			var rss, swapped uint64
			for _, p := range m.Pages {
				switch {
				case p.Swap != nil:
					swapped += uint64(s.truth.PageSize) >> 10
				case p.Physical != nil && hexNumber(*p.Physical) != zero: // the page of zeros is nobody's
					rss += uint64(s.truth.PageSize) >> 10
				}
			}
			want := u.Rss + u.Huge
			mappings++
			inMemory, inSwap = inMemory+rss, inSwap+swapped
			if rss != want || swapped != u.Swap && !u.shared {
				d.add("PID %d: of %s-%s (%s) %d KiB are in memory and %d in swap; want %d and %d", t.PID, m.Start, m.End, u.path, rss, swapped, want, u.Swap)
			}
		}
	}
	if mappings == 0 {
		d.add("no mapping was compared")
	}
	return fmt.Sprintf("%d mappings of %d processes: %d KiB in memory, %d in swap", mappings, processes, inMemory, inSwap), d.err()
}

// zeroPage is the physical address of the page of zeros.
func (s *subject) zeroPage(ctx context.Context) (uint64, error) {
	var at []struct {
		Physical string `json:"physical"`
	}
	err := s.ask(ctx, []string{"vtop empty_zero_page"}, &at)
	if err != nil || len(at) == 0 {
		return 0, err
	}
	return hexNumber(at[0].Physical), nil
}
