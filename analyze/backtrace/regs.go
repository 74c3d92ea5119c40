package backtrace

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/unwind"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// CPURegs are the registers of a CPU at the crash.
type CPURegs struct {
	CPU    int
	PID    int32 // pr_pid: what the CPU was running; a CPU number in QEMU's notes
	Regs   unwind.PtRegs
	Source string // "crash_notes" (the kernel's memory), "notes" (the dump's header)
}

// NT_PRSTATUS of x86-64: pr_pid and pr_reg in struct elf_prstatus.
const (
	prstatusType = 1
	prstatusPID  = 32
	prstatusReg  = 112
	prstatusSize = prstatusReg + 27*8
)

// readCPURegs finds the registers by CPU number. The kernel keeps each CPU's note in memory (crash_notes), which is the
// only place that says whose it is: /proc/vmcore runs them together and leaves out CPUs that did not answer. Without it
// (QEMU's dumps) the order of the dump's notes is the order of CPUs.
func readCPURegs(k *kernel.Kernel) (map[int]CPURegs, error) {
	out := make(map[int]CPURegs)
	cpus, err := k.PossibleCPUs()
	if err != nil {
		return out, err
	}
	notes := k.Image().Info().CPUs
	fromMemory, err := crashNotes(k, cpus)
	for cpu, r := range fromMemory {
		out[cpu] = r
	}
	if len(out) > 0 || len(notes) == 0 {
		return out, err
	}
	if present, err := k.PresentCPUs(); err == nil && len(present) > 0 { // QEMU knows nothing of those that are not there
		cpus = present
	}
	for i := range notes {
		if i >= len(cpus) || notes[i].Regs == nil {
			continue
		}
		out[cpus[i]] = CPURegs{CPU: cpus[i], PID: notes[i].PID, Regs: fromNote(&notes[i]), Source: "notes"}
	}
	return out, nil
}

func crashNotes(k *kernel.Kernel, cpus []int) (map[int]CPURegs, error) {
	sym, err := k.Symbol("crash_notes")
	if err != nil {
		return nil, err
	}
	base, err := k.Word(vmem.Addr(sym.Addr))
	if err != nil {
		return nil, fmt.Errorf("crash_notes: %w", err)
	}
	out := make(map[int]CPURegs)
	for _, cpu := range cpus {
		off, err := k.PerCPUOffset(cpu)
		if err != nil {
			return out, err
		}
		b := make([]byte, 12+8+prstatusSize) // note header, "CORE" padded to 8, elf_prstatus
		if _, err := k.ReadMemory(b, base+off); err != nil {
			return out, fmt.Errorf("crash_notes of CPU %d: %w", cpu, err)
		}
		bo := k.ByteOrder()
		if bo.Uint32(b) != 5 || bo.Uint32(b[8:]) != prstatusType || string(b[12:17]) != "CORE\x00" {
			continue // never written: the CPU did not answer
		}
		desc := b[20:]
		out[cpu] = CPURegs{CPU: cpu, PID: int32(bo.Uint32(desc[prstatusPID:])), Source: "crash_notes",
			Regs: *unwind.DecodePtRegs(bo.Uint64, desc[prstatusReg:])}
	}
	return out, nil
}

// fromNote: elf_gregset of x86-64 starts as struct pt_regs does and goes on with segment bases.
func fromNote(c *dumpfmt.CPU) unwind.PtRegs {
	var p unwind.PtRegs
	for name, into := range map[string]*uint64{"r15": &p.R15, "r14": &p.R14, "r13": &p.R13, "r12": &p.R12, "rbp": &p.RBP, "rbx": &p.RBX,
		"r11": &p.R11, "r10": &p.R10, "r9": &p.R9, "r8": &p.R8, "rax": &p.RAX, "rcx": &p.RCX, "rdx": &p.RDX, "rsi": &p.RSI, "rdi": &p.RDI,
		"orig_rax": &p.OrigRAX, "rip": &p.RIP, "cs": &p.CS, "eflags": &p.RFLAGS, "rsp": &p.RSP, "ss": &p.SS} {
		*into, _ = c.Reg(name)
	}
	return p
}

// Registers are those of each CPU at the crash, by CPU; CPUs that left none are not there.
func (t *Tracer) Registers() (map[int]CPURegs, error) { return t.regs() }
