package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Entries is list and tree: containers as they are found, with members of a struct if some were asked for. Its JSON is
// an array of objects: "address", for trees "position" and "index", for maple trees "first" and "last", "value", and if Style asks for it
// "pointees", by address, of the entry's own address too.
type Entries struct {
	View   *kernel.View
	Walk   iter.Seq2[Entry, error]
	Shown  []Shown
	Direct bool // -S: members as plain values, without the comma
	Style  Style
}

// Entry is one container.
type Entry struct {
	Addr     vmem.Addr `json:"address"`
	Object   vmem.Addr `json:"-"`        // where Shown's structs lie, if not at Addr
	Position string    `json:"position"` // "root/l/r", "root/0/3"; "" if not asked for
	Index    *uint64   `json:"index"`    // in xarrays and radix trees
	First    *uint64   `json:"first"`    // and Last: the indexes that the entry of a maple tree stands for
	Last     *uint64   `json:"last"`
	// Line replaces the address in text: a node of a maple tree.
	Line string `json:"-"`
}

// Shown is a struct, whole or some of its members.
type Shown struct {
	Type    *symbols.Type
	Members []string
}

// Text writes an address a line, and below it what was asked for.
func (e *Entries) Text(w io.Writer, opt Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	st := e.Style
	st.Hex = st.Hex || opt.Hex
	for x, err := range e.Walk {
		if err != nil {
			if stop := e.missing(err); stop != nil {
				bw.Flush()
				return stop
			}
			continue
		}
		if err := e.entry(bw, &x, st); err != nil {
			return err
		}
	}
	return bw.Flush()
}

func (e *Entries) missing(err error) error {
	if cancelled := e.View.Context().Err(); cancelled != nil {
		return cancelled
	}
	e.View.Gap("", err)
	return nil
}

func (e *Entries) entry(w *bufio.Writer, x *Entry, st Style) error {
	if x.Line != "" {
		if x.Position != "" && x.Index != nil {
			x.Line += fmt.Sprintf("\n  index: %d  position: %s", *x.Index, x.Position)
		}
		_, err := w.WriteString(x.Line + "\n")
		return err
	}
	fmt.Fprintf(w, "%x%s\n", uint64(x.Addr), e.place(x.Addr))
	switch {
	case x.Position != "" && x.Index != nil:
		fmt.Fprintf(w, "  index: %d  position: %s\n", *x.Index, x.Position)
	case x.Position != "":
		fmt.Fprintf(w, "  position: %s\n", x.Position)
	}
	for _, s := range e.Shown {
		if err := e.shown(w, s, x.Object, st); err != nil {
			return err
		}
	}
	return nil
}

// place is what lies at an entry, if that is to be told.
func (e *Entries) place(a vmem.Addr) string {
	if e.Style.Pointee == nil {
		return ""
	}
	p, ok := e.Style.Pointee(uint64(a))
	if !ok {
		return ""
	}
	return "  " + p.Text()
}

func (e *Entries) shown(w *bufio.Writer, s Shown, addr vmem.Addr, st Style) error {
	value := e.View.Object(s.Type, addr)
	if !e.Direct || len(s.Members) == 0 {
		o := Objects{Type: s.Type, Members: s.Members, Style: st}
		return o.one(w, &Object{CPU: -1, First: true, Addr: addr, Value: value}, st)
	}
	for _, path := range s.Members {
		x := value.Field(path)
		fmt.Fprintf(w, "  %s = ", path)
		if t := x.Type(); t != nil && t.Strip().Kind == symbols.Array && isChar(t.Strip().Elem()) && t.Strip().Len > 0 {
			if text, err := x.CString(int(t.Strip().Len)); err == nil {
				var b strings.Builder
				quoteC(&b, []byte(text), false)
				fmt.Fprintln(w, b.String())
				continue
			}
		}
		direct := st
		if t := x.Type(); t != nil && t.Strip().Kind == symbols.Enum && !st.Hex {
			direct.Format = 'd' // the number, not its name
		} else if t != nil && t.Strip().Kind == symbols.Enum {
			direct.Format = 'x'
		}
		if err := writeValue(w, x, direct, "  ", false); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

// StreamJSON writes the array.
func (e *Entries) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for x, err := range e.Walk {
		if err != nil {
			if stop := e.missing(err); stop != nil {
				return stop
			}
			continue
		}
		if err := a.element(); err != nil {
			return err
		}
		if err := e.entryJSON(w, &x); err != nil {
			return err
		}
	}
	return a.end()
}

func (e *Entries) entryJSON(w io.Writer, x *Entry) error {
	head, err := json.Marshal(struct {
		Addr     vmem.Addr  `json:"address"`
		Position string     `json:"position,omitempty"`
		Index    *uint64    `json:"index,omitempty"`
		First    *vmem.Addr `json:"first,omitempty"`
		Last     *vmem.Addr `json:"last,omitempty"`
		Node     bool       `json:"node,omitempty"`
	}{x.Addr, x.Position, x.Index, (*vmem.Addr)(x.First), (*vmem.Addr)(x.Last), x.Line != "" && strings.Contains(x.Line, ": node ")})
	if err != nil {
		return err
	}
	st, found := e.Style.collecting()
	if found != nil {
		st.Pointee(uint64(x.Addr))
	}
	if _, err := w.Write(head[:len(head)-1]); err != nil {
		return err
	}
	if err := e.valuesJSON(w, x, st); err != nil {
		return err
	}
	if err := found.member(w); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

// valuesJSON writes ,"value": and the struct that was asked for; of several an array.
func (e *Entries) valuesJSON(w io.Writer, x *Entry, st Style) error {
	if len(e.Shown) == 0 {
		return nil
	}
	if _, err := io.WriteString(w, `,"value":`); err != nil {
		return err
	}
	for i, s := range e.Shown {
		sep := ","
		if i == 0 && len(e.Shown) > 1 {
			sep = "["
		}
		if i == 0 && len(e.Shown) == 1 {
			sep = ""
		}
		if _, err := io.WriteString(w, sep); err != nil {
			return err
		}
		o := Objects{Type: s.Type, Members: s.Members}
		if err := o.valueJSON(w, &Object{CPU: -1, Addr: x.Object, Value: e.View.Object(s.Type, x.Object)}, st); err != nil {
			return err
		}
	}
	if len(e.Shown) == 1 {
		return nil
	}
	_, err := io.WriteString(w, "]")
	return err
}
