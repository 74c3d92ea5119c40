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
	Searched   bool             `json:"-"`               // for exception frames
	Start      *StackWord       `json:"start,omitempty"` // where the task stands, and the name of the code there (-t)
	Words      []StackWord      `json:"words,omitempty"`
	Exceptions []ExceptionFrame `json:"exception_frames,omitempty"`
	User       *Registers       `json:"user_registers,omitempty"` // with which the task entered the kernel (-t, -T)
	userRegs   *unwind.PtRegs
}

// SetUser adds the registers with which the task entered the kernel.
func (s *StackScan) SetUser(f *ExceptionFrame) {
	s.User, s.userRegs = f.Registers, f.regs
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
	fmt.Fprintf(w, "\n  %s EXCEPTION FRAME AT: %016x\n", mode, uint64(f.At))
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
				if x.Name != "" {
					fmt.Fprintf(bw, "  %-16s", x.Name)
				} else {
					fmt.Fprintf(bw, "  %016x", uint64(x.Value))
				}
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
			if scan.Start != nil {
				fmt.Fprintf(bw, "              START: %s at %x\n", Printable(demangle.Name(scan.Start.Name)), uint64(scan.Start.Value))
			}
			for _, x := range scan.Words {
				mark := ""
				if x.Module != "" {
					mark = " [" + Printable(x.Module) + "]"
				}
				fmt.Fprintf(bw, "  [%016x] %s at %x%s\n", uint64(x.Addr), Printable(demangle.Name(x.Name)), uint64(x.Value), mark)
			}
			if scan.userRegs != nil {
				writeRegs(bw, scan.userRegs)
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

// stackTitles are what crash calls the stacks of exceptions.
var stackTitles = map[string]string{"#DF": "DOUBLEFAULT EXCEPTION", "NMI": "NMI EXCEPTION", "#DB": "DEBUG EXCEPTION", "#MC": "MCE EXCEPTION", "#VC": "VC EXCEPTION"}

// Text writes the scans.
func (s CPUStackScans) Text(w io.Writer, _ Options) error {
	return blocks(w, s, func(bw *bufio.Writer, x CPUStackScan) {
		title := stackTitles[x.Stack]
		if title == "" {
			title = x.Stack
		}
		fmt.Fprintf(bw, "CPU %d %s STACK:\n", x.CPU, title)
		if len(x.Exceptions) == 0 {
			bw.WriteString("(none found)\n")
			return
		}
		for j := range x.Exceptions {
			x.Exceptions[j].text(bw)
		}
	})
}

// StackCheck is bt --overflow.
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
