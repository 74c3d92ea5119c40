package deflate

import (
	"bytes"
	"compress/zlib"
	"hash/adler32"
	"io"
	"math/rand/v2"
	"testing"

	kzlib "github.com/klauspost/compress/zlib"
)

// check compresses a block and has others decompress it.
func check(t *testing.T, c *Compressor, src []byte) int {
	t.Helper()
	before := bytes.Clone(src)
	enc := c.Compress([]byte("kept"), src)
	if string(enc[:4]) != "kept" || !bytes.Equal(src, before) {
		t.Fatal("what was in front of the stream, or the block, has changed")
	}
	enc = enc[4:]
	for name, open := range map[string]func(io.Reader) (io.ReadCloser, error){"std": zlib.NewReader, "other": kzlib.NewReader} {
		r := bytes.NewReader(enc)
		z, err := open(r)
		if err != nil {
			t.Fatalf("%s: %d bytes: %v", name, len(src), err)
		}
		got, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, src) || r.Len() > 0 {
			t.Fatalf("%s: %d bytes became %d, with %d left, %v", name, len(src), len(got), r.Len(), err)
		}
	}
	if most := len(src) + 16; len(enc) > most {
		t.Fatalf("%d bytes became %d; want at most %d", len(src), len(enc), most)
	}
	return len(enc)
}

// block makes bytes of a kind: how many different ones, and how often something is repeated.
func block(rnd *rand.Rand, size int) []byte {
	b := make([]byte, 0, size)
	alphabet := 1 + rnd.IntN(256)
	skew := rnd.IntN(3)
	repeat := rnd.IntN(4)
	for len(b) < size {
		if repeat > 0 && len(b) > 0 && rnd.IntN(4*repeat) == 0 {
			from := rnd.IntN(len(b))
			for range min(size-len(b), 1+rnd.IntN(1<<(2+2*repeat))) {
				b = append(b, b[from])
				from++
			}
			continue
		}
		v := rnd.IntN(alphabet)
		for range skew {
			v = rnd.IntN(v + 1)
		}
		b = append(b, byte(v))
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	c := new(Compressor)
	rnd := rand.New(rand.NewPCG(7, 8))
	for n := range 64 {
		check(t, c, make([]byte, n))
		check(t, c, block(rnd, n))
	}
	for _, size := range []int{255, 256, 258, 259, 260, 261, 262, 263, 4095, 4096, 16384, MaxBlock - 1, MaxBlock} {
		check(t, c, make([]byte, size))
		for range 12 {
			check(t, c, block(rnd, size))
		}
	}
}

// TestFibonacci has counts that would give codes longer than the format allows.
func TestFibonacci(t *testing.T) {
	var src []byte
	a, b := 1, 1
	for sym := byte(0); len(src)+a <= MaxBlock; sym++ {
		src = append(src, bytes.Repeat([]byte{sym * 7}, a)...)
		a, b = b, a+b
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(src), func(i, j int) { src[i], src[j] = src[j], src[i] })
	check(t, new(Compressor), src)
}

// TestLengths builds codes of many counts: they must fill their room exactly, and keep to the limit.
func TestLengths(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		var h histogram
		n := 2 + rnd.IntN(numLits-2)
		h.clear(n)
		for i := range n {
			h.freq[i] = rnd.Uint32N(1<<rnd.IntN(17)) >> rnd.IntN(12)
		}
		limit := []int{9, 15}[rnd.IntN(2)]
		h.build(n, limit)
		room := 0
		for i, c := range h.codes[:n] {
			if int(c.len) > limit || h.freq[i] > 0 && c.len == 0 {
				t.Fatalf("symbol %d of %d comes %d times and has a code of %d bits", i, n, h.freq[i], c.len)
			}
			if c.len > 0 {
				room += 1 << (limit - int(c.len))
			}
		}
		if room != 1<<limit {
			t.Fatalf("codes of %d symbols take %d of %d", n, room, 1<<limit)
		}
	}
}

func TestAdler(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	full := bytes.Repeat([]byte{0xff}, MaxBlock)
	for range 500 {
		n := rnd.IntN(5000)
		for _, b := range [][]byte{block(rnd, n), full[:n], full} {
			if got, want := adler(b), adler32.Checksum(b); got != want {
				t.Fatalf("%d bytes: %#x; want %#x", len(b), got, want)
			}
		}
	}
}

func TestSmaller(t *testing.T) {
	c := new(Compressor)
	if n := check(t, c, make([]byte, 4096)); n > 48 {
		t.Errorf("a page of zeros becomes %d bytes", n)
	}
	text := bytes.Repeat([]byte("pages of a kernel hold words like 0xffff888000000000, "), 100)[:4096]
	if n := check(t, c, text); n > 150 {
		t.Errorf("a page of text becomes %d bytes", n)
	}
}

func FuzzCompress(f *testing.F) {
	rnd := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{0, 1, 7, 8, 9, 300, 4096} {
		f.Add(block(rnd, n), uint8(n))
	}
	f.Fuzz(func(t *testing.T, src []byte, times uint8) {
		// What a block leaves behind must not matter to the next.
		c := new(Compressor)
		src = src[:min(len(src), MaxBlock)]
		c.Compress(nil, bytes.Repeat(src, int(times)%8+1)[:min(MaxBlock, len(src)*(int(times)%8+1))])
		check(t, c, src)
		if a, b := c.Compress(nil, src), new(Compressor).Compress(nil, src); !bytes.Equal(a, b) {
			t.Fatalf("the same block becomes %d and %d bytes", len(a), len(b))
		}
	})
}
