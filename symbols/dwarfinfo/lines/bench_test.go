package lines

import (
	"os"
	"testing"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/objfile"
)

// openKernel opens the file that KDX_BENCH_VMLINUX names: benchmarks of a kernel's size need one.
func openKernel(b *testing.B) (*objfile.File, *dwarfinfo.Data) {
	b.Helper()
	path := os.Getenv("KDX_BENCH_VMLINUX")
	if path == "" {
		b.Skip("KDX_BENCH_VMLINUX does not name a vmlinux with debug information")
	}
	f, err := objfile.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	d, err := dwarfinfo.Open(f, nil)
	if err != nil {
		b.Fatal(err)
	}
	return f, d
}

// BenchmarkStack asks for the places of a stack of well-known functions: cold, from the opening of the file, and when its
// units are known.
func BenchmarkStack(b *testing.B) {
	f, d := openKernel(b)
	syms, err := f.ELF.Symbols()
	if err != nil {
		b.Fatal(err)
	}
	wanted := map[string]bool{"__schedule": true, "schedule": true, "do_nanosleep": true, "vfs_write": true, "ksys_write": true, "do_syscall_64": true,
		"do_sys_poll": true, "tcp_recvmsg": true, "do_exit": true, "panic": true, "ext4_writepages": true, "shrink_node": true}
	var pcs []uint64
	for _, s := range syms {
		if wanted[s.Name] && s.Size > 0 {
			pcs = append(pcs, s.Value+s.Size/2)
		}
	}
	ask := func(b *testing.B, x *Finder) {
		for _, pc := range pcs {
			if _, err := x.PlacesAt(pc); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			d, err := dwarfinfo.Open(f, nil)
			if err != nil {
				b.Fatal(err)
			}
			ask(b, New(d, 0, "bench"))
		}
	})
	b.Run("warm", func(b *testing.B) {
		x := New(d, 0, "bench")
		ask(b, x)
		for b.Loop() {
			x.places.mu.Lock()
			x.places.m = nil // units are known, answers are not
			x.places.mu.Unlock()
			ask(b, x)
		}
	})
}

func BenchmarkCode(b *testing.B) {
	_, d := openKernel(b)
	x := New(d, 0, "bench")
	for _, file := range []string{"kernel/sched/core.c", "include/linux/list.h"} {
		b.Run(file, func(b *testing.B) {
			for b.Loop() {
				if _, err := x.LineCode(file, 70); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
