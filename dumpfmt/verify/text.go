package verify

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/dumpfmt/describe"
)

// labelWidth aligns the labels at their right end, as those of kdx info.
const labelWidth = 14

// Text writes the report for people. The error is w's.
func (r *Report) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	line := func(label, format string, args ...any) {
		fmt.Fprintf(b, "%*s: %s\n", labelWidth, label, describe.Safe(fmt.Sprintf(format, args...)))
	}
	for i, f := range r.Files {
		line([]string{"DUMPFILE", ""}[min(i, 1)], "%s", f)
	}
	line("FORMAT", "%s, pages of %d bytes", r.Format, r.PageSize)
	line("PAGES", "%s", r.Pages.Text("unreadable"))
	line("PAGES SHA256", "%s", r.SHA256)
	if r.SHA256Holes != "" {
		line("OR SHA256", "%s", r.SHA256Holes)
		line("", "if the %d holes of this filtered ELF file were pages of zeros: it can't say which were, and which were left out", r.Pages.Unsure)
	}
	for _, u := range r.Unreadable {
		if u.To == u.From+1 {
			line("UNREADABLE", "page %s: %s", u.From, u.Error)
			continue
		}
		line("UNREADABLE", "%d pages from %s on: %s", u.To-u.From, u.From, u.Error)
	}
	if r.UnreadableMore > 0 {
		line("UNREADABLE", "%d more ranges of pages", r.UnreadableMore)
	}
	for _, f := range r.Faults {
		line("FAULT", "%s", f.text())
	}
	if r.FaultsMore > 0 {
		line("FAULT", "%d more", r.FaultsMore)
	}
	for _, warning := range r.Warnings {
		line("WARNING", "%s", warning)
	}
	line("RESULT", "%s", r.result())
	return b.Flush()
}

func (f *Fault) text() string {
	if f.Offset == nil {
		return fmt.Sprintf("%s: %s", f.File, f.Error)
	}
	return fmt.Sprintf("%s: at byte %s: %s", f.File, f.Offset, f.Error)
}

// result is the report in a line.
func (r *Report) result() string {
	if r.Sound {
		return "sound"
	}
	var what []string
	if n := r.Pages.Unreadable; n > 0 {
		what = append(what, fmt.Sprintf("%d pages can't be read", n))
	}
	if n := uint64(len(r.Faults)) + r.FaultsMore; n > 0 {
		what = append(what, fmt.Sprintf("%d faults in the structure", n))
	}
	if r.Incomplete {
		what = append(what, "the dump is incomplete")
	}
	return "DAMAGED: " + strings.Join(what, ", ")
}
