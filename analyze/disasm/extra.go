package disasm

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// extra decodes what x86asm does not know and kernels use: system instructions of the 0F 01 group, end-branch marks,
// random numbers, FRED's lkgs and shadow-stack stores.
func extra(code []byte, addr uint64) (Inst, bool) {
	i := 0
	for i < len(code) && i < 4 && (code[i] == 0x66 || code[i] == 0xf2 || code[i] == 0xf3) {
		i++
	}
	prefix, rex := byte(0), byte(0)
	if i > 0 {
		prefix = code[i-1]
	}
	op := i
	if op < len(code) && code[op]&0xf0 == 0x40 {
		rex = code[op]
		op++
	}
	if op+3 > len(code) || code[op] != 0x0f {
		return Inst{}, false
	}
	modrm := code[op+2]
	inst := func(n int, format string, args ...any) (Inst, bool) {
		return Inst{Addr: addr, Bytes: code[:n], Text: fmt.Sprintf(format, args...)}, true
	}
	switch reg := modrm >> 3 & 7; {
	case code[op+1] == 0xc7 && modrm >= 0xc0 && reg == 6 && prefix != 0xf3:
		return inst(op+3, "rdrand %s", register(modrm, rex, prefix))
	case code[op+1] == 0xc7 && modrm >= 0xc0 && reg == 7:
		if prefix == 0xf3 {
			return inst(op+3, "rdpid  %s", register(modrm, rex|8, 0))
		}
		return inst(op+3, "rdseed %s", register(modrm, rex, prefix))
	case code[op+1] == 0x00 && modrm >= 0xc0 && reg == 6 && prefix == 0xf2:
		return inst(op+3, "lkgs   %s", register(modrm, rex, 0))
	case code[op+1] == 0x38 && (modrm == 0xf5 && prefix == 0x66 || modrm == 0xf6 && prefix == 0):
		return shadowStore(code, addr, i, op)
	}
	key := uint32(code[op])<<16 | uint32(code[op+1])<<8 | uint32(modrm) | uint32(prefix)<<24
	if name, ok := extras[key]; ok && rex == 0 {
		return inst(op+3, "%s", name)
	}
	return Inst{}, false
}

var regs64 = [16]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

// register names ModRM's r/m register.
func register(modrm, rex, prefix byte) string {
	n := modrm&7 | rex&1<<3
	name := regs64[n]
	switch {
	case rex&8 != 0:
	case n >= 8 && prefix == 0x66:
		name += "w"
	case n >= 8:
		name += "d"
	case prefix == 0x66:
		name = name[1:]
	default:
		name = "e" + name[1:]
	}
	return "%" + name
}

// shadowStore decodes wruss and wrss (66 0F 38 F5, 0F 38 F6) by way of movbe, whose operands are encoded alike.
func shadowStore(code []byte, addr uint64, prefixes, op int) (Inst, bool) {
	like := bytes.Clone(code[:min(len(code), MaxLen)])
	name := "wrss"
	if like[op+2] == 0xf5 {
		name = "wruss"
	}
	like[op+2] = 0xf1
	x, err := x86asm.Decode(like[prefixes:], 64)
	if err != nil || x.Op != x86asm.MOVBE {
		return Inst{}, false
	}
	n := prefixes + x.Len
	suffix := "l "
	if x.DataSize == 64 {
		suffix = "q "
	}
	_, args, _ := strings.Cut(x86asm.GNUSyntax(x, addr, nil), " ")
	return Inst{Addr: addr, Bytes: code[:n], Text: name + suffix + operands(&x, args, like[prefixes:n])}, true
}

// Keys are a mandatory prefix (or none) and three bytes of opcode.
var extras = map[uint32]string{
	0x0f01c0:   "enclv",
	0x0f01c1:   "vmcall",
	0x0f01c2:   "vmlaunch",
	0x0f01c3:   "vmresume",
	0x0f01c4:   "vmxoff",
	0x0f01c5:   "pconfig",
	0x0f01c6:   "wrmsrns",
	0x0f01ca:   "clac",
	0x0f01cb:   "stac",
	0x0f01cf:   "encls",
	0x0f01d4:   "vmfunc",
	0x0f01d7:   "enclu",
	0x0f01d9:   "vmmcall",
	0x0f01da:   "vmload",
	0x0f01db:   "vmsave",
	0x0f01dc:   "stgi",
	0x0f01dd:   "clgi",
	0x0f01de:   "skinit",
	0x0f01df:   "invlpga",
	0x0f01e8:   "serialize",
	0x0f01ee:   "rdpkru",
	0x0f01ef:   "wrpkru",
	0x0f01fe:   "invlpgb",
	0x0f01ff:   "tlbsync",
	0xf20f01ca: "erets",
	0xf30f01ca: "eretu",
	0xf30f01cc: "tdcall",
	0xf30f01cd: "seamret",
	0xf30f01ce: "seamops",
	0xf30f01cf: "seamcall",
	0xf30f01d9: "vmgexit",
	0xf30f01e8: "setssbsy",
	0xf30f01ea: "saveprevssp",
	0xf20f01e8: "xsusldtrk",
	0xf20f01e9: "xresldtrk",
	0xf20f01fe: "rmpupdate",
	0xf30f01fe: "rmpadjust",
	0xf30f01ff: "psmash",
	0xf20f01ff: "pvalidate",
	0xf30f1efa: "endbr64",
	0xf30f1efb: "endbr32",
}
