package commands

import (
	"strconv"
	"strings"

	"kdx/analyze/mm"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func kmemHuge(c *Call) (view.Result, error) {
	hs, err := mm.Hstates(c.View)
	if err != nil {
		return nil, err
	}
	out := make(view.Hstates, 0, len(hs))
	for _, h := range hs {
		out = append(out, view.Hstate{Addr: h.Addr, PageSize: h.PageSize, Free: h.Free, Total: h.Total, Name: h.Name})
	}
	return out, nil
}

func kmemPerCPU(c *Call) (view.Result, error) {
	cpus, err := c.View.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	out := make(view.PerCPUOffsets, 0, len(cpus))
	for _, cpu := range cpus {
		off, err := c.View.PerCPUOffset(cpu)
		if err != nil {
			return nil, err
		}
		out = append(out, view.PerCPUOffset{CPU: cpu, Offset: vmem.Addr(off)})
	}
	return out, nil
}

func kmemFlags(c *Call) (view.Result, error) {
	flags, err := mm.Flags(c.View)
	if err != nil {
		return nil, err
	}
	mask := ^uint64(0)
	if len(c.Args) > 0 {
		if mask, err = strconv.ParseUint(strings.TrimPrefix(c.Args[0], "0x"), 16, 64); err != nil {
			return nil, &UsageError{c.Cmd.Name, c.Args[0] + " is no hexadecimal value of page.flags"}
		}
	}
	var out view.PageFlags
	if len(c.Args) > 0 {
		m := vmem.Addr(mask)
		out.Value = &m
	}
	for _, f := range flags {
		if mask>>f.Bit&1 != 0 {
			out.Flags = append(out.Flags, view.PageFlag{Name: "PG_" + f.Name, Bit: f.Bit})
		}
	}
	return &out, nil
}

func kmemStats(c *Call) (view.Result, error) {
	var out view.VMStats
	for _, g := range mm.VMStats(c.View) {
		out = append(out, view.CounterGroup{Name: g.Name, Counters: viewCounters(g.Counters)})
	}
	return out, nil
}

func viewCounters(cs []mm.Counter) []view.Counter {
	out := make([]view.Counter, len(cs))
	for i, c := range cs {
		out[i] = view.Counter(c)
	}
	return out
}

func kmemZones(c *Call) (view.Result, error) {
	zones, err := mm.Zones(c.View)
	if err != nil {
		return nil, err
	}
	out := make(view.Zones, 0, len(zones))
	for _, z := range zones {
		out = append(out, view.Zone{Node: z.Node, Index: z.Index, Addr: z.Addr, Name: z.Name, Start: z.Start, Spanned: z.Spanned, Present: z.Present,
			Managed: z.Managed, Min: z.Min, Low: z.Low, High: z.High, Counters: viewCounters(z.Stats)})
	}
	return out, nil
}
