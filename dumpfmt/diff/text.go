package diff

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/dumpfmt/describe"
)

// labelWidth aligns the labels at their right end, as those of kdx info.
const labelWidth = 14

type printer struct{ w *bufio.Writer }

func (p printer) line(label, format string, args ...any) {
	fmt.Fprintf(p.w, "%*s: %s\n", labelWidth, label, describe.Safe(fmt.Sprintf(format, args...)))
}

// Text writes the report for people. The error is w's.
func (r *Report) Text(w io.Writer) error {
	p := printer{bufio.NewWriter(w)}
	p.dump("A", &r.A)
	p.dump("B", &r.B)
	p.differences("KERNEL", r.Kernel)
	p.memory(r)
	p.pages(r)
	p.differences("REGISTERS", r.CPUs)
	p.differences("VMCOREINFO", r.VMCoreInfo)
	p.differences("NOTES", r.Notes)
	if len(r.Erased) > 0 {
		p.differences("ERASED", r.Erased)
	}
	if len(r.Devices) > 0 {
		p.differences("DEVICE DUMPS", r.Devices)
	}
	p.line("RESULT", "%s", r.result())
	return p.w.Flush()
}

func (r *Report) result() string {
	switch differ := r.differ(); {
	case len(differ) > 0:
		return "DIFFERENT: " + strings.Join(differ, ", ")
	case r.Unsure():
		return fmt.Sprintf("the same, but %d pages can be read in neither", r.Pages.Unreadable)
	case r.Common:
		return "the same, as far as both hold it"
	}
	return "the same"
}

func (p printer) dump(label string, d *Dump) {
	text := fmt.Sprintf("%s (%s", strings.Join(d.Files, ", "), d.Format)
	if d.DumpLevel != nil {
		text += fmt.Sprintf(", dump level %d", *d.DumpLevel)
	}
	p.line(label, "%s, pages of %d bytes)", text, d.PageSize)
}

// maxDifferences bounds what text shows of one kind; JSON has all.
const maxDifferences = 40

func (p printer) differences(label string, ds []Difference) {
	if len(ds) == 0 {
		p.line(label, "the same")
	}
	for i, d := range ds {
		if i == maxDifferences {
			p.line(label, "%d more", len(ds)-i)
			return
		}
		p.line(label, "%s: %s in A, %s in B", d.What, orNone(d.A), orNone(d.B))
	}
}

func orNone(s *string) string {
	if s == nil {
		return "none"
	}
	return strings.ReplaceAll(strings.TrimSpace(*s), "\n", "; ")
}

func (p printer) memory(r *Report) {
	m := &r.Memory
	if m.BytesA+m.BytesB == 0 {
		p.line("MEMORY", "the same")
	}
	for _, s := range []struct {
		who    string
		bytes  uint64
		ranges []describe.Range
	}{{"A", m.BytesA, m.OnlyA}, {"B", m.BytesB, m.OnlyB}} {
		if s.bytes == 0 {
			continue
		}
		p.line("MEMORY", "%d KiB are RAM only in %s", s.bytes>>10, s.who)
		listed := uint64(0)
		for _, x := range s.ranges {
			p.line("", "%s to %s", x.Start, x.End)
			listed += uint64(x.End - x.Start)
		}
		if listed < s.bytes {
			p.line("", "and %d KiB more", (s.bytes-listed)>>10)
		}
	}
}

func (p printer) pages(r *Report) {
	x := r.Pages
	if x == nil {
		p.line("PAGES", "not compared, as they are of other sizes")
		return
	}
	text := fmt.Sprintf("%d the same", x.Same)
	for _, s := range []struct {
		n    uint64
		what string
	}{{x.Different, "different"}, {x.OnlyA, "only in A"}, {x.OnlyB, "only in B"}, {x.Unreadable, "readable in neither"}} {
		if s.n > 0 {
			text += fmt.Sprintf(", %d %s", s.n, s.what)
		}
	}
	p.line("PAGES", "%s", text)
	if x.NotTold > 0 {
		p.line("", "%d are holes of a filtered ELF file, which can't say whether they were zeros or left out: they may be the same", x.NotTold)
	}
	for _, s := range x.States {
		p.line("STATES", "%d pages are %s in A and %s in B", s.Pages, s.A, s.B)
	}
	for _, g := range x.Ranges {
		p.line(strings.ToUpper(strings.ReplaceAll(g.Kind, "_", " ")), "%s", g.text(r.A.PageSize))
	}
	if x.RangesMore > 0 {
		p.line("", "and %d more ranges (--pages lists them)", x.RangesMore)
	}
}

func (g *Range) text(pageSize uint64) string {
	where := fmt.Sprintf("page %s, at %#x", g.From, uint64(g.From)*pageSize)
	if n := g.To - g.From; n > 1 {
		where = fmt.Sprintf("%d pages from %s on, at %#x", uint64(n), g.From, uint64(g.From)*pageSize)
	}
	if g.A == g.B {
		return where
	}
	return where + ": " + g.A + " in A, " + g.B + " in B"
}
