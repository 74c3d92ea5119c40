package formats

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/kdump"
)

// Sparse dumps of a machine with 1 TiB: what opening costs that grows with the machine is their tables.
const tib = 1 << 40

func sparseKdump(tb testing.TB) string {
	path := filepath.Join(tb.TempDir(), "kdump")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	info := &dumpfmt.Info{Format: "kdump", PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8, Machine: dumpfmt.MachineX86_64,
		MaxPFN: tib >> 12, Ranges: []dumpfmt.PhysRange{{Start: 0, End: tib}}}
	var pages dumpfmt.PageSet
	for pfn := uint64(5); pfn < info.MaxPFN; pfn += info.MaxPFN / 1000 {
		pages.Add(pfn)
	}
	w, err := kdump.NewPageWriter(f, kdump.Config{Info: info, Pages: &pages, DumpLevel: 31})
	if err != nil {
		tb.Fatal(err)
	}
	page := make([]byte, 4096)
	for pfn := range pages.All() {
		binary.LittleEndian.PutUint64(page, pfn)
		if err := w.Put(dumpfmt.Stored{PFN: pfn, Data: page}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

// sparseELF is a filtered ELF file whose memory is cut into segments of 2 MiB with a hole behind each first half, as
// makedumpfile -E leaves them in the worst case: 524,288 of them, which takes PN_XNUM.
func sparseELF(tb testing.TB) string {
	const segments, each = tib >> 21, 1 << 21
	const ehdr, phdr, shdr = 64, 56, 64
	le := binary.LittleEndian
	head := make([]byte, ehdr+segments*phdr+shdr)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], 4)  // ET_CORE
	le.PutUint16(head[18:], 62) // x86-64
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[32:], ehdr)
	le.PutUint64(head[40:], ehdr+segments*phdr)
	le.PutUint16(head[52:], ehdr)
	le.PutUint16(head[54:], phdr)
	le.PutUint16(head[56:], 0xffff) // PN_XNUM: the count is in section header 0
	le.PutUint16(head[58:], shdr)
	le.PutUint16(head[60:], 1)
	data := uint64(len(head)+4095) &^ 4095
	for i := range uint64(segments) {
		p := head[ehdr+i*phdr:]
		le.PutUint32(p, 1)
		le.PutUint64(p[8:], data+i*each/2)
		le.PutUint64(p[24:], i*each)
		le.PutUint64(p[32:], each/2)
		le.PutUint64(p[40:], each)
	}
	le.PutUint32(head[ehdr+segments*phdr+44:], segments)
	path := filepath.Join(tb.TempDir(), "elf")
	if err := os.WriteFile(path, head, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(path, int64(data+segments*each/2)); err != nil {
		tb.Skipf("this file system has no sparse files of 512 GiB: %v", err)
	}
	return path
}

func benchmarkOpen(b *testing.B, path string, pfn uint64) {
	for b.Loop() {
		img, err := Open(context.Background(), []string{path}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := img.Page(pfn); err != nil {
			b.Fatal(err)
		}
		img.Close()
	}
}

func BenchmarkOpenTiBKdump(b *testing.B) { benchmarkOpen(b, sparseKdump(b), 5) }
func BenchmarkOpenTiBELF(b *testing.B)   { benchmarkOpen(b, sparseELF(b), 511) }
