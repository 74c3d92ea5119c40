package view

import (
	"bytes"
	"strings"
	"testing"

	"kdx/analyze/unwind"
)

func TestMergedTasks(t *testing.T) {
	m := &MergedStack{Stack: &Stack{Frames: []Frame{{Function: "schedule", PC: 0xffffffff81000010, At: 0xffffc90000000100, Sure: "sure"}}}}
	for _, pid := range []int32{9, 3, 4, 5, 6, 20, 21} {
		m.Tasks = append(m.Tasks, TaskHeader{PID: pid, Comm: "sleep"})
	}
	m.Tasks = append(m.Tasks, TaskHeader{PID: 7, Comm: "a\x1b[2Jb"})
	m.Count = len(m.Tasks)
	var b bytes.Buffer
	if err := (MergedStacks{m}).Text(&b, Options{}); err != nil {
		t.Fatal(err)
	}
	want := "8 TASKS: sleep (3-6, 9, 20, 21), a\\x1b[2Jb (7)\n #0 [ffffc90000000100] schedule at ffffffff81000010\n"
	if b.String() != want {
		t.Errorf("Text = %q; want %q", b.String(), want)
	}
}

// TestEndsBadly: a trace that stops says so, with the frames that it has.
func TestEndsBadly(t *testing.T) {
	tr := &unwind.Trace{Frames: []unwind.Frame{{PC: 0x1005, At: 0x2000, Stack: "task", Sure: unwind.Guessed}}, End: errText("the stack is overwritten")}
	s := NewStack(TaskHeader{PID: 7, Comm: "x"}, false, tr, func(pc uint64) (string, string, uint64) { return "f", "mod", pc - 0x1000 })
	var b bytes.Buffer
	if err := (Backtraces{s}).Text(&b, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PID: 7        TASK: 0000000000000000  CPU: 0    COMMAND: \"x\"\n", " #0 [0000000000002000] f at 0000000000001005 [mod] (guessed)\n", "(the trace ends here: the stack is overwritten)\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("Text = %q; want %q in it", b.String(), want)
		}
	}
	if s.Frames[0].Offset != 5 {
		t.Errorf("Offset = %d; want that of the return address, 5", s.Frames[0].Offset)
	}
}

type errText string

func (e errText) Error() string { return string(e) }
