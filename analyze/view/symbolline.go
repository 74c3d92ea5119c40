package view

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"kdx/analyze/vmem"
)

// SymbolLine is a symbol, or an address as one plus an offset.
type SymbolLine struct {
	Addr   vmem.Addr `json:"address"` // Offset included
	Name   string    `json:"name"`
	Offset uint64    `json:"offset"` // bytes
	Size   *uint64   `json:"size"`   // bytes; null if the table has none
	Type   string    `json:"type"`   // as nm(1) prints: T text, D data, …
	Module string    `json:"module,omitempty"`
	// Mark is a line of `sym -m` that is no symbol: "MODULE TEXT START".
	Mark string `json:"mark,omitempty"`
	// Below is a line below a Mark that names the module: text does not repeat it.
	Below bool `json:"-"`
}

func (s *SymbolLine) text(w io.Writer, o Options) {
	if s.Mark != "" {
		fmt.Fprintf(w, "%x %s: %s\n", uint64(s.Addr), s.Mark, Printable(s.Module))
		return
	}
	fmt.Fprintf(w, "%x (%s) %s", uint64(s.Addr), s.Type, Printable(s.Name))
	switch {
	case s.Offset != 0 && o.Hex:
		fmt.Fprintf(w, "+%#x", s.Offset)
	case s.Offset != 0:
		fmt.Fprintf(w, "+%d", s.Offset)
	}
	if s.Module != "" && !s.Below {
		fmt.Fprintf(w, " [%s]", Printable(s.Module))
	}
	fmt.Fprintln(w)
}

// SymbolLines are symbols, one a line; there may be 200,000. Its JSON is an array of SymbolLine.
type SymbolLines iter.Seq[SymbolLine]

// Text writes the lines.
func (l SymbolLines) Text(w io.Writer, o Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	for s := range l {
		s.text(bw, o)
	}
	return bw.Flush()
}

// StreamJSON writes the array.
func (l SymbolLines) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for s := range l {
		if err := a.add(s); err != nil {
			return err
		}
	}
	return a.end()
}
