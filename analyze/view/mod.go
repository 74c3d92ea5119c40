package view

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"kdx/analyze/vmem"
)

// ModuleTable is mod.
type ModuleTable struct {
	Rows []Module `json:"modules"`
}

// Module is a loaded module.
type Module struct {
	Module vmem.Addr     `json:"module"` // its struct module
	Name   string        `json:"name"`
	Base   vmem.Addr     `json:"text_base"`
	Size   uint64        `json:"size_bytes"`
	State  string        `json:"state"`
	Refs   int32         `json:"refs"`
	Taints string        `json:"taints"`
	Has    []string      `json:"has"` // of "kallsyms", "orc"
	Memory []ModuleRange `json:"memory"`
	// DebugFile is the path of its debug file, if one is attached.
	DebugFile string `json:"debug_file,omitempty"`
}

// ModuleRange is a part of a module's memory.
type ModuleRange struct {
	Kind string    `json:"kind"`
	Base vmem.Addr `json:"base"`
	Size uint64    `json:"size_bytes"`
}

// Text writes crash's columns. [CONFIG_KALLSYMS] says that the dump itself has the module's symbols.
func (t *ModuleTable) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if len(t.Rows) == 0 {
		bw.WriteString("no modules installed\n")
		return bw.Flush()
	}
	width, digits, base := len("NAME"), len("SIZE"), "TEXT_BASE"
	for i := range t.Rows {
		m := &t.Rows[i]
		width, digits = max(width, len(Printable(m.Name))), max(digits, len(fmt.Sprint(m.Size)))
		if len(m.Memory) > 0 && m.Memory[0].Kind == "core" { // one region for all, before 6.4
			base = "BASE"
		}
	}
	fmt.Fprintf(bw, "%s  %-*s  %s  %*s  %s\n", center("MODULE", 16), width, "NAME", center(base, 16), digits, "SIZE", "OBJECT FILE")
	for i := range t.Rows {
		m := &t.Rows[i]
		file := "(not loaded)"
		if slices.Contains(m.Has, "kallsyms") {
			file += "  [CONFIG_KALLSYMS]"
		}
		if m.DebugFile != "" {
			file = Printable(m.DebugFile)
		}
		if m.State != "live" {
			file += "  [" + m.State + "]"
		}
		fmt.Fprintf(bw, "%016x  %-*s  %016x  %*d  %s\n", uint64(m.Module), width, Printable(m.Name), uint64(m.Base), digits, m.Size, file)
	}
	return bw.Flush()
}

// ModuleTaints is mod -t.
type ModuleTaints []ModuleTaint

// ModuleTaint is how a module tainted the kernel.
type ModuleTaint struct {
	Name    string `json:"name"`
	Mask    uint64 `json:"mask"`
	Letters string `json:"letters"`
}

// Text writes name and letters.
func (t ModuleTaints) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if len(t) == 0 {
		bw.WriteString("no tainted modules\n")
		return bw.Flush()
	}
	fmt.Fprintf(bw, "%-24s  %s\n", "NAME", "TAINTS")
	for _, m := range t {
		fmt.Fprintf(bw, "%-24s  %s\n", Printable(m.Name), m.Letters)
	}
	return bw.Flush()
}

// ModuleSections is mod -g.
type ModuleSections []ModuleSection

// ModuleSection is a module with its sections in address order.
type ModuleSection struct {
	Name     string    `json:"name"`
	Sections []Section `json:"sections"`
}

// Section is where a section was loaded.
type Section struct {
	Name *string   `json:"name"`
	Addr vmem.Addr `json:"address"`
}

// Text writes a block a module.
func (t ModuleSections) Text(w io.Writer, _ Options) error {
	return blocks(w, t, func(bw *bufio.Writer, m ModuleSection) {
		fmt.Fprintf(bw, "%s\n", Printable(m.Name))
		for _, s := range m.Sections {
			fmt.Fprintf(bw, "  %016x  %s\n", uint64(s.Addr), nameOrDash(s.Name))
		}
	})
}
