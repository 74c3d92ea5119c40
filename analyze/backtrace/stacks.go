package backtrace

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// irqStackSize is IRQ_STACK_SIZE of x86-64: 16 KiB (arch/x86/include/asm/page_64_types.h), doubled by KASAN as
// THREAD_SIZE is.
const irqStackSize = 16 << 10

// istStacks are the interrupt stack table's entries in order (enum exception_stack_ordering): DB came down to one stack
// and moved behind NMI in 5.8; VC came with 5.10.
var istStacks = []struct{ member, name string }{{"DF_stack", "#DF"}, {"NMI_stack", "NMI"}, {"DB_stack", "#DB"}, {"MCE_stack", "#MC"}, {"VC_stack", "#VC"}}

// CPUStacks are the stacks of a CPU beside those of tasks.
func (t *Tracer) CPUStacks(v *kernel.View, cpu int) []unwind.Stack {
	if s, ok := t.stacks.Load(cpu); ok {
		return s.([]unwind.Stack)
	}
	s := t.readStacks(v, cpu)
	t.stacks.Store(cpu, s)
	return s
}

func (t *Tracer) readStacks(v *kernel.View, cpu int) []unwind.Stack {
	var out []unwind.Stack
	what := fmt.Sprintf("stacks of CPU %d", cpu)
	if top, err := irqStackTop(v, cpu); err != nil {
		v.Gap(what, err)
	} else if top != 0 {
		size := max(irqStackSize, t.size)
		top = (top + 4095) &^ 4095 // the pointer is the stack's end, or since 5.12 the last word before it
		out = append(out, unwind.Stack{Name: "IRQ", Lo: top - size, Hi: top})
	}
	ist, err := exceptionStacks(v, cpu)
	if err != nil {
		v.Gap(what, err)
	}
	return append(out, ist...)
}

// irqStackTop: per-CPU hardirq_stack_ptr (5.8), inside pcpu_hot from 6.2 to 6.14.
func irqStackTop(v *kernel.View, cpu int) (uint64, error) {
	off, err := v.PerCPUOffset(cpu)
	if err != nil {
		return 0, err
	}
	if sym, err := v.Symbol("hardirq_stack_ptr"); err == nil {
		return v.Word(vmem.Addr(sym.Addr + off))
	}
	m, ok := v.OffsetOf("pcpu_hot", "hardirq_stack_ptr")
	if !ok {
		return 0, fmt.Errorf("neither hardirq_stack_ptr nor pcpu_hot leads to the IRQ stack")
	}
	sym, err := v.Symbol("pcpu_hot")
	if err != nil {
		return 0, err
	}
	return v.Word(vmem.Addr(sym.Addr + off + m))
}

// exceptionStacks reads the tops of the IST stacks and of the entry stack from the CPU's TSS; their sizes are those of
// struct exception_stacks.
func exceptionStacks(v *kernel.View, cpu int) ([]unwind.Stack, error) {
	off, err := v.PerCPUOffset(cpu)
	if err != nil {
		return nil, err
	}
	sym, err := v.Symbol("cpu_tss_rw")
	if err != nil {
		return nil, err
	}
	tss := v.ObjectOf("tss_struct", vmem.Addr(sym.Addr+off)).Field("x86_tss")
	layout, layoutErr := v.Struct("cea_exception_stacks")
	var out []unwind.Stack
	for i, s := range istStacks {
		top, err := tss.Field("ist").Index(int64(i)).Uint()
		if err != nil {
			return out, err
		}
		if top == 0 {
			continue
		}
		size := uint64(4096)
		if layoutErr == nil {
			m, ok := layout.Member(s.member)
			if !ok {
				continue
			}
			size = arraySize(m.Type)
		}
		if _, err := v.Arch().Kernel().Translate(top - 8); size == 0 || err != nil && unmapped(err) {
			continue // VC stacks exist, but are not backed by memory, without SEV-ES
		}
		out = append(out, unwind.Stack{Name: s.name, Lo: top - size, Hi: top})
	}
	entry, err := tss.Field("sp0").Uint()
	if err != nil {
		return out, err
	}
	size := uint64(4096)
	if t, err := v.Struct("entry_stack"); err == nil && t.Size != 0 {
		size = t.Size
	}
	return append(out, unwind.Stack{Name: "entry", Lo: entry - size, Hi: entry}), nil
}

func arraySize(t *symbols.Type) uint64 {
	t = t.Strip()
	if t.Kind == symbols.Array && t.Len >= 0 {
		return uint64(t.Len) * t.Elem().Size
	}
	return t.Size
}

// unmapped: the page tables say so, rather than being unreadable.
func unmapped(err error) bool {
	var fault *vmem.FaultError
	return errors.As(err, &fault) && fault.Err == nil
}
