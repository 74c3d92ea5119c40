package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

type kmemFree struct {
	Zones []struct {
		Node  int    `json:"node"`
		Name  string `json:"name"`
		Areas []struct {
			Order  int    `json:"order"`
			NrFree uint64 `json:"nr_free"`
			Lists  []struct {
				Type   string  `json:"migrate_type"`
				Blocks *uint64 `json:"blocks"`
			} `json:"lists"`
		} `json:"areas"`
		CPUs []struct {
			CPU    int     `json:"cpu"`
			Count  uint64  `json:"count"`
			Listed *uint64 `json:"listed"`
		} `json:"cpus"`
	} `json:"zones"`
	Verified bool `json:"verified"`
}

// checkFree holds kmem -f against /proc/pagetypeinfo: the same lists, of types with the same names, and as much free memory within
// what the kernel took and gave meanwhile. What is on the lists must be what the kernel itself counts, to the page.
func checkFree(ctx context.Context, s *subject) (string, error) {
	var free kmemFree
	if err := s.ask(ctx, []string{"kmem -f"}, &free); err != nil {
		return "", err
	}
	said, err := parsePageTypes(s.truth.Proc["/proc/pagetypeinfo"])
	if err != nil {
		return "", err
	}
	var d differences
	if !free.Verified {
		d.add("the lists do not have as many pages as the kernel counts")
	}
	lists, kept, total := 0, uint64(0), uint64(0)
	for _, z := range free.Zones {
		got, want := uint64(0), uint64(0)
		for _, a := range z.Areas {
			for _, l := range a.Lists {
				blocks, ok := said[fmt.Sprintf("%d %s %s %d", z.Node, z.Name, l.Type, a.Order)]
				if !ok || l.Blocks == nil {
					d.add("zone %s, order %d: the guest has no list %s, or it could not be read", z.Name, a.Order, l.Type)
					continue
				}
				lists++
				got += *l.Blocks << a.Order
				want += blocks << a.Order
			}
		}
		total += got
		if s.way.name != "oom" && !near(got, want, 8<<20/uint64(s.truth.PageSize)) {
			d.add("zone %s has %d free pages; the guest said %d", z.Name, got, want)
		}
		for _, c := range z.CPUs {
			if c.Listed == nil || *c.Listed != c.Count {
				d.add("zone %s: CPU %d keeps %d pages, its lists have others", z.Name, c.CPU, c.Count)
			}
			kept += c.Count
		}
	}
	if lists != len(said) {
		d.add("%d lists; the guest has %d", lists, len(said))
	}
	return fmt.Sprintf("%d lists, %d pages, %d more that CPUs keep", lists, total, kept), d.err()
}

// parsePageTypes takes the lines "Node 0, zone DMA32, type Movable 1 0 …" apart: blocks by "node zone type order".
func parsePageTypes(text string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(strings.ReplaceAll(line, ",", ""))
		if len(f) < 7 || f[0] != "Node" || f[4] != "type" {
			continue
		}
		for order, n := range f[6:] {
			u, err := strconv.ParseUint(n, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/pagetypeinfo: %w", err)
			}
			out[fmt.Sprintf("%s %s %s %d", f[1], f[3], f[5], order)] = u
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the guest recorded no /proc/pagetypeinfo")
	}
	return out, nil
}

// checkZones holds kmem -z, -n, -v, -h and -V against /proc/zoneinfo, vmallocinfo, meminfo and vmstat.
func checkZones(ctx context.Context, s *subject) (string, error) {
	var zones []struct {
		Node                                               int
		Name                                               string
		Spanned, Present, Managed, Min, Low, High, StartNr uint64
		Start                                              uint64 `json:"start_pfn"`
	}
	var nodes struct {
		Sections []struct {
			State string `json:"state"`
			PFN   uint64 `json:"pfn"`
		} `json:"sections"`
		Blocks []struct {
			Name  string `json:"name"`
			State string `json:"state"`
		} `json:"blocks"`
	}
	var areas []struct {
		Start hexAddr `json:"start"`
		End   hexAddr `json:"end"`
	}
	var huge []struct {
		Size  uint64 `json:"page_size"`
		Total uint64 `json:"total"`
		Free  uint64 `json:"free"`
	}
	var stats []struct {
		Name     string           `json:"name"`
		Counters map[string]int64 `json:"counters"`
	}
	if err := s.ask(ctx, []string{"kmem -z", "kmem -n", "kmem -v", "kmem -h", "kmem -V"}, &zones, &nodes, &areas, &huge, &stats); err != nil {
		return "", err
	}
	var d differences
	said := parseZoneinfo(s.truth.Proc["/proc/zoneinfo"])
	for _, z := range zones {
		name := fmt.Sprintf("%d %s", z.Node, z.Name)
		w, ok := said[name]
		if !ok {
			d.add("the guest has no zone %s", name)
			continue
		}
		for what, got := range map[string]uint64{"spanned": z.Spanned, "present": z.Present, "managed": z.Managed, "min": z.Min, "low": z.Low, "high": z.High} {
			// A zone's watermarks are raised for a while when memory is short; a guest that ran out of it had them raised.
			if want := w[what]; got != want && (s.way.name != "oom" || what == "spanned" || what == "present") {
				d.add("zone %s: %s = %d; want %d", name, what, got, want)
			}
		}
	}
	if len(zones) != len(said) {
		d.add("%d zones; want %d", len(zones), len(said))
	}
	for i, n := range nodes.Sections {
		want := "PMOE"
		if s.truth.Proc[fmt.Sprintf("%smemory%d/state", sysMemory, n.PFN>>15)] == "offline" {
			want = "PM" // and early, if it was there at boot
		}
		if !strings.HasPrefix(n.State, want) || i > 0 && n.PFN <= nodes.Sections[i-1].PFN {
			d.add("section at page %#x is %s", n.PFN, n.State)
		}
	}
	for i, b := range nodes.Blocks {
		want, ok := s.truth.Proc[sysMemory+b.Name+"/state"]
		if !ok && b.Name == fmt.Sprintf("memory%d", i) { // a truth from before it was asked for
			want = "online"
		}
		if b.State != strings.ToUpper(want) {
			d.add("block %s is %q; want %q", b.Name, b.State, want)
		}
	}
	if len(nodes.Sections) == 0 || len(nodes.Blocks) == 0 {
		d.add("%d sections, %d blocks", len(nodes.Sections), len(nodes.Blocks))
	}
	// vmallocinfo hides addresses.
	var got, want uint64
	for _, a := range areas {
		got += uint64(a.End - a.Start)
	}
	lines := 0
	for line := range strings.Lines(s.truth.Proc["/proc/vmallocinfo"]) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.Contains(line, "unpurged") { // freed, and not unmapped yet
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return "", fmt.Errorf("/proc/vmallocinfo: %w", err)
		}
		want += n
		lines++
	}
	if lines == 0 || !near(got, want, 1<<20) || !near(uint64(len(areas)), uint64(lines), 16) {
		d.add("%d vmalloc areas of %d KiB; want %d of %d KiB", len(areas), got>>10, lines, want>>10)
	}
	mem := parseMeminfo(s.truth.Proc["/proc/meminfo"])
	sizes := 0
	for _, h := range huge {
		if h.Size != mem["Hugepagesize"] { // the others are not in /proc/meminfo
			continue
		}
		sizes++
		if h.Total != mem["HugePages_Total"] || h.Free != mem["HugePages_Free"] {
			d.add("%d huge pages, %d of them free; want %d and %d", h.Total, h.Free, mem["HugePages_Total"], mem["HugePages_Free"])
		}
	}
	if sizes != 1 {
		d.add("%d sizes of huge pages are of %d bytes; want one", sizes, mem["Hugepagesize"])
	}
	vmstat := map[string]uint64{}
	for line := range strings.Lines(s.truth.Proc["/proc/vmstat"]) {
		if f := strings.Fields(line); len(f) == 2 {
			vmstat[f[0]], _ = strconv.ParseUint(f[1], 10, 64)
		}
	}
	counters := 0
	for _, g := range stats {
		for name, got := range g.Counters {
			want, ok := vmstat[strings.ToLower(name)]
			grows := g.Name == "VM_EVENT_STATES" || g.Name == "VM_NUMA_STAT"
			if !ok || !grows {
				continue // what stands in the others moves; checkMemory looks at it
			}
			counters++
			if name == "PGPGIN" || name == "PGPGOUT" {
				got /= 2 // sectors to the kernel, KiB in /proc/vmstat
			}
			if uint64(got) < want || s.way.name != "oom" && !near(uint64(got), want, 1<<16) {
				d.add("%s = %d; the guest had already counted %d", name, got, want)
			}
		}
	}
	if counters < 40 {
		d.add("only %d of the counters are in /proc/vmstat", counters)
	}
	return fmt.Sprintf("%d zones, %d sections, %d areas, %d counters", len(zones), len(nodes.Sections), len(areas), counters), d.err()
}

// hexAddr is an address as JSON has it.
type hexAddr uint64

func (a *hexAddr) UnmarshalText(text []byte) error {
	u, err := strconv.ParseUint(string(text), 0, 64)
	*a = hexAddr(u)
	return err
}

// parseZoneinfo takes the numbers of each zone, by node and name.
func parseZoneinfo(text string) map[string]map[string]uint64 {
	out := map[string]map[string]uint64{}
	var zone map[string]uint64
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 4 && f[0] == "Node" && f[2] == "zone" {
			zone = map[string]uint64{}
			out[strings.TrimSuffix(f[1], ",")+" "+f[3]] = zone
			continue
		}
		if len(f) != 2 || zone == nil {
			continue
		}
		if _, ok := zone[f[0]]; ok {
			continue // of each CPU
		}
		if u, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			zone[f[0]] = u
		}
	}
	return out
}

// crashKmem are commands whose text is crash's, line by line, but for what sameKmem explains.
var crashKmem = []string{"kmem -i=shared", "kmem -n", "kmem -z", "kmem -v", "kmem -h", "kmem -o", "kmem -s", "kmem -s list", "kmem -g"}

// checkKmemCrash holds the text of kmem against crash's.
func (l *lab) checkKmemCrash(ctx context.Context, s *subject) (string, error) {
	r, err := l.reference(ctx, s.dir)
	if err != nil {
		return "", err
	}
	if r.Crash == nil {
		return "", skip("crash can't read it: " + r.Failed["crash"])
	}
	want, err := l.crashOn(ctx, s, crashKmem)
	if err != nil {
		return "", err
	}
	var d differences
	lines := 0
	for _, c := range crashKmem {
		text, err := s.say(ctx, s.dump, c)
		if err != nil {
			return "", err
		}
		got, crash := sameKmem(c, text), sameKmem(c, want[c])
		have := map[string]bool{}
		for _, line := range got {
			have[line] = true
		}
		for _, line := range crash {
			lines++
			if !have[line] {
				d.add("%s: crash says %q, kdx does not", c, line)
			}
		}
	}
	return fmt.Sprintf("%d lines of %d commands", lines, len(crashKmem)), d.err()
}

// sameKmem are the lines of a command with one space between words, without what crash has wrong or otherwise.
func sameKmem(command, text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0, f[0] == "@@":
			continue
		case strings.HasPrefix(command, "kmem -i") && f[0] == "COMMITTED":
			continue // crash leaves out what CPUs have not added to the sum
		case command == "kmem -n" && len(f) > 6 && strings.HasPrefix(f[1], "memory"):
			f[6] = "-" // crash takes the state for a set of bits, which it was until 6.11: UNKNOWN
		case command == "kmem -s" && len(f) == 7:
			f[2] = "-" // crash counts objects of CPUs' slabs that others gave back as allocated
		}
		out = append(out, strings.Join(f, " "))
	}
	return out
}

// crashSays runs commands in one session of crash.
func (p peers) crashSays(ctx context.Context, vmlinux, vmcore string, commands []string) (map[string]string, error) {
	const mark = "@@ kdx-lab "
	var script strings.Builder
	script.WriteString("set scroll off\n")
	for _, c := range commands {
		fmt.Fprintf(&script, "!echo '%s%s'\n%s\n", mark, c, c)
	}
	script.WriteString("exit\n")
	in, err := os.CreateTemp(filepath.Dir(vmcore), "crash-*.in") // others may ask of the same dump
	if err != nil {
		return nil, err
	}
	defer os.Remove(in.Name())
	if _, err := in.WriteString(script.String()); err != nil {
		return nil, err
	}
	if err := in.Close(); err != nil {
		return nil, err
	}
	out, err := p.run(ctx, []string{filepath.Dir(vmcore), filepath.Dir(vmlinux)}, "crash", "-s", vmlinux, vmcore, "-i", in.Name())
	if err != nil {
		return nil, err
	}
	said := map[string]string{}
	for _, part := range strings.Split(string(out), mark)[1:] {
		c, text, _ := strings.Cut(part, "\n")
		said[strings.TrimSpace(c)] = text
	}
	if len(said) != len(commands) {
		return nil, fmt.Errorf("crash ran %d of %d commands: %s", len(said), len(commands), tail(string(out), 3))
	}
	return said, nil
}
