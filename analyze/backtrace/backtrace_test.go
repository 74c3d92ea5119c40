package backtrace

import (
	"errors"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

const types = `
struct llist_node { struct llist_node *next; };
struct llist_head { struct llist_node *first; };
struct ftrace_ret_stack { unsigned long ret; unsigned long func; unsigned long *retp; };
struct rethook_node { unsigned long pad; struct llist_node llist; unsigned long ret_addr; unsigned long frame; };
struct inactive_task_frame { unsigned long r15, r14, r13, r12, bx, bp, ret_addr; };
struct cpuhp_cpu_state { int state; };
struct ftrace_ops { unsigned long func; struct ftrace_ops *next; unsigned long flags; unsigned long trampoline; unsigned long trampoline_size; };
`

// Code lies in the test machine's direct map: it has no other mapping.
const (
	text      = uint64(kerneltest.Base) + 0x100000
	fnCaller  = text + 0x100
	fnHandler = text + 0x200 // return_to_handler
	fnHook    = text + 0x300 // arch_rethook_trampoline
	fnFtrace  = text + 0x400 // ftrace_caller
)

type machine struct {
	*kerneltest.Machine
	task vmem.Addr
}

// newMachine has a task whose shadow stack is an array of structs (old) or words of a page (since 6.11).
func newMachine(t *testing.T, words bool) *machine {
	shadow := "struct ftrace_ret_stack *ret_stack;"
	if words {
		shadow = "unsigned long *ret_stack;"
	}
	m := &machine{Machine: kerneltest.New(t, types+"struct task_struct { int pid; int curr_ret_stack; "+shadow+" struct llist_head rethooks; };")}
	for name, addr := range map[string]uint64{"_stext": text, "_etext": text + 0x1000, "return_to_handler": fnHandler,
		"arch_rethook_trampoline": fnHook, "ftrace_caller": fnFtrace, "ftrace_regs_caller": fnFtrace + 0x80} {
		m.Symbol(symbols.Symbol{Name: name, Addr: addr, Letter: 'T'})
	}
	m.task = m.Alloc(256)
	m.Set(m.task, "task_struct", "pid", 7)
	return m
}

func (m *machine) tracer() *Tracer { return New(m.View(), nil) }

func TestRecoverGraph(t *testing.T) {
	const at = 0xffffc90000001230
	for name, words := range map[string]bool{"array of entries": false, "words since 6.11": true} {
		m := newMachine(t, words)
		stack := m.AllocPage()
		m.Set(m.task, "task_struct", "ret_stack", uint64(stack))
		entry := stack + 24 // the second entry, or behind three words of fgraph's own
		m.Word(entry, fnCaller+5)
		m.Word(entry+16, at)
		top := uint64(1)
		if words {
			top = 6
		}
		m.Set(m.task, "task_struct", "curr_ret_stack", top)
		tr := m.tracer()
		x := &task.Task{Addr: m.task, PID: 7}
		if pc, ok, err := tr.recover(m.View(), x, fnHandler, at); pc != fnCaller+5 || !ok || err != nil {
			t.Errorf("%s: recover = %#x, %v, %v; want %#x", name, pc, ok, err, uint64(fnCaller+5))
		}
		if _, ok, err := tr.recover(m.View(), x, fnHandler, at+8); !ok || err == nil {
			t.Errorf("%s: recover of another place = %v, %v; want an error, not a guess", name, ok, err)
		}
		if pc, ok, err := tr.recover(m.View(), x, fnCaller, at); pc != fnCaller || ok || err != nil {
			t.Errorf("%s: recover of an address that was not replaced = %#x, %v, %v", name, pc, ok, err)
		}
	}
}

func TestRecoverDamaged(t *testing.T) {
	m := newMachine(t, false)
	m.Set(m.task, "task_struct", "ret_stack", uint64(m.AllocPage()))
	m.Set(m.task, "task_struct", "curr_ret_stack", 1<<30)
	if _, _, err := m.tracer().recover(m.View(), &task.Task{Addr: m.task}, fnHandler, 1); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("recover with a shadow stack of 2^30 entries = %v; want that it is damaged", err)
	}
}

// TestRecoverRethook: a return probe on a function that is graphed remembers the graph tracer's trampoline.
func TestRecoverRethook(t *testing.T) {
	const at = 0xffffc90000001230
	m := newMachine(t, false)
	node := m.Alloc(64)
	m.Set(m.task, "task_struct", "rethooks.first", uint64(node)+m.Offset("rethook_node", "llist"))
	m.Set(node, "rethook_node", "ret_addr", fnHandler)
	m.Set(node, "rethook_node", "frame", at)
	stack := m.AllocPage()
	m.Set(m.task, "task_struct", "ret_stack", uint64(stack))
	m.Word(stack, fnCaller+9)
	m.Word(stack+16, at)
	if pc, ok, err := m.tracer().recover(m.View(), &task.Task{Addr: m.task}, fnHook, at); pc != fnCaller+9 || !ok || err != nil {
		t.Errorf("recover = %#x, %v, %v; want %#x through both tracers", pc, ok, err, uint64(fnCaller+9))
	}
	m = newMachine(t, false)
	loop := m.Alloc(64)
	m.Set(m.task, "task_struct", "rethooks.first", uint64(loop)+m.Offset("rethook_node", "llist"))
	m.Set(loop, "rethook_node", "llist.next", uint64(loop)+m.Offset("rethook_node", "llist"))
	if _, _, err := m.tracer().recover(m.View(), &task.Task{Addr: m.task}, fnHook, at); err == nil {
		t.Error("recover from a list that loops = nil; want an error")
	}
}

// rowsAt are rows for ftrace_caller alone.
type rowsAt struct{}

func (rowsAt) Name() string { return "test" }
func (rowsAt) RowAt(pc uint64) (symbols.Row, error) {
	if pc >= fnFtrace && pc < fnFtrace+0x80 {
		return symbols.Row{CFA: symbols.Rule{Kind: symbols.RuleRegPlus, Reg: 7, Off: int64(pc - fnFtrace)}}, nil
	}
	return symbols.Row{}, symbols.ErrNotFound
}

func TestTrampoline(t *testing.T) {
	m := newMachine(t, false)
	head, ops, tramp := m.Alloc(8), m.Alloc(64), m.AllocPage()
	m.Var("ftrace_ops_list", head, "")
	m.Word(head, uint64(ops))
	m.Set(ops, "ftrace_ops", "trampoline", uint64(tramp))
	m.Set(ops, "ftrace_ops", "trampoline_size", 64)
	m.Kernel().Symbols().AddRows(rowsAt{})
	tr := m.tracer()
	if row, err := tr.RowAt(uint64(tramp) + 24); err != nil || row.CFA.Off != 24 {
		t.Errorf("RowAt(a trampoline + 24) = %+v, %v; want the row of ftrace_caller + 24", row, err)
	}
	if _, err := tr.RowAt(uint64(tramp) + 64); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("RowAt(behind the trampoline) = %v; want ErrNotFound", err)
	}
}

func TestStart(t *testing.T) {
	m := newMachine(t, false)
	tr := m.tracer()
	stack := m.AllocPage()
	sp := uint64(stack) + 0x800
	m.Word(vmem.Addr(sp+6*8), fnCaller+3)
	m.Word(vmem.Addr(sp+5*8), 0x55)
	s, err := tr.Start(m.View(), &task.Task{Stack: stack, SP: sp})
	if err != nil {
		t.Fatal(err)
	}
	if pc, _ := s.Regs.Get(16); pc != fnCaller+3 || s.Exact || s.At != sp+48 {
		t.Errorf("Start = pc %#x, exact %v, at %#x; want the return address at %#x", pc, s.Exact, s.At, sp+48)
	}
	if bp, ok := s.Regs.Get(6); bp != 0x55 || !ok {
		t.Errorf("rbp = %#x, %v; want the saved 0x55", bp, ok)
	}
	if _, err := tr.Start(m.View(), &task.Task{Stack: stack, SP: uint64(stack) + 0x5000}); err == nil || !strings.Contains(err.Error(), "outside its stack") {
		t.Errorf("Start with a wild stack pointer = %v; want that it lies outside", err)
	}
	if _, err := tr.Start(m.View(), &task.Task{ExitState: 0x20}); !errors.Is(err, ErrExited) {
		t.Errorf("Start of a zombie = %v; want ErrExited", err)
	}
	if _, err := tr.Start(m.View(), &task.Task{OnCPU: true}); !errors.Is(err, ErrNoRegisters) {
		t.Errorf("Start of a running task without registers = %v; want ErrNoRegisters", err)
	}
}

// cpus gives the machine processors, as bits, and returns the areas of possible ones.
func (m *machine) cpus(possible, present uint64) []vmem.Addr {
	masks, offsets := m.Alloc(16), m.Alloc(64)
	m.Var("__cpu_possible_mask", masks, "")
	m.Var("__cpu_present_mask", masks+8, "")
	m.Word(masks, possible)
	m.Word(masks+8, present)
	m.Var("__per_cpu_offset", offsets, "")
	var areas []vmem.Addr
	for cpu := vmem.Addr(0); possible>>cpu != 0; cpu++ {
		areas = append(areas, m.AllocPage())
		m.Word(offsets+8*cpu, uint64(areas[cpu]))
	}
	return areas
}

// TestOffline: the idle task of a CPU that was offline, or is not there, has no registers, and nothing is missing.
func TestOffline(t *testing.T) {
	m := newMachine(t, false)
	areas := m.cpus(7, 3)
	const at, online = 0x80, 238
	m.Var("cpuhp_state", at, "")
	m.Word(areas[0]+at, online)
	for cpu, want := range []error{ErrNoRegisters, ErrOffline, ErrOffline} { // the last is not there
		if _, err := m.tracer().Start(m.View(), &task.Task{OnCPU: true, CPU: cpu}); !errors.Is(err, want) {
			t.Errorf("Start on CPU %d = %v; want %v", cpu, err, want)
		}
	}
}

// TestNotesOfPresent: QEMU has notes of the CPUs that are there, in their order.
func TestNotesOfPresent(t *testing.T) {
	m := newMachine(t, false)
	m.cpus(7, 5)
	m.Kernel().Image().Info().CPUs = []dumpfmt.CPU{{PID: 1, Regs: []dumpfmt.Register{{Name: "rip", Value: 1}}}, {Index: 1, PID: 3, Regs: []dumpfmt.Register{{Name: "rip", Value: 1}}}}
	got, err := readCPURegs(m.Kernel())
	if err != nil || len(got) != 2 || got[0].PID != 1 || got[2].PID != 3 {
		t.Errorf("readCPURegs = %+v, %v; want those of CPUs 0 and 2", got, err)
	}
}

// TestCrashNotes: registers go to the CPU in whose area they lie, also if another one did not answer.
func TestCrashNotes(t *testing.T) {
	m := newMachine(t, false)
	mask, offsets, notes, area := m.Alloc(8), m.Alloc(16), m.Alloc(8), m.AllocPage()
	m.Var("__cpu_possible_mask", mask, "")
	m.Word(mask, 3)
	m.Var("__per_cpu_offset", offsets, "")
	m.Word(offsets, uint64(area))
	m.Word(offsets+8, uint64(area)+0x400)
	m.Var("crash_notes", notes, "")
	m.Word(notes, 0x40) // a per-CPU pointer
	note := area + 0x400 + 0x40
	m.Put(note, 4, 5)
	m.Put(note+4, 4, 336)
	m.Put(note+8, 4, 1)
	m.Write(note+12, []byte("CORE\x00"))
	m.Put(note+20+prstatusPID, 4, 42)
	m.Word(note+20+prstatusReg+16*8, fnCaller)
	got, err := readCPURegs(m.Kernel())
	if err != nil || len(got) != 1 || got[1].PID != 42 || got[1].Regs.RIP != fnCaller || got[1].Source != "crash_notes" {
		t.Errorf("readCPURegs = %+v, %v; want CPU 1 alone, PID 42 at %#x", got, err, uint64(fnCaller))
	}
}
