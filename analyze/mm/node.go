package mm

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

type nodeStruct struct {
	Start   uint64 `k:"node_start_pfn"`
	Spanned uint64 `k:"node_spanned_pages"`
}

// maxNodes bounds what a dump may claim; MAX_NUMNODES is at most 1024.
const maxNodes = 1024

// Node is a NUMA node.
type Node struct {
	ID      int
	Addr    vmem.Addr // struct pglist_data
	Start   uint64    // first pfn
	Spanned uint64    // pages, holes included
}

// Nodes are the nodes that the kernel has. One that can't be read is a gap.
func Nodes(v *kernel.View) ([]Node, error) {
	nodes, err := nodeAddrs(v)
	if err != nil {
		return nil, err
	}
	bind, err := kernel.Bind[nodeStruct](v.Kernel, "pglist_data")
	if err != nil {
		return nil, err
	}
	var out []Node
	for i, at := range nodes {
		if at == 0 {
			continue
		}
		d, err := bind.Read(v, at)
		if err != nil {
			v.GapOnce(fmt.Sprintf("node %d", i), err)
			continue
		}
		out = append(out, Node{i, at, d.Start, d.Spanned})
	}
	return out, nil
}

// NodeOf is the NUMA node whose range of memory has the page. Where ranges overlap it is the first.
func NodeOf(v *kernel.View, pfn uint64) (node int, ok bool) {
	n, err := v.UintAt("nr_node_ids", 4)
	if err != nil || n <= 1 {
		return 0, true // one node, or a kernel that knows no others
	}
	nodes, err := Nodes(v)
	if err != nil {
		return 0, false
	}
	for _, d := range nodes {
		if pfn >= d.Start && pfn-d.Start < d.Spanned {
			return d.ID, true
		}
	}
	return 0, false
}

// nodesEnd is where the memory of the highest node ends, as a pfn; 0 if it can't be read. Nodes span more than the RAM
// that a dump describes, such as what the capture kernel has. A node that spans far more is damaged: walking its pages would take hours.
func nodesEnd(v *kernel.View) uint64 {
	limit := 4*v.Image().Info().MaxPFN + 1<<18
	nodes, err := nodeAddrs(v)
	if err != nil {
		return 0
	}
	bind, err := kernel.Bind[nodeStruct](v.Kernel, "pglist_data")
	if err != nil {
		return 0
	}
	end := uint64(0)
	for _, at := range nodes {
		if at == 0 {
			continue
		}
		if d, err := bind.Read(v, at); err == nil && d.Start < limit && d.Spanned < limit-d.Start {
			end = max(end, d.Start+d.Spanned)
		}
	}
	section := uint64(128<<20) / v.PageSize() // struct pages come in sections, 128 MiB on x86-64
	return (end + section - 1) / section * section
}
