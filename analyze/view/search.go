package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Search is what search found, in order of addresses; its JSON is an array of SearchHit.
type Search struct {
	View    *kernel.View
	Hits    iter.Seq2[SearchHit, error]                    // the error ends it
	Unit    uint64                                         // bytes of a value
	Context uint64                                         // values to show before and behind each hit; 0 for none
	Read    func(p []byte, addr uint64) (n int, err error) // memory as hits' addresses count it
}

// SearchHit is one place.
type SearchHit struct {
	Addr  vmem.Addr   `json:"address"`
	Value *vmem.Addr  `json:"value,omitempty"`
	Name  string      `json:"name,omitempty"` // the symbol or expression that was given for the value
	Text  *string     `json:"text,omitempty"` // of a string: what stands there, with dots for what is not printable
	Where string      `json:"where,omitempty"`
	Task  *TaskHeader `json:"task,omitempty"` // whose stack it is in
}

// Text writes crash's lines.
func (s *Search) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	var task *TaskHeader
	for h, err := range s.Hits {
		if err != nil {
			bw.Flush()
			return err
		}
		if h.Task != nil && (task == nil || task.Task != h.Task.Task) {
			if task != nil {
				bw.WriteByte('\n')
			}
			task = h.Task
			bw.WriteString(task.line())
		}
		if err := s.hit(bw, &h); err != nil {
			bw.Flush()
			return err
		}
	}
	return bw.Flush()
}

func (s *Search) hit(w *bufio.Writer, h *SearchHit) error {
	gap := ": "
	if s.Context > 0 {
		if err := s.around(w, uint64(h.Addr)-min(uint64(h.Addr), s.Context*s.Unit), uint64(h.Addr)); err != nil {
			return err
		}
		gap = ":  "
	}
	var buf [64]byte
	b := strconv.AppendUint(buf[:0], uint64(h.Addr), 16)
	b = append(b, gap...)
	if h.Value != nil {
		b = strconv.AppendUint(b, uint64(*h.Value), 16)
		b = append(b, ' ')
	}
	w.Write(b)
	if h.Text != nil {
		w.WriteString(*h.Text)
	}
	if h.Name != "" {
		w.WriteString("(" + Printable(h.Name) + ")")
	}
	if h.Where != "" {
		w.WriteString("  " + Printable(h.Where))
	}
	w.WriteByte('\n')
	if s.Context == 0 {
		return nil
	}
	from := uint64(h.Addr) + s.Unit
	if to := from + s.Context*s.Unit; to > from {
		if err := s.around(w, from, to); err != nil {
			return err
		}
	}
	return w.WriteByte('\n')
}

// around writes what lies between from and to as rd does. What is missing there was not searched for, and is left out.
func (s *Search) around(w *bufio.Writer, from, to uint64) error {
	d := &Dump{View: s.View, Read: s.Read, Start: from, Unit: s.Unit, Count: (to - from) / s.Unit, Quiet: true}
	return d.rows(func(addr uint64, p []byte) error { return d.line(w, addr, p) })
}

// StreamJSON writes the array.
func (s *Search) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for h, err := range s.Hits {
		if err != nil {
			return err
		}
		if s.Context == 0 {
			if err := a.add(h); err != nil {
				return err
			}
			continue
		}
		if err := s.contextJSON(&a, &h); err != nil {
			return err
		}
	}
	return a.end()
}

// contextJSON writes a hit with the rows around it.
func (s *Search) contextJSON(a *arrayWriter, h *SearchHit) error {
	from := uint64(h.Addr) - min(uint64(h.Addr), s.Context*s.Unit)
	d := &Dump{View: s.View, Read: s.Read, Start: from, Unit: s.Unit, Count: 2*s.Context + 1, Quiet: true}
	rows := []DumpRow{}
	err := d.rows(func(addr uint64, p []byte) error {
		rows = append(rows, d.row(addr, p))
		return nil
	})
	if err != nil {
		return err
	}
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	around, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return a.add(json.RawMessage(fmt.Sprintf(`%s,"around":%s}`, b[:len(b)-1], around)))
}

// SearchText is what a string hit shows: what is there, with dots for what is not printable.
func SearchText(p []byte) string { return dots(p) }
