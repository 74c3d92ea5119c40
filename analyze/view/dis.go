package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Disassembly is dis. Its JSON is an array of Instruction.
type Disassembly []Instruction

// Instruction is a line of dis.
type Instruction struct {
	Addr   vmem.Addr `json:"address"`
	Symbol string    `json:"symbol,omitempty"` // "schedule+4"
	Bytes  string    `json:"bytes"`            // hexadecimal
	Text   string    `json:"text"`
	// Target is the address that the instruction names: a branch's target, or a place relative to the instruction pointer.
	Target *vmem.Addr `json:"target,omitempty"`
	Bad    bool       `json:"bad,omitempty"` // the bytes are no instruction
	// FtraceNOP: ftrace replaces the instruction by a call to trace the function.
	FtraceNOP bool `json:"ftrace_nop,omitempty"`
	// Source is the line that the instruction comes from, in the innermost function (-l); Inlined says that it is inlined.
	Source  *Place `json:"source,omitempty"`
	Inlined bool   `json:"inlined,omitempty"`
}

// sourceLine is the line above instructions of another line than those before.
func (in *Instruction) sourceLine() string {
	if in.Source == nil {
		return ""
	}
	where := in.Source.where()
	if in.Inlined && where != "" {
		where += " (inlined " + Printable(in.Source.name()) + ")"
	}
	return where
}

// Text writes lines as gdb does.
func (l Disassembly) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	last := ""
	for i := range l {
		in := &l[i]
		if at := in.sourceLine(); at != last {
			if last = at; at != "" {
				fmt.Fprintln(bw, at)
			}
		}
		if in.Symbol == "" {
			fmt.Fprintf(bw, "0x%x:\t%s\n", uint64(in.Addr), Printable(in.Text))
			continue
		}
		mark := ""
		if in.FtraceNOP {
			mark = " [FTRACE NOP]"
		}
		fmt.Fprintf(bw, "0x%x <%s>:\t%s%s\n", uint64(in.Addr), Printable(in.Symbol), Printable(in.Text), mark)
	}
	return bw.Flush()
}
