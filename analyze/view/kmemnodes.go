package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// MemoryNodes is kmem -n.
type MemoryNodes struct {
	Nodes    []MemoryNode    `json:"nodes"`
	Sections []MemorySection `json:"sections"`
	Blocks   []MemoryBlock   `json:"blocks"`
}

// MemoryNode is a NUMA node.
type MemoryNode struct {
	Node    int          `json:"node"`
	Size    uint64       `json:"size"` // pages that it spans
	Addr    vmem.Addr    `json:"pglist_data"`
	MemMap  vmem.Addr    `json:"mem_map"`  // its first struct page
	Start   vmem.Addr    `json:"start"`    // its first byte
	StartNr uint64       `json:"start_nr"` // its first pfn
	Zones   []MemoryZone `json:"zones"`
}

// MemoryZone is a zone of a node.
type MemoryZone struct {
	Index   int        `json:"zone"`
	Addr    vmem.Addr  `json:"address"`
	Name    string     `json:"name"`
	Size    uint64     `json:"size"`    // pages that it spans
	MemMap  *vmem.Addr `json:"mem_map"` // null if it has no pages
	Start   vmem.Addr  `json:"start"`
	StartNr uint64     `json:"start_nr"`
}

// MemorySection is a section of the map of pages. State has a letter for each flag: P present, M has a map, O online, E early, D
// device memory.
type MemorySection struct {
	Number uint64    `json:"number"`
	Addr   vmem.Addr `json:"mem_section"`
	Coded  vmem.Addr `json:"coded_mem_map"`
	MemMap vmem.Addr `json:"mem_map"`
	State  string    `json:"state"`
	PFN    uint64    `json:"pfn"`
}

// MemoryBlock is a block of memory that can be taken offline.
type MemoryBlock struct {
	Addr    vmem.Addr `json:"memory_block"`
	Name    string    `json:"name"`
	Start   vmem.Addr `json:"start"` // physical
	End     vmem.Addr `json:"end"`   // its last byte
	Node    *int      `json:"node"`
	State   string    `json:"state"` // "ONLINE", …; "" for a value that the kernel does not have
	Value   uint64    `json:"state_value"`
	Section uint64    `json:"start_section"`
}

// Text writes crash's tables.
func (m *MemoryNodes) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for i, n := range m.Nodes {
		if i > 0 {
			fmt.Fprintf(bw, "\n%s\n\n", strings.Repeat("-", 67))
		}
		n.text(bw)
	}
	if len(m.Sections) > 0 {
		fmt.Fprintf(bw, "\n%s\n\nNR      SECTION        CODED_MEM_MAP        MEM_MAP       STATE PFN\n", strings.Repeat("-", 67))
	}
	for _, s := range m.Sections {
		fmt.Fprintf(bw, "%2d  %016x  %016x  %016x  %-5s %d\n", s.Number, uint64(s.Addr), uint64(s.Coded), uint64(s.MemMap), s.State, s.PFN)
	}
	if len(m.Blocks) > 0 {
		fmt.Fprintf(bw, "\n   MEM_BLOCK        NAME        PHYSICAL RANGE     NODE  STATE   START_SECTION_NO\n")
	}
	for _, b := range m.Blocks {
		node, state := "-", b.State
		if b.Node != nil {
			node = fmt.Sprint(*b.Node)
		}
		if state == "" {
			state = fmt.Sprintf("(%d)", b.Value)
		}
		fmt.Fprintf(bw, " %016x %9s %11x - %8x  %-4s %-7s %d\n", uint64(b.Addr), Printable(b.Name), uint64(b.Start), uint64(b.End), node, state, b.Section)
	}
	return bw.Flush()
}

func (n *MemoryNode) text(w io.Writer) {
	fmt.Fprintf(w, "NODE    SIZE      PGLIST_DATA       BOOTMEM_DATA       NODE_ZONES\n")
	fmt.Fprintf(w, "%3d %9d   %016x        ----        ", n.Node, n.Size, uint64(n.Addr))
	for i, z := range n.Zones {
		if i > 0 {
			fmt.Fprintf(w, "%52s", "")
		}
		fmt.Fprintf(w, "%016x\n", uint64(z.Addr))
	}
	if len(n.Zones) == 0 {
		fmt.Fprintln(w, "-")
	}
	fmt.Fprintf(w, "    MEM_MAP          START_PADDR    START_MAPNR\n")
	fmt.Fprintf(w, "%016x  %10x  %12d\n\n", uint64(n.MemMap), uint64(n.Start), n.StartNr)
	fmt.Fprintf(w, "ZONE  NAME         SIZE       MEM_MAP      START_PADDR  START_MAPNR\n")
	for _, z := range n.Zones {
		mem := "               0"
		if z.MemMap != nil {
			mem = fmt.Sprintf("%016x", uint64(*z.MemMap))
		}
		fmt.Fprintf(w, "%3d   %-9s %7d  %s  %11x  %11d\n", z.Index, Printable(z.Name), z.Size, mem, uint64(z.Start), z.StartNr)
	}
}
