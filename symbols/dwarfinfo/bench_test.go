package dwarfinfo

import (
	"os"
	"testing"

	"kdx/symbols/objfile"
)

// BenchmarkKernel opens the file that KDX_BENCH_VMLINUX names and asks where code is: of a unit, and of none.
func BenchmarkKernel(b *testing.B) {
	path := os.Getenv("KDX_BENCH_VMLINUX")
	if path == "" {
		b.Skip("KDX_BENCH_VMLINUX does not name a vmlinux with debug information")
	}
	f, err := objfile.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	open := func() *Data {
		d, err := Open(f, nil)
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	var pc uint64
	for _, u := range open().Units() {
		if pcs, _ := u.PCs(); len(pcs) > 0 {
			pc = pcs[0][0]
		}
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			open()
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if open().UnitAt(pc) == nil {
				b.Fatal("no unit")
			}
		}
	})
	b.Run("nowhere", func(b *testing.B) {
		for b.Loop() {
			if open().UnitAt(1) != nil {
				b.Fatal("a unit")
			}
		}
	})
}
