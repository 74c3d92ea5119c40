package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

// internals are crash's help -X that show tables of crash's own, and what in kdx shows what they tell of the kernel.
var internals = map[string]string{
	"a": "alias lists aliases", "k": "sys and mach show the kernel", "K": "sys and mach show the kernel", "m": "mach shows the machine", "M": "mach shows the machine",
	"o": "struct -o and whatis -o show offsets", "p": "set shows the context", "s": "sys says who answers for symbols, sym -l lists them", "t": "ps lists the tasks", "T": "ps lists the tasks",
	"v": "kmem -n, -z and -o show the layout of memory", "V": "kmem -V shows the counters", "z": "help lists the topics", "e": "extend tells of extensions", "N": "net lists the devices",
	"b": "", "B": "kdx --version shows how it was built", "c": "", "d": "", "f": "", "g": "", "h": "", "H": "", "L": "",
}

// internal answers help -X.
func internal(c *Call, letter string) (view.Result, error) {
	if c.View == nil {
		return nil, fmt.Errorf("no dump is open")
	}
	if letter == "r" {
		return registers(c)
	}
	return dumpHeader(c.View), nil
}

func dumpHeader(v *kernel.View) *view.DumpHeader {
	info := v.Image().Info()
	out := &view.DumpHeader{Files: info.Files, Format: info.Format, HeaderVersion: info.HeaderVersion, Machine: string(info.Machine), PageSize: info.PageSize, MaxPFN: info.MaxPFN,
		Filtered: info.Filtered, Incomplete: info.Incomplete, Codecs: info.Codecs, PhysBase: info.PhysBase, EraseInfo: info.EraseInfo, Warnings: info.Warnings,
		Segments: []view.DumpSegment{}, Ranges: []view.DumpRange{}, Notes: []view.DumpNote{}, VMCoreInfo: []string{}}
	if info.DumpLevel >= 0 {
		out.DumpLevel = &info.DumpLevel
	}
	for _, s := range info.Segments {
		out.Segments = append(out.Segments, view.DumpSegment{Offset: s.Offset, Virt: vmem.Addr(s.Virt), Phys: vmem.Addr(s.Phys), FileSize: s.FileSize, MemSize: s.MemSize})
	}
	for _, r := range info.Ranges {
		out.Ranges = append(out.Ranges, view.DumpRange{Start: vmem.Addr(r.Start), End: vmem.Addr(r.End)})
	}
	for _, n := range info.Notes {
		out.Notes = append(out.Notes, view.DumpNote{Name: n.Name, Type: n.Type, Bytes: len(n.Desc)})
	}
	if text := strings.TrimRight(v.VMCoreInfo().Text(), "\x00\n"); text != "" {
		out.VMCoreInfo = strings.Split(text, "\n")
	}
	return out
}

func registers(c *Call) (view.Result, error) {
	t, err := c.State.Tracer(c.View)
	if err != nil {
		return nil, err
	}
	regs, err := t.Registers()
	c.View.Gap("registers", err)
	cpus, err := c.View.PresentCPUs()
	if err != nil {
		return nil, err
	}
	out := view.CPURegisters{}
	for _, cpu := range cpus {
		row := view.CPURegister{CPU: cpu}
		if r, ok := regs[cpu]; ok {
			row.Source, row.Pt, row.Regs = r.Source, &r.Regs, view.NewRegisters("cpu", 0, &r.Regs)
		}
		out = append(out, row)
	}
	return out, nil
}
