package vmware

import (
	"encoding/binary"

	"kdx/dumpfmt/internal/x86cpu"
	"kdx/internal/elfnote"
)

// maxCPUs is far above what VMware gives a machine.
const maxCPUs = 4096

// cpus collects the registers of a state file. ESXi writes them as blocks, older products one by one.
type cpus []x86cpu.State

// of is the CPU of an item; nil for a number that can't be.
func (c *cpus) of(it *item) *x86cpu.State {
	n := it.index[0]
	if n >= maxCPUs {
		return nil
	}
	for uint32(len(*c)) <= n {
		*c = append(*c, x86cpu.State{})
	}
	return &(*c)[n]
}

const (
	gpregsSize = 16 * 8
	cr64Size   = 9 * 8
	idtrSize   = 2 + 8
)

func (c *cpus) add(it *item) {
	cpu := c.of(it)
	if cpu == nil {
		return
	}
	le := binary.LittleEndian
	switch {
	case it.name == "gpregs" && len(it.value) == gpregsSize:
		for i, r := range gprs(cpu) {
			*r = le.Uint64(it.value[8*i:])
		}
	case it.name == "CR64" && len(it.value) == cr64Size:
		for i := range cpu.CR {
			cpu.CR[i] = le.Uint64(it.value[8*i:])
		}
	case it.name == "CR64" && !it.block && it.index[1] < uint32(len(cpu.CR)):
		cpu.CR[it.index[1]] = it.uint()
	case it.name == "IDTR" && len(it.value) == idtrSize:
		cpu.IDT.Limit, cpu.IDT.Base = uint32(le.Uint16(it.value)), le.Uint64(it.value[2:])
	case it.name == "IDTR" && !it.block:
		setIDTR(&cpu.IDT, it)
	case it.name == "S" && !it.block:
		if seg := segment(cpu, it.index[1]); seg != nil {
			seg.Selector = uint32(it.uint())
		}
	case it.name == "S.base64" && !it.block:
		if seg := segment(cpu, it.index[1]); seg != nil {
			seg.Base = it.uint()
		}
	case !it.block:
		c.one(cpu, it)
	}
}

// gprs in the order of a block of them.
func gprs(s *x86cpu.State) []*uint64 {
	return []*uint64{&s.RAX, &s.RCX, &s.RDX, &s.RBX, &s.RBP, &s.RSP, &s.RSI, &s.RDI, &s.R8, &s.R9, &s.R10, &s.R11, &s.R12, &s.R13, &s.R14, &s.R15}
}

var gprNames = []string{"rax", "rcx", "rdx", "rbx", "rbp", "rsp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

func (c *cpus) one(cpu *x86cpu.State, it *item) {
	switch it.name {
	case "rip":
		cpu.RIP = it.uint()
	case "eflags", "EFLAGS":
		// The flags that instructions change and the others come as two values.
		cpu.RFLAGS |= it.uint()
	}
	for i, r := range gprs(cpu) {
		if gprNames[i] == it.name {
			*r = it.uint()
		}
	}
}

// setIDTR takes one of the three parts in which the interrupt table's place comes: limit, low and high half of the base.
func setIDTR(idt *elfnote.Segment, it *item) {
	switch it.index[1] {
	case 0:
		idt.Limit = uint32(it.uint())
	case 1:
		idt.Base = idt.Base&^0xffffffff | it.uint()&0xffffffff
	case 2:
		idt.Base = idt.Base&0xffffffff | it.uint()<<32
	}
}

func segment(s *x86cpu.State, n uint32) *elfnote.Segment {
	segs := []*elfnote.Segment{&s.ES, &s.CS, &s.SS, &s.DS, &s.FS, &s.GS, &s.LDT, &s.TR}
	if n >= uint32(len(segs)) {
		return nil
	}
	return segs[n]
}
