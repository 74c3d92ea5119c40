package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// WaitQueue is waitq.
type WaitQueue struct {
	Name    string    `json:"name"` // as it was asked for
	Addr    vmem.Addr `json:"address"`
	Waiters []Waiter  `json:"waiters"`
}

// Waiter is an entry of a wait queue.
type Waiter struct {
	Entry     vmem.Addr   `json:"entry"`
	Task      *TaskHeader `json:"task"`     // null if the entry wakes no task, but calls Function
	Function  *Code       `json:"function"` // that is called to wake; null in simple wait queues
	Exclusive bool        `json:"exclusive"`
}

// Text writes crash's lines: a task's header each. What waits without a task is named by the function that is called.
func (q *WaitQueue) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if len(q.Waiters) == 0 {
		fmt.Fprintf(bw, "wait queue \"%s\" (%016x) is empty\n", Printable(q.Name), uint64(q.Addr))
	}
	for i := range q.Waiters {
		x := &q.Waiters[i]
		switch {
		case x.Task != nil:
			bw.WriteString(x.Task.line())
		case x.Function != nil:
			fmt.Fprintf(bw, "(no task)     ENTRY: %016x  FUNCTION: %016x  <%s>\n", uint64(x.Entry), uint64(x.Function.Addr), x.Function.label())
		default:
			fmt.Fprintf(bw, "(no task)     ENTRY: %016x\n", uint64(x.Entry))
		}
	}
	return bw.Flush()
}
