package kdump

import (
	"math"

	"kdx/dumpfmt"
	"kdx/internal/elfnote"
)

// headLayout is where the parts in front of the pages go.
type headLayout struct {
	main         *layout
	sub          *subLayout
	status       uint32
	notes        []byte
	vmcoreinfo   span
	subBlocks    uint64
	bitmapBlocks uint64 // of both
	descAt       int64
}

func (w *Writer) layout() {
	h := &w.head
	h.main, h.sub = &layout64, &sub64
	if w.cfg.Info.WordSize == 4 {
		h.main, h.sub = &layout32, &sub32padded
		if w.cfg.Info.Machine == dumpfmt.MachineI386 {
			h.sub = &sub32packed
		}
	}
	h.status = codecFlag(w.cfg.Codec)
	w.collectNotes()
	h.subBlocks = w.blocks(uint64(h.sub.len + len(h.notes)))
	h.bitmapBlocks = 2 * w.blocks((w.cfg.Info.MaxPFN+7)/8)
	h.descAt = int64((1 + h.subBlocks + h.bitmapBlocks) * w.page)
}

func (w *Writer) blocks(n uint64) uint64 { return (n + w.page - 1) / w.page }

// collectNotes copies the notes, and remembers where in the file the VMCOREINFO will be.
func (w *Writer) collectNotes() {
	h, info := &w.head, w.cfg.Info
	at := int64(w.page) + int64(h.sub.len)
	add := func(n dumpfmt.Note) {
		if n.Name == "VMCOREINFO" {
			desc := at + int64(len(h.notes)) + 12 + int64(len(n.Name)+1+3)&^3
			h.vmcoreinfo = span{off: desc, size: int64(len(n.Desc))}
		}
		h.notes = elfnote.Append(h.notes, w.order, n.Name, n.Type, n.Desc)
	}
	for _, n := range info.Notes {
		if n.Name == dumpfmt.DistilledNote && n.Type == dumpfmt.DistilledType {
			continue
		}
		add(n)
	}
	if h.vmcoreinfo.size == 0 && info.VMCoreInfo != nil {
		add(dumpfmt.Note{Name: "VMCOREINFO", Desc: []byte(info.VMCoreInfo.Text())})
	}
	if w.cfg.Distilled != nil {
		add(dumpfmt.Note{Name: dumpfmt.DistilledNote, Type: dumpfmt.DistilledType, Desc: []byte(*w.cfg.Distilled)})
	}
}

// writeHeads writes all that stands in front of the descriptors, to each part the same but for its range of pages.
func (w *Writer) writeHeads() error {
	if err := w.writeBitmaps(); err != nil {
		return err
	}
	for _, p := range w.parts {
		if err := w.writeHead(p); err != nil {
			return err
		}
	}
	return nil
}

// writeHead says that the dump is incomplete, which is true until it is closed: whoever is killed can't say it any more.
func (w *Writer) writeHead(p *partWriter) error {
	if err := w.writeMain(p, w.head.status|statusIncomplete); err != nil {
		return err
	}
	if err := w.writeSub(p); err != nil {
		return err
	}
	_, err := p.out.WriteAt(w.head.notes, int64(w.page)+int64(w.head.sub.len))
	return err
}

// writeMain writes the main header. Its status has the flags of compressions, and whether the dump is incomplete.
func (w *Writer) writeMain(p *partWriter, status uint32) error {
	h, info, o := &w.head, w.cfg.Info, w.order
	l := h.main
	b := make([]byte, w.page)
	copy(b, sigKdump)
	o.PutUint32(b[8:], maxVersion)
	uts := w.uts()
	for i, s := range []string{uts.Sysname, uts.Nodename, uts.Release, uts.Version, uts.Machine, uts.Domainname} {
		copy(b[utsOff+i*utsLen:][:utsLen-1], s)
	}
	if t := w.timestamp(); t[0] > 0 {
		if l.word == 8 {
			o.PutUint64(b[l.sec:], uint64(t[0]))
			o.PutUint64(b[l.usec:], uint64(t[1]))
		} else {
			o.PutUint32(b[l.sec:], uint32(t[0]))
			o.PutUint32(b[l.usec:], uint32(t[1]))
		}
	}
	o.PutUint32(b[l.status:], status)
	o.PutUint32(b[l.blockSize:], uint32(w.page))
	o.PutUint32(b[l.subSize:], uint32(h.subBlocks))
	o.PutUint32(b[l.bitmapBlocks:], uint32(h.bitmapBlocks))
	o.PutUint32(b[l.maxMapnr:], uint32(min(info.MaxPFN, math.MaxUint32)))
	o.PutUint32(b[l.nrCPUs:], uint32(max(1, len(info.CPUs))))
	_, err := p.out.WriteAt(b, 0)
	return err
}

// uts fills what an ELF dump's headers lack: makedumpfile refuses a dump without a release that it can parse, and libkdumpfile
// (drgn) doesn't learn the machine from a header without a version.
func (w *Writer) uts() dumpfmt.UTS {
	uts := w.cfg.Info.UTS
	if w.cfg.UTS != nil {
		uts = *w.cfg.UTS
	}
	if uts.Sysname == "" {
		uts.Sysname = "Linux"
	}
	if uts.Release == "" {
		uts.Release, _ = w.cfg.Info.VMCoreInfo.Get("OSRELEASE")
	}
	if uts.Version == "" {
		uts.Version = "(unknown)"
	}
	if uts.Machine == "" {
		uts.Machine = string(w.cfg.Info.Machine)
	}
	return uts
}

// timestamp in seconds and microseconds: when the first dump was written, otherwise when the kernel crashed.
func (w *Writer) timestamp() [2]int64 {
	if t := w.cfg.Info.Timestamp; !t.IsZero() {
		return [2]int64{t.Unix(), int64(t.Nanosecond() / 1000)}
	}
	sec, _ := w.cfg.Info.VMCoreInfo.Decimal("CRASHTIME")
	return [2]int64{sec, 0}
}

func (w *Writer) writeSub(p *partWriter) error {
	h, info, o := &w.head, w.cfg.Info, w.order
	l := h.sub
	b := make([]byte, l.len)
	long := func(off int, v uint64) {
		if l.word == 8 {
			o.PutUint64(b[off:], v)
		} else {
			o.PutUint32(b[off:], uint32(v))
		}
	}
	put := func(off int, s span) {
		o.PutUint64(b[off:], uint64(s.off))
		long(off+8, uint64(s.size))
	}
	if base, ok := info.VMCoreInfo.Number("phys_base"); ok {
		long(l.physBase, uint64(base))
	} else if info.PhysBase != nil {
		long(l.physBase, uint64(*info.PhysBase))
	}
	o.PutUint32(b[l.level:], uint32(w.cfg.DumpLevel))
	put(l.vmcoreinfo, h.vmcoreinfo)
	if len(h.notes) > 0 {
		put(l.note, span{off: int64(w.page) + int64(l.len), size: int64(len(h.notes))})
	}
	put(l.erase, p.erase)
	if len(w.parts) > 1 {
		o.PutUint32(b[l.split:], 1)
		long(l.start, p.start)
		long(l.end, p.end)
		o.PutUint64(b[l.start64:], p.start)
		o.PutUint64(b[l.end64:], p.end)
	}
	o.PutUint64(b[l.maxMapnr64:], info.MaxPFN)
	_, err := p.out.WriteAt(b, int64(w.page))
	return err
}
