package reserve

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Text writes what is reserved, and why, step by step.
func (r *Result) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	arch := r.Arch
	if arch == "amd64" {
		arch = "x86_64"
	}
	fmt.Fprintf(b, "crashkernel= on %s with %s of RAM\n", arch, Size(r.RAM))
	for _, word := range r.Words {
		mark := "used"
		if !word.Used {
			mark = "not used: " + word.Why
		}
		fmt.Fprintf(b, "  %s%s: %s\n", name, word.Text, mark)
	}
	fmt.Fprintln(b, "\nHow the kernel goes about it (6.17 and later):")
	for i, s := range r.Steps {
		fmt.Fprintf(b, "  %d. %s\n", i+1, s)
	}
	fmt.Fprintf(b, "\nOutcome: %s\n", r.Outcome())
	if len(r.Traps) > 0 {
		fmt.Fprintln(b, "\nMind:")
		for _, t := range r.Traps {
			fmt.Fprintf(b, "  - %s\n", t)
		}
	}
	if len(r.Others) > 0 {
		fmt.Fprintln(b, "\nOther kernels:")
		for _, o := range r.Others {
			fmt.Fprintf(b, "  %s: %s\n", o.Kernels, o.Outcome)
		}
	}
	return b.Flush()
}

// Text writes the report of a host.
func (r *Report) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "     STATE: %s\n", r.State)
	var words []string
	for _, word := range findWords(r.Cmdline) {
		words = append(words, name+word.Text)
	}
	fmt.Fprintf(b, "     ASKED: %s\n", orDash(strings.Join(words, " ")))
	if r.Asked != nil {
		fmt.Fprintf(b, "     MEANS: %s\n", r.Asked.Outcome())
	}
	fmt.Fprintf(b, "  RESERVED: %s\n", humanOrDash(r.Bytes))
	for _, p := range r.Places {
		fmt.Fprintf(b, "            %s-%s %s\n", p.Start, p.End, human(p.Bytes))
	}
	if r.CMABytes != nil && *r.CMABytes > 0 {
		fmt.Fprintf(b, "       CMA: %s\n", human(*r.CMABytes))
	}
	fmt.Fprintf(b, "       RAM: %s\n", humanOrDash(r.Memory))
	for _, n := range r.Notes {
		fmt.Fprintf(b, "      NOTE: %s\n", n)
	}
	if r.Asked != nil {
		for _, t := range r.Asked.Traps {
			fmt.Fprintf(b, "      MIND: %s\n", t)
		}
	}
	return b.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// human is a size in MiB.
func human(n uint64) string {
	if n%mib == 0 {
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/mib)
}

func humanOrDash(n *uint64) string {
	if n == nil {
		return "-"
	}
	return human(*n)
}
