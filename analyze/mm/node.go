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

// nodesEnd is where the memory of the highest node ends, as a pfn; 0 if it can't be read. Nodes span more than the RAM
// that a dump describes.
func nodesEnd(v *kernel.View) uint64 {
	const limit = 1 << 40 // 4 PiB in pages of 4 KiB: what x86-64 can address
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
		if d, err := bind.Read(v, at); err == nil && d.Start < limit && d.Spanned < limit {
			end = max(end, d.Start+d.Spanned)
		}
	}
	section := uint64(128<<20) / v.PageSize() // struct pages come in sections, 128 MiB on x86-64
	return (end + section - 1) / section * section
}
