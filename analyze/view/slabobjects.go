package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"kdx/analyze/vmem"
)

// SlabObjects is one cache: {"cache", "cpus", "nodes", "slabs"}, where slabs has each slab with its objects.
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

// SlabNode is a node's part. PerCPU counts the slabs that CPUs allocate from.
type SlabNode struct {
	Node    int       `json:"node"`
	Addr    vmem.Addr `json:"kmem_cache_node"`
	Slabs   uint64    `json:"slabs"`
	Partial int       `json:"partial"`
	PerCPU  int       `json:"per_cpu"`
}

// SlabDetail is a slab and its objects. List is "cpu", "cpu partial", "partial", "full" or "empty"; Index the CPU's or node's
// number.
type SlabDetail struct {
	List    string       `json:"list"`
	Index   int          `json:"index"`
	Addr    vmem.Addr    `json:"slab"`
	Memory  vmem.Addr    `json:"memory"`
	Node    *int         `json:"node"`
	Total   uint64       `json:"total"`
	InUse   *uint64      `json:"allocated"` // null if that can't be told of some object
	Objects []ObjectLine `json:"objects"`
}

// ObjectLine is an object; Where says where a free one waits, if not on its slab's list.
type ObjectLine struct {
	Addr  vmem.Addr `json:"address"`
	Free  *bool     `json:"free"` // null if that can't be told
	Where string    `json:"where,omitempty"`
}

// SlabDump is kmem -S: of one cache its SlabObjects, of several an array of them.
type SlabDump struct {
	One    bool
	Caches iter.Seq[*SlabObjects]
}

// Text writes crash's blocks, cache by cache.
func (d *SlabDump) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	for c := range d.Caches {
		c.text(bw)
	}
	return bw.Flush()
}

// StreamJSON writes the array, slab by slab.
func (d *SlabDump) StreamJSON(w io.Writer) error {
	if d.One {
		for c := range d.Caches {
			return c.streamJSON(w)
		}
		return nil
	}
	out := arrayWriter{w: w}
	for c := range d.Caches {
		if err := out.element(); err != nil {
			return err
		}
		if err := c.streamJSON(w); err != nil {
			return err
		}
	}
	return out.end()
}

func (s *SlabObjects) text(bw *bufio.Writer) {
	bw.WriteString(slabHeader)
	s.Cache.text(bw)
	if s.Cache.Ignored {
		return
	}
	p := slabPrinter{w: bw, parts: s.parts()}
	for d := range s.Slabs {
		p.slab(&d)
	}
	p.upTo(len(p.parts))
	fmt.Fprintln(bw)
}

// slabPart is a list of slabs under its title.
type slabPart struct {
	list    string
	index   int
	before  string // what stands above the title
	silent  bool   // it is not there if it is empty
	started bool
}

// parts are the lists of a cache in crash's order: what each CPU has, then what each node has.
func (s *SlabObjects) parts() []slabPart {
	var out []slabPart
	for _, c := range s.CPUs {
		out = append(out, slabPart{list: "cpu", index: c.CPU, before: fmt.Sprintf("CPU %d KMEM_CACHE_CPU:\n  %016x\n", c.CPU, uint64(c.Addr))},
			slabPart{list: "cpu partial", index: c.CPU})
	}
	var table strings.Builder
	for i, n := range s.Nodes {
		if i == 0 {
			fmt.Fprintf(&table, "KMEM_CACHE_NODE   NODE  SLABS  PARTIAL  PER-CPU\n")
		}
		fmt.Fprintf(&table, "%016x  %4d  %5d  %7d  %7d\n", uint64(n.Addr), n.Node, n.Slabs, n.Partial, n.PerCPU)
	}
	for _, n := range s.Nodes {
		out = append(out, slabPart{list: "partial", index: n.Node, before: table.String()}, slabPart{list: "full", index: n.Node},
			slabPart{list: "empty", index: n.Node, silent: true})
		table.Reset()
	}
	return out
}

type slabPrinter struct {
	w     *bufio.Writer
	parts []slabPart
	at    int
}

func (p *slabPrinter) slab(d *SlabDetail) {
	for j := p.at; j < len(p.parts); j++ {
		if p.parts[j].list == d.List && p.parts[j].index == d.Index {
			p.upTo(j)
			break
		}
	}
	if p.at < len(p.parts) {
		p.start(&p.parts[p.at])
	}
	d.text(p.w)
}

func (p *slabPrinter) start(part *slabPart) {
	if !part.started {
		part.started = true
		fmt.Fprintf(p.w, part.before+slabTitles[part.list], part.index)
	}
}

// upTo ends the lists before the j-th; empty ones are said to be.
func (p *slabPrinter) upTo(j int) {
	for ; p.at < j; p.at++ {
		part := &p.parts[p.at]
		if part.started || part.silent {
			continue
		}
		p.start(part)
		p.w.WriteString("  (empty)\n")
	}
}

var slabTitles = map[string]string{"cpu": "CPU %d SLAB:\n", "cpu partial": "CPU %d PARTIAL:\n", "partial": "NODE %d PARTIAL:\n", "full": "NODE %d FULL:\n",
	"empty": "NODE %d EMPTY:\n"}

func (d *SlabDetail) text(w io.Writer) {
	node := "-"
	if d.Node != nil {
		node = fmt.Sprint(*d.Node)
	}
	fmt.Fprintf(w, "  SLAB              MEMORY            NODE  TOTAL  ALLOCATED  FREE\n")
	var free *uint64
	if d.InUse != nil {
		n := d.Total - min(*d.InUse, d.Total)
		free = &n
	}
	fmt.Fprintf(w, "  %016x  %016x  %4s  %5d  %9s  %4s\n", uint64(d.Addr), uint64(d.Memory), node, d.Total, orDash(d.InUse), orDash(free))
	writeObjects(w, d.Objects)
}

// writeObjects writes a line an object. Whether one marked - is free is not known.
func writeObjects(w io.Writer, objects []ObjectLine) {
	title := "  FREE / [ALLOCATED]\n"
	for _, o := range objects {
		if o.Free == nil {
			title = "  FREE / [ALLOCATED] / -UNKNOWN\n"
		}
	}
	io.WriteString(w, title)
	var row []byte
	for _, o := range objects {
		row = append(row[:0], ' ', ' ')
		switch {
		case o.Free == nil:
			row = appendHex(append(row, '-'), uint64(o.Addr), 16, '0')
		case !*o.Free:
			row = append(appendHex(append(row, '['), uint64(o.Addr), 16, '0'), ']')
		default:
			row = appendHex(append(row, ' '), uint64(o.Addr), 16, '0')
			if o.Where != "" {
				row = append(append(append(row, "  ("...), o.Where...), ')')
			}
		}
		w.Write(append(row, '\n'))
	}
}

// streamJSON writes the object, slab by slab.
func (s *SlabObjects) streamJSON(w io.Writer) error {
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
