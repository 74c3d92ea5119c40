package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Meminfo is kmem -i. Counts are in pages; a nil one could not be read.
type Meminfo struct {
	PageSize uint64       `json:"page_size"` // bytes
	Pages    MeminfoPages `json:"pages"`
}

// MeminfoPages are the totals of /proc/meminfo, in pages.
type MeminfoPages struct {
	Total             *uint64 `json:"total"`
	Free              *uint64 `json:"free"`
	Used              *uint64 `json:"used"`
	Shared            *uint64 `json:"shared"`
	Buffers           *uint64 `json:"buffers"`
	Cached            *uint64 `json:"cached"`
	SwapCached        *uint64 `json:"swap_cached"`
	AnonPages         *uint64 `json:"anon_pages"`
	Mapped            *uint64 `json:"mapped"`
	PageTables        *uint64 `json:"page_tables"`
	KernelStack       *uint64 `json:"kernel_stack"`
	Slab              *uint64 `json:"slab"`
	SlabReclaimable   *uint64 `json:"slab_reclaimable"`
	SlabUnreclaimable *uint64 `json:"slab_unreclaimable"`
	HugeTotal         *uint64 `json:"huge_total"`
	HugeFree          *uint64 `json:"huge_free"`
	SwapTotal         *uint64 `json:"swap_total"`
	SwapUsed          *uint64 `json:"swap_used"`
	SwapFree          *uint64 `json:"swap_free"`
	CommitLimit       *uint64 `json:"commit_limit"`
	Committed         *uint64 `json:"committed"`
	// MultiplyUsed are pages to which there is more than one reference, crash's SHARED. It takes a look at all pages, and is
	// there if it was asked for; Shared is what /proc/meminfo calls Shmem.
	MultiplyUsed *uint64 `json:"multiply_used,omitempty"`
}

// Text writes crash's table.
func (m *Meminfo) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	p := &m.Pages
	fmt.Fprintf(bw, "                 PAGES        TOTAL      PERCENTAGE\n")
	row := func(label string, pages, of *uint64, what string) {
		count, total, share := "-", "-", "-"
		if pages != nil {
			count, total = fmt.Sprint(*pages), ByteSize(*pages*m.PageSize)
		}
		switch {
		case what == "":
			share = "       ----"
		case pages != nil && of != nil:
			percent := uint64(0)
			if *of > 0 {
				percent = *pages * 100 / *of
			}
			share = fmt.Sprintf("%3d%% of TOTAL %s", percent, what)
		}
		fmt.Fprintf(bw, "%13s  %7s  %11s  %s\n", label, count, total, share)
	}
	row("TOTAL MEM", p.Total, nil, "")
	row("FREE", p.Free, p.Total, "MEM")
	row("USED", p.Used, p.Total, "MEM")
	if p.MultiplyUsed != nil {
		row("SHARED", p.MultiplyUsed, p.Total, "MEM")
	}
	row("BUFFERS", p.Buffers, p.Total, "MEM")
	row("CACHED", p.Cached, p.Total, "MEM")
	row("SLAB", p.Slab, p.Total, "MEM")
	fmt.Fprintln(bw)
	row("TOTAL HUGE", p.HugeTotal, nil, "")
	row("HUGE FREE", p.HugeFree, p.HugeTotal, "HUGE")
	fmt.Fprintln(bw)
	row("TOTAL SWAP", p.SwapTotal, nil, "")
	row("SWAP USED", p.SwapUsed, p.SwapTotal, "SWAP")
	row("SWAP FREE", p.SwapFree, p.SwapTotal, "SWAP")
	fmt.Fprintln(bw)
	row("COMMIT LIMIT", p.CommitLimit, nil, "")
	row("COMMITTED", p.Committed, p.CommitLimit, "LIMIT")
	return bw.Flush()
}

// ByteSize is a size with the unit that crash gives it: "0", "752 KB", "304.6 MB", "12 MB", "1.5 GB".
func ByteSize(n uint64) string {
	unit := func(shift uint, name string) string {
		s := fmt.Sprintf("%.1f", float64(n)/float64(uint64(1)<<shift))
		return strings.TrimSuffix(s, ".0") + " " + name
	}
	switch {
	case n == 0:
		return "0"
	case n < 1<<20:
		return fmt.Sprintf("%d KB", n>>10)
	case n < 1<<30:
		return unit(20, "MB")
	case n < 1<<40:
		return unit(30, "GB")
	}
	return unit(40, "TB")
}
