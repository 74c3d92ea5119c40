package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"kdx/analyze/vmem"
)

// SlabObjects is kmem -S of one cache: {"cache", "cpus", "nodes", "slabs"}, where slabs has each slab with its objects.
type SlabObjects struct {
	Cache SlabCache
	CPUs  []SlabCPU
	Nodes []SlabNode
	// Slabs yields the CPUs' slabs, the nodes' partial slabs and the full ones, in this order.
	Slabs iter.Seq[SlabDetail]
}

// SlabCPU is a CPU's part of a cache, on kernels before 7.0.
type SlabCPU struct {
	CPU  int       `json:"cpu"`
	Addr vmem.Addr `json:"kmem_cache_cpu"`
}

// SlabNode is a node's part.
type SlabNode struct {
	Node    int       `json:"node"`
	Addr    vmem.Addr `json:"kmem_cache_node"`
	Slabs   uint64    `json:"slabs"`
	Partial int       `json:"partial"`
	PerCPU  int       `json:"per_cpu"`
}

// SlabDetail is a slab and its objects. List is "cpu", "cpu partial", "partial" or "full"; Index the CPU's or node's
// number.
type SlabDetail struct {
	List    string       `json:"list"`
	Index   int          `json:"index"`
	Addr    vmem.Addr    `json:"slab"`
	Memory  vmem.Addr    `json:"memory"`
	Node    *int         `json:"node"`
	Total   uint64       `json:"total"`
	InUse   uint64       `json:"allocated"`
	Objects []ObjectLine `json:"objects"`
}

// ObjectLine is an object; Where says where a free one waits, if not on its slab's list.
type ObjectLine struct {
	Addr  vmem.Addr `json:"address"`
	Free  bool      `json:"free"`
	Where string    `json:"where,omitempty"`
}

// Text writes crash's blocks.
func (s *SlabObjects) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	bw.WriteString(slabHeader)
	s.Cache.text(bw)
	for _, c := range s.CPUs {
		fmt.Fprintf(bw, "CPU %d KMEM_CACHE_CPU:\n  %016x\n", c.CPU, uint64(c.Addr))
	}
	if len(s.Nodes) > 0 {
		fmt.Fprintf(bw, "KMEM_CACHE_NODE   NODE  SLABS  PARTIAL  PER-CPU\n")
		for _, n := range s.Nodes {
			fmt.Fprintf(bw, "%016x  %4d  %5d  %7d  %7d\n", uint64(n.Addr), n.Node, n.Slabs, n.Partial, n.PerCPU)
		}
	}
	last := ""
	for d := range s.Slabs {
		title := map[string]string{"cpu": "CPU %d SLAB:\n", "cpu partial": "CPU %d PARTIAL:\n", "partial": "NODE %d PARTIAL:\n", "full": "NODE %d FULL:\n"}[d.List]
		if title = fmt.Sprintf(title, d.Index); title != last {
			bw.WriteString(title)
			last = title
		}
		d.text(bw)
	}
	return bw.Flush()
}

func (d *SlabDetail) text(w io.Writer) {
	node := "-"
	if d.Node != nil {
		node = fmt.Sprint(*d.Node)
	}
	fmt.Fprintf(w, "  SLAB              MEMORY            NODE  TOTAL  ALLOCATED  FREE\n")
	fmt.Fprintf(w, "  %016x  %016x  %4s  %5d  %9d  %4d\n  FREE / [ALLOCATED]\n", uint64(d.Addr), uint64(d.Memory), node, d.Total, d.InUse, d.Total-min(d.InUse, d.Total))
	for _, o := range d.Objects {
		switch {
		case !o.Free:
			fmt.Fprintf(w, "  [%016x]\n", uint64(o.Addr))
		case o.Where != "":
			fmt.Fprintf(w, "   %016x  (%s)\n", uint64(o.Addr), o.Where)
		default:
			fmt.Fprintf(w, "   %016x\n", uint64(o.Addr))
		}
	}
}

// StreamJSON writes the object, slab by slab.
func (s *SlabObjects) StreamJSON(w io.Writer) error {
	head, err := json.Marshal(struct {
		Cache SlabCache  `json:"cache"`
		CPUs  []SlabCPU  `json:"cpus"`
		Nodes []SlabNode `json:"nodes"`
	}{s.Cache, s.CPUs, s.Nodes})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, `%s,"slabs":[`, head[:len(head)-1]); err != nil {
		return err
	}
	sep := ""
	for d := range s.Slabs {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, sep+string(b)); err != nil {
			return err
		}
		sep = ",\n"
	}
	_, err = io.WriteString(w, "]}")
	return err
}
