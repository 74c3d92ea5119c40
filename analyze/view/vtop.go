package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// Translations is vtop; its JSON is an array of Translation.
type Translations []Translation

// Translation is how a virtual address leads to a physical one.
type Translation struct {
	Virtual  vmem.Addr   `json:"virtual"`
	Physical *vmem.Addr  `json:"physical"` // null if the page is not in memory
	User     bool        `json:"user"`
	PID      *int32      `json:"pid,omitempty"` // whose user space it is
	Steps    []TableStep `json:"steps"`
	PageSize uint64      `json:"page_size,omitempty"` // bytes
	Entry    *TableEntry `json:"entry,omitempty"`     // the last, taken apart
	VMA      *VMALine    `json:"vma,omitempty"`       // of user space
	Page     *PageLine   `json:"page,omitempty"`
}

// VMALine is a mapping of user space.
type VMALine struct {
	Addr   vmem.Addr `json:"vma"`
	Start  vmem.Addr `json:"start"`
	End    vmem.Addr `json:"end"`
	Flags  vmem.Addr `json:"flags"`
	File   *string   `json:"file,omitempty"`
	Offset *uint64   `json:"offset,omitempty"` // of the address in the file, in bytes
}

const vmaHeader = "      VMA           START       END     FLAGS FILE\n"

func (a *VMALine) text(w io.Writer) {
	io.WriteString(w, vmaHeader)
	a.row(w)
	io.WriteString(w, "\n")
}

func (a *VMALine) row(w io.Writer) {
	file := ""
	if a.File != nil {
		file = Printable(*a.File)
	}
	fmt.Fprintf(w, "%016x %10x %10x %x %s", uint64(a.Addr), uint64(a.Start), uint64(a.End), uint64(a.Flags), file)
}

// TableStep is an entry on the way.
type TableStep struct {
	Level string    `json:"level"`
	Addr  vmem.Addr `json:"address"` // physical
	Entry vmem.Addr `json:"entry"`
}

// TableEntry is a page-table entry taken apart.
type TableEntry struct {
	Entry    vmem.Addr  `json:"entry"`
	Physical *vmem.Addr `json:"physical"` // null if the entry maps nothing
	Flags    []string   `json:"flags"`
	Swap     *SwapPlace `json:"swap,omitempty"`
}

// SwapPlace is where a page lies in swap.
type SwapPlace struct {
	Device uint64 `json:"device"` // index of swap_info
	File   string `json:"file,omitempty"`
	Offset uint64 `json:"offset"` // pages
}

// name is the path of the device, or its index if that is not known.
func (s *SwapPlace) name() string {
	if s.File == "" {
		return fmt.Sprintf("device %d", s.Device)
	}
	return Printable(s.File)
}

// TableEntries is pte.
type TableEntries []TableEntry

// Text writes crash's blocks.
func (l Translations) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, x Translation) {
		x.text(bw)
	})
}

func (t *Translation) text(bw *bufio.Writer) {
	width := 16
	if t.User {
		width = max(10, len(fmt.Sprintf("%x", uint64(t.Virtual))))
	}
	phys := "(not mapped)"
	if t.Physical != nil {
		phys = fmt.Sprintf("%x", uint64(*t.Physical))
	}
	fmt.Fprintf(bw, "%-*s  %-16s\n%-*x  %-16s\n\n", width, "VIRTUAL", "PHYSICAL", width, uint64(t.Virtual), phys)
	for _, s := range t.Steps {
		fmt.Fprintf(bw, "%6s: %x => %x\n", s.Level, uint64(s.Addr), uint64(s.Entry))
	}
	if t.Physical != nil && t.PageSize > 0 {
		fmt.Fprintf(bw, "%6s: %x%s\n", "PAGE", uint64(*t.Physical)&^(t.PageSize-1), hugeText(t.PageSize))
	}
	if t.Entry != nil && t.Entry.Entry != 0 {
		fmt.Fprintln(bw)
		t.Entry.text(bw)
	}
	if t.VMA != nil {
		fmt.Fprintln(bw)
		t.VMA.text(bw)
		if t.Physical == nil && t.VMA.File != nil && t.VMA.Offset != nil && (t.Entry == nil || t.Entry.Entry == 0) {
			fmt.Fprintf(bw, "\nFILE: %s  OFFSET: %x\n", Printable(*t.VMA.File), *t.VMA.Offset&^0xfff)
		}
	}
	if t.Page != nil {
		fmt.Fprintln(bw)
		bw.WriteString(pageHeader)
		t.Page.text(bw)
	}
}

func hugeText(size uint64) string {
	switch {
	case size >= 1<<30:
		return fmt.Sprintf("  (%dGB)", size>>30)
	case size >= 1<<20:
		return fmt.Sprintf("  (%dMB)", size>>20)
	}
	return ""
}

func (e *TableEntry) text(w io.Writer) {
	entry := fmt.Sprintf("%x", uint64(e.Entry))
	if e.Swap != nil {
		name := e.Swap.name()
		n := max(len(name), len("SWAP"))
		fmt.Fprintf(w, "%s  %s  OFFSET\n", centre("PTE", len(entry)), centre("SWAP", n))
		fmt.Fprintf(w, "%s  %s  %d\n", entry, centre(name, n), e.Swap.Offset)
		return
	}
	phys := "-"
	if e.Physical != nil {
		phys = fmt.Sprintf("%x", uint64(*e.Physical))
	}
	flags := "(no flags set)"
	switch {
	case e.Entry == 0:
		phys, flags = "0", "(no mapping)"
	case len(e.Flags) > 0:
		flags = "(" + strings.Join(e.Flags, "|") + ")"
	}
	wide, widePhys := max(len("PTE"), len(entry)), max(len("PHYSICAL"), len(phys))
	heading := func(s string, n int) string { return fmt.Sprintf("%*s%-*s", (n-len(s))/2, "", n-(n-len(s))/2, s) }
	fmt.Fprintf(w, "%s  %s  FLAGS\n", heading("PTE", wide), heading("PHYSICAL", widePhys))
	fmt.Fprintf(w, "%s  %s  %s\n", centre(entry, wide), centre(phys, widePhys), flags)
}

// centre pads s on both sides to n columns; the odd blank comes first.
func centre(s string, n int) string {
	pad := max(0, n-len(s))
	return strings.Repeat(" ", (pad+1)/2) + s + strings.Repeat(" ", pad/2)
}

// Text writes each entry.
func (l TableEntries) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, x TableEntry) {
		x.text(bw)
	})
}

// Mappings is ptov.
type Mappings []Mapping

// Mapping is a physical address, or a per-CPU offset, and where the kernel sees it.
type Mapping struct {
	Physical vmem.Addr  `json:"physical"` // the offset if PerCPU
	PerCPU   bool       `json:"per_cpu,omitempty"`
	Virtual  []MappedAt `json:"virtual"`
}

// MappedAt is one place; CPU counts for per-CPU offsets.
type MappedAt struct {
	CPU  int       `json:"cpu,omitempty"`
	Addr vmem.Addr `json:"address"`
}

// Text writes crash's blocks.
func (l Mappings) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, m Mapping) {
		if m.PerCPU {
			fmt.Fprintf(bw, "PER-CPU OFFSET: %x\n  CPU    VIRTUAL\n", uint64(m.Physical))
			for _, v := range m.Virtual {
				fmt.Fprintf(bw, "  [%d]  %016x\n", v.CPU, uint64(v.Addr))
			}
			return
		}
		fmt.Fprintf(bw, "%-16s  %-16s\n%016x  %-16x\n", "VIRTUAL", "PHYSICAL", uint64(m.Virtual[0].Addr), uint64(m.Physical))
	})
}
