package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/frames"
	"kdx/symbols"
)

// Variable is a parameter or local variable of a frame.
type Variable struct {
	Name  string
	Type  *symbols.Type
	Param bool
	Value frames.Value
	Style Style
}

// Variables are those of one function.
type Variables []Variable

// NewVariables finds the values of a scope's variables in a frame; want says which, nil means all.
func NewVariables(f *frames.Frame, s *symbols.Scope, st Style, want func(*symbols.Variable) bool) Variables {
	out := Variables{}
	for i := range s.Vars {
		v := &s.Vars[i]
		if want == nil || want(v) {
			out = append(out, Variable{v.Name, v.Type, v.Param, f.Value(v), st})
		}
	}
	return out
}

// Text writes "name = value" a line.
func (l Variables) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for i := range l {
		bw.WriteString(l[i].line() + "\n")
	}
	return bw.Flush()
}

// line is "name = value", as gdb has it: name@entry for what the function was called with.
func (x *Variable) line() string {
	name := Printable(x.Name)
	if x.Value.AtEntry {
		name += "@entry"
	}
	return name + " = " + x.text()
}

// longest is how many characters of a value a line shows; p shows it all.
const longest = 120

func (x *Variable) text() string {
	if p := x.Value.Pointee; p != nil {
		to := Variable{Value: *p, Style: x.Style}
		return "(pointer to what lies nowhere) " + to.text()
	}
	if why := x.Value.Lost(); why != "" {
		return "<" + Printable(why) + ">"
	}
	var b strings.Builder
	if err := writeNamedValue(&b, x.Value.Value, x.Style, "", false, x.Name); err != nil {
		return "<" + Printable(err.Error()) + ">"
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	if !strings.Contains(b.String(), "\n") {
		text = b.String()
	}
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "…"
	}
	return text
}

// MarshalJSON: {"name", "type", "parameter", "at_entry", "address", "value", "lost"}. value is null where it is lost, and lost
// says why; address is null for what lies nowhere in memory.
func (x Variable) MarshalJSON() ([]byte, error) {
	out := struct {
		Name    string          `json:"name"`
		Type    string          `json:"type"`
		Param   bool            `json:"parameter"`
		AtEntry bool            `json:"at_entry,omitempty"`
		Addr    *string         `json:"address"`
		Value   json.RawMessage `json:"value"`
		Lost    string          `json:"lost,omitempty"`
		Pointee *Variable       `json:"points_to,omitempty"`
	}{Name: x.Name, Param: x.Param, AtEntry: x.Value.AtEntry, Lost: x.Value.Lost()}
	if x.Type != nil {
		out.Type = x.Type.String()
	}
	if p := x.Value.Pointee; p != nil {
		out.Pointee = &Variable{Value: *p}
		if p.Err() == nil {
			out.Pointee.Type = p.Type()
		}
	}
	if out.Lost == "" {
		if a, ok := x.Value.Addr(); ok {
			text := fmt.Sprintf("%#x", uint64(a))
			out.Addr = &text
		}
		var b strings.Builder
		if err := writeJSONValue(&b, x.Value.Value, Style{}, x.Name); err != nil {
			out.Lost = err.Error()
		} else {
			out.Value = json.RawMessage(b.String())
		}
	}
	return json.Marshal(out)
}

// FunctionVariables are the variables of one of the functions that a frame is in (bt -v).
type FunctionVariables struct {
	Function string    `json:"function"`
	Inlined  bool      `json:"inlined,omitempty"`
	Vars     Variables `json:"variables"`
}

// writeScopes writes them below a frame; where there are inlined functions, each is named.
func writeScopes(w *bufio.Writer, scopes []FunctionVariables) {
	for i := range scopes {
		s := &scopes[i]
		if len(s.Vars) == 0 {
			continue
		}
		switch {
		case s.Inlined:
			fmt.Fprintf(w, "      in %s (inlined):\n", Printable(s.Function))
		case len(scopes) > 1:
			fmt.Fprintf(w, "      in %s:\n", Printable(s.Function))
		}
		for k := range s.Vars {
			fmt.Fprintf(w, "        %s\n", s.Vars[k].line())
		}
	}
}

// SelectedFrame is what frame shows: a frame, and the function in it that was chosen.
type SelectedFrame struct {
	TaskHeader
	Level    int    `json:"level"`
	Inline   int    `json:"inline"` // functions further in, inlined into this one
	Function string `json:"function"`
	Into     string `json:"inlined_into,omitempty"`
	Place    *Place `json:"place,omitempty"`
	Frame    Frame  `json:"frame"`
}

// Text is the frame's line as bt has it, and the source place below.
func (s *SelectedFrame) Text(w io.Writer, _ Options) error {
	name := s.Function
	if s.Into != "" {
		name += " (inlined into " + s.Into + ")"
	}
	number := fmt.Sprintf("#%d", s.Level)
	if s.Inline > 0 {
		number += fmt.Sprintf(".%d", s.Inline)
	}
	where := ""
	if s.Place != nil && s.Place.where() != "" {
		where = "    " + s.Place.where() + "\n"
	}
	_, err := fmt.Fprintf(w, "%3s [%016x] %s at %016x\n%s", number, uint64(s.Frame.At), Printable(name), uint64(s.Frame.PC), where)
	return err
}
