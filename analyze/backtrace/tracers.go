package backtrace

import (
	"context"
	"fmt"
	"sort"

	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// tracerSymbols are the addresses that tracers put in place of return addresses.
type tracerSymbols struct {
	graph     uint64 // return_to_handler: function graph tracer
	kretprobe uint64 // trampoline of kretprobes and, since 5.18, rethooks
}

func findTracerSymbols(k *kernel.Kernel) tracerSymbols {
	var t tracerSymbols
	if s, err := k.Symbol("return_to_handler"); err == nil {
		t.graph = s.Addr
	}
	// Renamed __kretprobe_trampoline in 5.16, replaced by arch_rethook_trampoline in 5.18 where the architecture has it.
	for _, name := range []string{"arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"} {
		if s, err := k.Symbol(name); err == nil {
			t.kretprobe = s.Addr
			break
		}
	}
	return t
}

// recover finds the return address that a tracer replaced at stack address at. Where a function has a return probe and is
// traced by the function graph tracer too, the one remembers the other's trampoline as the return address.
func (t *Tracer) recover(v *kernel.View, x *task.Task, pc, at uint64) (uint64, bool, error) {
	if pc == 0 {
		return 0, false, nil
	}
	replaced := false
	for range 2 { // each tracer once
		var err error
		switch pc {
		case t.traced.graph:
			pc, err = t.graphReturn(v, x, at)
		case t.traced.kretprobe:
			pc, err = t.kretprobeReturn(v, x, at)
		default:
			return pc, replaced, nil
		}
		if err != nil {
			return 0, true, err
		}
		replaced = true
	}
	return pc, true, nil
}

// graphReturn searches the task's shadow stack for the entry whose retp, the place of the return address, is at. The
// entries are an array of struct ftrace_ret_stack up to 6.10; since 6.11 they lie between other words of a page, and
// curr_ret_stack counts words. Looking at each word finds them in both.
func (t *Tracer) graphReturn(v *kernel.View, x *task.Task, at uint64) (uint64, error) {
	entry, err := v.Struct("ftrace_ret_stack")
	if err != nil {
		return 0, err
	}
	retp, ok1 := entry.OffsetOf("retp")
	ret, ok2 := entry.OffsetOf("ret")
	if !ok1 || !ok2 {
		return 0, fmt.Errorf("struct ftrace_ret_stack of this kernel has no retp")
	}
	tsk := v.ObjectOf("task_struct", x.Addr)
	base, err := tsk.Field("ret_stack").Uint()
	if err != nil {
		return 0, err
	}
	top, err := tsk.Field("curr_ret_stack").Int()
	if err != nil {
		return 0, err
	}
	unit := entry.Size
	if el := tsk.Field("ret_stack").Type().Strip().Elem().Strip(); el.Kind == symbols.Int {
		unit = el.Size
	}
	const maxShadow = 64 << 10
	if base == 0 || top < 0 || uint64(top+1)*unit > maxShadow {
		return 0, fmt.Errorf("the shadow stack of PID %d (%#x, %d entries) is damaged", x.PID, base, top)
	}
	buf := make([]byte, uint64(top+1)*unit)
	if n, err := v.ReadMemory(buf, base); err != nil && n < 8 {
		return 0, fmt.Errorf("shadow stack of PID %d: %w", x.PID, err)
	}
	word := v.ByteOrder().Uint64
	for i := int64(len(buf)) - 8; i >= int64(retp); i -= 8 {
		if word(buf[i:]) == at && uint64(i)-retp+ret+8 <= uint64(len(buf)) {
			if orig := word(buf[uint64(i)-retp+ret:]); t.IsText(orig) {
				return orig, nil
			}
		}
	}
	return 0, fmt.Errorf("the function graph tracer's shadow stack has no entry for %#x", at)
}

type rethookNode struct {
	Next  vmem.Addr `k:"llist.next"`
	Ret   uint64    `k:"ret_addr"`
	Frame uint64    `k:"frame|fp"`
}

// kretprobeReturn searches the task's pending return probes: task_struct.rethooks since 5.18, kretprobe_instances from
// 5.11; before, a hash table of all tasks' instances.
func (t *Tracer) kretprobeReturn(v *kernel.View, x *task.Task, at uint64) (uint64, error) {
	tsk := v.ObjectOf("task_struct", x.Addr)
	for _, form := range []struct{ member, node string }{{"rethooks", "rethook_node"}, {"kretprobe_instances", "kretprobe_instance"}} {
		if !tsk.Has(form.member) {
			continue
		}
		bind, err := kernel.Bind[rethookNode](v.Kernel, form.node)
		if err != nil {
			return 0, err
		}
		link, _ := bind.Type().OffsetOf("llist")
		next, err := tsk.Field(form.member + ".first").Pointer()
		if err != nil {
			return 0, err
		}
		for range 4096 { // nested return probes of one task; each is a call deep in a 16 KiB stack
			if next == 0 {
				break
			}
			n, err := bind.Read(v, next-vmem.Addr(link))
			if err != nil {
				return 0, err
			}
			if n.Frame == at {
				return n.Ret, nil
			}
			next = n.Next
		}
		return 0, fmt.Errorf("none of the task's pending return probes is for %#x", at)
	}
	return t.hashedKretprobe(v, x, at)
}

type hashedInstance struct {
	Next vmem.Addr `k:"hlist.next"`
	Ret  uint64    `k:"ret_addr"`
	FP   uint64    `k:"fp"`
	Task vmem.Addr `k:"task"`
}

func (t *Tracer) hashedKretprobe(v *kernel.View, x *task.Task, at uint64) (uint64, error) {
	sym, err := v.Symbol("kretprobe_inst_table")
	if err != nil {
		return 0, err
	}
	bind, err := kernel.Bind[hashedInstance](v.Kernel, "kretprobe_instance")
	if err != nil {
		return 0, err
	}
	link, _ := bind.Type().OffsetOf("hlist")
	const buckets = 64 // KPROBE_TABLE_SIZE
	for i := range uint64(buckets) {
		p, err := v.Word(vmem.Addr(sym.Addr + i*8))
		if err != nil {
			return 0, err
		}
		next := vmem.Addr(p)
		for range 4096 {
			if next == 0 {
				break
			}
			n, err := bind.Read(v, next-vmem.Addr(link))
			if err != nil {
				return 0, err
			}
			if n.Task == x.Addr && n.FP == at {
				return n.Ret, nil
			}
			next = n.Next
		}
	}
	return 0, fmt.Errorf("no pending return probe is for %#x", at)
}

// trampolines are copies of ftrace_caller or ftrace_regs_caller that ftrace allocated, by address. A copy unwinds by its
// original's rows (arch/x86/kernel/unwind_orc.c does the same).
type trampolines []trampoline

type trampoline struct{ lo, hi, original uint64 }

type ftraceOps struct {
	Next  vmem.Addr `k:"next"`
	Flags uint64    `k:"flags"`
	Tramp uint64    `k:"trampoline"`
	Size  uint64    `k:"trampoline_size"`
}

func readTrampolines(k *kernel.Kernel) (trampolines, error) {
	head, err := k.Symbol("ftrace_ops_list")
	if err != nil {
		return nil, err
	}
	bind, err := kernel.Bind[ftraceOps](k, "ftrace_ops")
	if err != nil {
		return nil, err
	}
	plain, err := k.Symbol("ftrace_caller")
	if err != nil {
		return nil, err
	}
	withRegs, err := k.Symbol("ftrace_regs_caller")
	if err != nil {
		return nil, err
	}
	p, err := k.Word(vmem.Addr(head.Addr))
	if err != nil {
		return nil, err
	}
	end, _ := k.Symbol("ftrace_list_end")
	v := k.View(context.Background())
	var out trampolines
	const flagSaveRegs = 1 << 2 // FTRACE_OPS_FL_SAVE_REGS, since 3.10
	for range 10000 {
		if p == 0 || p == end.Addr {
			break
		}
		ops, err := bind.Read(v, vmem.Addr(p))
		if err != nil {
			return out, err
		}
		if ops.Tramp != 0 && ops.Size != 0 && ops.Size < 1<<20 {
			orig := plain.Addr
			if ops.Flags&flagSaveRegs != 0 {
				orig = withRegs.Addr
			}
			out = append(out, trampoline{ops.Tramp, ops.Tramp + ops.Size, orig})
		}
		p = uint64(ops.Next)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].lo < out[j].lo })
	return out, nil
}

// Name is "backtrace".
func (t *Tracer) Name() string { return "backtrace" }

// RowAt is the kernel's row for pc, or for a trampoline that of the code it copies.
func (t *Tracer) RowAt(pc uint64) (symbols.Row, error) { return t.row(pc, t.k.Symbols().RowAt) }

// completeRowAt is RowAt from those who know all registers.
func (t *Tracer) completeRowAt(pc uint64) (symbols.Row, error) {
	return t.row(pc, t.k.Debug().CompleteRowAt)
}

func (t *Tracer) row(pc uint64, find func(uint64) (symbols.Row, error)) (symbols.Row, error) {
	row, err := find(pc)
	if err == nil {
		return row, nil
	}
	tramps, terr := t.tramps()
	if terr != nil {
		return row, err
	}
	i := sort.Search(len(tramps), func(i int) bool { return tramps[i].hi > pc })
	if i < len(tramps) && pc >= tramps[i].lo {
		return find(tramps[i].original + pc - tramps[i].lo)
	}
	return row, err
}
