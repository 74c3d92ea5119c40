package view

import (
	"fmt"
	"io"
	"strings"

	"kdx/symbols"
)

// Declaration is what whatis says of a variable, function, enumerator or expression.
type Declaration struct {
	Decl   string
	Name   string        // "" of an expression
	Type   *symbols.Type // of it
	Value  *int64        // of an enumerator
	IsType bool          // a type was asked for: its size is shown
}

// Text is one line, and the size of a type.
func (d *Declaration) Text(w io.Writer, _ Options) error {
	s := d.Decl + "\n"
	if d.IsType && d.Type.Size > 0 {
		s += fmt.Sprintf("SIZE: %d\n", d.Type.Size)
	}
	_, err := io.WriteString(w, s)
	return err
}

// StreamJSON: {"declaration", "name", "type", "size", "value"}; name and value only where there is one.
func (d *Declaration) StreamJSON(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, `{"declaration":%s,`, jsonString(d.Decl))
	if d.Name != "" {
		fmt.Fprintf(&b, `"name":%s,`, jsonString(d.Name))
	}
	fmt.Fprintf(&b, `"type":%s,"size":%d`, jsonString(d.Type.String()), d.Type.Size)
	if d.Value != nil {
		fmt.Fprintf(&b, `,"value":%d`, *d.Value)
	}
	b.WriteByte('}')
	_, err := io.WriteString(w, b.String())
	return err
}

// TypeList is the answer of whatis -r and -m.
type TypeList struct{ List []TypeListRow }

// TypeListRow is one type of a TypeList.
type TypeListRow struct {
	Size uint64 // bytes
	Kind string
	Name string
}

// Text is crash's two columns.
func (l *TypeList) Text(w io.Writer, _ Options) error {
	var b strings.Builder
	b.WriteString("SIZE  TYPE\n")
	for _, r := range l.List {
		fmt.Fprintf(&b, "%4d  %s\n", r.Size, r.Name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// StreamJSON: [{"size", "kind", "name"}].
func (l *TypeList) StreamJSON(w io.Writer) error {
	var b strings.Builder
	b.WriteByte('[')
	for i, r := range l.List {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"size":%d,"kind":%s,"name":%s}`, r.Size, jsonString(r.Kind), jsonString(r.Name))
	}
	b.WriteByte(']')
	_, err := io.WriteString(w, b.String())
	return err
}
