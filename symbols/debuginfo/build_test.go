package debuginfo

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"

	"kdx/internal/elfnote"
)

// spec is an ELF file for tests.
type spec struct {
	machine            elf.Machine // EM_X86_64 if not given
	id                 string
	dwarf, symbols     bool
	link               string
	crc                uint32
	alt, altID         string
	banner, release    string // a kernel's; a module's
	padding            int    // bytes between the notes and the rest
	relocatable, progs bool
}

type part struct {
	name string
	typ  elf.SectionType
	data []byte
}

// build writes it: header, perhaps a program header for the notes, sections, names, section headers.
func build(s spec) []byte {
	le := binary.LittleEndian
	raw := func(x string) []byte {
		b, err := hex.DecodeString(x)
		if err != nil {
			panic(err)
		}
		return b
	}
	var parts []part
	if s.id != "" {
		parts = append(parts, part{".notes", elf.SHT_NOTE, elfnote.Append(elfnote.Append(nil, le, "Linux", 7, []byte{1}), le, "GNU", 3, raw(s.id))})
	}
	rodata := make([]byte, s.padding)
	rodata = append(rodata, "Linux version 9.x is no banner\x00%s version %s\x00"...)
	if s.banner != "" {
		rodata = append(rodata, s.banner+"\n\x00"...)
	}
	parts = append(parts, part{".rodata", elf.SHT_PROGBITS, rodata})
	if s.release != "" {
		parts = append(parts, part{".modinfo", elf.SHT_PROGBITS, []byte("license=GPL\x00vermagic=" + s.release + " SMP mod_unload \x00name=m\x00")})
	}
	if s.dwarf {
		parts = append(parts, part{".debug_info", elf.SHT_PROGBITS, []byte("not looked at")})
	} else {
		parts = append(parts, part{".debug_info", elf.SHT_NOBITS, nil})
	}
	if s.symbols {
		parts = append(parts, part{".symtab", elf.SHT_SYMTAB, make([]byte, 24)})
	}
	if s.link != "" {
		b := append([]byte(s.link), 0)
		b = append(b, make([]byte, (4-len(b)%4)%4)...)
		parts = append(parts, part{".gnu_debuglink", elf.SHT_PROGBITS, le.AppendUint32(b, s.crc)})
	}
	if s.alt != "" {
		parts = append(parts, part{".gnu_debugaltlink", elf.SHT_PROGBITS, append([]byte(s.alt+"\x00"), raw(s.altID)...)})
	}
	names := []byte{0}
	nameAt := make([]uint32, len(parts)+1)
	for i, p := range parts {
		nameAt[i] = uint32(len(names))
		names = append(append(names, p.name...), 0)
	}
	nameAt[len(parts)] = uint32(len(names))
	names = append(names, ".shstrtab\x00"...)
	parts = append(parts, part{".shstrtab", elf.SHT_STRTAB, names})

	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(s.machine), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64, Shnum: uint16(len(parts) + 1), Shstrndx: uint16(len(parts))}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	if s.machine == elf.EM_NONE {
		h.Machine = uint16(elf.EM_X86_64)
	}
	if s.relocatable {
		h.Type = uint16(elf.ET_REL)
	}
	at := 64
	if s.progs {
		h.Phoff, h.Phnum = 64, 1
		at += 56
	}
	var body bytes.Buffer
	headers := []elf.Section64{{}}
	for i, p := range parts {
		for (at+body.Len())%8 != 0 {
			body.WriteByte(0)
		}
		headers = append(headers, elf.Section64{Name: nameAt[i], Type: uint32(p.typ), Off: uint64(at + body.Len()), Size: uint64(len(p.data)), Entsize: 24})
		body.Write(p.data)
	}
	h.Shoff = uint64(at + body.Len())
	var out bytes.Buffer
	binary.Write(&out, le, h)
	if s.progs {
		binary.Write(&out, le, elf.Prog64{Type: uint32(elf.PT_NOTE), Off: headers[1].Off, Filesz: headers[1].Size, Memsz: headers[1].Size})
	}
	out.Write(body.Bytes())
	binary.Write(&out, le, headers)
	return out.Bytes()
}
