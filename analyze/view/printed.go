package view

import (
	"fmt"
	"io"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Printed is what p shows: the value of an expression, of each CPU if it names CPUs.
type Printed struct {
	Expression string
	PerCPU     bool
	Style      Style
	List       []PrintedValue
}

// PrintedValue is one value of Printed.
type PrintedValue struct {
	CPU    int    // if PerCPU
	Name   string // in front of "= $N"; "" for what is more than a name
	Number int    // N of $N
	Value  kernel.Value
}

// Text is "name = $1 = value".
func (p *Printed) Text(w io.Writer, _ Options) error {
	st := p.Style
	for i := range p.List {
		x := &p.List[i]
		name := ""
		if x.Name != "" {
			name = x.Name + " = "
		}
		if _, err := fmt.Fprintf(w, "%s$%d = ", name, x.Number); err != nil {
			return err
		}
		if err := WriteValue(w, x.Value, st); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return nil
}

// StreamJSON: {"expression", "type", "address", "value", "pointees"}; of a per-CPU expression {"expression", "type", "per_cpu":
// [{"cpu", "address", "value", "pointees"}]}. address is null for a value that was computed; pointees, by address, is there if Style asks for it.
func (p *Printed) StreamJSON(w io.Writer) error {
	typ := "null"
	if len(p.List) > 0 {
		typ = jsonString(p.List[0].Value.Type().String())
	}
	if _, err := fmt.Fprintf(w, `{"expression":%s,"type":%s,`, jsonString(p.Expression), typ); err != nil {
		return err
	}
	if !p.PerCPU {
		for i := range p.List {
			if err := p.List[i].writeJSON(w, p.Style); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, "}")
		return err
	}
	if _, err := io.WriteString(w, `"per_cpu":[`); err != nil {
		return err
	}
	sep := ""
	for i := range p.List {
		if _, err := fmt.Fprintf(w, `%s{"cpu":%d,`, sep, p.List[i].CPU); err != nil {
			return err
		}
		sep = ","
		if err := p.List[i].writeJSON(w, p.Style); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "}"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]}")
	return err
}

func (x *PrintedValue) writeJSON(w io.Writer, st Style) error {
	addr := "null"
	if a, ok := x.Value.Addr(); ok {
		addr = fmt.Sprintf(`"%#x"`, uint64(a))
	}
	if _, err := fmt.Fprintf(w, `"address":%s,"value":`, addr); err != nil {
		return err
	}
	st, found := st.collecting()
	if err := writeJSONValue(w, x.Value, st, ""); err != nil {
		return err
	}
	return found.member(w)
}

// PerCPUPlaces says where the copies of a per-CPU variable are.
type PerCPUPlaces struct {
	Name string
	Type *symbols.Type // nil if the kernel's types do not know it
	List []PerCPUPlace
}

// PerCPUPlace is one CPU's copy.
type PerCPUPlace struct {
	CPU  int       `json:"cpu"`
	Addr vmem.Addr `json:"address"`
}

// Text is crash's.
func (p *PerCPUPlaces) Text(w io.Writer, _ Options) error {
	var b strings.Builder
	decl := p.Name + " (of unknown type)"
	if p.Type != nil {
		decl = p.Type.Declare(p.Name)
	}
	fmt.Fprintf(&b, "PER-CPU DATA TYPE:\n  %s;\nPER-CPU ADDRESSES:\n", decl)
	for _, x := range p.List {
		fmt.Fprintf(&b, "  [%d]: %x\n", x.CPU, uint64(x.Addr))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// StreamJSON: {"expression", "type", "per_cpu": [{"cpu", "address"}]}.
func (p *PerCPUPlaces) StreamJSON(w io.Writer) error {
	typ := "null"
	if p.Type != nil {
		typ = jsonString(p.Type.String())
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"expression":%s,"type":%s,"per_cpu":[`, jsonString(p.Name), typ)
	for i, x := range p.List {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"cpu":%d,"address":"%#x"}`, x.CPU, uint64(x.Addr))
	}
	b.WriteString("]}")
	_, err := io.WriteString(w, b.String())
	return err
}
