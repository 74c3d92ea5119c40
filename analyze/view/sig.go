package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// Signals is sig.
type Signals []SignalState

// SignalState is a task's signals, or with -g its process's. Sets have bit N-1 for signal N.
type SignalState struct {
	TaskHeader
	Struct    vmem.Addr      `json:"signal_struct"` // 0 if the task has given it up
	NRThreads *int32         `json:"nr_threads"`
	Actions   []SignalAction `json:"actions"` // null if the task has exited
	Shared    *SignalQueue   `json:"shared_pending"`
	// Threads are those of the process with -g, else the task alone.
	Threads []ThreadSignals `json:"threads"`
	Group   bool            `json:"-"` // -g
}

// SignalAction is what happens on a signal.
type SignalAction struct {
	Signal  int       `json:"signal"`
	Addr    vmem.Addr `json:"sigaction"`
	Handler string    `json:"handler"` // "SIG_DFL", "SIG_IGN", or an address of user space in hexadecimal
	Mask    vmem.Addr `json:"mask"`
	Flags   vmem.Addr `json:"flags"`
	Names   []string  `json:"flag_names"`
}

// ThreadSignals is what one thread blocks and what waits for it.
type ThreadSignals struct {
	TaskHeader
	Pending *bool        `json:"deliverable"` // a signal is pending that is not blocked; null if unknown
	Blocked *vmem.Addr   `json:"blocked"`
	Private *SignalQueue `json:"private_pending"`
}

// SignalQueue is signals that are pending.
type SignalQueue struct {
	Set   vmem.Addr      `json:"signal"`
	Queue []QueuedSignal `json:"queue"`
}

// QueuedSignal is a signal that waits with what was said of it.
type QueuedSignal struct {
	Signal   int32     `json:"signal"`
	Code     int32     `json:"code"` // SI_*
	SigQueue vmem.Addr `json:"sigqueue"`
	Info     vmem.Addr `json:"siginfo"`
}

// Text writes crash's form.
func (l Signals) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, x SignalState) {
		x.text(bw)
	})
}

func (s *SignalState) text(w *bufio.Writer) {
	w.WriteString(s.line())
	threads := "-"
	if s.NRThreads != nil {
		threads = fmt.Sprint(*s.NRThreads)
	}
	fmt.Fprintf(w, "SIGNAL_STRUCT: %016x  NR_THREADS: %s\n", uint64(s.Struct), threads)
	fmt.Fprintf(w, " SIG    SIGACTION        HANDLER       MASK       FLAGS           \n")
	if s.Actions == nil {
		fmt.Fprintln(w, " (no handlers)")
	}
	for i := range s.Actions {
		a := &s.Actions[i]
		names := ""
		if len(a.Names) > 0 {
			names = "(" + strings.Join(a.Names, "|") + ")"
		}
		fmt.Fprintf(w, "%4s %016x %10s %016x %x %s\n", fmt.Sprintf("[%d]", a.Signal), uint64(a.Addr), a.Handler, uint64(a.Mask), uint64(a.Flags), names)
	}
	if s.Group {
		queueText(w, "", "SHARED_PENDING", s.Shared)
	}
	for i := range s.Threads {
		t := &s.Threads[i]
		indent := ""
		if s.Group {
			indent = "  "
			fmt.Fprintf(w, "\n%s%s", indent, t.line())
		}
		pending := "-"
		switch {
		case t.Pending == nil:
		case *t.Pending:
			pending = "yes"
		default:
			pending = "no"
		}
		fmt.Fprintf(w, "%sSIGPENDING: %s\n%s   BLOCKED: %s\n", indent, pending, indent, setText(t.Blocked))
		queueText(w, indent, "PRIVATE_PENDING", t.Private)
	}
	if !s.Group {
		queueText(w, "", "SHARED_PENDING", s.Shared)
	}
}

func setText(set *vmem.Addr) string {
	if set == nil {
		return "-"
	}
	return fmt.Sprintf("%016x", uint64(*set))
}

func queueText(w io.Writer, indent, name string, q *SignalQueue) {
	if q == nil {
		fmt.Fprintf(w, "%s%s\n%s    SIGNAL: -\n%s  SIGQUEUE: -\n", indent, name, indent, indent)
		return
	}
	fmt.Fprintf(w, "%s%s\n%s    SIGNAL: %016x\n", indent, name, indent, uint64(q.Set))
	if len(q.Queue) == 0 {
		fmt.Fprintf(w, "%s  SIGQUEUE: (empty)\n", indent)
		return
	}
	fmt.Fprintf(w, "%s  SIGQUEUE:  SIG  SIGINFO \n", indent)
	for _, x := range q.Queue {
		fmt.Fprintf(w, "%s%13s%3d  %016x\n", indent, "", x.Signal, uint64(x.Info))
	}
}

// SignalNames is sig -l.
type SignalNames []SignalName

// SignalName is a signal and its names, the usual one first.
type SignalName struct {
	Signal int      `json:"signal"`
	Names  []string `json:"names"`
}

// Text writes crash's list.
func (l SignalNames) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for _, s := range l {
		fmt.Fprintf(bw, "%4s %s\n", fmt.Sprintf("[%d]", s.Signal), strings.Join(s.Names, "/"))
	}
	return bw.Flush()
}

// SignalSet is sig -s.
type SignalSet struct {
	Set   vmem.Addr `json:"set"`
	Names []string  `json:"signals"`
}

// Text writes the names in lines of at most 80 columns.
func (s *SignalSet) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if len(s.Names) == 0 {
		bw.WriteString("(none)")
	}
	width := 0
	for _, n := range s.Names {
		switch {
		case width == 0:
		case width+1+len(n) >= 80:
			bw.WriteByte('\n')
			width = 0
		default:
			bw.WriteByte(' ')
			width++
		}
		bw.WriteString(n)
		width += len(n)
	}
	bw.WriteByte('\n')
	return bw.Flush()
}
