package view

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// Pointee is what lies at an address, in a few words: what a pointer is shown with, if that was asked for.
type Pointee struct {
	Symbol string      `json:"symbol,omitempty"` // that covers the address, "name" or "name+offset"
	Cache  string      `json:"cache,omitempty"`  // of the slab object that covers it
	Object vmem.Addr   `json:"object,omitempty"` // where that object begins
	Offset uint64      `json:"offset,omitempty"` // of the address in the object, bytes
	State  string      `json:"state,omitempty"`  // of the object, if asked for: "allocated", "free", or "unknown"
	Task   *TaskHeader `json:"task,omitempty"`   // whose task_struct or stack it is in
	Stack  bool        `json:"stack,omitempty"`  // in its stack
}

// Text is "<symbol+8>", "[dentry+16]", "[task_struct of 1 (init)]", "[stack of 1 (init)]"; of an object whose state was asked for
// "[ffff888003a4c000:dentry+16, free]".
func (p *Pointee) Text() string {
	var b strings.Builder
	switch {
	case p.Stack:
		b.WriteString("[stack")
	case p.Cache != "":
		b.WriteByte('[')
		if p.State != "" {
			fmt.Fprintf(&b, "%x:", uint64(p.Object))
		}
		b.WriteString(Printable(p.Cache))
		if p.Offset != 0 {
			fmt.Fprintf(&b, "+%d", p.Offset)
		}
	default:
		return "<" + Printable(p.Symbol) + ">"
	}
	if p.Task != nil {
		fmt.Fprintf(&b, " of %d (%s)", p.Task.PID, Printable(p.Task.Comm))
	}
	if p.State != "" && p.State != "allocated" {
		b.WriteString(", " + p.State)
	}
	b.WriteByte(']')
	return b.String()
}

// pointees collects what the addresses in one value lead to, for JSON.
type pointees map[string]Pointee

// collecting is st with a Pointee that also fills the map; nil if st asks for none.
func (st Style) collecting() (Style, pointees) {
	ask := st.Pointee
	if ask == nil {
		return st, nil
	}
	found := pointees{}
	st.Pointee = func(u uint64) (Pointee, bool) {
		p, ok := ask(u)
		if ok {
			found[fmt.Sprintf("%#x", u)] = p
		}
		return p, ok
	}
	return st, found
}

// member writes ,"pointees":{…} if they were asked for.
func (p pointees) member(w io.Writer) error {
	if p == nil {
		return nil
	}
	b, err := json.Marshal(map[string]Pointee(p))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `,"pointees":%s`, b)
	return err
}
