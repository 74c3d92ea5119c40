package commands

import (
	"fmt"
	"sort"

	"kdx/analyze/backtrace"
	"kdx/analyze/task"
	"kdx/analyze/unwind"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func sortStable[T any](s []T, less func(a, b T) bool) {
	sort.SliceStable(s, func(i, j int) bool { return less(s[i], s[j]) })
}

// scanStacks answers bt -t, -T, -r and -e: the stack as it lies in memory, not unwound.
func scanStacks(c *Call, tr *backtrace.Tracer, xs []*task.Task) (view.Result, error) {
	var out view.StackScans
	name := c.annotator(0)
	for _, x := range xs {
		lo, hi := uint64(x.Stack), uint64(x.Stack)+tr.StackSize()
		var start *view.StackWord
		if c.Flags.Has("t") {
			lo, start = scanStart(c, tr, x, lo, hi)
		}
		words, err := readWords(c, lo, hi)
		if err != nil {
			c.View.Gap(fmt.Sprintf("PID %d: stack", x.PID), err)
		}
		scan := &view.StackScan{TaskHeader: header(x)}
		switch {
		case c.Flags.Has("r"):
			scan.Raw, scan.Words = true, words
			for i := range words {
				words[i].Name = name(uint64(words[i].Value))
			}
		case c.Flags.Has("e"):
			scan.Exceptions, scan.Searched = exceptionFrames(c, tr, words), true
		default:
			for _, w := range words {
				if !tr.IsText(uint64(w.Value)) {
					continue
				}
				if w.Name, w.Module, _ = nameOf(c.View, uint64(w.Value)); w.Name != "" {
					scan.Words = append(scan.Words, w)
				}
			}
			scan.Start = start
			if f := userFrame(c, tr, words); f != nil {
				scan.SetUser(f)
			}
		}
		out = append(out, scan)
	}
	return out, nil
}

// scanStart is where bt -t begins: at the stack pointer that the task's last switch saved, below the registers that it pushed, or at that of its
// CPU; and the word that holds the PC.
func scanStart(c *Call, tr *backtrace.Tracer, x *task.Task, lo, hi uint64) (uint64, *view.StackWord) {
	s, err := tr.Start(c.View, x)
	if err != nil {
		return lo, nil
	}
	at := s.At
	if sp, ok := s.Regs.Get(unwind.RSP); ok && at == 0 {
		at = sp &^ 7
	}
	from := at
	if !x.OnCPU && x.SP != 0 {
		from = x.SP &^ 7
	}
	if from >= lo && from < hi {
		lo = from
	}
	pc, ok := s.Regs.Get(unwind.RIP)
	if !ok {
		return lo, nil
	}
	name, module, _ := nameOf(c.View, pc)
	return lo, &view.StackWord{Addr: vmem.Addr(at), Value: vmem.Addr(pc), Name: name, Module: module}
}

// userFrame is what a task that came from user mode left at the end of its stack, nil without.
func userFrame(c *Call, tr *backtrace.Tracer, words []view.StackWord) *view.ExceptionFrame {
	const most = unwind.PtRegsSize/8 + 2 // with FRED two words follow (6.9)
	found := exceptionFrames(c, tr, words[max(0, len(words)-most):])
	if len(found) == 0 || found[len(found)-1].Kind != "user" {
		return nil
	}
	return &found[len(found)-1]
}

func readWords(c *Call, lo, hi uint64) ([]view.StackWord, error) {
	if hi <= lo || hi-lo > 1<<20 {
		return nil, fmt.Errorf("a stack from %#x to %#x is none", lo, hi)
	}
	buf := make([]byte, hi-lo)
	n, err := c.View.ReadMemory(buf, lo)
	var out []view.StackWord
	for i := 0; i+8 <= n; i += 8 {
		out = append(out, view.StackWord{Addr: vmem.Addr(lo + uint64(i)), Value: vmem.Addr(c.View.ByteOrder().Uint64(buf[i:]))})
	}
	return out, err
}

// exceptionFrames finds what looks like a struct pt_regs: segments and flags that only such a frame has, with a PC that
// is code of the kernel or an address of user space.
func exceptionFrames(c *Call, tr *backtrace.Tracer, words []view.StackWord) []view.ExceptionFrame {
	const regs = unwind.PtRegsSize / 8
	var out []view.ExceptionFrame
	buf := make([]byte, unwind.PtRegsSize)
	for i := 0; i+regs <= len(words); i++ {
		cs, flags, ss := uint64(words[i+17].Value), uint64(words[i+18].Value), uint64(words[i+20].Value)
		const alwaysSet, neverSet = 0x2, 0xffffffffffc08028 // RFLAGS: bit 1 is 1, bits 3, 5, 15 and those from 22 on are 0
		if flags&alwaysSet == 0 || flags&neverSet != 0 {
			continue
		}
		user := (cs == 0x33 || cs == 0x23) && ss == 0x2b && !c.View.Arch().IsKernel(uint64(words[i+16].Value))
		kern := cs == 0x10 && (ss == 0x18 || ss == 0) && tr.IsText(uint64(words[i+16].Value))
		if !user && !kern {
			continue
		}
		for j := range regs {
			c.View.ByteOrder().PutUint64(buf[j*8:], uint64(words[i+j].Value))
		}
		out = append(out, view.NewExceptionFrame(uint64(words[i].Addr), unwind.DecodePtRegs(c.View.ByteOrder().Uint64, buf),
			func(pc uint64) (string, string, uint64) { return nameOf(c.View, pc) }))
		i += regs - 1
	}
	return out
}

// searchCPUStacks is bt -E.
func searchCPUStacks(c *Call, tr *backtrace.Tracer) (view.Result, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	list := c.Flags.Value("c")
	if list == "" {
		list = "a"
	}
	cpus, err := parseCPUs(list, t.CPUs())
	if err != nil {
		return nil, err
	}
	var irq, exceptions view.CPUStackScans // in crash's order
	for _, cpu := range cpus {
		for _, s := range tr.CPUStacks(c.View, cpu) {
			if s.Name == "entry" {
				continue
			}
			words, err := readWords(c, s.Lo, s.Hi)
			if err != nil {
				c.View.Gap(fmt.Sprintf("CPU %d: %s stack", cpu, s.Name), err)
			}
			to := &exceptions
			if s.Name == "IRQ" {
				to = &irq
			}
			*to = append(*to, view.CPUStackScan{CPU: cpu, Stack: s.Name, Exceptions: exceptionFrames(c, tr, words)})
		}
	}
	return append(irq, exceptions...), nil
}

// stackEndMagic is STACK_END_MAGIC, which the kernel keeps in the lowest word of each task's stack.
const stackEndMagic = 0x57AC6E9D

// checkStacks is bt --overflow.
func checkStacks(c *Call, tr *backtrace.Tracer) (view.Result, error) {
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	out := &view.StackCheck{Overflows: []view.StackOverflow{}}
	for _, x := range t.Tasks {
		if x.Stack == 0 {
			continue
		}
		w, err := c.View.Word(x.Stack)
		if err != nil {
			c.View.Gap(fmt.Sprintf("PID %d: stack", x.PID), err)
			continue
		}
		out.Checked++
		if w != stackEndMagic {
			out.Overflows = append(out.Overflows, view.StackOverflow{TaskHeader: header(x),
				Evidence: fmt.Sprintf("the end marker at %#x is %#x, not %#x", uint64(x.Stack), w, stackEndMagic)})
		}
		if !x.OnCPU && (x.SP < uint64(x.Stack) || x.SP > uint64(x.Stack)+tr.StackSize()) {
			out.Overflows = append(out.Overflows, view.StackOverflow{TaskHeader: header(x),
				Evidence: fmt.Sprintf("the saved stack pointer %#x lies outside the stack", x.SP)})
		}
	}
	return out, nil
}
