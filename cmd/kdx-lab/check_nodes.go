package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// memoryPolicies are the kernel's modes of placing memory on nodes (MPOL_…), each with the nodes that a thread of the guest asks for; what a
// release does not know it refuses.
var memoryPolicies = []struct {
	name  string
	mode  int
	nodes uint64 // a bit each
}{
	{"n-preferred", 1, 1 << 2},
	{"n-bind", 2, 1 << 1},
	{"n-interleave", 3, 1<<0 | 1<<2},
	{"n-local", 4, 0},
	{"n-many", 5, 1<<1 | 1<<2},     // 5.15
	{"n-weighted", 6, 1<<0 | 1<<1}, // 6.9
}

const (
	sysNode   = "/sys/devices/system/node/"
	sysMemory = "/sys/devices/system/memory/"
	sysCPU    = "/sys/devices/system/cpu/"
)

// present are the processors that the machine has, offline ones too. Truths from before it was asked for have online ones alone.
func (t truth) present() []int {
	if list, err := parseNumbers(t.Proc[sysCPU+"present"]); err == nil && len(list) > 0 {
		return list
	}
	return numbers(t.CPUs)
}

// offline are those of them that were not in use. A truth from before it was asked for has none.
func (t truth) offline() []int {
	online, err := parseNumbers(t.Proc[sysCPU+"online"])
	if err != nil || len(online) == 0 {
		return nil
	}
	return slices.DeleteFunc(t.present(), func(cpu int) bool { return slices.Contains(online, cpu) })
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// parseNumbers reads 0-2,5 as the kernel writes sets of processors and nodes.
func parseNumbers(text string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(last)
		}
		if err != nil || b < a || b-a > 1<<16 {
			return nil, fmt.Errorf("%q is no set of numbers", text)
		}
		for n := a; n <= b; n++ {
			out = append(out, n)
		}
	}
	return out, nil
}

// kdxNodes is kmem -n.
type kdxNodes struct {
	Nodes []struct {
		Node int `json:"node"`
	} `json:"nodes"`
	Blocks []kdxBlock `json:"blocks"`
}

type kdxBlock struct {
	Name  string  `json:"name"`
	State string  `json:"state"`
	Start hexAddr `json:"start"`
	End   hexAddr `json:"end"`
	Node  int     `json:"node"`
}

// checkNodes holds what kdx says of a machine of several nodes against the guest's word: which nodes there are, which blocks of memory, online or not, are whose,
// which processors were offline, how tasks wanted their memory placed, and on which node each page of a mapping lies.
func checkNodes(ctx context.Context, s *subject) (string, error) {
	proc := s.truth.Proc
	if proc[sysNode+"node1/meminfo"] == "" {
		return "", skip("the guest has one node")
	}
	var nodes kdxNodes
	var sys struct {
		CPUs    int   `json:"cpus"`
		Offline []int `json:"offline_cpus"`
	}
	if err := s.ask(ctx, []string{"kmem -n", "sys"}, &nodes, &sys); err != nil {
		return "", err
	}
	var d differences
	want, err := parseNumbers(proc[sysNode+"online"])
	if err != nil {
		return "", err
	}
	var got []int
	for _, n := range nodes.Nodes {
		got = append(got, n.Node)
	}
	if !slices.Equal(got, want) {
		d.add("nodes %v; want %v", got, want)
	}
	offline := s.truth.offline()
	if !slices.Equal(sys.Offline, offline) {
		d.add("processors %v are offline; want %v", sys.Offline, offline)
	}
	for _, b := range nodes.Blocks {
		if _, ok := proc[fmt.Sprintf("%snode%d/%s", sysNode, b.Node, b.Name)]; !ok {
			d.add("block %s is not on node %d, as it should", b.Name, b.Node)
		}
	}
	tasks, err := s.checkPolicies(ctx, &d)
	if err != nil {
		return "", err
	}
	pages, err := s.checkPlaces(ctx, nodes.Blocks, &d)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d nodes, %d blocks, processors %v offline, %d policies, pages of mappings by node: %v", len(nodes.Nodes), len(nodes.Blocks), offline, tasks, pages), d.err()
}

// checkPolicies: the policy of each thread that the guest gave one, and the nodes that each task may use.
func (s *subject) checkPolicies(ctx context.Context, d *differences) (int, error) {
	var answers []struct {
		PID    int    `json:"pid"`
		Comm   string `json:"comm"`
		Result struct {
			Objects []struct {
				Value struct {
					Policy  string `json:"mempolicy"`
					Allowed struct {
						Bits []uint64 `json:"bits"`
					} `json:"mems_allowed"`
				} `json:"value"`
			} `json:"objects"`
		} `json:"result"`
	}
	if err := s.ask(ctx, []string{"foreach task -R mempolicy,mems_allowed"}, &answers); err != nil {
		return 0, err
	}
	policies := make(map[string]string)
	allowed := make(map[int]uint64)
	for _, a := range answers {
		if len(a.Result.Objects) == 1 && len(a.Result.Objects[0].Value.Allowed.Bits) > 0 {
			policies[a.Comm] = a.Result.Objects[0].Value.Policy
			allowed[a.PID] = a.Result.Objects[0].Value.Allowed.Bits[0]
		}
	}
	for _, t := range s.truth.Tasks {
		_, rest, _ := strings.Cut(t.Status, "\nMems_allowed_list:")
		line, _, _ := strings.Cut(rest, "\n")
		list, err := parseNumbers(line)
		if err != nil {
			return 0, err
		}
		want := uint64(0)
		for _, n := range list {
			want |= 1 << n
		}
		if got, ok := allowed[t.TID]; ok && got != want {
			d.add("task %d may use nodes %#x; want %#x", t.TID, got, want)
		}
	}
	n := 0
	for _, p := range memoryPolicies {
		at := policies[p.name]
		if at == "" { // MPOL_LOCAL was no policy of its own until 5.14, and others were not there
			continue
		}
		var policy struct {
			Objects []struct {
				Value struct {
					Mode  int `json:"mode"`
					Nodes struct {
						Bits []uint64 `json:"bits"`
					} `json:"nodes"`
				} `json:"value"`
			} `json:"objects"`
		}
		if err := s.ask(ctx, []string{"struct mempolicy " + at}, &policy); err != nil {
			return n, err
		}
		n++
		if len(policy.Objects) != 1 || len(policy.Objects[0].Value.Nodes.Bits) == 0 {
			continue // until 5.13 the nodes were in a union
		}
		if v := policy.Objects[0].Value; v.Mode != p.mode || v.Nodes.Bits[0] != p.nodes {
			d.add("%s wants its memory by mode %d on nodes %#x; want %d, %#x", p.name, v.Mode, v.Nodes.Bits[0], p.mode, p.nodes)
		}
	}
	if n < 3 {
		d.add("%d threads have policies", n)
	}
	return n, nil
}

// saidPlaces reads /proc/PID/numa_maps: pages of each mapping on each node, by where it begins.
func saidPlaces(text string) (map[uint64]map[int]uint64, error) {
	out := make(map[uint64]map[int]uint64)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		start, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("numa_maps: %q", line)
		}
		on := make(map[int]uint64)
		unit := uint64(4)
		for _, word := range f[1:] {
			name, value, _ := strings.Cut(word, "=")
			n, err := strconv.ParseUint(value, 10, 64)
			if name == "kernelpagesize_kB" && err == nil {
				unit = n
			}
			if node, isNode := strings.CutPrefix(name, "N"); isNode && err == nil {
				if i, err := strconv.Atoi(node); err == nil {
					on[i] = n
				}
			}
		}
		for i := range on {
			on[i] *= unit / 4
		}
		out[start] = on
	}
	return out, nil
}

// checkPlaces counts the pages of the mappings of processes that did nothing since, by the node in whose blocks they lie. The zero page is on no list of the guest's.
func (s *subject) checkPlaces(ctx context.Context, blocks []kdxBlock, d *differences) (map[int]uint64, error) {
	still, err := s.still(ctx)
	if err != nil {
		return nil, err
	}
	line := "foreach"
	byPID := make(map[int]map[uint64]map[int]uint64)
	for _, t := range s.truth.Tasks {
		text := t.Leader["numa_maps"]
		if policy := strings.Contains(text, "interleave:0,2 "); !still[t.TID] || text == "" || len(byPID) >= 12 && !policy {
			continue
		}
		said, err := saidPlaces(text)
		if err != nil {
			return nil, err
		}
		byPID[t.TID] = said
		line += fmt.Sprintf(" %d", t.TID)
	}
	if len(byPID) == 0 {
		return nil, errors.New("no process did nothing since")
	}
	zero, err := s.zeroPage(ctx)
	if err != nil {
		return nil, err
	}
	var tasks []struct {
		PID      int           `json:"pid"`
		Mappings []pagesAnswer `json:"mappings"`
	}
	if err := s.ask(ctx, []string{line + " vm -p"}, &tasks); err != nil {
		return nil, err
	}
	all := make(map[int]uint64)
	for _, t := range tasks {
		for _, m := range t.Mappings {
			want, ok := byPID[t.PID][hexNumber(m.Start)]
			if !ok || len(want) == 0 { // pages of the kernel's own, as of [vdso], are on no list of the guest's
				continue
			}
			got := make(map[int]uint64)
			for _, p := range m.Pages {
				if p.Physical == nil || hexNumber(*p.Physical)&^0xfff == zero {
					continue
				}
				at := hexAddr(hexNumber(*p.Physical))
				i := slices.IndexFunc(blocks, func(b kdxBlock) bool { return at >= b.Start && at <= b.End })
				if i < 0 {
					d.add("page %#x is in no block of memory", uint64(at))
					continue
				}
				got[blocks[i].Node]++
				all[blocks[i].Node]++
			}
			if !maps.Equal(got, want) {
				d.add("task %d, mapping at %s: pages by node %v; want %v", t.PID, m.Start, got, want)
			}
		}
	}
	return all, nil
}

// checkBridges holds the way to each PCI device, over bridges, against where the guest has it in /sys.
func checkBridges(s *subject, buses []kdxPCIBus, d *differences) int {
	above := make(map[string]string) // bus → the bridge that leads to it, with its way
	n := 0
	for _, b := range buses { // a bus comes behind that which its bridge is on
		for _, x := range b.Devices {
			way := path.Join(above[b.Addr], x.Name)
			if x.Below != "" {
				above[x.Below] = way
			}
			link, ok := s.truth.Proc["/sys/bus/pci/devices/"+x.Name]
			if !ok {
				continue
			}
			n++
			if _, want, _ := strings.Cut(strings.TrimPrefix(link, "../../../devices/"), "/"); want != way {
				d.add("PCI device %s is at %s; want %s", x.Name, way, want)
			}
		}
	}
	return n
}
