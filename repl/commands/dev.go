package commands

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"kdx/analyze/block"
	"kdx/analyze/device"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func devCommand() *Command {
	return &Command{
		Name: "dev", Group: "files and devices", Summary: "device numbers, resources, PCI, disks and what they are doing", Needs: NeedsTypes,
		Usage: []string{"", "-i | -p | -d | -D", "-V | -v INDEX"},
		Flags: []Flag{
			{Name: "i", Help: "who has claimed which I/O ports and physical addresses"},
			{Name: "p", Help: "PCI buses and devices"},
			{Name: "d", Help: "what each disk has in flight"},
			{Name: "D", Help: "as -d, only disks that have something in flight"},
			{Name: "V", Help: "the dumps that drivers left in this dump", Needs: NeedsNothing},
			{Name: "v", Arg: "INDEX", Help: "the bytes of one of these", Needs: NeedsNothing},
		},
		Help: "Without a flag: the numbers that drivers of character and block devices have taken. Where several devices share one, CDEV is the first of them and " +
			"GENDISK the disk that was added last.\n\n" +
			"-d counts the requests that a disk's driver was given and has not completed; for disks that take no requests (zram, device-mapper) what they count " +
			"themselves. Idle RAM disks and loop devices have no row. JSON has all disks and partitions, with the statistics of /proc/diskstats.",
		Examples: []Example{{"dev -D", "which disks were busy"}, {"dev -i | grep -i crash", "where the capture kernel lies"}, {"dev -p", "PCI devices"}},
		Run:      runDev,
	}
}

func runDev(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{c.Cmd.Name, c.Args[0] + " is no flag, and it takes no arguments"}
	}
	switch {
	case c.Flags.Has("i"):
		return devResources(c), c.View.Context().Err()
	case c.Flags.Has("p"):
		return devPCI(c), c.View.Context().Err()
	case c.Flags.Has("d"), c.Flags.Has("D"):
		return devDisks(c), c.View.Context().Err()
	case c.Flags.Has("V"), c.Flags.Has("v"):
		return devDumps(c)
	}
	return devNumbers(c), c.View.Context().Err()
}

func devResources(c *Call) view.Result {
	tree := func(root string) []view.Resource {
		out := []view.Resource{}
		for r, err := range device.Resources(c.View, root) {
			c.View.Gap("resources", err)
			if r.Addr != 0 {
				out = append(out, view.Resource{Addr: r.Addr, Start: vmem.Addr(r.Start), End: vmem.Addr(r.End), Name: r.Name, Depth: r.Depth})
			}
		}
		return out
	}
	return &view.Resources{Ports: tree("ioport_resource"), Memory: tree("iomem_resource")}
}

func devPCI(c *Call) view.Result {
	out := view.PCIBuses{}
	for b, err := range device.PCIBuses(c.View) {
		if err != nil {
			c.View.Gap("", err)
			continue
		}
		bus := view.PCIBus{Addr: b.Addr, Name: b.Name, Depth: b.Depth, Devices: []view.PCIDevice{}}
		for _, d := range b.Devices {
			x := view.PCIDevice{Addr: d.Addr, Name: d.Name, Class: vmem.Addr(d.Class), Vendor: vmem.Addr(d.Vendor), Device: vmem.Addr(d.Device),
				Type: d.Type, Express: d.Express, Driver: d.Driver}
			if d.Bridge != 0 {
				x.Bridge = &d.Bridge
			}
			bus.Devices = append(bus.Devices, x)
		}
		out = append(out, bus)
	}
	return out
}

func devDisks(c *Call) view.Result {
	out := &view.Disks{Busy: c.Flags.Has("D")}
	for d, err := range block.Devices(c.View) {
		c.View.Gap("", err)
		if d.Disk == 0 {
			continue
		}
		row := view.Disk{GenDisk: d.Disk}
		if d.Name != "" {
			row.Name = &d.Name
		}
		if err == nil {
			size := d.Sectors * 512
			row.Major, row.Minor, row.Queue, row.Partition, row.Size, row.Requests = &d.Major, &d.Minor, &d.Queue, &d.Partition, &size, &d.RequestBase
		}
		if f, err := block.InFlight(c.View, &d); err != nil {
			c.View.Gap("", err)
		} else {
			row.Reads, row.Writes = &f.Reads, &f.Writes
		}
		if s, err := block.ReadStats(c.View, &d); err != nil {
			c.View.Gap("", err)
		} else {
			row.Stats = &view.DiskStats{IOs: s.IOs, Merges: s.Merges, Sectors: s.Sectors, Ns: s.Ns}
		}
		idle := row.Reads != nil && *row.Reads+*row.Writes == 0
		if out.Busy && idle {
			continue
		}
		row.Hidden = d.Partition != 0 || idle && (strings.HasPrefix(d.Name, "ram") || strings.HasPrefix(d.Name, "loop"))
		out.Rows = append(out.Rows, row)
	}
	return out
}

func devNumbers(c *Call) view.Result {
	out := &view.DeviceNumbers{Char: []view.CharDevice{}, Block: []view.BlockDevice{}}
	gaps := func(what string, errs []error) {
		for _, err := range errs {
			c.View.Gap(what, err)
		}
	}
	regions, errs := device.CharRegions(c.View)
	gaps("character devices", errs)
	for _, r := range regions {
		x := view.CharDevice{Major: r.Major, Minor: r.Minor, Count: r.Count, Name: r.Name}
		if r.CDev != 0 {
			x.CDev, x.Operations = &r.CDev, operations(c, r.Ops)
		}
		out.Char = append(out.Char, x)
	}
	type disk struct{ at, ops vmem.Addr }
	last := make(map[uint32]disk)
	for d, err := range block.Devices(c.View) {
		c.View.Gap("block devices", err)
		if d.Disk != 0 && d.Partition == 0 {
			last[d.Major] = disk{d.Disk, d.Ops}
		}
	}
	majors, errs := device.BlockMajors(c.View)
	gaps("block devices", errs)
	for _, m := range majors {
		x := view.BlockDevice{Major: m.Major, Name: m.Name}
		if d, ok := last[m.Major]; ok {
			x.GenDisk, x.Operations = &d.at, operations(c, d.ops)
		}
		out.Block = append(out.Block, x)
	}
	return out
}

// operations is the symbol of a table of functions, or its address; nil if who points to it could not be read.
func operations(c *Call, at vmem.Addr) *string {
	if at == 0 {
		return nil
	}
	name := fmt.Sprintf("%x", uint64(at))
	if s, err := c.View.SymbolAt(at); err == nil && s.Addr == uint64(at) {
		name = s.Name
	}
	return &name
}

func devDumps(c *Call) (view.Result, error) {
	dumps := device.Dumps(c.View)
	out := view.DeviceDumps{}
	for i, d := range dumps {
		out = append(out, view.DeviceDump{Index: i, Offset: vmem.Addr(d.Offset), Size: d.Size, Name: d.Name})
	}
	if !c.Flags.Has("v") || len(out) == 0 { // of none, the list says that there is none
		return out, nil
	}
	n, err := strconv.ParseUint(c.Flags.Value("v"), 0, 31)
	if err != nil {
		return nil, &UsageError{c.Cmd.Name, c.Flags.Value("v") + " is no index, see dev -V"}
	}
	if n >= uint64(len(out)) {
		return nil, fmt.Errorf("there is no device dump %d: this dump has %d", n, len(out))
	}
	return &view.DeviceData{DeviceDump: out[n], Data: io.NewSectionReader(dumps[n].Data, 0, dumps[n].Size)}, nil
}
