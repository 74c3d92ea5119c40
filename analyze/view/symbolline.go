package view

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"kdx/analyze/vmem"
	"kdx/symbols"
	"kdx/symbols/demangle"
)

// SymbolLine is a symbol, or an address as one plus an offset.
type SymbolLine struct {
	Addr   vmem.Addr `json:"address"` // Offset included
	Name   string    `json:"name"`
	Offset uint64    `json:"offset"` // bytes
	Size   *uint64   `json:"size"`   // bytes; null if the table has none
	Type   string    `json:"type"`   // as nm(1) prints: T text, D data, …
	Module string    `json:"module,omitempty"`
	// File, Line and Column are where the address is in the function, if debug information is open; Inlined are functions that were inlined there, the
	// innermost first.
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Column  int     `json:"column,omitempty"`
	Inlined []Place `json:"inlined,omitempty"`
	// Mark is a line of `sym -m` that is no symbol: "MODULE TEXT START".
	Mark string `json:"mark,omitempty"`
	// Below is a line below a Mark that names the module: text does not repeat it.
	Below bool `json:"-"`
}

func (l *SymbolLine) text(w io.Writer, o Options) {
	if l.Mark != "" {
		fmt.Fprintf(w, "%x %s: %s\n", uint64(l.Addr), l.Mark, Printable(l.Module))
		return
	}
	fmt.Fprintf(w, "%x (%s) %s", uint64(l.Addr), l.Type, Printable(l.Name))
	switch {
	case l.Offset != 0 && o.Hex:
		fmt.Fprintf(w, "+%#x", l.Offset)
	case l.Offset != 0:
		fmt.Fprintf(w, "+%d", l.Offset)
	}
	if l.Module != "" && !l.Below {
		fmt.Fprintf(w, " [%s]", Printable(l.Module))
	}
	if plain := demangle.Name(l.Name); plain != l.Name {
		fmt.Fprintf(w, " (%s)", Printable(plain))
	}
	places := append(l.Inlined[:len(l.Inlined):len(l.Inlined)], Place{Function: l.Name, File: l.File, Line: l.Line})
	for i := range places {
		p := &places[i]
		where := p.where()
		switch {
		case where == "":
			continue
		case i > 0:
			fmt.Fprint(w, "\n   ")
		}
		fmt.Fprint(w, " "+where)
		if len(places) > 1 {
			fmt.Fprintf(w, " (in %s)", Printable(p.name()))
		}
	}
	fmt.Fprintln(w)
}

// AddPlaces adds where the address comes from.
func (l *SymbolLine) AddPlaces(places []symbols.Place) {
	inlined, own := InlinedAt(places)
	l.Inlined, l.File, l.Line, l.Column = inlined, own.File, own.Line, own.Column
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
