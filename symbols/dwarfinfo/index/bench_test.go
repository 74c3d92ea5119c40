package index

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/objfile"
)

// openKernel opens the file that KDX_BENCH_VMLINUX names: benchmarks of a kernel's size need one.
func openKernel(b *testing.B) *dwarfinfo.Data {
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
	return d
}

// cpuTime is what the process has used of all CPUs: on a machine that others use, too, it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkBuild(b *testing.B) {
	d := openKernel(b)
	for _, jobs := range []int{1, 2} {
		b.Run(map[int]string{1: "one", 2: "two"}[jobs], func(b *testing.B) {
			b.SetBytes(int64(len(d.Info)))
			size := 0
			before := cpuTime(b)
			for b.Loop() {
				img, err := build(b.Context(), d, withDefaults(Options{Jobs: jobs}))
				if err != nil {
					b.Fatal(err)
				}
				size = len(img)
			}
			b.ReportMetric(float64(size)/1e6, "MB-index")
			b.ReportMetric((cpuTime(b)-before).Seconds()*1e3/float64(b.N), "cpu-ms/op")
		})
	}
}

func BenchmarkCached(b *testing.B) {
	d := openKernel(b)
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	opt := Options{CacheDir: dir}
	x, err := Open(b.Context(), d, opt)
	if err != nil {
		b.Fatal(err)
	}
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			x, err := Open(b.Context(), d, opt)
			if err != nil || !x.Cached() {
				b.Fatal(err)
			}
			x.Close()
		}
	})
	x, err = Open(b.Context(), d, opt)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			if len(x.Find(Struct, "task_struct")) == 0 {
				b.Fatal("no task_struct")
			}
		}
	})
	b.Run("prefix", func(b *testing.B) {
		for b.Loop() {
			x.NamesWithPrefix("task_")
		}
	})
	b.Run("holding", func(b *testing.B) {
		for b.Loop() {
			if len(x.Holding("task_struct")) == 0 {
				b.Fatal("nothing holds a task_struct")
			}
		}
	})
	b.Run("size", func(b *testing.B) {
		for b.Loop() {
			x.Types(192, 192)
		}
	})
}
