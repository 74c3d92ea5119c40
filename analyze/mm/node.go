package mm

import (
	"kdx/analyze/kernel"
)

type nodeStruct struct {
	Start   uint64 `k:"node_start_pfn"`
	Spanned uint64 `k:"node_spanned_pages"`
}

// maxNodes bounds what a dump may claim; MAX_NUMNODES is at most 1024.
const maxNodes = 1024

// NodeOf is the NUMA node whose range of memory has the page. Where ranges overlap it is the first.
func NodeOf(v *kernel.View, pfn uint64) (node int, ok bool) {
	n, err := v.UintAt("nr_node_ids", 4)
	if err != nil || n <= 1 {
		return 0, true // one node, or a kernel that knows no others
	}
	nodes, err := nodeAddrs(v)
	if err != nil {
		return 0, false
	}
	bind, err := kernel.Bind[nodeStruct](v.Kernel, "pglist_data")
	if err != nil {
		return 0, false
	}
	for i, at := range nodes {
		if at == 0 {
			continue
		}
		d, err := bind.Read(v, at)
		if err == nil && pfn >= d.Start && pfn-d.Start < d.Spanned {
			return i, true
		}
	}
	return 0, false
}
