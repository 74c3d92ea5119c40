package kdump

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/internal/codec"
)

// benchDumps are the dump that KDX_BENCH_DUMP names, or built ones: 32 MiB of words like those in memory (small numbers,
// pointers into a few places), in each compression.
func benchDumps(b *testing.B) map[string]string {
	if path := os.Getenv("KDX_BENCH_DUMP"); path != "" {
		return map[string]string{"real": path}
	}
	out := make(map[string]string)
	info := &dumpfmt.Info{Format: "kdump", PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8,
		Machine: dumpfmt.MachineX86_64, MaxPFN: 8192, Ranges: []dumpfmt.PhysRange{{End: 8192 << 12}}}
	var pages dumpfmt.PageSet
	for pfn := range info.MaxPFN {
		pages.Add(pfn)
	}
	for _, kind := range []codec.Codec{codec.Raw, codec.Zlib, codec.Snappy, codec.Zstd} {
		var f output
		w, err := NewPageWriter(&f, Config{Info: info, Pages: &pages, Codec: kind})
		if err != nil {
			b.Fatal(err)
		}
		page, state := make([]byte, 4096), uint64(88172645463325252)
		for pfn := range info.MaxPFN {
			for i := 0; i < 4096; i += 8 {
				state ^= state << 13
				state ^= state >> 7
				state ^= state << 17
				word := uint64(0)
				switch state >> 61 {
				case 0, 1:
					word = 0xffff888000000000 + state%(1<<20)*64
				case 2:
					word = 0xffffffff81000000 + state%(1<<12)*16
				case 3, 4:
					word = state % 4096
				}
				binary.LittleEndian.PutUint64(page[i:], word)
			}
			data, c, err := w.Encode(nil, page)
			if err != nil {
				b.Fatal(err)
			}
			if err := w.Put(dumpfmt.Stored{PFN: pfn, Codec: c, Data: data}); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		out[kind.String()] = dumptest.File(b, "vmcore", f.b)
	}
	return out
}

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

func openBench(b *testing.B, path string) *Source {
	f, err := dumpfmt.OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	src, err := Open(b.Context(), []*dumpfmt.File{f})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { src.Close() })
	return src
}

// onAllCores calls work for pfns below max, in batches of neighbours.
func onAllCores(max uint64, work func(from, to uint64)) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	const batch = 512
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				to := next.Add(batch)
				if to-batch >= max {
					return
				}
				work(to-batch, min(to, max))
			}
		})
	}
	wg.Wait()
}

// BenchmarkReadAll reads a dump from its first page to its last.
func BenchmarkReadAll(b *testing.B) {
	for name, path := range benchDumps(b) {
		b.Run(name, func(b *testing.B) {
			src := openBench(b, path)
			im := dumpfmt.NewImage(src, dumpfmt.Options{})
			b.SetBytes(int64(src.dumped.count() * src.h.blockSize))
			report := cpuTime(b)
			for b.Loop() {
				err := im.Scan(b.Context(), func(_ uint64, _ dumpfmt.PageState, _ []byte, err error) error { return nil })
				if err != nil {
					b.Error(err)
				}
			}
			report()
		})
	}
}

// BenchmarkDecompressOnly decodes the same pages from memory, without looking anything up: what BenchmarkReadAll can't
// beat.
func BenchmarkDecompressOnly(b *testing.B) {
	for name, path := range benchDumps(b) {
		b.Run(name, func(b *testing.B) {
			src := openBench(b, path)
			file, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			type job struct {
				kind codec.Codec
				data []byte
			}
			var jobs []job
			for pfn := range src.info.MaxPFN {
				if _, d, st, _ := src.locate(pfn); st == dumpfmt.Present {
					kind, _ := d.codec()
					jobs = append(jobs, job{kind, file[d.offset:][:d.size]})
				}
			}
			dec := codec.NewDecoder()
			b.SetBytes(int64(src.dumped.count() * src.h.blockSize))
			report := cpuTime(b)
			for b.Loop() {
				onAllCores(uint64(len(jobs)), func(from, to uint64) {
					page := make([]byte, src.h.blockSize)
					for _, j := range jobs[from:to] {
						if err := dec.Decode(j.kind, page, j.data); err != nil {
							b.Error(err)
						}
					}
				})
			}
			report()
		})
	}
}
