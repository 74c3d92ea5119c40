package convert_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/kdump"
	"kdx/internal/codec"
)

// cpuTime reports the processor time that an iteration took, which other work on the machine doesn't change much.
func cpuTime(b *testing.B) (report func()) {
	used := func() int64 {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return r.Utime.Nano() + r.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

// peak reports the most anonymous memory that the process had so far, in bytes: memory of files in the page cache is not ours.
func peak(b *testing.B) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			if kib, err := strconv.Atoi(f[1]); err == nil {
				b.ReportMetric(float64(kib)*1024, "peak-bytes")
			}
		}
	}
}

// BenchmarkRun converts the dump that KDX_BENCH_DUMP names, with one worker and one a core. KDX_BENCH_PAGES names a
// filtered dump of the same memory: only the pages that it holds are written then.
func BenchmarkRun(b *testing.B) {
	path := os.Getenv("KDX_BENCH_DUMP")
	if path == "" {
		b.Skip("KDX_BENCH_DUMP names no dump")
	}
	im, err := formats.Open(b.Context(), []string{path}, formats.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer im.Close()
	pages, level := benchPages(b, im)
	for _, c := range []struct {
		kind  codec.Codec
		level int
	}{{codec.Raw, 0}, {codec.Zlib, 0}, {codec.Zlib, 6}, {codec.LZO, 0}, {codec.Snappy, 0}, {codec.Zstd, 0}, {codec.Zstd, 3}} {
		for _, workers := range []int{0, 1} {
			b.Run(fmt.Sprintf("%v:%d/workers=%d", c.kind, c.level, workers), func(b *testing.B) {
				out := filepath.Join(b.TempDir(), "out")
				b.SetBytes(int64(pages.Len() * im.Info().PageSize))
				report := cpuTime(b)
				size := int64(0)
				for b.Loop() {
					size = benchRun(b, out, im.Source(), kdump.Config{Info: im.Info(), Pages: pages, Codec: c.kind, Level: c.level, DumpLevel: level}, workers)
				}
				report()
				peak(b)
				b.ReportMetric(float64(size), "out-bytes")
			})
		}
	}
}

func benchPages(b *testing.B, im *dumpfmt.Image) (*dumpfmt.PageSet, int) {
	level := 0
	if path := os.Getenv("KDX_BENCH_PAGES"); path != "" {
		filtered, err := formats.Open(b.Context(), []string{path}, formats.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer filtered.Close()
		im, level = filtered, filtered.Info().DumpLevel
	}
	var pages dumpfmt.PageSet
	for pfn := range im.Info().MaxPFN {
		if im.State(pfn).Readable() {
			pages.Add(pfn)
		}
	}
	return &pages, level
}

func benchRun(b *testing.B, path string, src dumpfmt.Source, cfg kdump.Config, workers int) int64 {
	out, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w, err := kdump.NewPageWriter(out, cfg)
	if err != nil {
		b.Fatal(err)
	}
	rep, err := convert.Run(b.Context(), convert.Job{Source: src, Pages: cfg.Pages, Writer: w, ZeroPages: cfg.DumpLevel&1 != 0, Workers: workers})
	if err := errors.Join(err, out.Close()); err != nil || rep.Missing > 0 {
		b.Fatal(rep, err)
	}
	return w.Size()
}
