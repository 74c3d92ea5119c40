package lkcd

import (
	"bytes"
	"strconv"
	"strings"

	"kdx/dumpfmt"
	"kdx/internal/elfnote"
)

const asmMagic = 0xdeaddead

// asm is the part of the header that an architecture adds: registers of the CPU that wrote the dump, then arrays over all
// CPUs that the kernel was built for: registers, and three words each (task, stack, stack pointer).
type asm struct {
	version uint32
	word    int
	regs    int // of the CPU that wrote the dump
	names   []string
	cpus    int // how many there are; which of them wrote the dump follows
	arrays  int
}

var asms = map[dumpfmt.Machine]asm{
	dumpfmt.MachineX86_64: {version: 2, word: 8, regs: 16, cpus: 184, arrays: 192,
		names: strings.Fields("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss")},
	dumpfmt.MachineI386: {version: 3, word: 4, regs: 24, cpus: 84, arrays: 92,
		names: strings.Fields("ebx ecx edx esi edi ebp eax ds es orig_eax eip cs eflags esp ss")},
	dumpfmt.MachinePPC64:   asmPPC64,
	dumpfmt.MachinePPC64LE: asmPPC64,
}

var asmPPC64 = asm{version: 5, word: 8, regs: 16, cpus: 368, arrays: 376,
	names: append(gprs(), strings.Fields("nip msr orig_gpr3 ctr link xer ccr softe trap dar dsisr result")...)}

func gprs() []string {
	names := make([]string, 32)
	for i := range names {
		names[i] = "gpr" + strconv.Itoa(i)
	}
	return names
}

// maxCPUs is more than any kernel of that time could have.
const maxCPUs = 4096

// readCPUs fills Info.CPUs from what the architecture added to the header. What makes no sense there is no loss.
func readCPUs(f *dumpfmt.File, h *header, info *dumpfmt.Info) {
	a, ok := asms[info.Machine]
	if !ok || h.version < 7 {
		return // earlier ones had other layouts, of which no description is left
	}
	b := make([]byte, a.arrays)
	if _, err := f.ReadFull(b, h.size); err != nil || h.order.Uint64(b) != asmMagic {
		return
	}
	perCPU := len(a.names)*a.word + 3*a.word
	room := (int64(h.order.Uint32(b[12:])) - int64(a.arrays)) / int64(perCPU)
	n := int64(h.order.Uint32(b[a.cpus:]))
	if n > room || n > maxCPUs {
		info.Warn("the header says that there were %d CPUs, but has room for the registers of %d: they are left out", n, room)
		return
	}
	regs := make([]byte, n*int64(len(a.names)*a.word))
	if _, err := f.ReadFull(regs, h.size+int64(a.arrays)); err != nil {
		info.Warn("the registers of the CPUs could not be read: %v", err)
		return
	}
	if info.Machine == dumpfmt.MachineX86_64 {
		addNotes(h, info, regs, len(a.names)*a.word)
		return
	}
	l := layout{word: a.word}
	for i := range n {
		cpu := dumpfmt.CPU{Index: int(i)}
		any := uint64(0)
		for j, name := range a.names {
			v := l.get(h.order, regs[(int(i)*len(a.names)+j)*a.word:])
			any |= v
			cpu.Regs = append(cpu.Regs, dumpfmt.Register{Name: name, Value: v})
		}
		if any == 0 {
			cpu.Regs = nil // a CPU that did not answer
		}
		info.CPUs = append(info.CPUs, cpu)
	}
}

// addNotes gives x86-64's registers to info as the notes in which other dumps carry them, so that a conversion keeps them. Struct pt_regs,
// which LKCD has, is what elf_gregset_t begins with.
func addNotes(h *header, info *dumpfmt.Info, regs []byte, perCPU int) {
	const ntPRStatus, prReg, size = 1, 112, 336
	var b []byte
	for ; len(regs) >= perCPU; regs = regs[perCPU:] {
		if bytes.Count(regs[:perCPU], []byte{0}) == perCPU {
			continue // a CPU that did not answer
		}
		desc := make([]byte, size)
		copy(desc[prReg:], regs[:perCPU])
		b = elfnote.Append(b, h.order, "CORE", ntPRStatus, desc)
	}
	info.ReadNotes(&dumpfmt.File{Name: info.Files[0], Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}, 0, int64(len(b)))
}
