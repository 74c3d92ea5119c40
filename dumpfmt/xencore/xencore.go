// Package xencore reads what Xen's "xl dump-core" writes of a domain: an ELF file that has sections but no program headers.
//
//	.note.Xen: what it is | .xen_prstatus: CPUs | .xen_pages: memory, page by page |
//	.xen_pfn: of each page its number; or, of a paravirtualised domain, .xen_p2m: its number and the machine's
package xencore

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/linear"
	"kdx/dumpfmt/internal/x86cpu"
)

const (
	typeCore   = 4 // ET_CORE
	ehdr64     = 64
	noteHeader = 0x2000001 // type of the note that counts CPUs and pages
	maxCPUs    = 8192
	maxPFN     = 1 << 36 // 256 TiB in pages of 4 KiB
	invalidPFN = 1<<64 - 1

	// Pages come in order but for few, so that there are few runs; a table that lies could make many.
	firstJoin = 1 << 18
	maxRuns   = 1 << 24
)

// Probe reports whether a file that begins with head is such a dump: an ELF core without program headers.
func Probe(head []byte) bool {
	if len(head) < ehdr64 || string(head[:6]) != "\x7fELF\x02\x01" { // libxc writes 64 bits whatever the domain is
		return false
	}
	le := binary.LittleEndian
	return le.Uint16(head[16:]) == typeCore && le.Uint16(head[56:]) == 0 && le.Uint16(head[60:]) > 0
}

// dump is what reading the headers gave.
type dump struct {
	file       *dumpfmt.File
	info       *dumpfmt.Info
	pages, pfn *elf.Section
	p2m        bool // pfn has the machine's page numbers, too
	nCPUs      uint64
}

// Open opens a domain's dump. It takes over f only if it succeeds.
func Open(files []*dumpfmt.File) (dumpfmt.Source, error) {
	f := files[0]
	if len(files) > 1 {
		return nil, fmt.Errorf("%s is the dump of a Xen domain, which is always one file, but %d files were named", f.Name, len(files))
	}
	e, err := elf.NewFile(io.NewSectionReader(f.ReaderAt, 0, f.Size))
	if err != nil {
		return nil, &dumpfmt.FormatError{File: f.Name, Msg: "the section headers of the dump of a Xen domain make no sense (was it cut short?): " + err.Error()}
	}
	d := &dump{file: f, info: &dumpfmt.Info{Format: "xen", Files: []string{f.Name}, ByteOrder: e.ByteOrder, WordSize: 8, DumpLevel: -1,
		PageSize: 4096, Flattened: f.Flattened, Incomplete: f.Incomplete, Warnings: f.Warnings}}
	switch e.Machine {
	case elf.EM_X86_64:
		d.info.Machine = dumpfmt.MachineX86_64
	case elf.EM_386:
		d.info.Machine, d.info.WordSize = dumpfmt.MachineI386, 4
	case elf.EM_AARCH64:
		d.info.Machine = dumpfmt.MachineAArch64
	case elf.EM_ARM:
		d.info.Machine, d.info.WordSize = dumpfmt.MachineARM, 4
	}
	if err := d.sections(e); err != nil {
		return nil, err
	}
	runs, err := d.runs()
	if err != nil {
		return nil, err
	}
	if d.p2m {
		d.info.Warn("this is a paravirtualised domain: its page tables hold the machine's page numbers, which kdx does not translate; " +
			"what the kernel maps linearly can be read")
	}
	return linear.New(d.info, files, runs)
}

// sections finds the parts and reads notes and CPUs.
func (d *dump) sections(e *elf.File) error {
	var prstatus *elf.Section
	for _, s := range e.Sections {
		if s.Type == elf.SHT_NOBITS {
			continue
		}
		switch s.Name {
		case ".note.Xen":
			d.info.ReadNotes(d.file, int64(s.Offset), int64(min(s.FileSize, dumpfmt.MaxNotes)))
		case ".xen_prstatus":
			prstatus = s
		case ".xen_pages":
			d.pages = s
		case ".xen_pfn", ".xen_p2m":
			d.pfn, d.p2m = s, s.Name == ".xen_p2m"
		}
	}
	for _, n := range d.info.Notes {
		if n.Type == noteHeader && len(n.Desc) >= 32 {
			d.nCPUs = d.info.ByteOrder.Uint64(n.Desc[8:])
			d.info.PageSize = d.info.ByteOrder.Uint64(n.Desc[24:])
		}
	}
	switch {
	case d.pages == nil || d.pfn == nil:
		return &dumpfmt.FormatError{File: d.file.Name, Msg: "an ELF core without program headers that isn't the dump of a Xen domain, either: it has no section .xen_pages with .xen_pfn or .xen_p2m"}
	case !dumpfmt.ValidPageSize(d.info.PageSize):
		return &dumpfmt.FormatError{File: d.file.Name, Msg: fmt.Sprintf("pages of %d bytes can't be", d.info.PageSize)}
	case d.pages.Offset > uint64(d.file.Size):
		return &dumpfmt.FormatError{File: d.file.Name, Offset: int64(d.pages.Offset & (1<<63 - 1)), Msg: "the file ends before the domain's memory"}
	}
	if prstatus != nil && d.info.Machine == dumpfmt.MachineX86_64 {
		d.cpus(prstatus)
	}
	return nil
}

func (d *dump) cpus(s *elf.Section) {
	n := min(d.nCPUs, s.FileSize/contextSize, maxCPUs)
	if d.nCPUs > n {
		d.info.Warn("the dump has registers of %d CPUs, not of %d", n, d.nCPUs)
	}
	var states []x86cpu.State
	b := make([]byte, contextSize)
	for i := range n {
		at := int64(s.Offset) + int64(i)*contextSize
		if _, err := d.file.ReadFull(b, at); err != nil {
			d.info.Warn("registers of CPU %d at byte %#x: %v", i, at, err)
			break
		}
		states = append(states, parseContext(b, !d.p2m))
	}
	x86cpu.Add(d.info, states)
}

// runs reads the table of page numbers. Neighbours become one run.
func (d *dump) runs() ([]linear.Run, error) {
	entry := int64(8)
	if d.p2m {
		entry = 16
	}
	size := d.info.PageSize
	count := min(int64(d.pfn.FileSize)/entry, int64(d.pages.FileSize/size))
	if count < 0 || d.pfn.Offset > uint64(d.file.Size) {
		return nil, &dumpfmt.FormatError{File: d.file.Name, Offset: d.file.Size, Msg: "the table of the domain's page numbers lies behind the file's end: the dump was cut short"}
	}
	var runs []linear.Run
	limit := firstJoin
	buf := make([]byte, 64<<10)
	for i := int64(0); i < count; {
		want := min(int64(len(buf)), (count-i)*entry)
		n, err := d.file.ReadFull(buf[:want], int64(d.pfn.Offset)+i*entry)
		for b := buf[:int64(n)/entry*entry]; len(b) > 0; b = b[entry:] {
			pfn := d.info.ByteOrder.Uint64(b)
			if pfn != invalidPFN {
				if pfn >= maxPFN {
					return nil, &dumpfmt.FormatError{File: d.file.Name, Offset: int64(d.pfn.Offset) + i*entry, Msg: fmt.Sprintf("page number %#x can't be", pfn)}
				}
				runs = appendPage(runs, pfn*size, int64(d.pages.Offset)+i*int64(size), size)
			}
			i++
		}
		if len(runs) > limit {
			runs, _ = linear.Join(runs)
			if limit = max(firstJoin, 2*len(runs)); limit > maxRuns {
				return nil, &dumpfmt.FormatError{File: d.file.Name, Offset: int64(d.pfn.Offset), Msg: "the domain's pages are too scattered in the file"}
			}
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			d.info.Truncated, d.info.Incomplete = true, true
			d.info.Warn("the file ends inside the table of page numbers: %d of %d pages are known", i, count)
			return runs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: reading the table of page numbers: %w", d.file.Name, err)
		}
	}
	return runs, nil
}

func appendPage(runs []linear.Run, addr uint64, off int64, size uint64) []linear.Run {
	if n := len(runs); n > 0 {
		if r := &runs[n-1]; r.Start+r.Size == addr && r.Offset+int64(r.Size) == off {
			r.Size += size
			return runs
		}
	}
	return append(runs, linear.Run{Start: addr, Size: size, Offset: off})
}

// IsStream reports whether a file that begins with head is one of Xen's older forms, which kdx does not read, and which.
func IsStream(head []byte) (what string, ok bool) {
	const corePV, coreHVM = 0xf00febed, 0xf00febee
	switch {
	case bytes.HasPrefix(head, []byte("LinuxGuestRecord")):
		return "a domain that Xen saved (xl save)", true
	case len(head) >= 4 && (binary.LittleEndian.Uint32(head) == corePV || binary.LittleEndian.Uint32(head) == coreHVM):
		return "the dump of a Xen domain in the form of Xen 3.0", true
	}
	return "", false
}
