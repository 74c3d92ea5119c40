package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
)

// DumpHeader is help -n: what the dump's file says of itself. Null and absent values it does not say.
type DumpHeader struct {
	Files         []string      `json:"files"`
	Format        string        `json:"format"`
	HeaderVersion int           `json:"header_version,omitempty"`
	Machine       string        `json:"machine"`
	PageSize      uint64        `json:"page_size"`
	MaxPFN        uint64        `json:"max_pfn"`
	DumpLevel     *int          `json:"dump_level"`
	Filtered      bool          `json:"filtered"`
	Incomplete    bool          `json:"incomplete"`
	Codecs        []string      `json:"codecs,omitempty"`
	PhysBase      *int64        `json:"phys_base"`
	Segments      []DumpSegment `json:"segments"`
	Ranges        []DumpRange   `json:"ranges"` // physical memory that the dump describes
	Notes         []DumpNote    `json:"notes"`
	VMCoreInfo    []string      `json:"vmcoreinfo"`
	EraseInfo     string        `json:"eraseinfo,omitempty"`
	Warnings      []string      `json:"warnings,omitempty"`
}

// DumpSegment is a PT_LOAD program header of an ELF dump.
type DumpSegment struct {
	Offset   uint64    `json:"file_offset"`
	Virt     vmem.Addr `json:"virtual"`
	Phys     vmem.Addr `json:"physical"`
	FileSize uint64    `json:"file_size"`
	MemSize  uint64    `json:"memory_size"`
}

// DumpRange is a range of physical memory; End is behind the last byte.
type DumpRange struct {
	Start vmem.Addr `json:"start"`
	End   vmem.Addr `json:"end"`
}

// DumpNote is a note in the dump's header.
type DumpNote struct {
	Name  string `json:"name"`
	Type  uint32 `json:"type"`
	Bytes int    `json:"bytes"`
}

// Text writes a line a fact.
func (h *DumpHeader) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(bw, "%16s: %s\n", name, Printable(fmt.Sprintf(format, args...)))
	}
	for _, f := range h.Files {
		line("file", "%s", f)
	}
	line("format", "%s", h.Format)
	if h.HeaderVersion != 0 {
		line("header version", "%d", h.HeaderVersion)
	}
	line("machine", "%s", h.Machine)
	line("page size", "%d", h.PageSize)
	line("max_pfn", "%x", h.MaxPFN)
	line("dump level", "%s", or(h.DumpLevel, "%d"))
	line("filtered", "%v", h.Filtered)
	line("incomplete", "%v", h.Incomplete)
	for _, c := range h.Codecs {
		line("codec", "%s", c)
	}
	line("phys_base", "%s", or(h.PhysBase, "%#x"))
	for i, s := range h.Segments {
		line(fmt.Sprintf("segment %d", i), "offset %x virtual %x physical %x file size %x memory size %x", s.Offset, uint64(s.Virt), uint64(s.Phys), s.FileSize, s.MemSize)
	}
	for _, r := range h.Ranges {
		line("memory", "%x - %x", uint64(r.Start), uint64(r.End))
	}
	for _, n := range h.Notes {
		line("note", "%q type %d, %d bytes", n.Name, n.Type, n.Bytes)
	}
	for i, s := range h.VMCoreInfo {
		name := ""
		if i == 0 {
			name = "VMCOREINFO"
		}
		fmt.Fprintf(bw, "%16s  %s\n", name, Printable(s))
	}
	if h.EraseInfo != "" {
		line("eraseinfo", "%s", h.EraseInfo)
	}
	for _, s := range h.Warnings {
		line("warning", "%s", s)
	}
	return bw.Flush()
}

// CPURegisters is help -r: registers of each CPU at the crash. Its JSON is an array.
type CPURegisters []CPURegister

// CPURegister are a CPU's registers; null for a CPU that left none.
type CPURegister struct {
	CPU    int            `json:"cpu"`
	Source string         `json:"source,omitempty"` // "crash_notes" (the kernel's memory), "notes" (the dump's header)
	Regs   *Registers     `json:"registers"`
	Pt     *unwind.PtRegs `json:"-"`
}

// Text writes crash's blocks.
func (l CPURegisters) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, c CPURegister) {
		fmt.Fprintf(bw, "CPU %d:\n", c.CPU)
		if c.Pt == nil {
			bw.WriteString("    - (it did not answer, or the dump does not have its registers)\n")
			return
		}
		writeRegs(bw, c.Pt)
	})
}
