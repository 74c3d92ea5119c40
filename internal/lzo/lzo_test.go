package lzo

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/anchore/go-lzo"
)

// blocks by what they show.
func blocks() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(n, values int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.IntN(values))
		}
		return b
	}
	out := map[string][]byte{
		"zeros":        make([]byte, 4096),
		"noise":        noise(4096, 256),
		"two values":   noise(4096, 2),
		"words":        bytes.Repeat([]byte("a page of words, some of them twice; "), 1800),
		"64 KiB":       noise(64<<10, 4),
		"256 KiB zero": make([]byte, 256<<10),
		"windows":      bytes.Repeat(noise(5000, 200), 50),
		"noise ahead":  append(noise(window-2, 256), make([]byte, 1000)...),
	}
	for n := range 40 {
		out["short "+string(rune('a'+n))] = noise(n, 3)
	}
	// A match from each distance where its form changes, of each length where that changes.
	for _, dist := range []int{4, 5, 7, 8, 9, near - 1, near, near + 1, mid - 1, mid, mid + 1, mid + 8, 0x7fff, 0x8000, 0x8001, far - 1, far, far + 1} {
		for _, size := range []int{4, 5, 8, 9, 10, 33, 34, 9 + 255, 10 + 255, 33 + 255, 34 + 255, 33 + 255*3} {
			b := noise(dist, 256)
			for range size {
				b = append(b, b[len(b)-dist])
			}
			out[string(rune('A'+dist%26))+string(rune(dist))+string(rune(size))] = append(b, noise(5, 256)...)
		}
	}
	// Runs of literals of each length where their form changes, between matches.
	for _, n := range []int{0, 1, 2, 3, 4, 18, 19, 18 + 255, 19 + 255, 238, 239} {
		b := append(noise(n+4, 256), make([]byte, 50)...)
		b = append(append(b, noise(n, 256)...), make([]byte, 50)...)
		out["run "+string(rune('a'+n))] = b
	}
	return out
}

func check(t *testing.T, c *Compressor, src []byte) {
	t.Helper()
	enc := c.Compress([]byte("kept"), src)
	if string(enc[:4]) != "kept" || len(enc)-4 > Bound(len(src)) {
		t.Fatalf("%d bytes became %d, behind %q", len(src), len(enc)-4, enc[:4])
	}
	got := make([]byte, len(src))
	if n, err := lzo.Decompress(enc[4:], got); err != nil || n != len(src) || !bytes.Equal(got, src) {
		t.Fatalf("%d bytes, compressed to %d, decompress to %d others, error = %v", len(src), len(enc)-4, n, err)
	}
}

func TestRound(t *testing.T) {
	var c Compressor
	for name, src := range blocks() {
		t.Run(name, func(t *testing.T) { check(t, &c, src) })
	}
}

// TestSame: what a block becomes does not depend on the blocks before it, nor on how many there were.
func TestSame(t *testing.T) {
	var used Compressor
	used.Compress(nil, []byte("the words of the page before"))
	used.base = window - 9000 // so that places begin anew in between
	for name, src := range blocks() {
		var fresh Compressor
		if !bytes.Equal(fresh.Compress(nil, src), used.Compress(nil, src)) {
			t.Errorf("%s: other bytes after other blocks", name)
		}
	}
}

func TestSizes(t *testing.T) {
	var c Compressor
	for name, limit := range map[string]int{"zeros": 40, "noise": 4096 + 32, "words": 1000, "256 KiB zero": 1100} {
		if n := len(c.Compress(nil, blocks()[name])); n > limit {
			t.Errorf("%s: %d bytes; want at most %d", name, n, limit)
		}
	}
}

func TestAllocs(t *testing.T) {
	var c Compressor
	src := blocks()["words"][:4096]
	dst := c.Compress(nil, src)
	if n := testing.AllocsPerRun(100, func() { dst = c.Compress(dst[:0], src) }); n != 0 {
		t.Errorf("%v allocations a block", n)
	}
}

func FuzzCompress(f *testing.F) {
	for _, src := range blocks() {
		if len(src) <= 4096 {
			f.Add(src, uint8(0))
		}
	}
	var c Compressor
	f.Fuzz(func(t *testing.T, src []byte, reach uint8) {
		// Long distances are rare in what a fuzzer makes up: the input stands twice, far apart.
		gap := make([]byte, int(reach)*256)
		for i := range gap {
			gap[i] = byte(i*i>>5 ^ i)
		}
		check(t, &c, append(append(bytes.Clone(src), gap...), src...))
	})
}

// BenchmarkCompress takes its pages from the file that KDX_PAGES names, such as an ELF dump, otherwise from this test's own program.
func BenchmarkCompress(b *testing.B) {
	name := os.Getenv("KDX_PAGES")
	if name == "" {
		name, _ = os.Executable()
	}
	data, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	const size = 4096
	pages := len(data) / size
	var c Compressor
	var dst []byte
	b.SetBytes(size)
	b.ReportAllocs()
	in, out, i := 0, 0, 0
	for b.Loop() {
		dst = c.Compress(dst[:0], data[i*size:][:size])
		in, out = in+size, out+min(size, len(dst))
		if i++; i == pages {
			i = 0
		}
	}
	b.ReportMetric(float64(out)/float64(in)*100, "%size")
}
