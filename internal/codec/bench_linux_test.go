package codec

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpu is the time that this process has computed. Benchmarks tell it because others may compute beside them.
func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchPages reads the file that KDX_PAGES names, such as an ELF dump, in pages, otherwise this test's own program.
func benchPages(b *testing.B) [][]byte {
	name := os.Getenv("KDX_PAGES")
	if name == "" {
		name, _ = os.Executable()
	}
	data, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	var out [][]byte
	for ; len(data) >= 4096; data = data[4096:] {
		out = append(out, data[:4096])
	}
	return out
}

func BenchmarkEncode(b *testing.B) {
	pages := benchPages(b)
	levels := map[Codec][]int{Zlib: {1, 2, 3, 4, 5, 6, 7, 8, 9}, Zstd: {1, 3, 8}}
	for c := Zlib; c <= Zstd; c++ {
		for _, level := range append([]int{}, append(levels[c], 0)...) {
			if level == 0 && levels[c] != nil {
				continue
			}
			b.Run(fmt.Sprintf("%v:%d", c, level), func(b *testing.B) {
				e, err := NewEncoder(c, level)
				if err != nil {
					b.Fatal(err)
				}
				var enc []byte
				b.SetBytes(4096)
				b.ReportAllocs()
				i, in, out := 0, 0, 0
				start := cpu()
				for b.Loop() {
					p := pages[i%len(pages)]
					enc, _, _ = e.Encode(enc[:0], p)
					i, in, out = i+1, in+len(p), out+len(enc)
				}
				b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/page")
				b.ReportMetric(100*float64(out)/float64(in), "%size")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	pages := benchPages(b)
	pages = pages[:min(len(pages), 2000)]
	for c := Zlib; c <= Zstd; c++ {
		b.Run(c.String(), func(b *testing.B) {
			e, err := NewEncoder(c, 0)
			if err != nil {
				b.Fatal(err)
			}
			encs, used := make([][]byte, len(pages)), make([]Codec, len(pages))
			for i, p := range pages {
				encs[i], used[i], _ = e.Encode(nil, p)
			}
			d := NewDecoder()
			dst := make([]byte, 4096)
			b.SetBytes(4096)
			b.ReportAllocs()
			i := 0
			start := cpu()
			for b.Loop() {
				if err := d.Decode(used[i], dst, encs[i]); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(pages) {
					i = 0
				}
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/page")
		})
	}
}
