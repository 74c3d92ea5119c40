package scrub

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/backtrace"
	"kdx/analyze/task"
	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/internal/nearest"
)

// process applies a rule "process:".
func (b *builder) process(r Rule, d *Done) error {
	v := b.v
	tasks, err := task.Read(v)
	if err != nil {
		return err
	}
	threads, err := find(tasks, r)
	if err != nil {
		return err
	}
	if err := b.noCompressed(); err != nil {
		return err
	}
	a, err := b.readArray()
	if err != nil {
		return err
	}
	if err := a.complete(); err != nil {
		return err
	}
	p := &processScrub{builder: b, d: d, array: a, tasks: tasks, tracer: backtrace.New(v, tasks)}
	if err := p.keep(); err != nil {
		return err
	}
	spaces := make(map[vmem.Addr]bool)
	for _, x := range threads {
		if x.MM != 0 {
			spaces[x.MM] = true
		}
	}
	for mm := range spaces {
		if err := b.userPages(mm, p.page); err != nil {
			return fmt.Errorf("memory of PID %d: %w", threads[0].TGID, err)
		}
		if err := b.sharedFiles(mm, p.page); err != nil {
			return fmt.Errorf("memory of PID %d: %w", threads[0].TGID, err)
		}
	}
	for _, x := range threads {
		if err := p.thread(x); err != nil {
			return fmt.Errorf("thread %d: %w", x.PID, err)
		}
	}
	if err := p.entryStacks(); err != nil {
		return fmt.Errorf("stacks of CPUs: %w", err)
	}
	if p.swapped > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("%d of its pages are in swap and not in memory: the swap device itself is no part of a dump", p.swapped))
	}
	if p.device > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("%d pages that it maps are no RAM, or of the kernel's own image (vdso, zeros), and stay", p.device))
	}
	return nil
}

// find is all threads of the processes that a rule names.
func find(tasks *task.Table, r Rule) ([]*task.Task, error) {
	const commLen = 15 // TASK_COMM_LEN less the NUL
	name := r.Name
	if len(name) > commLen {
		name = name[:commLen]
	}
	leaders := make(map[int32]bool)
	near := nearest.New(name)
	found := false
	for _, x := range tasks.Tasks {
		switch {
		case r.Name == "" && (x.PID == r.PID || x.TGID == r.PID) && !x.Idle, r.Name != "" && x.Comm == name:
			found = true
			if !x.Kernel() {
				leaders[x.TGID] = true
			}
		case !x.Kernel():
			near.Add(x.Comm)
		}
	}
	var out []*task.Task
	for _, x := range tasks.Tasks {
		if leaders[x.TGID] && !x.Idle {
			out = append(out, x)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case found:
		return nil, errNoUser
	case r.Name == "":
		return nil, fmt.Errorf("there is no process or thread %d", r.PID)
	}
	hint := ""
	if best := near.Best(3); len(best) > 0 {
		hint = "; did you mean " + strings.Join(best, " or ") + "?"
	}
	return nil, errors.New("no process has a thread of that name" + hint)
}

// processScrub takes out one rule's processes.
type processScrub struct {
	*builder
	d               *Done
	array           *pageArray
	tasks           *task.Table
	tracer          *backtrace.Tracer
	image           [2]uint64 // pfns of the kernel image
	reserved        uint64    // mask of page flags
	zero            map[uint64]bool
	swapped, device uint64
}

// keep finds the pages that many processes map and that hold nobody's data: the kernel image, in which vdso, vvar and the
// page of zeros are, and the huge page of zeros. What was the image's at boot and was freed then is anybody's.
func (p *processScrub) keep() error {
	v := p.v
	space := v.Arch().Kernel()
	for i, name := range []string{"_text", "_end"} {
		sym, err := v.Symbol(name)
		if err != nil {
			return err
		}
		f, err := space.Translate(sym.Addr - uint64(i))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.image[i] = uint64(f.Phys) / v.PageSize()
	}
	bit, _, err := v.Symbols().Enumerator("PG_reserved")
	if err != nil || bit < 0 || bit > 63 {
		return fmt.Errorf("page flag PG_reserved: %w", err)
	}
	p.reserved = 1 << bit
	p.zero = make(map[uint64]bool)
	for _, name := range []string{"huge_zero_pfn", "zero_pfn"} {
		n, err := v.UintAt(name, v.WordSize())
		if err != nil && !absent(err) {
			return err
		}
		if err == nil && n != 0 && n != ^uint64(0) {
			p.zero[n] = true
		}
	}
	return nil
}

// page erases what a page-table entry leads to.
func (p *processScrub) page(u userPage) error {
	if u.swapped && u.pages == 0 {
		p.swapped++
		return nil
	}
	for pfn := u.pfn; pfn < u.pfn+u.pages; pfn++ {
		if p.zero[u.pfn] {
			return nil
		}
		g, err := p.array.pages.Read(p.v, pfn) // complete() saw that none is missing that is in the dump
		image := pfn >= p.image[0] && pfn <= p.image[1] && err == nil && g.Flags&p.reserved != 0
		if image || p.v.Image().State(pfn) == dumpfmt.Absent {
			p.device++
			continue
		}
		if !p.marks.page(pfn) {
			continue // erased already, also by an earlier mapping of the same page
		}
		p.d.Objects++
		p.d.Pages++
		p.d.Bytes += p.v.PageSize()
		if err != nil {
			continue
		}
		const mapcountBias = 1 // _mapcount counts from -1
		if anon := g.Mapping&mappingAnon != 0; g.Head == 0 && (!anon || int32(g.Type)+mapcountBias > 1) {
			p.d.Shared++
		}
	}
	return nil
}

// thread erases what the kernel keeps of a thread: its name, the registers that user mode left, and what lies dead on its
// stack.
func (p *processScrub) thread(x *task.Task) error {
	v := p.v
	ts := v.ObjectOf("task_struct", x.Addr)
	comm := ts.Field("comm")
	addr, ok := comm.Addr()
	if !ok {
		return fmt.Errorf("its name: %w", comm.Err())
	}
	if err := p.erase(uint64(addr), p.keepNUL(uint64(addr), comm.Type().Strip().Size, true)); err != nil {
		return fmt.Errorf("its name: %w", err)
	}
	if err := p.fpu(x); err != nil {
		return fmt.Errorf("its floating point registers: %w", err)
	}
	if err := p.stack(x); err != nil {
		return fmt.Errorf("its stack: %w", err)
	}
	return nil
}

func (p *processScrub) erase(addr, n uint64) error {
	if err := p.marks.virt(p.v.Arch().Kernel(), addr, n, Fill); err != nil {
		return err
	}
	p.d.Objects++
	p.d.Bytes += n
	return nil
}

// fpu erases the saved vector registers, through which all string functions move their data. They are the last part of what
// is allocated for a task_struct.
func (p *processScrub) fpu(x *task.Task) error {
	v := p.v
	s, err := p.slabs()
	if err != nil {
		return err
	}
	obj, ok, err := s.At(x.Addr)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("its task_struct is no object of a slab cache")
	}
	t, err := v.Struct("task_struct")
	if err != nil {
		return err
	}
	from := uint64(0)
	for _, path := range []string{"thread.fpu.__fpstate.regs", "thread.fpu.state"} { // 5.16 | before
		if off, ok := t.OffsetOf(path); ok {
			from = off
			break
		}
	}
	if from == 0 {
		// Since 6.16 struct fpu lies behind the task_struct.
		off, ok := v.OffsetOf("fpu", "__fpstate.regs")
		if !ok {
			return errors.New("where this kernel keeps them is not known")
		}
		from = t.Size + off
	}
	end := uint64(obj.Addr) + obj.Cache.ObjectSize
	if uint64(x.Addr)+from >= end {
		return fmt.Errorf("they should be %d bytes behind the task_struct, beyond its %d bytes", from, obj.Cache.ObjectSize)
	}
	if err := p.erase(uint64(x.Addr)+from, end-uint64(x.Addr)-from); err != nil {
		return err
	}
	return p.largeFPU(x, from)
}

// largeFPU erases the registers of tasks that use AMX: a state that is allocated by itself (5.16).
func (p *processScrub) largeFPU(x *task.Task, regs uint64) error {
	v := p.v
	inside, ok := v.OffsetOf("fpu", "__fpstate.regs")
	if !ok {
		return nil
	}
	fpu := v.ObjectOf("fpu", x.Addr+vmem.Addr(regs-inside))
	state, err := fpu.Field("fpstate").Pointer()
	if err != nil {
		return err
	}
	own, _ := fpu.Field("__fpstate").Addr()
	if state == 0 || state == own {
		return nil
	}
	size, err := v.ObjectOf("fpstate", state).Field("size").Uint()
	if err != nil {
		return err
	}
	off, _ := v.OffsetOf("fpstate", "regs")
	const most = 1 << 20
	if size > most {
		return fmt.Errorf("they should have %d bytes: damaged", size)
	}
	return p.erase(uint64(state)+off, size)
}

// entryStacks erases the stacks on which CPUs enter the kernel (4.15). The registers of whatever ran last in user mode lie
// there, and nothing else: what is in use was copied to the task's stack.
func (p *processScrub) entryStacks() error {
	const name = "entry_stack_storage"
	if _, err := p.v.Symbol(name); absent(err) {
		return nil
	}
	res := &resolver{b: p.builder}
	stacks, err := res.variable(name)
	if err != nil {
		return err
	}
	for _, x := range stacks {
		at, _ := x.Addr()
		if err := p.erase(uint64(at), p.v.PageSize()); err != nil {
			return err
		}
	}
	return nil
}

// registers that user mode left at the top of the stack (struct pt_regs): the general ones go, those that say where it was
// stay.
const (
	ptRegsSize    = 21 * 8
	ptRegsGeneral = 15 * 8 // r15 to rdi
	ptRegsCS      = 17 * 8
)

func (p *processScrub) stack(x *task.Task) error {
	v := p.v
	if x.Stack == 0 {
		return nil // it has exited, and its stack is freed
	}
	top := uint64(x.Stack) + p.tracer.StackSize()
	for _, padding := range []uint64{0, 16} { // with FRED (6.9) there are 16 bytes above
		at := top - padding - ptRegsSize
		cs, err := v.Word(vmem.Addr(at + ptRegsCS))
		if err != nil {
			return err
		}
		if cs&3 == 3 && cs&0xffff < 0x100 {
			if err := p.erase(at, ptRegsGeneral); err != nil {
				return err
			}
			break
		}
	}
	start, err := p.tracer.Start(v, x)
	if err != nil {
		if errors.Is(err, backtrace.ErrExited) || errors.Is(err, backtrace.ErrNoRegisters) || errors.Is(err, backtrace.ErrOffline) {
			return nil
		}
		return err
	}
	if start.User != nil {
		return p.userMode(x, top)
	}
	sp, ok := start.Regs.Get(unwind.RSP)
	if start.At != 0 {
		sp = x.SP // what the switch itself saved stays, too
	}
	if bottom := uint64(x.Stack) + 8; ok && sp > bottom && sp <= top { // the lowest word is the mark of the stack's end
		return p.erase(bottom, sp-bottom)
	}
	return nil
}

// userMode erases the registers of a CPU that ran the thread in user mode, wherever they were noted, and the stack, of which
// nothing is in use.
func (p *processScrub) userMode(x *task.Task, top uint64) error {
	v := p.v
	if bottom := uint64(x.Stack) + 8; top-ptRegsSize-16 > bottom {
		if err := p.erase(bottom, top-ptRegsSize-16-bottom); err != nil {
			return err
		}
	}
	const (
		noteHead = 12 + 8 // header, "CORE" padded
		regs     = 112    // pr_reg of struct elf_prstatus
	)
	if sym, err := v.Symbol("crash_notes"); err == nil {
		base, err := v.Word(vmem.Addr(sym.Addr))
		if err != nil {
			return fmt.Errorf("crash_notes: %w", err)
		}
		off, err := v.PerCPUOffset(x.CPU)
		if err != nil {
			return err
		}
		if err := p.erase(base+off+noteHead+regs, ptRegsGeneral); err != nil {
			return fmt.Errorf("crash_notes of CPU %d: %w", x.CPU, err)
		}
	} else if !absent(err) {
		return err
	}
	p.info.registers(v.Image().Info(), x.PID, x.CPU)
	return nil
}

// registers erases the general registers of the CPU that ran the thread, in the notes.
func (c *infoChanges) registers(info *dumpfmt.Info, pid int32, cpu int) {
	status, qemu := 0, 0
	for i, n := range info.Notes {
		index := -1
		var at, end uint64
		switch {
		case n.Name == "CORE" && n.Type == 1:
			index, at, end = status, 112, 112+ptRegsGeneral
			status++
		case n.Name == "QEMU" && n.Type == 0:
			index, at, end = qemu, 8, 8+16*8
			qemu++
		}
		if index < 0 || index >= len(info.CPUs) || end > uint64(len(n.Desc)) {
			continue
		}
		// QEMU's notes are in the order of CPUs, with numbers of its own for pr_pid; the kernel's say which task ran.
		if info.CPUs[index].QEMU != nil && index != cpu || info.CPUs[index].QEMU == nil && info.CPUs[index].PID != pid {
			continue
		}
		if cs, _ := info.CPUs[index].Reg("cs"); cs&3 != 3 {
			continue
		}
		desc := c.note(i, n)
		if n.Name == "QEMU" { // rax rbx rcx rdx rsi rdi rsp rbp r8…: the stack pointer stays
			const rsp = 8 + 6*8
			fill(desc[at:rsp], Fill)
			fill(desc[rsp+8:end], Fill)
		} else {
			fill(desc[at:end], Fill)
		}
		c.cpus = append(c.cpus, index)
	}
}

// note is the descriptor of a note, to be changed.
func (c *infoChanges) note(i int, n dumpfmt.Note) []byte {
	if c.notes == nil {
		c.notes = make(map[int][]byte)
	}
	if c.notes[i] == nil {
		c.notes[i] = slices.Clone(n.Desc)
	}
	return c.notes[i]
}
