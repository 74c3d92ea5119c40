package describe

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// labelWidth aligns the labels at their right end, as crash does.
const labelWidth = 14

type printer struct{ w *bufio.Writer }

func (p printer) line(label, format string, args ...any) {
	fmt.Fprintf(p.w, "%*s: %s\n", labelWidth, label, Safe(fmt.Sprintf(format, args...)))
}

// Text writes the description for people: one labelled line a fact, then each CPU's registers. VMCOREINFO is only
// counted; see VMCoreInfoText. The error is w's.
func Text(w io.Writer, d *Description) error {
	p := printer{bufio.NewWriter(w)}
	p.file(d)
	p.kernel(d)
	p.pages(d)
	p.cpus(d)
	for _, warning := range d.Warnings {
		p.line("WARNING", "%s", warning)
	}
	return p.w.Flush()
}

// VMCoreInfoText writes the VMCOREINFO note as the kernel left it.
func VMCoreInfoText(w io.Writer, d *Description) error {
	for line := range strings.SplitSeq(strings.TrimRight(d.vmcoreinfo, "\n"), "\n") {
		if _, err := fmt.Fprintln(w, Safe(line)); err != nil {
			return err
		}
	}
	return nil
}

func (p printer) file(d *Description) {
	for i, f := range d.Files {
		p.line([]string{"DUMPFILE", ""}[min(i, 1)], "%s", f)
	}
	p.line("FORMAT", "%s", strings.Join(d.formatWords(), ", "))
	if s := d.Split; s != nil {
		p.line("SPLIT SET", "%d files, pages %#x to %#x", s.Parts, s.StartPFN, s.EndPFN)
		for _, r := range s.Missing {
			p.line("", "missing: %s to %s", r.Start, r.End)
		}
	}
	if d.Distilled != nil {
		p.line("DISTILLED", "%s", *d.Distilled)
	}
	if d.DumpLevel != nil {
		p.line("DUMP LEVEL", "%s", levelText(*d.DumpLevel))
	}
}

func (d *Description) formatWords() []string {
	words := []string{d.Format}
	if d.HeaderVersion != nil {
		words[0] += fmt.Sprintf(" version %d", *d.HeaderVersion)
	}
	words = append(words, d.Compressions...)
	for _, f := range []struct {
		on   bool
		word string
	}{{d.WrittenByQEMU, "with QEMU's notes"}, {d.Flattened, "flattened"}, {d.Truncated, "TRUNCATED"}, {d.Incomplete && !d.Truncated, "INCOMPLETE"}} {
		if f.on {
			words = append(words, f.word)
		}
	}
	return words
}

var levels = []string{"zero pages", "cache", "private cache", "user data", "free pages"}

func levelText(level int) string {
	var out []string
	for bit, name := range levels {
		if level>>bit&1 != 0 {
			out = append(out, name)
		}
	}
	if out == nil {
		return fmt.Sprintf("%d (everything was kept)", level)
	}
	return fmt.Sprintf("%d (without %s)", level, strings.Join(out, ", "))
}

func (p printer) kernel(d *Description) {
	p.line("MACHINE", "%s, %d bits, %s endian, pages of %d bytes", unknown(d.Machine), d.WordBits, d.ByteOrder, d.PageSize)
	release := unknown(d.Release)
	if d.ReleaseFrom != "" && d.ReleaseFrom != "vmcoreinfo" {
		release += " (from: " + d.ReleaseFrom + ")"
	}
	p.line("RELEASE", "%s", release)
	p.optional("NODENAME", d.Nodename)
	p.optional("VERSION", d.Version)
	p.optional("BANNER", d.Banner)
	p.optional("BUILD-ID", d.BuildID)
	p.time("CRASH TIME", d.CrashTime)
	p.time("DUMP TIME", d.DumpTime)
	switch {
	case d.VMCoreInfo == nil:
		p.line("VMCOREINFO", "none")
	case d.VMCoreInfoFrom != "":
		p.line("VMCOREINFO", "%d entries, %s", len(d.VMCoreInfo), d.VMCoreInfoFrom)
	default:
		p.line("VMCOREINFO", "%d entries", len(d.VMCoreInfo))
	}
	p.optional("ERASED", strings.ReplaceAll(strings.TrimSpace(d.EraseInfo), "\n", "; "))
	for _, dev := range d.Devices {
		p.line("DEVICE DUMP", "%s, %d bytes", dev.Name, dev.Size)
	}
}

func (p printer) optional(label, value string) {
	if value != "" {
		p.line(label, "%s", value)
	}
}

func (p printer) time(label string, t *time.Time) {
	if t != nil {
		p.line(label, "%s", t.Local().Format("Mon Jan _2 15:04:05 MST 2006"))
	}
}

func unknown(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p printer) pages(d *Description) {
	p.line("MEMORY", "%s in %d ranges", bytesText(d.Memory), len(d.Ranges))
	p.line("PAGES", "%s", d.Pages.Text("missing"))
}

func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

func (p printer) cpus(d *Description) {
	p.line("CPUS", "%d with notes", len(d.CPUs))
	for _, c := range d.CPUs {
		fmt.Fprintf(p.w, "\nCPU note %d, PID %d\n", c.Index, c.PID)
		p.registers(c.Registers, d.WordBits)
		p.registers(c.Control, d.WordBits)
	}
	if len(d.CPUs) > 0 && len(d.Warnings) > 0 {
		fmt.Fprintln(p.w)
	}
}

func (p printer) registers(regs []Register, bits int) {
	for row := range slices.Chunk(regs, 3) {
		var cells []string
		for _, r := range row {
			cells = append(cells, fmt.Sprintf("%8s: %0*x", strings.ToUpper(r.Name), bits/4, uint64(r.Value)))
		}
		fmt.Fprintln(p.w, strings.Join(cells, " "))
	}
}

// Safe replaces control characters, which a dump may hold anywhere and a terminal would obey.
func Safe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xFFFD {
			return '?'
		}
		return r
	}, s)
}
