package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// checkDevices holds dev against /proc: devices, ioports, iomem, bus/pci/devices, partitions, diskstats.
func checkDevices(ctx context.Context, s *subject) (string, error) {
	var named struct {
		Char  []devNumber `json:"chrdevs"`
		Block []devNumber `json:"blkdevs"`
	}
	var res struct {
		Ports  []devResource `json:"io_ports"`
		Memory []devResource `json:"io_memory"`
	}
	var pci []kdxPCIBus
	var disks []devDisk
	if err := s.ask(ctx, []string{"dev", "dev -i", "dev -p", "dev -d"}, &named, &res, &pci, &disks); err != nil {
		return "", err
	}
	var d differences
	same := func(what, got, want string) {
		g, w := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
		for i := range max(len(g), len(w)) {
			var a, b string
			if i < len(g) {
				a = g[i]
			}
			if i < len(w) {
				b = w[i]
			}
			if a != b {
				d.add("%s, line %d: %q; want %q", what, i+1, a, b)
			}
		}
	}
	same("devices", "Character devices:\n"+devLines(named.Char)+"\nBlock devices:\n"+devLines(named.Block), s.truth.Proc["/proc/devices"])
	same("ioports", resourceLines(res.Ports, 4), s.truth.Proc["/proc/ioports"])
	same("iomem", resourceLines(res.Memory, 8), s.truth.Proc["/proc/iomem"])
	devices := 0
	var lines strings.Builder
	for _, b := range pci {
		for _, x := range b.Devices {
			devices++
			lines.WriteString(pciLine(x.Name, x.Vendor, x.Device, x.Driver))
		}
	}
	var said strings.Builder
	for line := range strings.Lines(s.truth.Proc["/proc/bus/pci/devices"]) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		fmt.Fprintf(&said, "%s %s %s\n", f[0], f[1], f[len(f)-1])
	}
	same("PCI", lines.String(), said.String())
	placed := checkBridges(s, pci, &d)
	n := checkDisks(s, disks, &d)
	return fmt.Sprintf("%d and %d numbers, %d and %d resources, %d PCI devices (%d where the guest has them), %d disks",
		len(named.Char), len(named.Block), len(res.Ports), len(res.Memory), devices, placed, n), d.err()
}

// kdxPCIBus is a bus of dev -p.
type kdxPCIBus struct {
	Addr    string `json:"bus"`
	Name    string `json:"name"`
	Devices []struct {
		Name   string `json:"name"`
		Vendor string `json:"vendor_id"`
		Device string `json:"device_id"`
		Driver string `json:"driver"`
		Below  string `json:"bus_below"`
	} `json:"devices"`
}

type devNumber struct {
	Major int    `json:"major"`
	Name  string `json:"name"`
}

func devLines(list []devNumber) string {
	var b strings.Builder
	for _, x := range list {
		fmt.Fprintf(&b, "%3d %s\n", x.Major, x.Name)
	}
	return b.String()
}

type devResource struct {
	Start string `json:"start"`
	End   string `json:"end"`
	Name  string `json:"name"`
	Depth int    `json:"depth"`
}

// resourceLines are those of /proc/iomem, which leaves out the whole space, and moves no line further to the right than the fifth.
func resourceLines(list []devResource, digits int) string {
	const deepest = 5
	var b strings.Builder
	for _, r := range list {
		if r.Depth == 0 {
			continue
		}
		start, _ := strconv.ParseUint(strings.TrimPrefix(r.Start, "0x"), 16, 64)
		end, _ := strconv.ParseUint(strings.TrimPrefix(r.End, "0x"), 16, 64)
		fmt.Fprintf(&b, "%*s%0*x-%0*x : %s\n", 2*min(r.Depth-1, deepest), "", digits, start, digits, end, r.Name)
	}
	return b.String()
}

// pciLine makes of 0000:00:02.0 what /proc/bus/pci/devices begins with: bus and devfn, ids, and the driver at the end.
func pciLine(name, vendor, device, driver string) string {
	var domain, bus, slot, fn uint32
	fmt.Sscanf(name, "%x:%x:%x.%x", &domain, &bus, &slot, &fn)
	v, _ := strconv.ParseUint(strings.TrimPrefix(vendor, "0x"), 16, 16)
	dev, _ := strconv.ParseUint(strings.TrimPrefix(device, "0x"), 16, 16)
	return fmt.Sprintf("%02x%02x %04x%04x %s\n", bus, slot<<3|fn, v, dev, driver)
}

type devDisk struct {
	Major  int     `json:"major"`
	Minor  int     `json:"minor"`
	Name   string  `json:"name"`
	Size   uint64  `json:"size_bytes"`
	Reads  *uint64 `json:"reads_in_flight"`
	Writes *uint64 `json:"writes_in_flight"`
	Stats  *struct {
		IOs     [4]uint64 `json:"ios"`
		Merges  [4]uint64 `json:"merges"`
		Sectors [4]uint64 `json:"sectors"`
	} `json:"statistics"`
}

// checkDisks: the sizes of partitions, and what diskstats counts. Only the disk that the truth is written to, what lies on it, and swap go on
// working after it was taken: its counts can only have grown.
func checkDisks(s *subject, disks []devDisk, d *differences) int {
	byName := make(map[string]devDisk)
	for _, x := range disks {
		byName[x.Name] = x
		if x.Stats == nil || x.Reads == nil || x.Writes == nil {
			d.add("%s: counts are missing", x.Name)
		}
	}
	for line := range strings.Lines(s.truth.Proc["/proc/partitions"]) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] == "major" {
			continue
		}
		blocks, _ := strconv.ParseUint(f[2], 10, 64)
		if got := byName[f[3]].Size >> 10; got != blocks {
			d.add("%s has %d KiB; want %d", f[3], got, blocks)
		}
	}
	n := 0
	for line := range strings.Lines(s.truth.Proc["/proc/diskstats"]) {
		f := strings.Fields(line)
		if len(f) < 14 {
			continue
		}
		n++
		x, ok := byName[f[2]]
		if !ok || x.Stats == nil {
			d.add("disk %s is missing", f[2])
			continue
		}
		if f[0] != fmt.Sprint(x.Major) || f[1] != fmt.Sprint(x.Minor) {
			d.add("%s is %d:%d; want %s:%s", f[2], x.Major, x.Minor, f[0], f[1])
		}
		got := []uint64{x.Stats.IOs[0], x.Stats.Merges[0], x.Stats.Sectors[0], x.Stats.IOs[1], x.Stats.Merges[1], x.Stats.Sectors[1]}
		for i, at := range []int{3, 4, 5, 7, 8, 9} {
			want, _ := strconv.ParseUint(f[at], 10, 64)
			moving := strings.HasPrefix(f[2], "nvme") || strings.HasPrefix(f[2], "loop") || strings.HasPrefix(f[2], "zram") || s.way.name == "oom" || s.way.name == "hung"
			if got[i] != want && !(moving && got[i] > want) {
				d.add("%s, column %d of diskstats: %d; want %d", f[2], at+1, got[i], want)
			}
		}
	}
	if n != len(byName) {
		d.add("%d disks and partitions; want %d", len(byName), n)
	}
	return n
}
