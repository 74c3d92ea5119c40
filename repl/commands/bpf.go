package commands

import (
	"fmt"
	"strconv"

	"kdx/analyze/bpf"
	"kdx/analyze/sysinfo"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func bpfCommand() *Command {
	return &Command{
		Name: "bpf", Group: "kernel", Summary: "BPF programs and maps", Needs: NeedsTypes,
		Usage: []string{"", "{-p ID | -P} [-t | -T] [-j] [-s [-x|-d]]", "{-m ID | -M} [-s [-x|-d]]"},
		Flags: []Flag{
			{Name: "p", Arg: "ID", Help: "the program with this ID: sizes, when it was loaded, name"},
			{Name: "P", Help: "all programs, so"},
			{Name: "m", Arg: "ID", Help: "the map with this ID: sizes, name"},
			{Name: "M", Help: "all maps, so"},
			{Name: "t", Help: "the program's instructions, as the verifier left them"},
			{Name: "T", Help: "as -t, with the bytes of each"},
			{Name: "j", Help: "its machine code, function by function"},
			{Name: "s", Help: "struct bpf_prog and bpf_prog_aux, or struct bpf_map"},
			{Name: "x", Help: "with -s: integers in hexadecimal"},
			{Name: "d", Help: "with -s: integers in decimal"},
		},
		Help: "MEMLOCK of a program is its pages; of a map what the kernel counts for it (until 5.11), or the size of its elements in whole pages, as kernels up to 6.4 tell " +
			"user space. Kernels from 5.11 do not remember who made a map.",
		Examples: []Example{{"bpf", "programs and maps"}, {"bpf -p 2 -t", "a program's instructions"}, {"bpf -p 2 -j", "its machine code"}, {"bpf -m 20 -s", "a map's structure"}},
		Run:      runBPF,
	}
}

func runBPF(c *Call) (view.Result, error) {
	f := c.Flags
	progs, maps := f.Has("p") || f.Has("P"), f.Has("m") || f.Has("M")
	switch {
	case len(c.Args) > 0:
		return nil, &UsageError{"bpf", "does not take " + c.Args[0]}
	case (f.Has("t") || f.Has("T") || f.Has("j")) && !progs:
		return nil, &UsageError{"bpf", "-t, -T and -j need a program: -p ID, or -P"}
	case f.Has("s") && !progs && !maps:
		return nil, &UsageError{"bpf", "-s needs -p, -P, -m or -M"}
	}
	out := &view.BPF{Details: progs || maps, Bytes: f.Has("T")}
	if progs || !maps {
		if err := bpfPrograms(c, out); err != nil {
			return nil, err
		}
	}
	if maps || !progs {
		if err := bpfMaps(c, out); err != nil {
			return nil, err
		}
	}
	return out, c.View.Context().Err()
}

// bpfID is the ID that a flag names; all without it, or with the flag for all.
func bpfID(c *Call, one, all string) (wanted func(uint32) bool, err error) {
	if !c.Flags.Has(one) || c.Flags.Has(all) {
		return func(uint32) bool { return true }, nil
	}
	id, err := strconv.ParseUint(c.Flags.Value(one), 10, 32)
	if err != nil {
		return nil, &UsageError{"bpf", fmt.Sprintf("-%s wants an ID, not %s", one, c.Flags.Value(one))}
	}
	return func(n uint32) bool { return n == uint32(id) }, nil
}

func bpfPrograms(c *Call, out *view.BPF) error {
	wanted, err := bpfID(c, "p", "P")
	if err != nil {
		return err
	}
	out.Programs = []view.BPFProgram{}
	for p, err := range bpf.Programs(c.View) {
		if p == nil || p.ID == 0 {
			c.View.Gap("BPF programs", err)
			if p == nil {
				continue
			}
		}
		if !wanted(p.ID) {
			continue
		}
		if err != nil && p.ID != 0 {
			c.View.Gap(fmt.Sprintf("BPF program %d", p.ID), err)
		}
		row := programRow(c, p)
		if p.ID != 0 {
			if err := programParts(c, p, &row); err != nil {
				return err
			}
		}
		out.Programs = append(out.Programs, row)
	}
	if c.Flags.Has("p") && len(out.Programs) == 0 {
		return fmt.Errorf("there is no program with the ID %s", c.Flags.Value("p"))
	}
	return nil
}

func programRow(c *Call, p *bpf.Program) view.BPFProgram {
	row := view.BPFProgram{Addr: p.Addr, Aux: p.Aux, UsedMaps: p.Maps, UID: p.UID}
	if p.Type == "" { // not even struct bpf_prog could be read
		return row
	}
	xlated, jited, memory := uint64(p.Insns)*8, uint64(p.Jited), uint64(p.Pages)*c.View.PageSize()
	row.Type, row.Tag, row.GPL, row.Xlated, row.Jited, row.Memory = &p.Type, &p.Tag, &p.GPL, &xlated, &jited, &memory
	if p.ID == 0 { // its bpf_prog_aux could not
		return row
	}
	row.ID, row.Name = &p.ID, &p.Name
	boot, err := sysinfo.BootTime(c.View)
	slept, err2 := sysinfo.Suspended(c.View)
	if err == nil {
		err = err2
	}
	if err != nil {
		c.View.GapOnce("when programs were loaded", err)
		return row
	}
	loaded := boot.Add(p.Loaded - slept)
	row.Loaded = &loaded
	return row
}

// programParts adds what flags ask for.
func programParts(c *Call, p *bpf.Program, row *view.BPFProgram) error {
	if c.Flags.Has("t") || c.Flags.Has("T") {
		insns, err := bpf.Text(c.View, p)
		if err != nil {
			c.View.Gap(fmt.Sprintf("BPF program %d: instructions", p.ID), err)
		}
		for _, in := range insns {
			row.Text = append(row.Text, view.BPFInstruction{Index: in.Index, Bytes: fmt.Sprintf("%x", in.Bytes), Text: in.Text, Code: in.Code})
		}
	}
	if c.Flags.Has("j") {
		if err := programCode(c, p, row); err != nil {
			return err
		}
	}
	if c.Flags.Has("s") {
		row.Structs = append(wholeStruct(c, "bpf_prog", p.Addr), wholeStruct(c, "bpf_prog_aux", p.Aux)...)
	}
	return nil
}

func programCode(c *Call, p *bpf.Program, row *view.BPFProgram) error {
	if m := c.View.Arch().Machine(); m != "x86_64" {
		return fmt.Errorf("-j knows x86_64 only; this is a %s kernel", m)
	}
	if len(p.Code) == 0 {
		return fmt.Errorf("program %d was not compiled: the kernel interprets it (-t shows its instructions)", p.ID)
	}
	d := &disassembly{c: c, read: c.readKernel, symbol: func(a uint64) string { return symbolText(c.View, a, c.hexOffsets()) }}
	for _, f := range p.Code {
		if f.Size > maxFunction {
			c.View.Gap(fmt.Sprintf("BPF program %d: code", p.ID), fmt.Errorf("a function of %d bytes: damaged", f.Size))
			continue
		}
		l, err := d.lines(uint64(f.Addr), uint64(f.Addr)+f.Size, ^uint64(0))
		if err != nil {
			c.View.Gap(fmt.Sprintf("BPF program %d: code", p.ID), err)
			continue
		}
		row.Code = append(row.Code, l)
	}
	return nil
}

// wholeStruct is an object with all its members; none if the kernel's types lack it.
func wholeStruct(c *Call, tag string, at vmem.Addr) []*view.Objects {
	t, err := c.View.Struct(tag)
	if err != nil {
		c.View.GapOnce("struct "+tag, err)
		return nil
	}
	return []*view.Objects{{Type: t, Style: view.Style{Hex: c.hex()}, List: []view.Object{{CPU: -1, First: true, Addr: at, Value: c.View.Object(t, at)}}}}
}

func bpfMaps(c *Call, out *view.BPF) error {
	wanted, err := bpfID(c, "m", "M")
	if err != nil {
		return err
	}
	out.Maps = []view.BPFMap{}
	for m, err := range bpf.Maps(c.View) {
		if m == nil {
			c.View.Gap("BPF maps", err)
			continue
		}
		if err != nil {
			c.View.Gap(fmt.Sprintf("BPF map %d at %#x", m.ID, uint64(m.Addr)), err)
		}
		if !wanted(m.ID) {
			continue
		}
		row := view.BPFMap{Addr: m.Addr}
		if m.Type != "" {
			row.ID, row.Type, row.Flags, row.Name, row.KeySize, row.ValueSize, row.MaxEntries = &m.ID, &m.Type, &m.Flags, &m.Name, &m.KeySize, &m.ValueSize, &m.MaxEntries
			if err == nil {
				row.Memory = &m.Memory
			}
		}
		if c.Flags.Has("s") {
			row.Structs = wholeStruct(c, "bpf_map", m.Addr)
		}
		out.Maps = append(out.Maps, row)
	}
	if c.Flags.Has("m") && len(out.Maps) == 0 {
		return fmt.Errorf("there is no map with the ID %s", c.Flags.Value("m"))
	}
	return nil
}
