package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// Number is eval. Its JSON has the number in each form.
type Number struct {
	Value    uint64
	ShowBits bool
}

// MarshalJSON gives the forms as strings and the bits as numbers.
func (n *Number) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Hex      vmem.Addr `json:"hexadecimal"`
		Unsigned uint64    `json:"decimal"`
		Signed   int64     `json:"signed"`
		Octal    string    `json:"octal"`
		Binary   string    `json:"binary"`
		Bits     []int     `json:"bits"`
	}{vmem.Addr(n.Value), n.Value, int64(n.Value), fmt.Sprintf("%o", n.Value), fmt.Sprintf("%064b", n.Value), n.bits()})
}

// bits that are set, highest first.
func (n *Number) bits() []int {
	out := []int{}
	for i := 63; i >= 0; i-- {
		if n.Value>>i&1 != 0 {
			out = append(out, i)
		}
	}
	return out
}

// Text writes crash's lines.
func (n *Number) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, "hexadecimal: %x  %s\n", n.Value, inUnits(n.Value))
	signed := ""
	if int64(n.Value) < 0 {
		signed = fmt.Sprintf("(%d)", int64(n.Value))
	}
	fmt.Fprintf(bw, "    decimal: %d  %s\n", n.Value, signed)
	fmt.Fprintf(bw, "      octal: %o\n", n.Value)
	fmt.Fprintf(bw, "     binary: %064b\n", n.Value)
	if n.ShowBits {
		const indent, width = "   bits set: ", 80
		bw.WriteString(indent)
		column := len(indent)
		for _, b := range n.bits() {
			text := fmt.Sprintf("%d ", b)
			if column+len(text) > width {
				fmt.Fprintf(bw, "\n%*s", len(indent), "")
				column = len(indent)
			}
			bw.WriteString(text)
			column += len(text)
		}
		fmt.Fprintln(bw)
	}
	return bw.Flush()
}

// inUnits is "(128MB)" for a number that is whole in some unit, or "".
func inUnits(n uint64) string {
	for _, u := range []struct {
		size uint64
		name string
	}{{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n != 0 && n%u.size == 0 {
			return fmt.Sprintf("(%d%s)", n/u.size, u.name)
		}
	}
	return ""
}

// Conversions is ptob and btop.
type Conversions []Conversion

// Conversion is a number and what became of it.
type Conversion struct {
	From vmem.Addr `json:"from"`
	To   vmem.Addr `json:"to"`
}

// Text writes a line each.
func (l Conversions) Text(w io.Writer, _ Options) error {
	for _, c := range l {
		if _, err := fmt.Fprintf(w, "%x: %x\n", uint64(c.From), uint64(c.To)); err != nil {
			return err
		}
	}
	return nil
}

// ASCII is ascii with arguments.
type ASCII []ASCIIWord

// ASCIIWord is a number and its bytes in the machine's order.
type ASCIIWord struct {
	Value vmem.Addr
	Bytes []byte
}

// MarshalJSON gives the number and its text, with control characters by name.
func (a ASCIIWord) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Value vmem.Addr `json:"value"`
		Text  string    `json:"text"`
	}{a.Value, a.text()})
}

var controlNames = [33]string{"NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI",
	"DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US", "SP"}

func (a ASCIIWord) text() string {
	var b strings.Builder
	for _, c := range a.Bytes {
		switch {
		case c < ' ':
			fmt.Fprintf(&b, "<%s>", controlNames[c])
		case c == 0x7f:
			b.WriteString("<DEL>")
		case c > 0x7f:
			fmt.Fprintf(&b, "<%02x>", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Text writes a line each.
func (l ASCII) Text(w io.Writer, _ Options) error {
	for _, a := range l {
		if _, err := fmt.Fprintf(w, "%016x: %s\n", uint64(a.Value), a.text()); err != nil {
			return err
		}
	}
	return nil
}

// ASCIITable is the table of characters.
type ASCIITable struct{}

// MarshalJSON gives the names of all 128 characters in order.
func (ASCIITable) MarshalJSON() ([]byte, error) {
	names := make([]string, 128)
	for i := range names {
		names[i] = asciiName(i)
	}
	return json.Marshal(names)
}

func asciiName(c int) string {
	switch {
	case c <= ' ':
		return controlNames[c]
	case c == 0x7f:
		return "DEL"
	}
	return string(rune(c))
}

// Text writes the table, columns by the upper digit.
func (ASCIITable) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintf(bw, "\n      0    1   2   3   4   5   6   7\n    +-------------------------------\n")
	for low := range 16 {
		line := fmt.Sprintf("  %X |", low)
		for high := range 8 {
			name := asciiName(high<<4 | low)
			if len(name) == 1 {
				name += " "
			}
			line += fmt.Sprintf(" %3s", name)
		}
		fmt.Fprintln(bw, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(bw)
	return bw.Flush()
}
