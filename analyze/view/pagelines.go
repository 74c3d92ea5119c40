package view

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/vmem"
)

// PageLines is a table of pages. Its JSON is an array of PageLine.
type PageLines iter.Seq[PageLine]

// Text writes crash's table.
func (l PageLines) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	bw.WriteString(pageHeader)
	for p := range l {
		p.text(bw)
	}
	return bw.Flush()
}

// StreamJSON writes the array.
func (l PageLines) StreamJSON(w io.Writer) error {
	out := arrayWriter{w: w}
	for p := range l {
		if err := out.add(&p); err != nil {
			return err
		}
	}
	return out.end()
}

// PageMap is kmem -p: all pages, which come in batches as they were read. Text and JSON are those of PageLines.
type PageMap iter.Seq[[]PageLine]

// Text writes crash's table.
func (m PageMap) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	bw.WriteString(pageHeader)
	var row []byte
	for batch := range m {
		for i := range batch {
			row = batch[i].append(row[:0])
			if _, err := bw.Write(row); err != nil {
				return err
			}
		}
	}
	return bw.Flush()
}

// StreamJSON writes the array.
func (m PageMap) StreamJSON(w io.Writer) error {
	out := arrayWriter{w: w}
	for batch := range m {
		for i := range batch {
			if err := out.add(&batch[i]); err != nil {
				return err
			}
		}
	}
	return out.end()
}

// append is the line as text. It is what takes the time of kmem -p.
func (p *PageLine) append(b []byte) []byte {
	b = appendHex(b, uint64(p.Addr), 16, '0')
	b = appendHex(append(b, ' '), uint64(p.Phys), 8, ' ')
	b = appendHex(append(b, ' '), uint64(p.Mapping), 16, ' ')
	b = appendHex(append(b, ' '), p.Index, 8, ' ')
	b = append(b, ' ')
	if p.Count >= 0 && p.Count < 10 {
		b = append(b, ' ')
	}
	b = strconv.AppendInt(b, int64(p.Count), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(p.Flags), 16)
	if p.Names != "" {
		b = append(append(b, ' '), p.Names...)
	}
	return append(b, '\n')
}

// appendHex appends u with at least width digits, filled up from the left.
func appendHex(b []byte, u uint64, width int, fill byte) []byte {
	n := 1
	for x := u >> 4; x > 0; x >>= 4 {
		n++
	}
	for range width - n {
		b = append(b, fill)
	}
	return strconv.AppendUint(b, u, 16)
}

// PageMembers is kmem -m: chosen members of each page. Its JSON is an array of {"page", "members": {NAME: VALUE}}, where the value
// of a struct is an array of its words.
type PageMembers struct {
	Columns []PageColumn
	Rows    iter.Seq[[]PageMember]
}

// PageColumn is a member that was asked for.
type PageColumn struct {
	Name    string
	Width   int
	Words   int // of a value: more than one for structs
	Decimal bool
}

// PageMember is a page and the members that were asked for.
type PageMember struct {
	Page   vmem.Addr // address of the struct page
	Values []MemberValue
}

func (p *PageMembers) rowsField() string { return "Rows" }

// columnNames are those of where and sort: as in JSON.
func (p *PageMembers) columnNames() []string {
	out := []string{"page"}
	for _, c := range p.Columns {
		out = append(out, "members."+c.Name)
	}
	return out
}

func (p *PageMembers) columnNamed(name string) (get func(row reflect.Value) reflect.Value, t reflect.Type, ok bool) {
	if name == "page" {
		return func(row reflect.Value) reflect.Value { return row.FieldByName("Page") }, reflect.TypeFor[vmem.Addr](), true
	}
	name, ok = strings.CutPrefix(name, "members.")
	at := slices.IndexFunc(p.Columns, func(c PageColumn) bool { return c.Name == name })
	if !ok || at < 0 {
		return nil, nil, false
	}
	words := func(row reflect.Value) []uint64 {
		return row.FieldByName("Values").Interface().([]MemberValue)[at].Words
	}
	switch c := p.Columns[at]; {
	case c.Words != 1:
		return func(row reflect.Value) reflect.Value {
			var out []vmem.Addr
			for _, u := range words(row) {
				out = append(out, vmem.Addr(u))
			}
			return reflect.ValueOf(out)
		}, reflect.TypeFor[[]vmem.Addr](), true
	case c.Decimal:
		return func(row reflect.Value) reflect.Value { return reflect.ValueOf(int64(words(row)[0])) }, reflect.TypeFor[int64](), true
	}
	return func(row reflect.Value) reflect.Value { return reflect.ValueOf(vmem.Addr(words(row)[0])) }, reflect.TypeFor[vmem.Addr](), true
}

// MemberValue is the value of a member: one word, or those of a struct.
type MemberValue struct {
	Words   []uint64
	Digits  int // of a word in hexadecimal
	Decimal bool
}

func (m *MemberValue) append(b []byte, width int) []byte {
	from := len(b)
	for i, u := range m.Words {
		if i > 0 {
			b = append(b, ',')
		}
		if m.Decimal {
			b = strconv.AppendInt(b, int64(u), 10)
		} else {
			b = appendHex(b, u, m.Digits, '0')
		}
	}
	for range width - (len(b) - from) {
		b = append(b, ' ')
	}
	return append(b, ' ', ' ')
}

// Text writes a column a member.
func (p *PageMembers) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	head := []byte("      PAGE        ")
	for _, c := range p.Columns {
		head = append(head, c.Name...)
		for range c.Width - len(c.Name) {
			head = append(head, ' ')
		}
		head = append(head, ' ', ' ')
	}
	bw.Write(append(head, '\n'))
	var row []byte
	for batch := range p.Rows {
		for i := range batch {
			m := &batch[i]
			row = append(appendHex(row[:0], uint64(m.Page), 16, '0'), ' ', ' ')
			for j := range m.Values {
				row = m.Values[j].append(row, p.Columns[j].Width)
			}
			if _, err := bw.Write(append(row, '\n')); err != nil {
				return err
			}
		}
	}
	return bw.Flush()
}

// StreamJSON writes the array.
func (p *PageMembers) StreamJSON(w io.Writer) error {
	out := arrayWriter{w: w}
	names := make([][]byte, len(p.Columns))
	for i, c := range p.Columns {
		b, err := json.Marshal(c.Name)
		if err != nil {
			return err
		}
		names[i] = b
	}
	var row []byte
	for batch := range p.Rows {
		for i := range batch {
			row = batch[i].json(row[:0], names)
			if err := out.element(); err != nil {
				return err
			}
			if _, err := w.Write(row); err != nil {
				return err
			}
		}
	}
	return out.end()
}

func (m *PageMember) json(b []byte, names [][]byte) []byte {
	b = append(b, `{"page":"0x`...)
	b = strconv.AppendUint(b, uint64(m.Page), 16)
	b = append(b, `","members":{`...)
	for i := range m.Values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, names[i]...), ':')
		v := &m.Values[i]
		if len(v.Words) != 1 {
			b = append(b, '[')
		}
		for j, u := range v.Words {
			if j > 0 {
				b = append(b, ',')
			}
			if v.Decimal {
				b = strconv.AppendInt(b, int64(u), 10)
			} else {
				b = append(strconv.AppendUint(append(b, `"0x`...), u, 16), '"')
			}
		}
		if len(v.Words) != 1 {
			b = append(b, ']')
		}
	}
	return append(b, '}', '}')
}
