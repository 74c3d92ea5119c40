package zstdpage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// pages by what they show.
func pages() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := func(n, values int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.IntN(values))
		}
		return b
	}
	// Bytes whose codes get long: each comes half as often as the one before.
	steep := func(n, symbols, from int) []byte {
		b := make([]byte, n)
		for i := range b {
			k := 0
			for k < symbols-1 && rnd.IntN(2) == 0 {
				k++
			}
			b[i] = byte(from + k)
		}
		return b
	}
	out := map[string][]byte{
		"zeros":        make([]byte, 4096),
		"ones":         bytes.Repeat([]byte{1}, 4096),
		"noise":        noise(4096, 256),
		"one literal":  append(noise(1000, 1), 7),
		"words":        bytes.Repeat([]byte("a page of words, some of them twice; "), 110),
		"64 KiB":       noise(64<<10, 4),
		"64 KiB steep": steep(64<<10, 30, 0),
		"steep":        steep(4096, 30, 0),
		"steep, high":  steep(4096, 30, 226),
		"64 KiB noise": noise(64<<10, 250),
		"far":          append(append(noise(300, 256), noise(60000, 256)...), noise(300, 256)...),
	}
	for n := range 70 {
		out[fmt.Sprintf("short %d", n)] = noise(n, 3)
	}
	// Literals of all sizes where a head changes, of few and many values, also more than 128.
	for _, n := range []int{63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 4095, 16383, 16384, 16385, 65535, 65536} {
		for _, values := range []int{2, 3, 16, 100, 128, 129, 130, 200, 256} {
			out[fmt.Sprintf("%d of %d", n, values)] = noise(n, values)
			out[fmt.Sprintf("%d steep of %d", n, values)] = append(steep(n-2, min(values, 40), 0), byte(values-1), 3)
		}
	}
	// Matches of each length and distance where a code changes.
	for _, dist := range []int{1, 2, 3, 4, 5, 8, 12, 13, 14, 28, 29, 30, 4092, 4093, 32765, 65000} {
		for _, size := range []int{5, 6, 34, 35, 36, 37, 42, 43, 44, 66, 67, 130, 131, 132, 258, 259, 260, 515, 1027, 2051, 4099, 8195, 16387, 32771, 60000} {
			b := noise(dist, 256)
			for range size {
				b = append(b, b[len(b)-dist])
			}
			b = append(b, noise(5, 256)...)
			out[fmt.Sprintf("%d from %d", size, dist)] = b[:min(len(b), MaxPage)]
		}
	}
	// Distances that come again, right behind a match and later.
	var b []byte
	record := noise(24, 256)
	for range 100 {
		b = append(b, record[:16]...)
		b = append(b, noise(rnd.IntN(3), 256)...)
		b = append(b, record[rnd.IntN(8):]...)
	}
	out["records"] = b
	structs := noise(4096, 256)
	for i := range structs {
		if i >= 64 && i%8 > 1 {
			structs[i] = structs[i-64]
		}
	}
	out["structs"] = structs
	return out
}

func check(t *testing.T, c *Compressor, z *zstd.Decoder, src []byte) {
	t.Helper()
	if len(src) > MaxPage {
		src = src[:MaxPage]
	}
	enc := c.Compress([]byte("kept"), src)
	if string(enc[:4]) != "kept" || len(enc)-4 > len(src)+10 {
		t.Fatalf("%d bytes became %d, behind %q", len(src), len(enc)-4, enc[:4])
	}
	got, err := z.DecodeAll(enc[4:], nil)
	if err != nil || !bytes.Equal(got, src) {
		t.Fatalf("%d bytes, compressed to %d, decompress to %d others, error = %v", len(src), len(enc)-4, len(got), err)
	}
}

func decoder(t testing.TB) *zstd.Decoder {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	return z
}

func TestRound(t *testing.T) {
	var c Compressor
	z := decoder(t)
	for name, src := range pages() {
		t.Run(name, func(t *testing.T) { check(t, &c, z, src) })
	}
}

// TestSame: what a page becomes does not depend on the pages before it.
func TestSame(t *testing.T) {
	var used Compressor
	used.Compress(nil, []byte("the words of the page before, which are the words of a page"))
	used.base = MaxPage - 9000 // so that places begin anew in between
	for name, src := range pages() {
		var fresh Compressor
		if !bytes.Equal(fresh.Compress(nil, src), used.Compress(nil, src)) {
			t.Errorf("%s: other bytes after other pages", name)
		}
	}
}

// TestProgram compresses this test's own program, a page at a time, and is about as good as others.
func TestProgram(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var c Compressor
	z := decoder(t)
	other, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	own, theirs := 0, 0
	for ; len(data) >= 4096; data = data[4096:] {
		check(t, &c, z, data[:4096])
		own += len(c.Compress(nil, data[:4096]))
		theirs += len(other.EncodeAll(data[:4096], nil))
	}
	if own > theirs*108/100 {
		t.Errorf("%d bytes; the library's fastest makes %d", own, theirs)
	}
}

func FuzzRound(f *testing.F) {
	for _, src := range pages() {
		if len(src) < 5000 {
			f.Add(src, uint8(1))
		}
	}
	f.Add([]byte("abcdefgh"), uint8(200))
	var c Compressor
	z := decoder(f)
	f.Fuzz(func(t *testing.T, src []byte, times uint8) {
		if n := MaxPage / max(1, len(src)); int(times) > n {
			times = uint8(min(n, 255))
		}
		check(t, &c, z, bytes.Repeat(src, int(times)))
	})
}
