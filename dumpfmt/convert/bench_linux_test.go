package convert_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
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

// peak reports the most resident memory that the process had since it was called, in bytes.
func peak(b *testing.B) (report func()) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
	return func() { b.ReportMetric(float64(resident(b)), "peak-bytes") }
}

func resident(b *testing.B) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
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
				report, most := cpuTime(b), peak(b)
				size := int64(0)
				for b.Loop() {
					size = benchRun(b, out, im.Source(), kdump.Config{Info: im.Info(), Pages: pages, Codec: c.kind, Level: c.level, DumpLevel: level}, workers)
				}
				report()
				most()
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

// tib is a machine with 1 TiB of memory whose pages hold zeros, but for one in 4096.
type tib struct{ info dumpfmt.Info }

func (s *tib) Info() *dumpfmt.Info            { return &s.info }
func (s *tib) Close() error                   { return nil }
func (s *tib) State(uint64) dumpfmt.PageState { return dumpfmt.Present }
func (s *tib) ReadPage(dst []byte, pfn uint64) error {
	clear(dst)
	if pfn%4096 == 0 {
		binary.LittleEndian.PutUint64(dst, pfn+1)
	}
	return nil
}

// BenchmarkTiB measures the memory that converting 1 TiB takes: every 64th page is kept, known beforehand or, with little
// memory, chosen anew when it is asked for.
func BenchmarkTiB(b *testing.B) {
	src := &tib{dumpfmt.Info{Format: "elf", PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8, Machine: dumpfmt.MachineX86_64,
		MaxPFN: 1 << 28, Ranges: []dumpfmt.PhysRange{{End: 1 << 40}}}}
	sel := func(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, _ bool) error {
		for pfn := from; pfn < to; pfn += 64 {
			keep.Add(pfn)
		}
		return ctx.Err()
	}
	for _, memory := range []int64{64 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("memory=%dM", memory>>20), func(b *testing.B) {
			report, most := cpuTime(b), peak(b)
			for b.Loop() {
				pages, err := convert.Select(b.Context(), sel, src.info.Ranges, 4096, memory)
				if err != nil {
					b.Fatal(err)
				}
				out, err := os.Create(filepath.Join(b.TempDir(), "out"))
				if err != nil {
					b.Fatal(err)
				}
				w, err := kdump.NewPageWriter(out, kdump.Config{Info: src.Info(), Pages: pages, Codec: codec.Zlib, DumpLevel: 31})
				if err != nil {
					b.Fatal(err)
				}
				rep, err := convert.Run(b.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true, Memory: memory})
				if err := errors.Join(err, out.Close()); err != nil || rep.Pages != 1<<22 || rep.Zero != rep.Pages-1<<16 {
					b.Fatal(rep, err)
				}
			}
			report()
			most()
		})
	}
}
