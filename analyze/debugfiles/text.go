package debugfiles

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/dumpfmt/describe"
	"kdx/symbols/debuginfo"
)

const (
	labelWidth   = 14 // aligns the labels at their right end, as kdx info does
	outcomeWidth = 17 // of all but the longest, which are rare
)

type printer struct{ w *bufio.Writer }

func (p printer) line(label, format string, args ...any) {
	fmt.Fprintf(p.w, "%*s: %s\n", labelWidth, label, describe.Safe(fmt.Sprintf(format, args...)))
}

func (p printer) place(indent string, c Place) {
	why := ""
	if c.Why != nil {
		why = ": " + *c.Why
	}
	fmt.Fprintf(p.w, "%s%s\n", indent, describe.Safe(fmt.Sprintf("%-*s %s%s", outcomeWidth, c.Outcome, c.Path, why)))
}

// Text writes the report for people. The error is w's.
func (r *Report) Text(w io.Writer) error {
	p := printer{bufio.NewWriter(w)}
	p.line("RELEASE", "%s", orUnknown(r.Release))
	p.line("MACHINE", "%s", orUnknown(r.Machine))
	p.line("BUILD-ID", "%s", r.idText())
	fmt.Fprintln(p.w, "\nLooked for the kernel's file at (each also as .xz, .zst, .gz, .bz2 and .lz4):")
	for _, c := range r.Kernel.Looked {
		p.place("  ", c)
	}
	if r.Kernel.Server != nil {
		fmt.Fprintf(p.w, "  %s\n", describe.Safe(*r.Kernel.Server))
	}
	fmt.Fprintln(p.w)
	p.line("KERNEL", "%s", r.Kernel.text())
	p.modules(r)
	p.advice(r)
	return p.w.Flush()
}

func orUnknown(s *string) string {
	if s == nil {
		return "not known"
	}
	return *s
}

func (r *Report) idText() string {
	s := orUnknown(r.BuildID)
	switch {
	case r.BuildIDFrom == nil:
	case *r.BuildIDFrom == "notes" && r.VMCoreInfoID != nil && *r.VMCoreInfoID == s:
		s += " (of the kernel's notes, and VMCOREINFO's)"
	case *r.BuildIDFrom == "notes":
		s += " (of the kernel's notes)"
	default:
		s += " (VMCOREINFO's)"
	}
	if r.Distrusted != nil && r.VMCoreInfoID != nil {
		s += fmt.Sprintf("; VMCOREINFO's %s is not believed: %s", *r.VMCoreInfoID, *r.Distrusted)
	}
	return s
}

func (s *Search) text() string {
	if s.Found == nil {
		return "nothing found"
	}
	t := s.Found.Path + " (by " + s.Found.By
	if !s.Found.DWARF {
		t += "; without debug information"
	}
	t += ")"
	if s.Found.Alt != nil {
		t += ", with " + *s.Found.Alt
	}
	if s.Found.AltError != nil {
		t += "; " + *s.Found.AltError
	}
	return t
}

func (p printer) modules(r *Report) {
	if r.ModulesError != nil {
		p.line("MODULES", "can't be listed: %s", *r.ModulesError)
		return
	}
	complete := 0
	for _, m := range r.Modules {
		if m.Found != nil && m.Found.DWARF {
			complete++
		}
	}
	p.line("MODULES", "%d of %d loaded have debug information", complete, len(r.Modules))
	var nothing []string
	for _, m := range r.Modules {
		if m.bare() {
			nothing = append(nothing, m.Name)
			continue
		}
		fmt.Fprintf(p.w, "  %-24s %s\n", describe.Safe(m.Name), describe.Safe(m.text()))
		if m.Found != nil && m.Found.DWARF {
			continue
		}
		for _, c := range m.Looked {
			if c.Outcome != string(debuginfo.Absent) && (m.Found == nil || c.Path != m.Found.Path) {
				p.place(strings.Repeat(" ", 27), c)
			}
		}
		if m.Server != nil {
			fmt.Fprintf(p.w, "%27s%s\n", "", describe.Safe(*m.Server))
		}
	}
	if len(nothing) > 0 {
		fmt.Fprintf(p.w, "  nothing found for: %s\n", describe.Safe(strings.Join(nothing, " ")))
	}
}

// bare reports whether there is nothing to say of a module but that nothing was found.
func (m *Module) bare() bool {
	if m.Found != nil || m.Server != nil {
		return false
	}
	for _, c := range m.Looked {
		if c.Outcome != string(debuginfo.Absent) {
			return false
		}
	}
	return true
}

func (p printer) advice(r *Report) {
	if r.Complete() {
		return
	}
	fmt.Fprint(p.w, "\nThe kernel's debug information is not here. It comes from:\n")
	for _, h := range r.Hints {
		fmt.Fprintf(p.w, "  %s\n", describe.Safe(fmt.Sprintf("%-28s %s: %s", h.Distribution, h.Package, h.Do)))
	}
	fmt.Fprintf(p.w, "  %-28s %s\n", "debuginfod", "kdx debuginfo --download DUMP, with the servers in DEBUGINFOD_URLS")
	fmt.Fprintf(p.w, "Or put vmlinux beside the dump, or name directories in %s.\n", debuginfo.PathVariable)
}
