package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// VMStats is kmem -V. Its JSON is an array of groups, {"name", "counters": {NAME: VALUE}}.
type VMStats []CounterGroup

// CounterGroup is a group of counters in the kernel's order.
type CounterGroup struct {
	Name     string
	Counters []Counter
}

// Counter is one of them.
type Counter struct {
	Name  string
	Value int64
}

// MarshalJSON gives the counters as one object.
func (g CounterGroup) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name     string       `json:"name"`
		Counters counterTable `json:"counters"`
	}{g.Name, g.Counters})
}

type counterTable []Counter

// MarshalJSON keeps the kernel's order.
func (t counterTable) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, c := range t {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(c.Name)
		if err != nil {
			return nil, err
		}
		b = fmt.Appendf(append(b, name...), ":%d", c.Value)
	}
	return append(b, '}'), nil
}

func widest(cs []Counter) int {
	n := 0
	for _, c := range cs {
		n = max(n, len(c.Name))
	}
	return n
}

func writeCounters(w io.Writer, cs []Counter, width int) {
	for _, c := range cs {
		fmt.Fprintf(w, "%*s: %d\n", width, Printable(c.Name), c.Value)
	}
}

// Text writes crash's groups.
func (l VMStats) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, g CounterGroup) {
		fmt.Fprintf(bw, "  %s:\n", g.Name)
		writeCounters(bw, g.Counters, max(26, widest(g.Counters)))
	})
}

// Zones is kmem -z.
type Zones []Zone

// Zone is a zone of memory; counts are pages.
type Zone struct {
	Node     int          `json:"node"`
	Index    int          `json:"zone"`
	Addr     vmem.Addr    `json:"address"`
	Name     string       `json:"name"`
	Start    uint64       `json:"start_pfn"`
	Spanned  uint64       `json:"spanned"`
	Present  uint64       `json:"present"`
	Managed  uint64       `json:"managed"`
	Min      uint64       `json:"min"`
	Low      uint64       `json:"low"`
	High     uint64       `json:"high"`
	Counters counterTable `json:"counters"`
}

// Text writes crash's blocks.
func (l Zones) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for _, z := range l {
		fmt.Fprintf(bw, "NODE: %d  ZONE: %d  ADDR: %x  NAME: \"%s\"\n", z.Node, z.Index, uint64(z.Addr), Printable(z.Name))
		if z.Present == 0 {
			fmt.Fprintf(bw, "  [unpopulated]\n\n")
			continue
		}
		fmt.Fprintf(bw, "  SIZE: %d", z.Spanned)
		if z.Present != z.Spanned {
			fmt.Fprintf(bw, "  PRESENT: %d", z.Present)
		}
		fmt.Fprintf(bw, "  MIN/LOW/HIGH: %d/%d/%d\n  VM_STAT:\n", z.Min, z.Low, z.High)
		writeCounters(bw, z.Counters, widest(z.Counters))
		fmt.Fprintf(bw, "\n\n")
	}
	return bw.Flush()
}
