package view

import (
	"fmt"

	"kdx/symbols"
)

// Place is a point of source. File is relative to the source tree's root where that is known.
type Place struct {
	Function string `json:"function,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
}

// NewPlace makes the form that is shown.
func NewPlace(p *symbols.Place) Place {
	return Place{Function: p.Function, File: p.File, Line: p.Line, Column: p.Column}
}

// where is "FILE: LINE", crash's form; "" if the line is not known.
func (p *Place) where() string {
	if p.File == "" {
		return ""
	}
	return fmt.Sprintf("%s: %d", Printable(p.File), p.Line)
}

// name is the function's; "" in debug information is no answer.
func (p *Place) name() string {
	if p.Function == "" {
		return "(unknown)"
	}
	return p.Function
}

// InlinedAt are the functions that were inlined at an instruction, the innermost first, and the place in the function around
// them, whose code they are part of.
func InlinedAt(places []symbols.Place) (inlined []Place, own Place) {
	for i := range places {
		if p := NewPlace(&places[i]); i < len(places)-1 {
			inlined = append(inlined, p)
		} else {
			own = p
		}
	}
	return inlined, own
}
