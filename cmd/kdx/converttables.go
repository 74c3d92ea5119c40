package main

import (
	"fmt"
	"io"
	"strings"

	"kdx/analyze/exclude"
	"kdx/analyze/reduce"
)

// classRow counts the pages of a class.
type classRow struct {
	Class   string `json:"class"`
	Pages   uint64 `json:"pages"`
	LeftOut uint64 `json:"left_out"`
	Bit     int    `json:"level,omitempty"` // the bit of the level that leaves them out; 0 if none does
}

// classBits are the bits of a level that leave out a class.
var classBits = map[exclude.Class]int{exclude.Free: exclude.LevelFree, exclude.Unaccepted: exclude.LevelFree, exclude.Cache: exclude.LevelCache,
	exclude.PrivateCache: exclude.LevelPrivate, exclude.User: exclude.LevelUser}

// classRows are the classes that there are pages of. Pages of zeros, as far as they were looked for, are counted among those that would
// stay otherwise.
func classRows(r *reduce.Report) []classRow {
	rows := []classRow{}
	zeros := r.Copied.Zero + r.Copied.Shared
	for c := range exclude.NumClasses {
		class := exclude.Class(c)
		n, left := r.Stats.Pages[c], r.Stats.Left[c]
		if class == exclude.Kernel {
			if r.Level&^exclude.LevelZero == 0 && r.Stats.Pages[exclude.Free] == 0 {
				rows = append(rows, classRow{Class: "memory, not looked at", Pages: n - min(n, zeros), LeftOut: left})
			} else {
				rows = append(rows, classRow{Class: class.String(), Pages: n - min(n, zeros), LeftOut: left})
			}
			rows = append(rows, classRow{Class: "zeros", Pages: zeros, LeftOut: r.Copied.Zero, Bit: exclude.LevelZero})
			continue
		}
		if n > 0 {
			rows = append(rows, classRow{class.String(), n, left, classBits[class]})
		}
	}
	if r.Stats.Vmemmap > 0 {
		rows = append(rows, classRow{Class: "unused page descriptors", Pages: r.Stats.Vmemmap, LeftOut: r.Stats.Vmemmap})
	}
	return rows
}

// classTable shows which pages stay.
func classTable(w io.Writer, r *reduce.Report, pageSize uint64) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s %10s %12s %10s %6s\n", "PAGES", "COUNT", "SIZE", "LEFT OUT", "LEVEL")
	size := func(n uint64) string { return bytesText(int64(n * pageSize)) }
	for _, c := range classRows(r) {
		bit := "-"
		if c.Bit != 0 {
			bit = fmt.Sprint(c.Bit)
		}
		fmt.Fprintf(&b, "%-26s %10d %12s %10d %6s\n", c.Class, c.Pages, size(c.Pages), c.LeftOut, bit)
	}
	ram := r.Stats.RAM()
	kept := r.Copied.Pages - r.Copied.Zero
	fmt.Fprintf(&b, "%-26s %10d %12s\n", "of", ram, size(ram))
	fmt.Fprintf(&b, "%-26s %10d %12s\n", "stay", kept, size(kept))
	_, err := io.WriteString(w, b.String())
	return err
}
