package estimate

import (
	"bufio"
	"fmt"
	"io"
)

// Text writes the terms with the sums of both phases, then the words, then what kdumptool calibrate prints.
func (r *Result) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%-24s %10s %10s\n", "MiB", "start", "save")
	for _, t := range r.Terms {
		start, save := column(t.Bytes), column(t.Bytes)
		switch t.Phase {
		case Boot:
			save = "-"
		case Save:
			start = "-"
		}
		fmt.Fprintf(b, "  %-22s %10s %10s   %s\n", t.Title, start, save, t.Why)
	}
	fmt.Fprintf(b, "  %-22s %10s %10s\n\n", "sum", column(r.Boot), column(r.Save))
	fmt.Fprintf(b, "    WANTED: %s\n", r.Words)
	if r.HighWords != "" {
		fmt.Fprintf(b, "            %s   if there is no room below 4G\n", r.HighWords)
	}
	for _, l := range []struct {
		name  string
		bytes uint64
	}{{"Total", r.Total}, {"Low", r.Low}, {"High", r.High}, {"MinLow", r.MinLow}, {"MaxLow", r.MaxLow}, {"MinHigh", r.MinHigh}, {"MaxHigh", r.MaxHigh}} {
		fmt.Fprintf(b, "%s: %d\n", l.name, l.bytes/mib)
	}
	return b.Flush()
}

func column(n uint64) string { return fmt.Sprintf("%.1f", float64(n)/mib) }
