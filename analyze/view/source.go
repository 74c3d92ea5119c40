package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// Source is text of a source file, around a place.
type Source struct {
	Address  *vmem.Addr `json:"address,omitempty"`
	Function string     `json:"function,omitempty"`
	File     string     `json:"file"`
	Line     int        `json:"line,omitempty"` // of the place
	// Inlined are the functions that were inlined at the address, the innermost first.
	Inlined []Place      `json:"inlined,omitempty"`
	From    string       `json:"from,omitempty"` // where the text was found; "" if it was not
	Lines   []SourceLine `json:"lines,omitempty"`
	// Header makes the text begin with file and line, as that of dis -s.
	Header bool `json:"-"`
}

// SourceLine is one line of text.
type SourceLine struct {
	Line   int    `json:"line"`
	Text   string `json:"text"`
	Marked bool   `json:"marked,omitempty"` // the place is here
}

// Text writes the lines as crash's dis -s does.
func (s *Source) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if s.Header {
		fmt.Fprintf(bw, "FILE: %s\nLINE: %d\n", Printable(s.File), s.Line)
	}
	for i := range s.Inlined {
		fmt.Fprintf(bw, "INLINED: %s at %s\n", Printable(s.Inlined[i].name()), s.Inlined[i].where())
	}
	if len(s.Lines) > 0 && (s.Header || len(s.Inlined) > 0) {
		bw.WriteByte('\n')
	}
	for _, l := range s.Lines {
		mark := ' '
		if l.Marked {
			mark = '*'
		}
		fmt.Fprintf(bw, "%c %d\t%s\n", mark, l.Line, printableLine(l.Text))
	}
	if s.From != "" {
		fmt.Fprintf(bw, "\n(%s)\n", Printable(s.From))
	}
	return bw.Flush()
}

// printableLine keeps the tabs of a line of text.
func printableLine(s string) string {
	parts := strings.Split(strings.TrimSuffix(s, "\r"), "\t")
	for i := range parts {
		parts[i] = Printable(parts[i])
	}
	return strings.Join(parts, "\t")
}
