package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/unwind"
	"kdx/symbols/demangle"
)

// StackScans are stacks as they lie in memory (bt -t, -T, -r, -e).
type StackScans []*StackScan

// StackScan is what a search of one stack found.
type StackScan struct {
	TaskHeader
	Raw        bool             `json:"-"`
	Searched   bool             `json:"-"` // for exception frames
	Words      []StackWord      `json:"words,omitempty"`
	Exceptions []ExceptionFrame `json:"exception_frames,omitempty"`
}

// ExceptionFrame is what looks like saved registers.
type ExceptionFrame struct {
	*Registers
	Function string `json:"function,omitempty"`
	Offset   uint64 `json:"offset,omitempty"`
	regs     *unwind.PtRegs
}

// NewExceptionFrame names the PC of registers found at an address.
func NewExceptionFrame(at uint64, p *unwind.PtRegs, name Resolver) ExceptionFrame {
	kind := "exception"
	if p.User() {
		kind = "user"
	}
	f := ExceptionFrame{Registers: NewRegisters(kind, at, p), regs: p}
	if !p.User() {
		f.Function, _, f.Offset = name(p.RIP)
	}
	return f
}

func (f *ExceptionFrame) text(w *bufio.Writer) {
	mode := "KERNEL-MODE"
	if f.regs.User() {
		mode = "USER-MODE"
	}
	fmt.Fprintf(w, "\n %s EXCEPTION FRAME AT: %016x\n", mode, uint64(f.At))
	if f.Function != "" {
		fmt.Fprintf(w, "    [exception RIP: %s+%d]\n", demangle.Name(f.Function), f.Offset)
	}
	writeRegs(w, f.regs)
}

// Text writes the scans.
func (s StackScans) Text(w io.Writer, _ Options) error {
	return blocks(w, s, func(bw *bufio.Writer, scan *StackScan) {
		bw.WriteString(scan.line())
		switch {
		case scan.Raw:
			for j, x := range scan.Words {
				if j%2 == 0 {
					fmt.Fprintf(bw, "%016x:", uint64(x.Addr))
				}
				fmt.Fprintf(bw, "  %016x", uint64(x.Value))
				if j%2 == 1 || j == len(scan.Words)-1 {
					bw.WriteByte('\n')
				}
			}
		case scan.Searched:
			for j := range scan.Exceptions {
				scan.Exceptions[j].text(bw)
			}
			if len(scan.Exceptions) == 0 {
				bw.WriteString("\n (no exception frames)\n")
			}
		default:
			for j, x := range scan.Words {
				if j == 0 {
					fmt.Fprintf(bw, "              START: %s at %x\n", x.Name, uint64(x.Value))
				}
				fmt.Fprintf(bw, "  [%016x] %s at %x\n", uint64(x.Addr), x.Name, uint64(x.Value))
			}
		}
	})
}

// CPUStackScans is bt -E.
type CPUStackScans []CPUStackScan

// CPUStackScan is what a search of one of a CPU's own stacks found.
type CPUStackScan struct {
	CPU        int              `json:"cpu"`
	Stack      string           `json:"stack"`
	Exceptions []ExceptionFrame `json:"exception_frames"`
}

// Text writes the scans.
func (s CPUStackScans) Text(w io.Writer, _ Options) error {
	return blocks(w, s, func(bw *bufio.Writer, x CPUStackScan) {
		fmt.Fprintf(bw, "CPU %d %s STACK:", x.CPU, x.Stack)
		if len(x.Exceptions) == 0 {
			bw.WriteString(" (none found)\n")
			return
		}
		bw.WriteByte('\n')
		for j := range x.Exceptions {
			x.Exceptions[j].text(bw)
		}
	})
}

// StackCheck is bt -v.
type StackCheck struct {
	Checked   int             `json:"checked"`
	Overflows []StackOverflow `json:"overflows"`
}

// StackOverflow is a stack that shows signs of damage.
type StackOverflow struct {
	TaskHeader
	Evidence string `json:"evidence"`
}

// Text writes the damaged stacks.
func (c *StackCheck) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for i := range c.Overflows {
		fmt.Fprintf(bw, "%s  possible stack overflow: %s\n", c.Overflows[i].line(), c.Overflows[i].Evidence)
	}
	if len(c.Overflows) == 0 {
		fmt.Fprintf(bw, "No stack overflows detected in %d stacks.\n", c.Checked)
	}
	return bw.Flush()
}
