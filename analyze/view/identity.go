package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Identities is kmem ADDRESS…; its JSON is an array of Identity.
type Identities []Identity

// Identity is what lies at an address. Parts that don't apply are absent.
type Identity struct {
	Addr   vmem.Addr       `json:"address"`            // in the kernel's space
	Phys   *vmem.Addr      `json:"physical,omitempty"` // the address that was asked for was physical, or of this page's struct page
	Symbol *SymbolLine     `json:"symbol,omitempty"`
	Object *SlabObject     `json:"slab,omitempty"`
	Task   *Context        `json:"task,omitempty"`
	Stack  bool            `json:"stack,omitempty"` // the address is in that task's kernel stack
	Vmap   *VmallocArea    `json:"vmalloc,omitempty"`
	Mapped *vmem.Addr      `json:"mapped,omitempty"`  // where that area maps the page that was asked for
	Module string          `json:"module,omitempty"`  // whose memory it is
	PerCPU *IdentityPerCPU `json:"per_cpu,omitempty"` // of which CPU, and of which variable
	Free   *FreePlace      `json:"free,omitempty"`    // the page is free: in which block, or on whose list
	Page   *PageLine       `json:"page,omitempty"`
}

// IdentityPerCPU is a place in a CPU's per-CPU area. Without Symbol it is memory that was allocated there, and Offset counts from the
// start of the area.
type IdentityPerCPU struct {
	CPU    int         `json:"cpu"`
	Symbol *SymbolLine `json:"symbol,omitempty"`
	Offset uint64      `json:"offset"` // bytes
}

func (p *IdentityPerCPU) text(w io.Writer) {
	if p.Symbol == nil {
		fmt.Fprintf(w, "PER-CPU AREA OF CPU %d: allocated, %#x from its start\n", p.CPU, p.Offset)
		return
	}
	fmt.Fprintf(w, "PER-CPU AREA OF CPU %d: %s:%d", p.CPU, Printable(p.Symbol.Name), p.CPU)
	if p.Offset != 0 {
		fmt.Fprintf(w, "+%#x", p.Offset)
	}
	fmt.Fprintln(w)
}

// SlabObject is an object of a slab cache.
type SlabObject struct {
	Cache  SlabCache `json:"cache"`
	Slab   vmem.Addr `json:"slab"`   // struct slab, or struct page before 5.17
	Memory vmem.Addr `json:"memory"` // of the slab's first byte
	Node   *int      `json:"node"`   // NUMA node; null if not known
	Total  uint64    `json:"total"`  // objects of the slab
	InUse  uint64    `json:"in_use"` // as the slab counts
	Addr   vmem.Addr `json:"object"`
	Inside bool      `json:"inside"` // false: the address lies between objects
	// State is "allocated", "free", or "unknown" where lists of free objects can't be read.
	State string `json:"state"`
	// Where a free object waits, if not on its slab's list: "cpu 0 cache", "cpu 0 sheaf", "node sheaf".
	Where string `json:"where,omitempty"`
	// Objects are all of the slab (-S).
	Objects []ObjectLine `json:"objects,omitempty"`
}

// VmallocArea is a range of vmalloc space.
type VmallocArea struct {
	Area  vmem.Addr  `json:"vmap_area"`
	VM    *vmem.Addr `json:"vm_struct"`
	Start vmem.Addr  `json:"start"`
	End   vmem.Addr  `json:"end"`
}

// VmallocAreas is kmem -v.
type VmallocAreas []VmallocArea

// PageLine is a struct page.
type PageLine struct {
	Addr    vmem.Addr `json:"page"`
	Phys    vmem.Addr `json:"physical"`
	Mapping vmem.Addr `json:"mapping"`
	Index   uint64    `json:"index"`
	Count   int32     `json:"count"`
	Flags   vmem.Addr `json:"flags"`
	Names   string    `json:"flag_names"` // joined by commas
}

// Text writes blocks as crash does, each address after an empty line.
func (l Identities) Text(w io.Writer, o Options) error {
	return blocks(w, l, func(bw *bufio.Writer, x Identity) {
		x.text(bw, o)
	})
}

func (x *Identity) text(bw *bufio.Writer, o Options) {
	sep := ""
	block := func() {
		bw.WriteString(sep)
		sep = "\n"
	}
	if x.Symbol != nil {
		block()
		x.Symbol.text(bw, o)
	}
	if x.Object != nil {
		block()
		x.Object.text(bw)
	}
	if x.Task != nil {
		block()
		x.Task.text(bw)
	}
	if x.PerCPU != nil {
		block()
		x.PerCPU.text(bw)
	}
	if x.Module != "" && (x.Symbol == nil || x.Symbol.Module != x.Module) {
		block()
		fmt.Fprintf(bw, "MODULE: %s\n", Printable(x.Module))
	}
	if x.Vmap != nil {
		block()
		bw.WriteString(vmallocHeader)
		x.Vmap.text(bw)
		if x.Mapped != nil {
			fmt.Fprintf(bw, "MAPPED AT: %x\n", uint64(*x.Mapped))
		}
	}
	if x.Free != nil {
		block()
		x.Free.text(bw)
	}
	if x.Page != nil {
		block()
		bw.WriteString(pageHeader)
		x.Page.text(bw)
	}
	if sep == "" {
		fmt.Fprintf(bw, "%x: nothing is known of this address\n", uint64(x.Addr))
	}
}

func (s *SlabObject) text(w io.Writer) {
	io.WriteString(w, slabHeader)
	s.Cache.text(w)
	fmt.Fprintf(w, "  SLAB              MEMORY            NODE  TOTAL  ALLOCATED  FREE\n")
	node := "-"
	if s.Node != nil {
		node = fmt.Sprint(*s.Node)
	}
	fmt.Fprintf(w, "  %016x  %016x  %4s  %5d  %9d  %4d\n", uint64(s.Slab), uint64(s.Memory), node, s.Total, s.InUse, s.Total-min(s.InUse, s.Total))
	if len(s.Objects) > 0 {
		writeObjects(w, s.Objects)
		return
	}
	fmt.Fprintf(w, "  FREE / [ALLOCATED]\n")
	where := ""
	if s.Where != "" {
		where = "  (" + s.Where + ")"
	}
	switch {
	case !s.Inside:
		fmt.Fprintf(w, "   (between objects; the next below begins at %x)\n", uint64(s.Addr))
	case s.State == "free":
		fmt.Fprintf(w, "   %016x%s\n", uint64(s.Addr), where)
	case s.State == "unknown":
		fmt.Fprintf(w, "   %016x  (free or not is unknown)\n", uint64(s.Addr))
	default:
		fmt.Fprintf(w, "  [%016x]\n", uint64(s.Addr))
	}
}

const vmallocHeader = "   VMAP_AREA         VM_STRUCT                 ADDRESS RANGE                SIZE\n"

func (a *VmallocArea) text(w io.Writer) {
	vm := "               0"
	if a.VM != nil {
		vm = fmt.Sprintf("%016x", uint64(*a.VM))
	}
	fmt.Fprintf(w, "%016x  %s  %016x - %016x  %7d\n", uint64(a.Area), vm, uint64(a.Start), uint64(a.End), uint64(a.End-a.Start))
}

// Text writes crash's table.
func (l VmallocAreas) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	bw.WriteString(vmallocHeader)
	for i := range l {
		l[i].text(bw)
	}
	return bw.Flush()
}

const pageHeader = "      PAGE       PHYSICAL      MAPPING       INDEX CNT FLAGS\n"

func (p *PageLine) text(w io.Writer) { w.Write(p.append(nil)) }
