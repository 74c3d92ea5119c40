package mm

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Counter is one of the kernel's statistics.
type Counter struct {
	Name  string
	Value int64
}

// Stats is a group of counters.
type Stats struct {
	Name     string // "VM_ZONE_STAT"
	Counters []Counter
}

const maxCounters = 1024 // enum vm_event_item has some 120

// names are the counters of an enum, in order, up to the enumerator that counts them.
func counterNames(v *kernel.View, last string) ([]string, error) {
	n, t, err := v.Symbols().Enumerator(last)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > maxCounters {
		return nil, fmt.Errorf("%s is %d: damaged", last, n)
	}
	names := make([]string, n)
	for _, e := range t.Enumerators() {
		if e.Value >= 0 && e.Value < n {
			names[e.Value] = e.Name // of two the latter: NR_LRU_BASE = NR_INACTIVE_ANON comes first
		}
	}
	return names, nil
}

func readCounters(v *kernel.View, at vmem.Addr, names []string, add []int64) error {
	p := make([]byte, uint64(len(names))*v.WordSize())
	if err := v.Read(p, at); err != nil {
		return err
	}
	for i := range names {
		b := p[uint64(i)*v.WordSize():]
		if v.WordSize() == 4 {
			add[i] += int64(int32(v.ByteOrder().Uint32(b)))
		} else {
			add[i] += int64(v.ByteOrder().Uint64(b))
		}
	}
	return nil
}

func counters(names []string, values []int64) []Counter {
	var out []Counter
	for i, n := range names {
		if n != "" {
			out = append(out, Counter{n, values[i]})
		}
	}
	return out
}

// VMStats are the kernel's memory statistics: of zones and nodes, and the events of all CPUs. A group that can't be read
// is a gap.
func VMStats(v *kernel.View) []Stats {
	var out []Stats
	for _, g := range []struct{ name, array, last string }{
		{"VM_ZONE_STAT", "vm_zone_stat", "NR_VM_ZONE_STAT_ITEMS"},
		{"VM_NODE_STAT", "vm_node_stat", "NR_VM_NODE_STAT_ITEMS"},
	} {
		s, err := arrayStats(v, g.array, g.last)
		if err != nil {
			v.Gap(g.name, err)
			continue
		}
		out = append(out, Stats{g.name, s})
	}
	numa, err := numaStats(v)
	switch {
	case err != nil:
		v.Gap("VM_NUMA_STAT", err)
	case numa != nil:
		out = append(out, Stats{"VM_NUMA_STAT", numa})
	}
	events, err := eventStats(v)
	if err != nil {
		v.Gap("VM_EVENT_STATES", err)
		return out
	}
	return append(out, Stats{"VM_EVENT_STATES", events})
}

func arrayStats(v *kernel.View, array, last string) ([]Counter, error) {
	names, err := counterNames(v, last)
	if err != nil {
		return nil, err
	}
	sym, err := v.Symbol(array)
	if err != nil {
		return nil, err
	}
	values := make([]int64, len(names))
	if err := readCounters(v, vmem.Addr(sym.Addr), names, values); err != nil {
		return nil, err
	}
	for i := range values {
		values[i] = max(values[i], 0) // CPUs add their share later, so that it can be below zero for a while
	}
	return counters(names, values), nil
}

// numaStats are the counts of where memory came from: the kernel's sum, and what CPUs have not added to it. None without CONFIG_NUMA.
func numaStats(v *kernel.View) ([]Counter, error) {
	l := numaLayout{"vm_numa_event", "NR_VM_NUMA_EVENT_ITEMS", "per_cpu_zonestats", "per_cpu_zonestat", "vm_numa_event"} // 5.14
	if !v.HasSymbol(l.array) {
		l = numaLayout{"vm_numa_stat", "NR_VM_NUMA_STAT_ITEMS", "pageset", "per_cpu_pageset", "vm_numa_stat_diff"}
		if !v.HasSymbol(l.array) {
			return nil, nil
		}
	}
	names, err := counterNames(v, l.last)
	if err != nil {
		return nil, err
	}
	sym, err := v.Symbol(l.array)
	if err != nil {
		return nil, err
	}
	values := make([]int64, len(names))
	if err := readCounters(v, vmem.Addr(sym.Addr), names, values); err != nil {
		return nil, err
	}
	if err := l.addCPUs(v, values); err != nil {
		return nil, err
	}
	return counters(names, values), nil
}

// numaLayout says where NUMA's counters are: an array of all memory, and arrays that a struct of each zone and CPU has.
type numaLayout struct{ array, last, zoneMember, tag, member string }

func (l *numaLayout) addCPUs(v *kernel.View, values []int64) error {
	ptr, ok := v.OffsetOf("zone", l.zoneMember)
	if !ok {
		return fmt.Errorf("struct zone of this kernel has no member %s", l.zoneMember)
	}
	t, err := v.Struct(l.tag)
	if err != nil {
		return err
	}
	m, ok := t.Path(l.member)
	if !ok || m.Type.Strip().Kind != symbols.Array {
		return fmt.Errorf("%s of this kernel has no array %s", t, l.member)
	}
	size := m.Type.Strip().Elem().Strip().Size
	if size != 2 && size != 4 && size != 8 {
		return fmt.Errorf("%s of this kernel counts in %d bytes: damaged", t, size)
	}
	zones, err := Zones(v)
	if err != nil {
		return err
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return err
	}
	p := make([]byte, uint64(len(values))*size)
	for _, z := range zones {
		if z.Present == 0 {
			continue
		}
		base, err := v.Word(z.Addr + vmem.Addr(ptr))
		if err != nil {
			return err
		}
		for _, cpu := range cpus {
			off, err := v.PerCPUOffset(cpu)
			if err != nil {
				return err
			}
			if err := v.Read(p, vmem.Addr(base+off+m.Offset())); err != nil {
				return fmt.Errorf("zone %s, CPU %d: %w", z.Name, cpu, err)
			}
			for i := range values {
				switch b := p[uint64(i)*size:]; size {
				case 2:
					values[i] += int64(v.ByteOrder().Uint16(b))
				case 4:
					values[i] += int64(v.ByteOrder().Uint32(b))
				default:
					values[i] += int64(v.ByteOrder().Uint64(b))
				}
			}
		}
	}
	return nil
}

// eventStats sums the CPUs' struct vm_event_state, which is an array and nothing else.
func eventStats(v *kernel.View) ([]Counter, error) {
	names, err := counterNames(v, "NR_VM_EVENT_ITEMS")
	if err != nil {
		return nil, err
	}
	sym, err := v.Symbol("vm_event_states")
	if err != nil {
		return nil, err
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	values := make([]int64, len(names))
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return nil, err
		}
		if err := readCounters(v, vmem.Addr(sym.Addr+off), names, values); err != nil {
			return nil, fmt.Errorf("CPU %d: %w", cpu, err)
		}
	}
	return counters(names, values), nil
}

// Zone is a zone of a node's memory; counts are pages.
type Zone struct {
	Node, Index      int
	Addr             vmem.Addr
	Name             string
	Start            uint64 // first pfn
	Spanned, Present uint64
	Managed          uint64
	Min, Low, High   uint64 // watermarks, with what is added under pressure
	Stats            []Counter
}

type zoneStruct struct {
	Name    vmem.Addr `k:"name"`
	Start   uint64    `k:"zone_start_pfn"`
	Spanned uint64    `k:"spanned_pages"`
	Present uint64    `k:"present_pages"`
	Managed uint64    `k:"managed_pages"`
	Marks   [3]uint64 `k:"_watermark|watermark"` // renamed in 5.0
	Boost   uint64    `k:"watermark_boost,optional"`
	Stat    vmem.Addr `k:"&vm_stat"`
}

// Zones are all zones of all nodes. What can't be read is a gap.
func Zones(v *kernel.View) ([]Zone, error) {
	nodes, err := nodeAddrs(v)
	if err != nil {
		return nil, err
	}
	t, err := v.Struct("pglist_data")
	if err != nil {
		return nil, err
	}
	zones, ok := t.Path("node_zones")
	if !ok || zones.Type.Strip().Kind != symbols.Array {
		return nil, errors.New("struct pglist_data of this kernel has no array node_zones")
	}
	bind, err := kernel.Bind[zoneStruct](v.Kernel, "zone")
	if err != nil {
		return nil, err
	}
	names, err := counterNames(v, "NR_VM_ZONE_STAT_ITEMS")
	if err != nil {
		return nil, err
	}
	var out []Zone
	for id, node := range nodes {
		if node == 0 {
			continue
		}
		for i := range int(min(max(zones.Type.Strip().Len, 0), 16)) {
			at := node + vmem.Addr(zones.Offset()+uint64(i)*bind.Size())
			z, err := readZone(v, bind, at, names)
			if err != nil {
				v.Gap(fmt.Sprintf("zone %d of node %d", i, id), err)
				continue
			}
			z.Node, z.Index = id, i
			out = append(out, z)
		}
	}
	return out, nil
}

func readZone(v *kernel.View, bind kernel.Binding[zoneStruct], at vmem.Addr, names []string) (Zone, error) {
	s, err := bind.Read(v, at)
	if err != nil {
		return Zone{}, err
	}
	name, err := v.CString(s.Name, 32)
	if err != nil {
		return Zone{}, err
	}
	z := Zone{Addr: at, Name: name, Start: s.Start, Spanned: s.Spanned, Present: s.Present, Managed: s.Managed,
		Min: s.Marks[0] + s.Boost, Low: s.Marks[1] + s.Boost, High: s.Marks[2] + s.Boost}
	values := make([]int64, len(names))
	if err := readCounters(v, s.Stat, names, values); err != nil {
		return Zone{}, err
	}
	z.Stats = counters(names, values)
	return z, nil
}

// nodeAddrs are the nodes' struct pglist_data by number, 0 for numbers without a node.
func nodeAddrs(v *kernel.View) ([]vmem.Addr, error) {
	if sym, err := v.Symbol("contig_page_data"); err == nil { // one node, without CONFIG_NUMA
		return []vmem.Addr{vmem.Addr(sym.Addr)}, nil
	}
	data, err := v.Symbol("node_data") // struct pglist_data *[MAX_NUMNODES]
	if err != nil {
		return nil, err
	}
	n, err := v.UintAt("nr_node_ids", 4)
	if err != nil {
		n = 1
	}
	var out []vmem.Addr
	for i := range min(max(n, 1), maxNodes) {
		p, err := v.Word(vmem.Addr(data.Addr + i*v.WordSize()))
		if err != nil {
			return out, err
		}
		out = append(out, vmem.Addr(p))
	}
	return out, nil
}
