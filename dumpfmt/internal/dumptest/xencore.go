package dumptest

import (
	"encoding/binary"
)

// XenCore says how to write an Image as Xen's dump of a domain. Zero and excluded pages are written as zeros.
type XenCore struct {
	PV       bool // with the machine's page numbers
	Machine  uint16
	Backward bool // pages in descending order
	CPUs     []X86
}

// Build writes the dump.
func (x XenCore) Build(im *Image) []byte {
	le := binary.LittleEndian
	type section struct {
		name string
		typ  uint32
		data []byte
	}
	var note []byte
	head := le.AppendUint64(nil, 0xf00febee)
	head = le.AppendUint64(head, uint64(len(x.CPUs)))
	head = le.AppendUint64(head, uint64(len(im.Pages)+1))
	head = le.AppendUint64(head, 4096)
	note = Note(note, le, "Xen", 0x2000000, nil)
	note = Note(note, le, "Xen", 0x2000001, head)
	note = Note(note, le, "Xen", 0x2000003, le.AppendUint64(nil, 1))
	var cpus []byte
	for _, c := range x.CPUs {
		cpus = append(cpus, c.xen()...)
	}
	pfns := im.PFNs()
	if x.Backward {
		for i, j := 0, len(pfns)-1; i < j; i, j = i+1, j-1 {
			pfns[i], pfns[j] = pfns[j], pfns[i]
		}
	}
	var pages, table []byte
	entry := func(pfn uint64) {
		table = le.AppendUint64(table, pfn)
		if x.PV {
			table = le.AppendUint64(table, pfn^0x5a5a5)
		}
	}
	for i, pfn := range pfns {
		data := im.Pages[pfn].Data
		if data == nil {
			data = make([]byte, 4096)
		}
		entry(pfn)
		pages = append(pages, data...)
		if i == 3 { // a page that has no number
			entry(1<<64 - 1)
			pages = append(pages, make([]byte, 4096)...)
		}
	}
	name := ".xen_pfn"
	if x.PV {
		name = ".xen_p2m"
	}
	sections := []section{{".shstrtab", 3, nil}, {".note.Xen", 7, note}, {".xen_prstatus", 1, cpus}, {".xen_pages", 1, pages}, {name, 1, table}}
	strtab := []byte{0}
	var names []uint32
	for _, s := range sections {
		names = append(names, uint32(len(strtab)))
		strtab = append(append(strtab, s.name...), 0)
	}
	sections[0].data = strtab
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 4)
	b = le.AppendUint16(b, x.Machine)
	b = le.AppendUint32(b, 1)
	b = append(b, make([]byte, 16)...)
	b = le.AppendUint64(b, 64)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 0, 64, uint16(len(sections) + 1), 1} {
		b = le.AppendUint16(b, v)
	}
	b = append(b, make([]byte, 64)...)
	off := uint64(64 + 64*(len(sections)+1))
	for i, s := range sections {
		b = le.AppendUint32(b, names[i])
		b = le.AppendUint32(b, s.typ)
		for _, v := range []uint64{0, 0, off, uint64(len(s.data)), 0, 0, 0} {
			b = le.AppendUint64(b, v)
		}
		off += uint64(len(s.data))
	}
	for _, s := range sections {
		b = append(b, s.data...)
	}
	return b
}

// xen is the CPU as a struct vcpu_guest_context.
func (c X86) xen() []byte {
	le := binary.LittleEndian
	b := make([]byte, 520)
	u64 := func(v ...uint64) {
		for _, v := range v {
			b = le.AppendUint64(b, v)
		}
	}
	g := c.GPR
	u64(g[15], g[14], g[13], g[12], g[4], g[3], g[11], g[10], g[9], g[8], g[0], g[1], g[2], g[6], g[7])
	u64(0, c.RIP, uint64(c.CS), c.Flags, g[5], uint64(c.SS), uint64(c.ESel), uint64(c.DS), 0, 0)
	b = append(b, make([]byte, 256*16+2*8+16*8+8+2*8)...) // traps, LDT, GDT, the kernel's stack
	u64(c.CR0, 0, 0, c.CR3, c.CR4, 0, 0, 0)
	b = append(b, make([]byte, 8*8+4*8)...)
	u64(c.FS, c.GS, 0)
	return b
}
