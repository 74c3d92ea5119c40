// Package backtrace unwinds the tasks and CPUs of a dump: it finds the registers to start from, the stacks that belong
// to a CPU, and the return addresses that tracers replaced, and lets package unwind do the rest.
package backtrace

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"kdx/analyze/kernel"
	"kdx/analyze/sysinfo"
	"kdx/analyze/task"
	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Tracer unwinds the tasks of one kernel. It is safe for many goroutines; each passes its own View.
type Tracer struct {
	k      *kernel.Kernel
	tasks  *task.Table
	size   uint64 // THREAD_SIZE in bytes
	text   []textRange
	entry  textRange // stubs of interrupts, exceptions and system calls
	stacks sync.Map  // CPU → cpuStacks
	regs   func() (map[int]CPURegs, error)
	traced tracerSymbols
	tramps func() (trampolines, error)
}

type textRange struct{ lo, hi uint64 }

// New prepares for unwinding; it reads little.
func New(v *kernel.View, tasks *task.Table) *Tracer {
	t := &Tracer{k: v.Kernel, tasks: tasks, size: threadSize(v.Kernel)}
	for _, r := range [][2]string{{"_stext", "_etext"}, {"_sinittext", "_einittext"}} {
		lo, err1 := v.Symbol(r[0])
		hi, err2 := v.Symbol(r[1])
		if err1 == nil && err2 == nil && lo.Addr < hi.Addr {
			t.text = append(t.text, textRange{lo.Addr, hi.Addr})
		}
	}
	if lo, err := v.Symbol("__entry_text_start"); err == nil {
		if hi, err := v.Symbol("__entry_text_end"); err == nil {
			t.entry = textRange{lo.Addr, hi.Addr}
		}
	}
	t.traced = findTracerSymbols(v.Kernel)
	t.regs = sync.OnceValues(func() (map[int]CPURegs, error) { return readCPURegs(t.k) })
	t.tramps = sync.OnceValues(func() (trampolines, error) { return readTrampolines(t.k) })
	return t
}

// threadSize is THREAD_SIZE: init's stack has it; x86-64 has used 16 KiB since 3.15, 32 KiB with KASAN.
func threadSize(k *kernel.Kernel) uint64 {
	if t, err := k.Symbols().TypeNamed(symbols.Union, "thread_union"); err == nil && t.Size >= 4096 && t.Size <= 1<<20 {
		return t.Size
	}
	return 16 << 10
}

// StackSize is the size of a task's kernel stack in bytes.
func (t *Tracer) StackSize() uint64 { return t.size }

// ErrNoRegisters: the task was running at the crash, and the dump does not hold its CPU's registers.
var ErrNoRegisters = errors.New("it was running, and the dump has no registers of its CPU: the CPU did not answer the crash, or the dump was made without notes")

// ErrOffline: the task is the idle task of a CPU that was offline. Such a CPU sleeps in no place that it comes back from, and keeps no registers.
// Nothing is missing from the dump.
var ErrOffline = errors.New("its CPU was offline, and has no registers")

// ErrExited: the task has ended, and the kernel took its stack away. Nothing is missing from the dump.
var ErrExited = errors.New("it has exited, and its stack is freed")

// ErrRunning: the task runs on a CPU of the live system at this moment. Nothing is missing.
var ErrRunning = errors.New("it is running: what is on its stack changes while it is read, and only its CPU knows its registers")

// Start is where unwinding of a task begins.
type Start struct {
	Regs  unwind.Regs
	Exact bool
	At    uint64 // stack address of the first PC; 0 for registers
	CPU   *CPURegs
	User  *unwind.PtRegs // the CPU was in user mode
}

// Start finds the registers from which x unwinds: those of its CPU if it was running, else those that its last switch
// left on its stack.
func (t *Tracer) Start(v *kernel.View, x *task.Task) (Start, error) {
	if x.OnCPU && v.Live() {
		return Start{}, ErrRunning
	}
	if x.OnCPU {
		all, err := t.regs()
		if err != nil {
			v.Gap("registers of CPUs", err)
		}
		r, ok := all[x.CPU]
		if !ok && t.offline(v, x.CPU) {
			return Start{}, ErrOffline
		}
		if !ok {
			return Start{}, ErrNoRegisters
		}
		s := Start{Regs: r.Regs.Registers(), Exact: true, CPU: &r}
		if r.Regs.User() {
			s.User = &r.Regs
		}
		return s, nil
	}
	return t.inactive(v, x)
}

// offline reports whether a CPU is known to have been offline before the crash, or not to have been there: the kernel has an idle task for each that there
// may be.
func (t *Tracer) offline(v *kernel.View, cpu int) bool {
	if present, err := v.PresentCPUs(); err == nil && !slices.Contains(present, cpu) {
		return true
	}
	cpus, err := sysinfo.OfflineCPUs(v)
	return err == nil && slices.Contains(cpus, cpu)
}

// inactiveFrame is what __switch_to_asm pushes (struct inactive_task_frame, since 4.9).
type inactiveFrame struct {
	R15 uint64 `k:"r15,optional"`
	R14 uint64 `k:"r14,optional"`
	R13 uint64 `k:"r13,optional"`
	R12 uint64 `k:"r12,optional"`
	BX  uint64 `k:"bx"`
	BP  uint64 `k:"bp"`
	Ret uint64 `k:"ret_addr"`
}

func (t *Tracer) inactive(v *kernel.View, x *task.Task) (Start, error) {
	if x.Stack == 0 && x.ExitState != 0 {
		return Start{}, ErrExited // since 4.9 a dead task's stack goes before its task_struct
	}
	bind, err := kernel.Bind[inactiveFrame](v.Kernel, "inactive_task_frame")
	if err != nil {
		return Start{}, err
	}
	if x.SP < uint64(x.Stack) || x.SP+bind.Size() > uint64(x.Stack)+t.size {
		return Start{}, fmt.Errorf("its saved stack pointer %#x lies outside its stack (%#x to %#x)", x.SP, uint64(x.Stack), uint64(x.Stack)+t.size)
	}
	f, err := bind.Read(v, vmem.Addr(x.SP))
	if err != nil {
		return Start{}, err
	}
	var r unwind.Regs
	for n, val := range map[int]uint64{unwind.R15: f.R15, unwind.R14: f.R14, unwind.R13: f.R13, unwind.R12: f.R12, unwind.RBX: f.BX, unwind.RBP: f.BP,
		unwind.RIP: f.Ret, unwind.RSP: x.SP + bind.Size()} {
		r.Set(n, val)
	}
	// A task that has not run yet returns to the first byte of ret_from_fork, which no call precedes (unwind_orc.c knows it too).
	first, err := t.k.SymbolAt(vmem.Addr(f.Ret))
	return Start{Regs: r, At: x.SP + bind.Size() - 8, Exact: err == nil && first.Addr == f.Ret}, nil
}

// Option changes how a stack is unwound.
type Option func(*unwind.Config)

// WithRegisters recovers every register that can be, for those who want the variables of frames. It costs reading the call frame
// information of the kernel's debug file, if there is one; without, frames above the first have no more than RBP, RSP and RIP.
func WithRegisters(c *unwind.Config) { c.Registers = true }

// Trace unwinds x's kernel stack. The error says that there is nowhere to start; a trace that stops early says so in its
// End.
func (t *Tracer) Trace(v *kernel.View, x *task.Task, opts ...Option) (*unwind.Trace, error) {
	s, err := t.Start(v, x)
	if err != nil {
		return nil, err
	}
	if s.User != nil {
		return &unwind.Trace{User: s.User}, nil
	}
	return t.From(v, x, s, opts...), nil
}

// From unwinds x's stacks from given registers.
func (t *Tracer) From(v *kernel.View, x *task.Task, s Start, opts ...Option) *unwind.Trace {
	c := unwind.Config{Mem: v, Rows: t, Complete: t.completeRowAt, IsText: t.IsText, FramePointer: t.framePointer, Order: t.k.ByteOrder()}
	c.Function = func(pc uint64) (uint64, uint64, bool) {
		s, err := t.k.SymbolAt(vmem.Addr(pc))
		return s.Addr, s.Size, err == nil && s.IsText()
	}
	c.EntryCode = func(pc uint64) bool { return pc >= t.entry.lo && pc < t.entry.hi }
	c.Recover = func(pc, at uint64) (uint64, bool, error) { return t.recover(v, x, pc, at) }
	if x.OnCPU {
		c.Stacks = append(c.Stacks, t.CPUStacks(v, x.CPU)...)
	}
	c.Stacks = append(c.Stacks, unwind.Stack{Name: "task", Lo: uint64(x.Stack), Hi: uint64(x.Stack) + t.size})
	for _, o := range opts {
		o(&c)
	}
	return c.Run(s.Regs, s.Exact, s.At)
}

// IsText reports whether pc can be code: of the kernel, a module, a BPF program or a tracer's trampoline.
func (t *Tracer) IsText(pc uint64) bool {
	for _, r := range t.text {
		if pc >= r.lo && pc < r.hi {
			return true
		}
	}
	if !t.k.Arch().IsKernel(pc) {
		return false
	}
	if s, err := t.k.SymbolAt(vmem.Addr(pc)); err == nil && s.IsText() {
		return true
	}
	_, err := t.RowAt(pc)
	return err == nil
}

// framePointer: BPF's JIT compilers always keep one (arch/x86/net/bpf_jit_comp.c).
func (t *Tracer) framePointer(pc uint64) bool {
	s, err := t.k.SymbolAt(vmem.Addr(pc))
	return err == nil && s.Module == "bpf"
}
