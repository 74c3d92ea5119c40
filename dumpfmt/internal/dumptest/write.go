package dumptest

import (
	"bytes"
	"slices"
	"testing"

	"kdx/dumpfmt"
)

// Info is what a source of the image would say.
func (im *Image) Info() *dumpfmt.Info {
	machine := dumpfmt.Machine(im.Machine)
	switch im.Machine {
	case "i686":
		machine = dumpfmt.MachineI386
	case "armv7l":
		machine = dumpfmt.MachineARM
	}
	info := &dumpfmt.Info{Format: "test", PageSize: uint64(im.PageSize), ByteOrder: im.Order, WordSize: im.Word, Machine: machine,
		MaxPFN: im.MaxPFN, DumpLevel: -1}
	info.UTS = dumpfmt.UTS{Sysname: "Linux", Nodename: "node", Release: "6.1.0-test", Version: "#1 SMP", Machine: im.Machine, Domainname: "(none)"}
	for _, pfn := range im.PFNs() {
		at := dumpfmt.Phys(pfn * info.PageSize)
		if n := len(info.Ranges); n > 0 && info.Ranges[n-1].End == at {
			info.Ranges[n-1].End += dumpfmt.Phys(info.PageSize)
		} else {
			info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: at, End: at + dumpfmt.Phys(info.PageSize)})
		}
	}
	info.ReadNotes(&dumpfmt.File{Name: "notes", Size: int64(len(im.Notes)), ReaderAt: bytes.NewReader(im.Notes)}, 0, int64(len(im.Notes)))
	return info
}

// Kept are the pages that are not excluded.
func (im *Image) Kept() *dumpfmt.PageSet {
	var set dumpfmt.PageSet
	for pfn, p := range im.Pages {
		if p.State != dumpfmt.Excluded {
			set.Add(pfn)
		}
	}
	return &set
}

// Put hands the image's pages to a writer, pages of zeros with their mark if it is wanted.
func (im *Image) Put(t testing.TB, w dumpfmt.PageWriter, markZero bool) {
	t.Helper()
	zero := make([]byte, im.PageSize)
	var buf []byte
	for _, pfn := range im.PFNs() {
		p := im.Pages[pfn]
		s := dumpfmt.Stored{PFN: pfn, Zero: p.State == dumpfmt.Zero && markZero}
		switch {
		case p.State == dumpfmt.Excluded:
			continue
		case !s.Zero:
			data := p.Data
			if data == nil {
				data = zero
			}
			var err error
			if buf, s.Codec, err = w.Encode(buf[:0], data); err != nil {
				t.Fatal(err)
			}
			s.Data = buf
		}
		if err := w.Put(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Buffer is an output in memory.
type Buffer struct {
	B []byte
	// Limit, if it is not 0, is what the disk holds: writes behind it fail.
	Limit int64
	Err   error
}

// WriteAt writes as far as the limit.
func (b *Buffer) WriteAt(p []byte, off int64) (int, error) {
	n := len(p)
	if b.Limit > 0 {
		n = int(max(0, min(int64(n), b.Limit-off)))
	}
	if end := int(off) + n; n > 0 && end > len(b.B) {
		b.B = append(b.B, make([]byte, end-len(b.B))...)
	}
	copy(b.B[min(int(off), len(b.B)):], p[:n])
	if n < len(p) {
		return n, b.Err
	}
	return n, nil
}

// Long is Small with runs of excluded pages and of zeros that are worth leaving out, also beside each other.
func (im *Image) Long() *Image {
	at := im.MaxPFN + 3
	for i, st := range []dumpfmt.PageState{dumpfmt.Present, dumpfmt.Zero, dumpfmt.Excluded, dumpfmt.Zero, dumpfmt.Present, dumpfmt.Excluded, dumpfmt.Present, dumpfmt.Zero} {
		for range 200 + i {
			p := Page{State: st}
			if st == dumpfmt.Present {
				p.Data = slices.Repeat([]byte{byte(at), byte(at >> 8), 1, byte(i)}, im.PageSize/4)
			}
			im.Pages[at] = p
			at++
		}
	}
	im.MaxPFN = at
	return im
}
