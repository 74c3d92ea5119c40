package elfnote

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Register is a general register's name and value.
type Register struct {
	Name  string
	Value uint64
}

// gregset is the pr_reg member of an architecture's struct elf_prstatus. The members before it depend only on the word
// size: pr_pid is at byte 32 and pr_reg at 112 with 64-bit words, 24 and 72 with 32-bit ones.
type gregset struct {
	word   int
	groups []group
}

// group is a run of registers of the same width; a name "-" is skipped.
type group struct {
	width int
	names []string
}

var gregsets = map[string]gregset{
	"x86_64": {8, []group{{8, fields("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss " +
		"fs_base gs_base ds es fs gs")}}},
	"i386":    {4, []group{{4, fields("ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss")}}},
	"aarch64": {8, []group{{8, append(numbered("x", 31), "sp", "pc", "pstate")}}},
	"arm":     {4, []group{{4, append(numbered("r", 11), "fp", "ip", "sp", "lr", "pc", "cpsr", "orig_r0")}}},
	"ppc64":   {8, []group{{8, append(numbered("gpr", 32), ppcSpecial...)}}},
	"ppc64le": {8, []group{{8, append(numbered("gpr", 32), ppcSpecial...)}}},
	"ppc":     {4, []group{{4, append(numbered("gpr", 32), ppcSpecial...)}}},
	"s390x": {8, []group{{8, append(fields("psw_mask psw_addr"), numbered("gpr", 16)...)}, {4, numbered("acr", 16)},
		{8, fields("orig_gpr2")}}},
	"riscv64":     {8, []group{{8, fields("pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6")}}},
	"loongarch64": {8, []group{{8, append(numbered("r", 32), "orig_a0", "era", "badv")}}},
}

var ppcSpecial = fields("nip msr orig_gpr3 ctr link xer ccr softe trap dar dsisr result")

// selectors of i386 are 16 bits in 32-bit slots whose upper half neither the kernel nor QEMU clears.
var selectors = map[string]bool{"cs": true, "ds": true, "es": true, "fs": true, "gs": true, "ss": true}

func fields(s string) []string { return strings.Fields(s) }

func numbered(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = prefix + strconv.Itoa(i)
	}
	return names
}

// PRStatus decodes the descriptor of an NT_PRSTATUS note of the machine (spelled as uname -m does). A machine that it
// doesn't know gives the process id and no registers; the error is for a descriptor that is too short.
func PRStatus(machine string, wordSize int, order binary.ByteOrder, desc []byte) (pid int32, regs []Register, err error) {
	set, known := gregsets[machine]
	if known {
		wordSize = set.word
	}
	pidAt, regAt := 32, 112
	if wordSize == 4 {
		pidAt, regAt = 24, 72
	}
	if len(desc) < pidAt+4 {
		return 0, nil, fmt.Errorf("NT_PRSTATUS note of %d bytes is too short for a process id", len(desc))
	}
	pid = int32(order.Uint32(desc[pidAt:]))
	if !known {
		return pid, nil, nil
	}
	need := regAt
	for _, g := range set.groups {
		need += g.width * len(g.names)
	}
	if len(desc) < need {
		return pid, nil, fmt.Errorf("NT_PRSTATUS note of %d bytes is too short for the registers of %s (%d bytes)", len(desc), machine, need)
	}
	at := regAt
	for _, g := range set.groups {
		for _, name := range g.names {
			regs = append(regs, Register{name, regValue(order, desc[at:], g.width, machine == "i386" && selectors[name])})
			at += g.width
		}
	}
	return pid, regs, nil
}

func regValue(order binary.ByteOrder, b []byte, width int, selector bool) uint64 {
	if width == 8 {
		return order.Uint64(b)
	}
	v := uint64(order.Uint32(b))
	if selector {
		return v & 0xffff
	}
	return v
}
