package view

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"kdx/analyze/vmem"
)

// Taint is sys -t.
type Taint struct {
	Mask    uint64        `json:"mask"`
	Letters string        `json:"letters"`
	Reasons []TaintReason `json:"reasons"`
}

// TaintReason is one set bit.
type TaintReason struct {
	Letter  string `json:"letter"`
	Meaning string `json:"meaning"`
}

// Text writes the mask, its letters and what they mean.
func (t *Taint) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	line := fmt.Sprintf("TAINTED_MASK: %x  %s", t.Mask, t.Letters)
	bw.WriteString(strings.TrimRight(line, " ") + "\n")
	for _, r := range t.Reasons {
		fmt.Fprintf(bw, "  %s: %s\n", r.Letter, r.Meaning)
	}
	return bw.Flush()
}

// SyscallTable is sys -c.
type SyscallTable struct {
	Rows []Syscall `json:"syscalls"`
}

// Syscall is a system call. File and Line are where its function begins, if debug information is open.
type Syscall struct {
	Number   int       `json:"number"`
	Function string    `json:"function"`
	Addr     vmem.Addr `json:"address"`
	File     string    `json:"file,omitempty"`
	Line     int       `json:"line,omitempty"`
}

// Text writes number and function, and crash's third column where at least one line is known.
func (t *SyscallTable) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if !slices.ContainsFunc(t.Rows, func(s Syscall) bool { return s.File != "" }) {
		bw.WriteString("NUM  SYSTEM CALL\n")
		for _, s := range t.Rows {
			fmt.Fprintf(bw, "%3d  %s\n", s.Number, s.Function)
		}
		return bw.Flush()
	}
	bw.WriteString("NUM  SYSTEM CALL                FILE AND LINE NUMBER\n")
	for _, s := range t.Rows {
		where := "-"
		if s.File != "" {
			where = fmt.Sprintf("%s: %d", Printable(s.File), s.Line)
		}
		fmt.Fprintf(bw, "%3d  %-26s %s\n", s.Number, s.Function, where)
	}
	return bw.Flush()
}

// DMI is sys -i.
type DMI []DMIField

// DMIField is a string of the firmware's.
type DMIField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Text writes name and value.
func (d DMI) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for _, f := range d {
		fmt.Fprintf(bw, "%26s: %s\n", f.Name, Printable(f.Value))
	}
	return bw.Flush()
}
