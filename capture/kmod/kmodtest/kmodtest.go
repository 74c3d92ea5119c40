// Package kmodtest makes kernel modules for tests: ELF files that have a section .modinfo and nothing else.
package kmodtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// Module is a module's file that says so ("depends=a,b", "alias=fs-xfs", …).
func Module(said ...string) []byte {
	info := []byte(strings.Join(said, "\x00") + "\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	const head = 64
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: head, Shentsize: 64, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	h.Shoff = uint64(head + len(info) + len(names))
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err) // a buffer takes all
		}
	}
	put(h)
	b.Write(info)
	b.Write(names)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: head, Size: uint64(len(info))})
	put(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(head + len(info)), Size: uint64(len(names))})
	return b.Bytes()
}
