package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Hstates is kmem -h.
type Hstates []Hstate

// Hstate is a size of huge pages; Free and Total count pages of it.
type Hstate struct {
	Addr     vmem.Addr `json:"address"`
	PageSize uint64    `json:"page_size"` // bytes
	Free     uint64    `json:"free"`
	Total    uint64    `json:"total"`
	Name     string    `json:"name"`
}

// Text writes crash's table.
func (l Hstates) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, "     HSTATE        SIZE    FREE   TOTAL  NAME\n")
	for _, h := range l {
		size := fmt.Sprintf("%dMB", h.PageSize>>20)
		switch {
		case h.PageSize >= 1<<30:
			size = fmt.Sprintf("%dGB", h.PageSize>>30)
		case h.PageSize < 1<<20:
			size = fmt.Sprintf("%dKB", h.PageSize>>10)
		}
		fmt.Fprintf(bw, "%016x %6s %7d %7d  %s\n", uint64(h.Addr), size, h.Free, h.Total, Printable(h.Name))
	}
	return bw.Flush()
}

// PerCPUOffsets is kmem -o.
type PerCPUOffsets []PerCPUOffset

// PerCPUOffset is what is added to a per-CPU symbol's address for a CPU.
type PerCPUOffset struct {
	CPU    int       `json:"cpu"`
	Offset vmem.Addr `json:"offset"`
}

// Text writes crash's list.
func (l PerCPUOffsets) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintln(bw, "PER-CPU OFFSET VALUES:")
	for _, p := range l {
		fmt.Fprintf(bw, "  CPU %d: %x\n", p.CPU, uint64(p.Offset))
	}
	return bw.Flush()
}

// PageFlags is kmem -g.
type PageFlags struct {
	Value *vmem.Addr `json:"value,omitempty"` // whose bits were asked for
	Flags []PageFlag `json:"flags"`
}

// PageFlag is a bit of page.flags.
type PageFlag struct {
	Name string `json:"name"`
	Bit  int    `json:"bit"`
}

// Text writes crash's table.
func (p *PageFlags) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if p.Value != nil {
		fmt.Fprintf(bw, "FLAGS: %x\n", uint64(*p.Value))
	}
	fmt.Fprintf(bw, "%s%-21s  BIT  VALUE\n", indentIf(p.Value), "PAGE-FLAG")
	for _, f := range p.Flags {
		fmt.Fprintf(bw, "%s%-22s  %2d  %07x\n", indentIf(p.Value), f.Name, f.Bit, uint64(1)<<f.Bit)
	}
	return bw.Flush()
}

func indentIf(v *vmem.Addr) string {
	if v != nil {
		return "  "
	}
	return ""
}
