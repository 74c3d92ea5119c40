package view

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/symbols"
	"kdx/symbols/demangle"
)

// TaskHeader is the line that names a task above what a command says of it.
type TaskHeader struct {
	PID  int32     `json:"pid"`
	TGID int32     `json:"tgid"`
	Task vmem.Addr `json:"task"`
	CPU  int       `json:"cpu"`
	Comm string    `json:"comm"`
}

func (h *TaskHeader) line() string {
	return fmt.Sprintf("PID: %-7d  TASK: %016x  CPU: %-3d  COMMAND: \"%s\"\n", h.PID, uint64(h.Task), h.CPU, Printable(h.Comm))
}

// Frame is one function of a stack.
type Frame struct {
	Level    int       `json:"level"`
	Function string    `json:"function"` // "" if no symbol covers the PC
	Offset   uint64    `json:"offset"`   // of the PC in the function, bytes
	Module   string    `json:"module,omitempty"`
	PC       vmem.Addr `json:"pc"`
	// At is the stack address that held the PC; for the frame that registers start with, the stack pointer.
	At vmem.Addr `json:"stack_address"`
	// Exact: the PC is where the CPU was interrupted, no return address.
	Exact bool   `json:"exact,omitempty"`
	Sure  string `json:"confidence"` // "sure" or "guessed"
	Stack string `json:"stack"`      // "task", "IRQ", "NMI", …
	// Traced: a tracer had replaced the return address; PC is the recovered one.
	Traced bool `json:"traced,omitempty"`
	// File, Line and Column are where the PC is in Function: for a return address, the call (-l).
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Inlined are functions that were inlined into Function and are active at the PC, the innermost first (-l).
	Inlined   []Place             `json:"inlined,omitempty"`
	Registers *Registers          `json:"registers,omitempty"` // saved by this frame's interrupt or exception entry
	Words     []StackWord         `json:"words,omitempty"`     // -f, -F
	Scopes    []FunctionVariables `json:"scopes,omitempty"`    // -v
	saved     *unwind.PtRegs
}

// StackWord is a word of a frame, with what it points to.
type StackWord struct {
	Addr  vmem.Addr `json:"address"`
	Value vmem.Addr `json:"value"`
	Name  string    `json:"name,omitempty"`
	// Module is that of the function (-t, -T).
	Module string `json:"module,omitempty"`
}

// Registers is a struct pt_regs; values are hex strings. Those that were not saved are null.
type Registers struct {
	Kind string                `json:"kind"` // "exception" (of the kernel), "user", "cpu" (where the CPU was)
	At   vmem.Addr             `json:"address,omitempty"`
	Regs map[string]*vmem.Addr `json:"values"`
}

// Stack is a task's backtrace.
type Stack struct {
	TaskHeader
	Active bool       `json:"active"`
	Frames []Frame    `json:"frames"`
	CPU    *Registers `json:"cpu_registers,omitempty"`
	User   *Registers `json:"user_registers,omitempty"`
	// End is why the trace stops before user mode or the task's first function; "" if it does not.
	End string `json:"ends_badly,omitempty"`
	// NoStack is why the task has no stack at all; "" if it has one.
	NoStack string `json:"no_stack,omitempty"`

	userRegs, cpuRegs *unwind.PtRegs
	symOffset         bool
	hexOffset         bool
}

// Backtraces are the stacks that a bt prints.
type Backtraces []*Stack

// NewRegisters makes the JSON form of registers.
func NewRegisters(kind string, at uint64, p *unwind.PtRegs) *Registers {
	r := &Registers{Kind: kind, At: vmem.Addr(at), Regs: make(map[string]*vmem.Addr)}
	for name, v := range map[string]uint64{"rip": p.RIP, "cs": p.CS, "rflags": p.RFLAGS, "rsp": p.RSP, "ss": p.SS} {
		a := vmem.Addr(v)
		r.Regs[name] = &a
	}
	for name, v := range map[string]uint64{"rax": p.RAX, "rbx": p.RBX, "rcx": p.RCX, "rdx": p.RDX, "rsi": p.RSI, "rdi": p.RDI, "rbp": p.RBP,
		"r8": p.R8, "r9": p.R9, "r10": p.R10, "r11": p.R11, "r12": p.R12, "r13": p.R13, "r14": p.R14, "r15": p.R15, "orig_rax": p.OrigRAX} {
		if p.Partial {
			r.Regs[name] = nil
			continue
		}
		a := vmem.Addr(v)
		r.Regs[name] = &a
	}
	return r
}

// Resolver names code.
type Resolver func(pc uint64) (function, module string, offset uint64)

// NewStack makes the result of a trace.
func NewStack(h TaskHeader, active bool, t *unwind.Trace, name Resolver) *Stack {
	s := &Stack{TaskHeader: h, Active: active, Frames: []Frame{}}
	for i := range t.Frames {
		f := &t.Frames[i]
		v := Frame{Level: i, PC: vmem.Addr(f.PC), At: vmem.Addr(f.At), Exact: f.Exact, Sure: f.Sure.String(), Stack: f.Stack, Traced: f.Traced, saved: f.Saved}
		v.Function, v.Module, v.Offset = name(f.Lookup())
		if !f.Exact && v.Function != "" {
			v.Offset++
		}
		if f.At == 0 {
			sp, _ := f.Regs.Get(unwind.RSP)
			v.At = vmem.Addr(sp)
		}
		if f.Saved != nil {
			kind := "exception"
			if f.Saved.User() {
				kind = "user"
			}
			v.Registers = NewRegisters(kind, f.SavedAt, f.Saved)
		}
		s.Frames = append(s.Frames, v)
	}
	if t.User != nil {
		s.User = NewRegisters("user", 0, t.User)
		s.userRegs = t.User
	}
	if t.End != nil {
		s.End = t.End.Error()
	}
	return s
}

// NoStack is the result for a task without a stack.
func NoStack(h TaskHeader, why string) *Stack {
	return &Stack{TaskHeader: h, Frames: []Frame{}, NoStack: why}
}

// SetCPU adds the registers that a running task was found with.
func (s *Stack) SetCPU(p *unwind.PtRegs) {
	s.CPU = NewRegisters("cpu", 0, p)
	s.cpuRegs = p
}

// AddPlaces adds source lines and inlined functions (bt -l). places says where an instruction comes from, nil if it does not know.
func (s *Stack) AddPlaces(places func(pc uint64) []symbols.Place) {
	for i := range s.Frames {
		f := &s.Frames[i]
		pc := uint64(f.PC)
		if !f.Exact {
			pc-- // inside the call
		}
		var own Place
		f.Inlined, own = InlinedAt(places(pc))
		f.File, f.Line, f.Column = own.File, own.Line, own.Column
	}
}

// ShowOffsets makes the text show name+offset (bt -s), in hexadecimal if hex.
func (s *Stack) ShowOffsets(hex bool) { s.symOffset, s.hexOffset = true, hex }

// Text writes the stacks as crash does. Differences: the function that an exception interrupted is a numbered frame
// behind the exception's registers, and a trace that ends badly says so.
func (b Backtraces) Text(w io.Writer, _ Options) error {
	return blocks(w, b, func(bw *bufio.Writer, s *Stack) {
		s.text(bw)
	})
}

func (s *Stack) text(w *bufio.Writer) {
	w.WriteString(s.line())
	s.frames(w)
}

func (s *Stack) frames(w *bufio.Writer) {
	if s.cpuRegs != nil && (s.userRegs != s.cpuRegs) {
		if len(s.Frames) > 0 {
			s.Frames[0].exceptionRIP(w)
		}
		writeRegs(w, s.cpuRegs)
	}
	for i := range s.Frames {
		f := &s.Frames[i]
		if i > 0 && s.Frames[i-1].Stack != f.Stack {
			fmt.Fprintf(w, "--- <%s> ---\n", stackTitle(s.Frames[i-1].Stack))
		}
		f.text(w, s.symOffset, s.hexOffset)
		if f.saved == nil || f.saved.User() {
			continue
		}
		if i+1 < len(s.Frames) {
			s.Frames[i+1].exceptionRIP(w)
		}
		writeRegs(w, f.saved)
	}
	if s.userRegs != nil {
		writeRegs(w, s.userRegs)
	}
	if s.NoStack != "" {
		fmt.Fprintf(w, "    (%s)\n", s.NoStack)
	}
	if s.End != "" {
		fmt.Fprintf(w, "    (the trace ends here: %s)\n", s.End)
	}
}

func stackTitle(name string) string {
	switch name {
	case "IRQ", "entry", "task":
		return name + " stack"
	}
	return name + " exception stack"
}

func (f *Frame) where(offset, hex bool) string {
	name := demangle.Name(f.Function)
	if name == "" {
		name = "(unknown)"
	}
	if offset {
		if hex {
			name += fmt.Sprintf("+%#x", f.Offset)
		} else {
			name += fmt.Sprintf("+%d", f.Offset)
		}
	}
	return name
}

// place is where the frame's own function is.
func (f *Frame) place() *Place { return &Place{File: f.File, Line: f.Line} }

// exceptionRIP names the place that an exception interrupted: that of the innermost function.
func (f *Frame) exceptionRIP(w *bufio.Writer) {
	fmt.Fprintf(w, "    [exception RIP: %s]\n", f.where(true, false))
	p := f.place()
	if len(f.Inlined) > 0 {
		p = &f.Inlined[0]
	}
	if where := p.where(); where != "" {
		fmt.Fprintf(w, "    %s\n", where)
	}
}

func (f *Frame) text(w *bufio.Writer, offset, hex bool) {
	mark := ""
	if f.Module != "" {
		mark = " [" + Printable(f.Module) + "]"
	}
	if f.Sure != unwind.Sure.String() {
		mark += " (" + f.Sure + ")"
	}
	if f.Traced {
		mark += " (return address recovered from the tracer)"
	}
	line := func(name, mark string, p *Place) {
		fmt.Fprintf(w, "%3s [%016x] %s at %016x%s\n", fmt.Sprintf("#%d", f.Level), uint64(f.At), name, uint64(f.PC), mark)
		if where := p.where(); where != "" {
			fmt.Fprintf(w, "    %s\n", where)
		}
	}
	for i := range f.Inlined {
		line(Printable(f.Inlined[i].name()), mark+" (inlined)", &f.Inlined[i])
	}
	line(f.where(offset, hex), mark, f.place())
	for i, word := range f.Words {
		if i%2 == 0 {
			fmt.Fprintf(w, "    %016x: ", uint64(word.Addr))
		}
		if word.Name != "" {
			fmt.Fprintf(w, "%-16s ", word.Name)
		} else {
			fmt.Fprintf(w, "%016x ", uint64(word.Value))
		}
		if i%2 == 1 || i == len(f.Words)-1 {
			w.WriteByte('\n')
		}
	}
	writeScopes(w, f.Scopes)
}

func writeRegs(w *bufio.Writer, p *unwind.PtRegs) {
	fmt.Fprintf(w, "    RIP: %016x  RSP: %016x  RFLAGS: %08x\n", p.RIP, p.RSP, p.RFLAGS)
	if !p.Partial {
		fmt.Fprintf(w, "    RAX: %016x  RBX: %016x  RCX: %016x\n", p.RAX, p.RBX, p.RCX)
		fmt.Fprintf(w, "    RDX: %016x  RSI: %016x  RDI: %016x\n", p.RDX, p.RSI, p.RDI)
		fmt.Fprintf(w, "    RBP: %016x   R8: %016x   R9: %016x\n", p.RBP, p.R8, p.R9)
		fmt.Fprintf(w, "    R10: %016x  R11: %016x  R12: %016x\n", p.R10, p.R11, p.R12)
		fmt.Fprintf(w, "    R13: %016x  R14: %016x  R15: %016x\n", p.R13, p.R14, p.R15)
		fmt.Fprintf(w, "    ORIG_RAX: %016x  CS: %04x  SS: %04x\n", p.OrigRAX, p.CS, p.SS)
		return
	}
	fmt.Fprintf(w, "    CS: %04x  SS: %04x\n", p.CS, p.SS)
}

// MergedStacks are stacks with the tasks that share each, the most frequent first (bt -S).
type MergedStacks []*MergedStack

// MergedStack is one stack and its tasks.
type MergedStack struct {
	Count int          `json:"count"`
	Tasks []TaskHeader `json:"tasks"`
	Stack *Stack       `json:"stack"` // of the first task
}

// Key is equal for stacks with the same functions at the same offsets.
func (s *Stack) Key() string {
	var b strings.Builder
	for i := range s.Frames {
		fmt.Fprintf(&b, "%x,%v;", uint64(s.Frames[i].PC), s.Frames[i].Exact)
	}
	fmt.Fprintf(&b, "%v,%v,%s", s.userRegs != nil, s.Active, s.End)
	if s.Active || s.End != "" {
		fmt.Fprintf(&b, "%d", s.PID) // what was running, and what is damaged, stands for itself
	}
	return b.String()
}

// Text writes each stack once, under the tasks that share it.
func (m MergedStacks) Text(w io.Writer, _ Options) error {
	return blocks(w, m, func(bw *bufio.Writer, s *MergedStack) {
		if s.Count == 1 {
			s.Stack.text(bw)
			return
		}
		s.tasks(bw)
		saved := s.Stack.userRegs
		s.Stack.userRegs = nil // differs from task to task
		s.Stack.frames(bw)
		s.Stack.userRegs = saved
	})
}

// tasks names the tasks by command, their pids as ranges: "503 TASKS: sleep (164, 177-676), top (167)".
func (m *MergedStack) tasks(w *bufio.Writer) {
	pids := make(map[string][]int32)
	var comms []string
	for _, t := range m.Tasks {
		if pids[t.Comm] == nil {
			comms = append(comms, t.Comm)
		}
		pids[t.Comm] = append(pids[t.Comm], t.PID)
	}
	fmt.Fprintf(w, "%d TASKS:", m.Count)
	const limit = 118 // columns, also where no screen says
	width := 10
	for i, comm := range comms {
		words := append([]string{Printable(comm)}, pidRanges(pids[comm])...)
		words[1] = "(" + words[1]
		words[len(words)-1] += ")"
		for j, word := range words {
			switch {
			case j > 0 && j < len(words)-1, j == len(words)-1 && i < len(comms)-1:
				word += ","
			}
			if width += len(word) + 1; width > limit {
				w.WriteString("\n        ")
				width = 9 + len(word)
			}
			w.WriteString(" " + word)
		}
	}
	w.WriteByte('\n')
}

func pidRanges(pids []int32) []string {
	slices.Sort(pids)
	var out []string
	for i := 0; i < len(pids); {
		j := i
		for j+1 < len(pids) && pids[j+1] == pids[j]+1 {
			j++
		}
		if j-i < 2 {
			out = append(out, fmt.Sprint(pids[i]))
			i++
			continue
		}
		out = append(out, fmt.Sprintf("%d-%d", pids[i], pids[j]))
		i = j + 1
	}
	return out
}
