package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Dump is memory, value by value. Its JSON is an array of DumpRow.
type Dump struct {
	View  *kernel.View // collects what could not be read
	Read  func(p []byte, addr uint64) (int, error)
	Start uint64
	Unit  uint64 // bytes of a value: 1, 2, 4, 8
	Count uint64 // of values; of bytes for Text0

	Decimal, Unsigned bool // decimal, signed or unsigned
	NoText            bool // without the column of text
	Network           bool // values in network byte order
	Text0             bool // only text
	UntilUnprintable  bool // with Text0: Count does not count
	Quiet             bool // memory that is missing ends the dump and is no gap
	Name              func(uint64) string
}

// DumpRow is a line of a Dump in JSON: its address, its values in order, and the names of those that have one.
type DumpRow struct {
	Addr   vmem.Addr   `json:"address"`
	Values []vmem.Addr `json:"values,omitempty"`
	Names  []*string   `json:"names,omitempty"`
	Text   string      `json:"text"`
}

const (
	dumpLine     = 16 // bytes of a line
	dumpTextLine = 60 // characters of a line of -a
	maxDumpText  = 1 << 20
)

// rows calls f for each line; p holds the bytes that are there.
func (d *Dump) rows(f func(addr uint64, p []byte) error) error {
	var line [dumpLine]byte
	total := d.Count * d.Unit
	for done := uint64(0); done < total; {
		n := min(total-done, dumpLine)
		got, err := d.Read(line[:n], d.Start+done)
		got -= got % int(d.Unit)
		if got > 0 {
			if err := f(d.Start+done, line[:got]); err != nil {
				return err
			}
		}
		if err != nil {
			return d.missing(d.Start+done+uint64(got), err)
		}
		done += n
	}
	return nil
}

// missing ends the dump: an end that was asked for, or a gap.
func (d *Dump) missing(at uint64, err error) error {
	if cancelled := d.View.Context().Err(); cancelled != nil {
		return cancelled
	}
	if !d.Quiet {
		d.View.Gap(fmt.Sprintf("memory at %#x", at), err)
	}
	return nil
}

// text calls f for each line of text; those bytes are printable, unless a count was given.
func (d *Dump) text(f func(addr uint64, s string) error) error {
	limit := d.Count
	if d.UntilUnprintable {
		limit = maxDumpText
	}
	var line [dumpTextLine]byte
	for done := uint64(0); done < limit; {
		n := min(limit-done, dumpTextLine)
		got, err := d.Read(line[:n], d.Start+done)
		end := 0
		for end < got && (!d.UntilUnprintable || line[end] >= ' ' && line[end] < 0x7f) {
			end++
		}
		if end > 0 {
			if err := f(d.Start+done, dots(line[:end])); err != nil {
				return err
			}
		}
		if end < got {
			return nil
		}
		if err != nil {
			return d.missing(d.Start+done+uint64(got), err)
		}
		done += n
	}
	return nil
}

func dots(p []byte) string {
	var b strings.Builder
	for _, c := range p {
		if c < ' ' || c >= 0x7f {
			c = '.'
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (d *Dump) value(p []byte) uint64 {
	bo := d.View.ByteOrder()
	var u uint64
	for i := range p {
		j := i
		if bo.Uint16([]byte{1, 0}) == 1 != d.Network {
			j = len(p) - 1 - i
		}
		u = u<<8 | uint64(p[j])
	}
	return u
}

// Text writes the columns of crash.
func (d *Dump) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	var err error
	if d.Text0 {
		err = d.text(func(addr uint64, s string) error {
			_, err := fmt.Fprintf(bw, "%*x:  %s\n", 2*int(d.View.WordSize()), addr, s)
			return err
		})
	} else {
		err = d.rows(func(addr uint64, p []byte) error { return d.line(bw, addr, p) })
	}
	if e := bw.Flush(); err == nil {
		err = e
	}
	return err
}

func (d *Dump) line(w *bufio.Writer, addr uint64, p []byte) error {
	fmt.Fprintf(w, "%*x:  ", 2*int(d.View.WordSize()), addr)
	width := 2 * int(d.Unit)
	for i := 0; i < len(p); i += int(d.Unit) {
		u := d.value(p[i : i+int(d.Unit)])
		name := ""
		if d.Name != nil {
			name = d.Name(u)
		}
		switch {
		case name != "":
			fmt.Fprintf(w, "%-*s ", width, Printable(name))
		case d.Unsigned:
			fmt.Fprintf(w, "%*d ", decimalWidth(d.Unit, true), u)
		case d.Decimal:
			fmt.Fprintf(w, "%*d ", decimalWidth(d.Unit, false), int64(u<<(64-8*d.Unit))>>(64-8*d.Unit))
		default:
			fmt.Fprintf(w, "%0*x ", width, u)
		}
	}
	if d.NoText || d.Decimal || d.Unsigned || d.Name != nil {
		return w.WriteByte('\n')
	}
	missing := (dumpLine - len(p)) / int(d.Unit) * (width + 1)
	_, err := fmt.Fprintf(w, "%*s  %s\n", missing, "", dots(p))
	return err
}

// decimalWidth of a column. A word takes up to 20 characters; crash gives signed ones 15, and is followed.
func decimalWidth(unit uint64, unsigned bool) int {
	switch {
	case unit == 1:
		return 3
	case unit == 2:
		return 5
	case unit == 4:
		return 12
	case unsigned:
		return 20
	}
	return 15
}

// StreamJSON writes the rows.
func (d *Dump) StreamJSON(w io.Writer) error {
	sep := "["
	put := func(r DumpRow) error {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, sep+string(b))
		sep = ",\n"
		return err
	}
	var err error
	if d.Text0 {
		err = d.text(func(addr uint64, s string) error { return put(DumpRow{Addr: vmem.Addr(addr), Text: s}) })
	} else {
		err = d.rows(func(addr uint64, p []byte) error { return put(d.row(addr, p)) })
	}
	if err != nil {
		return err
	}
	if sep == "[" {
		_, err = io.WriteString(w, "[]")
	} else {
		_, err = io.WriteString(w, "]")
	}
	return err
}

func (d *Dump) row(addr uint64, p []byte) DumpRow {
	r := DumpRow{Addr: vmem.Addr(addr), Text: dots(p)}
	for i := 0; i < len(p); i += int(d.Unit) {
		u := d.value(p[i : i+int(d.Unit)])
		r.Values = append(r.Values, vmem.Addr(u))
		if d.Name == nil {
			continue
		}
		var name *string
		if n := d.Name(u); n != "" {
			name = &n
		}
		r.Names = append(r.Names, name)
	}
	return r
}
