package codec

import (
	"bytes"
	"compress/zlib"
	"math/rand/v2"
	"testing"
)

func page(kind string) []byte {
	b := make([]byte, 4096)
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range b {
		switch kind {
		case "noise":
			b[i] = byte(rnd.Uint32())
		case "text":
			b[i] = "a kernel page with some words "[(i*i/7)%30]
		}
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	d := NewDecoder()
	for _, c := range []Codec{Raw, Zlib, LZO, Snappy, Zstd} {
		e, err := NewEncoder(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"zero", "text", "noise"} {
			want := page(kind)
			enc, used, err := e.Encode([]byte("kept"), want)
			if err != nil || string(enc[:4]) != "kept" {
				t.Fatalf("%v %s: Encode error = %v", c, kind, err)
			}
			enc = enc[4:]
			if kind == "noise" && (used != Raw || len(enc) != len(want)) {
				t.Errorf("%v: noise became %d bytes of %v; want raw", c, len(enc), used)
			}
			got := make([]byte, 4096)
			if err := d.Decode(used, got, enc); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v %s: the page differs, error = %v", c, kind, err)
			}
			// One byte less or more of room, and less of the input, must fail.
			for _, size := range []int{4095, 4097, 0} {
				if err := d.Decode(used, make([]byte, size), enc); err == nil {
					t.Errorf("%v %s: decoded into %d bytes", c, kind, size)
				}
			}
			if err := d.Decode(used, got, enc[:len(enc)-3]); err == nil {
				t.Errorf("%v %s: decoded without the last 3 bytes", c, kind)
			}
		}
	}
}

func TestLZO(t *testing.T) {
	d := NewDecoder()
	// 32 literals, a match of 4064 bytes at distance 32, the end mark.
	src := append([]byte{17 + 32}, "0123456789abcdef0123456789ABCDEF"...)
	src = append(src, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4064-33-15*255, 31<<2, 0, 0x11, 0, 0)
	got := make([]byte, 4096)
	if err := d.Decode(LZO, got, src); err != nil || string(got[4064:]) != "0123456789abcdef0123456789ABCDEF" {
		t.Errorf("Decode(LZO) = …%q, %v", got[4064:], err)
	}
	for n := range src {
		if err := d.Decode(LZO, got, src[:n]); err == nil {
			t.Errorf("%d of %d bytes decode", n, len(src))
		}
	}
}

// TestAllocs: pages are encoded and decoded without allocating.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget while races are looked for")
	}
	d := NewDecoder()
	got := make([]byte, 4096)
	for c := Raw; c <= Zstd; c++ {
		e, err := NewEncoder(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		var enc []byte
		var used Codec
		for _, kind := range []string{"text", "noise"} {
			want := page(kind)
			if n := testing.AllocsPerRun(100, func() { enc, used, _ = e.Encode(enc[:0], want) }); n > 0 {
				t.Errorf("%v %s: Encode allocates %v times a page", c, kind, n)
			}
			if n := testing.AllocsPerRun(100, func() { err = d.Decode(used, got, enc) }); n > 0 || err != nil {
				t.Errorf("%v %s: Decode allocates %v times a page, error = %v", c, kind, n, err)
			}
		}
	}
}

func TestDamagedChecksum(t *testing.T) {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(page("text"))
	w.Close()
	enc := b.Bytes()
	enc[len(enc)-1] ^= 1
	if err := NewDecoder().Decode(Zlib, make([]byte, 4096), enc); err == nil {
		t.Error("a wrong checksum was not seen")
	}
}

func TestNames(t *testing.T) {
	for c := Raw; c <= Zstd; c++ {
		if got, err := Parse(c.String()); got != c || err != nil {
			t.Errorf("Parse(%q) = %v, %v", c.String(), got, err)
		}
	}
	if _, err := Parse("rar"); err == nil {
		t.Error("there is a codec called rar")
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range []Codec{Zlib, LZO, Snappy, Zstd} {
		e, _ := NewEncoder(c, 0)
		enc, used, _ := e.Encode(nil, page("text"))
		f.Add(uint8(used), enc)
	}
	f.Add(uint8(LZO), append(append([]byte{17 + 4}, "abcd"...), 0x11, 0, 0))
	d := NewDecoder()
	dst := make([]byte, 4096)
	f.Fuzz(func(t *testing.T, c uint8, src []byte) { d.Decode(Codec(c%6), dst, src) })
}

// TestPlausible: what was encoded looks so, and what was overwritten or cut does not.
func TestPlausible(t *testing.T) {
	page := bytes.Repeat([]byte("a page of words, "), 241)[:4096]
	for c := Raw; c <= Zstd; c++ {
		e, err := NewEncoder(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		enc, kind, err := e.Encode(nil, page)
		if err != nil || kind != c {
			t.Fatalf("%v: became %v, error = %v", c, kind, err)
		}
		if !Plausible(c, enc, len(page)) {
			t.Errorf("%v: what was encoded is not plausible", c)
		}
		other := len(page)
		if c == Raw || c == Snappy || c == Zstd {
			other++ // those that say the size
		}
		for what, bad := range map[string][]byte{"nothing": nil, "a byte": enc[:1], "zeros": make([]byte, len(enc)/2)} {
			if Plausible(c, bad, other) {
				t.Errorf("%v: %s is plausible", c, what)
			}
		}
	}
}

// TestLargePage: pages that are too large for the compressors of single pages are the libraries'.
func TestLargePage(t *testing.T) {
	want := bytes.Repeat([]byte("a page of words, "), maxPage/17+1)[:maxPage]
	for c := Raw; c <= Zstd; c++ {
		e, err := NewEncoder(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		enc, used, err := e.Encode(nil, want)
		got := make([]byte, len(want))
		if derr := NewDecoder().Decode(used, got, enc); err != nil || derr != nil || used != c || !bytes.Equal(got, want) {
			t.Errorf("%v: %d bytes of %v, errors = %v, %v", c, len(enc), used, err, derr)
		}
	}
}
