package dumptest

import (
	"cmp"
	"encoding/binary"
)

// VMware says how to write an Image as a machine that VMware suspended. Zero and excluded pages are written as zeros.
type VMware struct {
	Magic      uint32 // 0 is 0xbed2bed2
	Beside     bool   // the memory is in a second file
	Compressed bool   // the block of memory says that it is
	Singly     bool   // registers as single items, as Workstation writes them, rather than as blocks
	CPUs       []X86
}

// X86 is a CPU's state.
type X86 struct {
	GPR              [16]uint64 // rax rcx rdx rbx rbp rsp rsi rdi r8 …
	RIP, Flags       uint64
	CR0, CR3, CR4    uint64
	IDT, FS, GS      uint64
	CS, SS, DS, ESel uint32
}

type vmwareItems struct{ b []byte }

func (v *vmwareItems) tag(name string, size int, index ...uint32) {
	le := binary.LittleEndian
	v.b = le.AppendUint16(v.b, uint16(len(name)<<8|len(index)<<6|size))
	v.b = append(v.b, name...)
	for _, i := range index {
		v.b = le.AppendUint32(v.b, i)
	}
}

func (v *vmwareItems) u32(name string, value uint32, index ...uint32) {
	v.tag(name, 4, index...)
	v.b = binary.LittleEndian.AppendUint32(v.b, value)
}

func (v *vmwareItems) u64(name string, value uint64, index ...uint32) {
	v.tag(name, 8, index...)
	v.b = binary.LittleEndian.AppendUint64(v.b, value)
}

// block appends a block's head, padded so that the bytes begin at a multiple of align in the file.
func (v *vmwareItems) block(base int, name string, size, kind, align int, index ...uint32) {
	le := binary.LittleEndian
	v.tag(name, kind, index...)
	v.b = le.AppendUint64(v.b, uint64(size))
	v.b = le.AppendUint64(v.b, uint64(size))
	pad := (align - (base+len(v.b)+2)%align) % align
	v.b = le.AppendUint16(v.b, uint16(pad))
	v.b = append(v.b, make([]byte, pad)...)
}

// Build writes the state file and, if it is beside it, the memory.
func (w VMware) Build(im *Image) (state, memory []byte) {
	le := binary.LittleEndian
	groups := []string{"Checkpoint", "cpu", "memory"}
	var items vmwareItems
	base := 12 + len(groups)*80
	at := make([]int, len(groups))
	at[0] = base
	items.u32("fileversion", 4)
	items.block(base, "screenshot", 1000, 63, 1)
	items.b = append(items.b, make([]byte, 1000)...)
	items.b = append(items.b, 0, 0)

	at[1] = base + len(items.b)
	items.u32("cpu:numVCPUs", uint32(len(w.CPUs)))
	for i, c := range w.CPUs {
		items.cpu(base, uint32(i), c, w.Singly)
	}
	items.b = append(items.b, 0, 0)

	at[2] = base + len(items.b)
	items.u32("align_mask", 0xffff)
	page := uint32(0)
	for i, r := range im.runs() {
		items.u32("regionPageNum", page, uint32(i))
		items.u32("regionPPN", uint32(r.pfn), uint32(i))
		items.u32("regionSize", uint32(r.pages), uint32(i))
		page += uint32(r.pages)
	}
	items.u32("regionsCount", uint32(len(im.runs())))
	memory = im.bytes()
	if !w.Beside {
		kind := 63
		if w.Compressed {
			kind = 62
		}
		items.block(base, "Memory", len(memory), kind, 4096, 0, 0)
		items.b = append(items.b, memory...)
		memory = nil
	}
	items.b = append(items.b, 0, 0)

	state = le.AppendUint32(nil, cmp.Or(w.Magic, 0xbed2bed2))
	state = le.AppendUint32(state, 8)
	state = le.AppendUint32(state, uint32(len(groups)))
	for i, name := range groups {
		state = append(state, append([]byte(name), make([]byte, 64-len(name))...)...)
		state = le.AppendUint64(state, uint64(at[i]))
		state = le.AppendUint64(state, 0)
	}
	return append(state, items.b...), memory
}

func (v *vmwareItems) cpu(base int, n uint32, c X86, singly bool) {
	le := binary.LittleEndian
	if singly {
		for i, name := range []string{"rax", "rcx", "rdx", "rbx", "rbp", "rsp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"} {
			v.u64(name, c.GPR[i], n)
		}
		v.u64("CR64", c.CR0, n, 0)
		v.u64("CR64", c.CR3, n, 3)
		v.u64("CR64", c.CR4, n, 4)
		v.u32("IDTR", 0xfff, n, 0)
		v.u32("IDTR", uint32(c.IDT), n, 1)
		v.u32("IDTR", uint32(c.IDT>>32), n, 2)
		v.u32("eflags", uint32(c.Flags)&0x8d5, n)
		v.u32("EFLAGS", uint32(c.Flags)&^0x8d5, n)
	} else {
		v.block(base, "gpregs", 128, 63, 1, n)
		for _, r := range c.GPR {
			v.b = le.AppendUint64(v.b, r)
		}
		v.block(base, "CR64", 72, 63, 1, n)
		for _, r := range [9]uint64{0: c.CR0, 3: c.CR3, 4: c.CR4} {
			v.b = le.AppendUint64(v.b, r)
		}
		v.block(base, "IDTR", 10, 63, 8, n)
		v.b = le.AppendUint16(v.b, 0xfff)
		v.b = le.AppendUint64(v.b, c.IDT)
		v.u32("eflags", uint32(c.Flags), n)
	}
	v.u64("rip", c.RIP, n)
	for seg, sel := range []uint32{c.ESel, c.CS, c.SS, c.DS, 0, 0, 0, 0x40} {
		v.u32("S", sel, n, uint32(seg))
	}
	v.u64("S.base64", c.FS, n, 4)
	v.u64("S.base64", c.GS, n, 5)
}

// VMwareGuest writes the debug.guest file of that version, with a hole in memory between its runs (at most three).
func VMwareGuest(im *Image, version int, cpus []X86) (state, memory []byte) {
	le := binary.LittleEndian
	runs := im.runs()
	pages, end := uint64(0), uint64(0)
	var holes [][2]uint64
	for _, r := range runs {
		if r.pfn > end {
			holes = append(holes, [2]uint64{end, r.pfn - end})
		}
		end = r.pfn + r.pages
		pages += r.pages
	}
	b := le.AppendUint32(nil, uint32(version))
	b = le.AppendUint32(b, uint32(len(cpus)))
	b = append(b, make([]byte, map[int]int{1: 13, 3: 14, 4: 14, 5: 14, 6: 15, 7: 8}[version])...)
	word := le.AppendUint64
	if version == 1 {
		word = func(b []byte, v uint64) []byte { return le.AppendUint32(b, uint32(v)) }
	}
	b = le.AppendUint64(b, end*4096-1)
	b = word(b, pages)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(holes)))
	for i := range 2 {
		var h [2]uint64
		if i < len(holes) {
			h = holes[i]
		}
		b = word(word(b, h[0]), h[1])
	}
	switch version {
	case 1:
		b = append(b, make([]byte, 8*len(holes)+4)...)
	case 7:
		b = le.AppendUint32(b, 1)
		b = append(b, make([]byte, 7)...)
	}
	for _, c := range cpus {
		b = le.AppendUint32(b, uint32(c.CR0))
		for _, v := range []uint64{0, c.CR3, c.CR4} {
			b = le.AppendUint64(b, v)
		}
		b = append(b, make([]byte, 80)...)
		b = le.AppendUint64(b, c.IDT)
		gap := 42
		if version < 4 {
			gap = 45
		}
		b = append(b, make([]byte, gap)...)
		g := c.GPR
		for _, v := range []uint64{g[15], g[14], g[13], g[12], g[4], g[3], g[11], g[10], g[9], g[8], g[0], g[1], g[2], g[6], g[7], 0,
			c.RIP, uint64(c.CS), c.Flags, g[5], uint64(c.SS), c.FS, c.GS, uint64(c.DS), uint64(c.ESel), 0, 0} {
			b = le.AppendUint64(b, v)
		}
		b = append(b, make([]byte, 17+4096)...)
	}
	return b, im.bytes()
}
