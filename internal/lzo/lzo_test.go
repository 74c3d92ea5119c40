package lzo

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
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
	clear(got)
	if n, err := Decompress(got, enc[4:]); err != nil || n != len(src) || !bytes.Equal(got, src) {
		t.Fatalf("%d bytes, compressed to %d, decompress here to %d others, error = %v", len(src), len(enc)-4, n, err)
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

// TestInstructions decodes what the compressor does not write.
func TestInstructions(t *testing.T) {
	for _, test := range []struct {
		name string
		src  []byte
		want string
		err  error
	}{
		{"nothing", []byte{0x11, 0, 0}, "", nil},
		{"one literal, then two bytes from one back", []byte{18, 'a', 0<<2 | 1, 0, 'b', 0x11, 0, 0}, "aaab", nil},
		{"three literals, two bytes from three back", []byte{20, 'a', 'b', 'c', 2 << 2, 0, 0x11, 0, 0}, "abcab", nil},
		{"a run at the start without its short form", []byte{1, 'a', 'b', 'c', 'd', 0x11, 0, 0}, "abcd", nil},
		{"three bytes from too far behind a run", []byte{21, 'a', 'b', 'c', 'd', 0, 0, 0x11, 0, 0}, "abcd", ErrMatch},
		{"overlap", []byte{18, 'x', 0x20 | 18, 0, 0, 0x11, 0, 0}, "xxxxxxxxxxxxxxxxxxxxx", nil},
		{"no end mark", []byte{18, 'x'}, "x", ErrInput},
		{"more behind the end mark", []byte{18, 'x', 0x11, 0, 0, 0}, "x", ErrEnd},
		{"end mark of another length", []byte{18, 'x', 0x12, 0, 0}, "x", ErrEnd},
		{"literals cut off", []byte{30, 'x'}, "", ErrInput},
		{"a length without end", bytes.Repeat([]byte{0}, 1000), "", ErrOutput},
	} {
		dst := make([]byte, 100)
		n, err := Decompress(dst, test.src)
		if string(dst[:n]) != test.want || err != test.err {
			t.Errorf("%s: %q, %v; want %q, %v", test.name, dst[:n], err, test.want, test.err)
		}
	}
	// Three bytes from 2049 back, which only stand behind a run.
	src := append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 2060 - 18 - 8*255 + 0}, bytes.Repeat([]byte("0123456789"), 206)...)
	src = append(src, 0, 0, 0x11, 0, 0)
	dst := make([]byte, 3000)
	if n, err := Decompress(dst, src); err != nil || n != 2063 || string(dst[2060:n]) != "123" {
		t.Errorf("far behind a run: %d bytes, %q, %v", n, dst[2058:2063], err)
	}
}

// TestDamage: whatever bytes come, this decoder and another agree on what they are.
func TestDamage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var c Compressor
	all := blocks()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		src := all[name]
		if len(src) > 5000 {
			continue
		}
		enc := c.Compress(nil, src)
		for range 50 {
			b := bytes.Clone(enc)
			for range 1 + rnd.IntN(3) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			agree(t, b[:len(b)-rnd.IntN(2)*rnd.IntN(len(b))], len(src)+rnd.IntN(3)-1)
		}
	}
}

// agree holds this decoder against another.
func agree(t *testing.T, src []byte, size int) {
	t.Helper()
	size = max(0, size)
	got, want := make([]byte, size), make([]byte, size)
	n, err := Decompress(got, src)
	m, werr := func() (m int, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		return lzo.Decompress(src, want)
	}()
	if (err == nil) != (werr == nil) || err == nil && (n != m || !bytes.Equal(got[:n], want[:n])) {
		t.Errorf("%x into %d bytes: %d, %v; the other says %d, %v", src, size, n, err, m, werr)
	}
}

func FuzzDecompress(f *testing.F) {
	var c Compressor
	for _, src := range blocks() {
		if len(src) <= 300 {
			f.Add(c.Compress(nil, src), uint16(len(src)))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, size uint16) { agree(t, src, int(size)) })
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
