package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// SwapDevices is swap; its JSON is an array of SwapDevice.
type SwapDevices []SwapDevice

// SwapDevice is a swap device or file.
type SwapDevice struct {
	Addr     vmem.Addr `json:"swap_info"`
	Index    uint64    `json:"index"` // as page-table entries name it
	Type     *string   `json:"type"`  // "PARTITION" or "FILE"
	Size     uint64    `json:"size"`  // bytes
	Used     uint64    `json:"used"`  // bytes, as the kernel counts
	Counted  *uint64   `json:"used_counted"`
	Priority int16     `json:"priority"`
	Active   bool      `json:"active"` // false: being swapped off
	File     *string   `json:"file"`
}

// Text writes crash's table.
func (l SwapDevices) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if len(l) == 0 {
		fmt.Fprintln(bw, "no swap devices configured")
		return bw.Flush()
	}
	fmt.Fprintln(bw, "SWAP_INFO_STRUCT    TYPE       SIZE       USED     PCT  PRI  FILENAME")
	for i := range l {
		d := &l[i]
		pct := uint64(0)
		if d.Size > 0 {
			pct = d.Used * 100 / d.Size
		}
		name := "-"
		if d.File != nil {
			name = Printable(*d.File)
		}
		fmt.Fprintf(bw, "%016x  %s%9s  %9s  %4d%%  %3d  %s", uint64(d.Addr), crashCentre(nameOrDash(d.Type), 9), kib(d.Size), kib(d.Used), pct, d.Priority, name)
		if !d.Active {
			fmt.Fprint(bw, "  (being swapped off)")
		}
		if d.Counted != nil && *d.Counted != d.Used {
			fmt.Fprintf(bw, "  (%s counted)", kib(*d.Counted))
		}
		fmt.Fprintln(bw)
	}
	return bw.Flush()
}

// kib is a size in KiB, as crash writes it.
func kib(n uint64) string { return fmt.Sprintf("%dk", n>>10) }

// crashCentre pads s on both sides to n columns; the odd blank comes behind.
func crashCentre(s string, n int) string {
	pad := max(0, n-len(s))
	return fmt.Sprintf("%*s%s%*s", pad/2, "", s, pad-pad/2, "")
}
