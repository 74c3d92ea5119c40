package reduce_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"kdx/analyze"
	"kdx/analyze/reduce"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// TestVirtual turns a kdump-compressed dump, which says nothing of virtual memory, into an ELF one, and reads by virtual
// addresses of its program headers what the kernel's page tables say is there.
func TestVirtual(t *testing.T) {
	ctx := t.Context()
	img, err := formats.Open(ctx, []string{"../../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	k, err := analyze.Open(ctx, img, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	target, err := reduce.ParseTarget("elf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vmcore")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := reduce.Run(ctx, reduce.Job{Image: img, Kernel: k, Target: target, Outputs: []dumpfmt.Output{f}, NoCheck: true}); err != nil {
		t.Fatal(err)
	}
	out, err := formats.Open(ctx, []string{path}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	base, _ := k.Arch().DirectMap()
	text, direct := 0, 0
	for _, s := range out.Info().Segments {
		switch {
		case s.Virt == uint64(base)+uint64(s.Phys):
			direct++
		case s.Virt>>31 == 0x1ffffffff:
			text++
		default:
			t.Fatalf("segment %+v", s)
		}
		if s.FileSize < 4096 {
			continue
		}
		want, got := make([]byte, 4096), make([]byte, 4096)
		if _, err := k.ReadMemory(want, s.Virt); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(got, int64(s.Offset)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("virtual address %#x: other bytes, %v", s.Virt, err)
		}
	}
	if text == 0 || direct == 0 {
		t.Errorf("%d segments of the kernel image, %d of the direct map", text, direct)
	}
}
