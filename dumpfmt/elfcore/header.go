// Package elfcore reads and writes ELF core dumps of kernels: /proc/vmcore and copies of it, makedumpfile -E, QEMU's
// dump-guest-memory, kexec on any architecture.
//
//	ELF header | program headers | PT_NOTE: registers, VMCOREINFO | PT_LOAD: memory …
//
// The segments of type PT_LOAD may overlap (x86-64 kernels list their text twice), stand in any order and begin or end
// inside a page.
package elfcore

import (
	"encoding/binary"
	"fmt"
	"math"

	"kdx/dumpfmt"
)

const (
	typeCore = 4 // ET_CORE
	ptLoad   = 1
	ptNote   = 4

	// xnum is PN_XNUM: the true count of program headers is in section header 0.
	xnum = 0xffff

	// flagIncomplete is makedumpfile's mark in e_flags of a dump that was cut short.
	flagIncomplete = 1

	// kdx's marks in p_flags, of the bits that ELF gives to systems (PF_MASKOS): what [p_filesz, p_memsz) of a segment is. Other
	// readers take no notice. Without a mark nobody knows.
	tailZero     = 1 << 20
	tailExcluded = 1 << 21

	// maxSegments bounds what a lying header makes kdx read. A level-31 dump of 1 TiB has at most 2^19 segments.
	maxSegments = 1 << 22
)

// class is what differs between 32- and 64-bit files: sizes and offsets of header members, in bytes.
type class struct {
	word                             int
	ehdr, phdr                       int
	phoff, shoff, flags, phentsize   int
	phnum                            int
	pOffset, pVaddr, pPaddr, pFilesz int
	pMemsz, pFlags                   int
	shdr, shSize, shInfo             int
	noPhys                           uint64
}

var class32 = class{
	word: 4, ehdr: 52, phdr: 32, phoff: 28, shoff: 32, flags: 36, phentsize: 42, phnum: 44,
	pOffset: 4, pVaddr: 8, pPaddr: 12, pFilesz: 16, pMemsz: 20, pFlags: 24, shdr: 40, shSize: 20, shInfo: 28, noPhys: math.MaxUint32,
}

var class64 = class{
	word: 8, ehdr: 64, phdr: 56, phoff: 32, shoff: 40, flags: 48, phentsize: 54, phnum: 56,
	pOffset: 8, pVaddr: 16, pPaddr: 24, pFilesz: 32, pMemsz: 40, pFlags: 4, shdr: 64, shSize: 32, shInfo: 44, noPhys: math.MaxUint64,
}

// header is a decoded ELF header.
type header struct {
	class
	order      binary.ByteOrder
	machine    uint16
	incomplete bool
	phStart    uint64
	phSize     uint64 // bytes from one program header to the next
	phCount    uint64
}

// Probe reports whether a file that begins with head is an ELF core dump.
func Probe(head []byte) bool {
	if len(head) < class32.ehdr || string(head[:4]) != "\x7fELF" {
		return false
	}
	order, ok := byteOrder(head[5])
	return ok && (head[4] == 1 || head[4] == 2) && order.Uint16(head[16:]) == typeCore
}

func byteOrder(data byte) (binary.ByteOrder, bool) {
	switch data {
	case 1:
		return binary.LittleEndian, true
	case 2:
		return binary.BigEndian, true
	}
	return nil, false
}

func (c *class) uword(order binary.ByteOrder, b []byte) uint64 {
	if c.word == 8 {
		return order.Uint64(b)
	}
	return uint64(order.Uint32(b))
}

func readHeader(f *dumpfmt.File) (*header, error) {
	fail := func(off int64, err error, format string, args ...any) error {
		return &dumpfmt.FormatError{File: f.Name, Offset: off, Msg: fmt.Sprintf(format, args...), Err: err}
	}
	var buf [64]byte
	n, err := f.ReadFull(buf[:], 0)
	if !Probe(buf[:n]) {
		return nil, fail(0, err, "not an ELF core dump")
	}
	h := &header{class: class64}
	if buf[4] == 1 {
		h.class = class32
	}
	if n < h.ehdr {
		return nil, fail(0, err, "the file ends inside its ELF header")
	}
	if !f.Came(0, int64(h.ehdr)) {
		return nil, fail(0, nil, "the flattened stream ended before the ELF header came")
	}
	h.order, _ = byteOrder(buf[5])
	h.machine = h.order.Uint16(buf[18:])
	h.incomplete = h.order.Uint32(buf[h.flags:])&flagIncomplete != 0
	h.phStart = h.uword(h.order, buf[h.phoff:])
	h.phSize = uint64(h.order.Uint16(buf[h.phentsize:]))
	h.phCount = uint64(h.order.Uint16(buf[h.phnum:]))
	if h.phSize < uint64(h.phdr) {
		return nil, fail(int64(h.phentsize), nil, "program headers of %d bytes; the file's class needs %d", h.phSize, h.phdr)
	}
	if h.phCount != xnum {
		return h, nil
	}
	shoff := h.uword(h.order, buf[h.shoff:])
	if shoff == 0 {
		// A writer of 32-bit files that ignores PN_XNUM may really have 65,535 of them.
		return h, nil
	}
	sh := make([]byte, h.shdr)
	if shoff > math.MaxInt64 {
		return nil, fail(int64(h.shoff), nil, "more than 65,534 program headers, whose count should be at byte %#x", shoff)
	}
	if _, err := f.ReadFull(sh, int64(shoff)); err != nil {
		return nil, fail(int64(shoff), err, "more than 65,534 program headers, whose count can't be read")
	}
	if !f.Came(int64(shoff), int64(h.shdr)) {
		return nil, fail(int64(shoff), nil, "more than 65,534 program headers, whose count did not come before the flattened stream ended")
	}
	h.phCount = uint64(h.order.Uint32(sh[h.shInfo:]))
	return h, nil
}

// programHeader is one decoded program header.
type programHeader struct {
	typ, flags           uint32
	offset, vaddr, paddr uint64
	filesz, memsz        uint64
}

// programHeaders calls fn for each program header that came. It returns how many could be read; fewer than there should be means
// that the file ends inside the table.
func (h *header) programHeaders(f *dumpfmt.File, fn func(programHeader)) (uint64, error) {
	batch := max(1, (256<<10)/h.phSize)
	buf := make([]byte, min(h.phCount, batch)*h.phSize)
	for done := uint64(0); done < h.phCount; {
		want := min(h.phCount-done, batch)
		pos := h.phStart + done*h.phSize
		if pos > math.MaxInt64 {
			return done, nil
		}
		n, err := f.ReadFull(buf[:want*h.phSize], int64(pos))
		got := uint64(n) / h.phSize
		for i := range got {
			if f.Came(int64(pos+i*h.phSize), int64(h.phdr)) {
				fn(h.parse(buf[i*h.phSize:]))
			}
		}
		done += got
		if got < want {
			return done, err
		}
	}
	return h.phCount, nil
}

func (h *header) parse(b []byte) programHeader {
	return programHeader{
		typ:    h.order.Uint32(b),
		flags:  h.order.Uint32(b[h.pFlags:]),
		offset: h.uword(h.order, b[h.pOffset:]),
		vaddr:  h.uword(h.order, b[h.pVaddr:]),
		paddr:  h.uword(h.order, b[h.pPaddr:]),
		filesz: h.uword(h.order, b[h.pFilesz:]),
		memsz:  h.uword(h.order, b[h.pMemsz:]),
	}
}

// machine names e_machine as uname -m does, with the word size of the target. 32-bit machines can come in 64-bit files
// (a PAE kernel's dump, QEMU with more than 4 GiB), so the word size isn't the file's class.
func (h *header) target() (dumpfmt.Machine, int) {
	wide := h.word == 8
	switch h.machine {
	case 62:
		return dumpfmt.MachineX86_64, 8
	case 3:
		return dumpfmt.MachineI386, 4
	case 183:
		return dumpfmt.MachineAArch64, 8
	case 40:
		return dumpfmt.MachineARM, 4
	case 21:
		if h.order == binary.LittleEndian {
			return dumpfmt.MachinePPC64LE, 8
		}
		return dumpfmt.MachinePPC64, 8
	case 20:
		return dumpfmt.MachinePPC, 4
	case 22:
		if wide {
			return dumpfmt.MachineS390X, 8
		}
		return dumpfmt.MachineS390, 4
	case 243:
		if wide {
			return dumpfmt.MachineRISCV64, 8
		}
	case 258:
		return dumpfmt.MachineLoongArch, 8
	case 8:
		return dumpfmt.MachineMIPS, h.word
	case 50:
		return dumpfmt.MachineIA64, 8
	case 0x9026:
		return dumpfmt.MachineAlpha, 8
	}
	return dumpfmt.MachineUnknown, h.word
}
