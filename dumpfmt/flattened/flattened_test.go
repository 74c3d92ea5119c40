package flattened

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	"kdx/dumpfmt"
)

func openBytes(t testing.TB, b []byte) (*dumpfmt.File, error) {
	return Open(t.Context(), &dumpfmt.File{Name: "flat", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}, nil)
}

// TestLaterRecordsWin writes random overlapping records and compares with a plain buffer.
func TestLaterRecordsWin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 50 {
		var stream bytes.Buffer
		w, err := NewWriter(&stream)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for range 1 + rnd.IntN(60) {
			at, n := rnd.IntN(5000), 1+rnd.IntN(1+rnd.IntN(3000))
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			if len(want) < at+n {
				want = append(want, make([]byte, at+n-len(want))...)
			}
			copy(want[at:], p)
			if _, err := w.WriteAt(p, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := openBytes(t, stream.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if f.Size != int64(len(want)) || f.Incomplete {
			t.Fatalf("round %d: Size = %d, Incomplete = %v; want %d, false", round, f.Size, f.Incomplete, len(want))
		}
		got, err := io.ReadAll(io.NewSectionReader(f.ReaderAt, 0, f.Size))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: the unfolded file differs, error = %v", round, err)
		}
		for range 50 {
			off := rnd.IntN(len(want))
			p := make([]byte, 1+rnd.IntN(len(want)-off))
			if _, err := f.ReaderAt.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
				t.Fatalf("round %d: ReadAt(%d bytes, %d) differs, error = %v", round, len(p), off, err)
			}
			if at := f.NextData(int64(off)); at > int64(off) && len(bytes.Trim(want[off:at], "\x00")) > 0 {
				t.Fatalf("round %d: NextData(%d) = %d skips data", round, off, at)
			}
		}
		if n, err := f.ReaderAt.ReadAt(make([]byte, 10), f.Size-4); n != 4 || err != io.EOF {
			t.Errorf("ReadAt over the end = %d, %v; want 4, EOF", n, err)
		}
	}
}

func stream(records ...[]byte) []byte {
	out := make([]byte, headerSize)
	copy(out, signature)
	out[23], out[31] = 1, 1
	for i, r := range records {
		out = binary.BigEndian.AppendUint64(out, uint64(i*1000))
		out = binary.BigEndian.AppendUint64(out, uint64(len(r)))
		out = append(out, r...)
	}
	return out
}

func TestCutShort(t *testing.T) {
	whole := stream(bytes.Repeat([]byte{1}, 1000), bytes.Repeat([]byte{2}, 500))
	for _, test := range []struct {
		name string
		b    []byte
		size int64
	}{
		{"no end mark", whole, 1500},
		{"inside a record's bytes", whole[:len(whole)-100], 1400},
		{"inside a record's header", whole[:headerSize+16+1000+7], 1000},
		{"nothing but the header", whole[:headerSize], 0},
		{"a record that can't be", append(bytes.Clone(whole), bytes.Repeat([]byte{0x80}, 16)...), 1500},
		{"a record of no bytes", append(bytes.Clone(whole), make([]byte, 16)...), 1500},
	} {
		f, err := openBytes(t, test.b)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !f.Incomplete || f.Size != test.size || len(f.Warnings) != 1 {
			t.Errorf("%s: Incomplete = %v, Size = %d, warnings %q; want true, %d, one", test.name, f.Incomplete, f.Size, f.Warnings, test.size)
		}
	}
	bad := bytes.Clone(whole)
	bad[23] = 2
	if _, err := openBytes(t, bad); err == nil {
		t.Error("a flattened dump of type 2 was opened")
	}
}

func TestProgress(t *testing.T) {
	b := stream(make([]byte, 100))
	var last, total int64
	f := &dumpfmt.File{Name: "flat", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
	if _, err := Open(t.Context(), f, func(d, n int64) { last, total = d, n }); err != nil || total != f.Size || last == 0 {
		t.Errorf("progress was %d of %d, error = %v", last, total, err)
	}
}

func FuzzFlattened(f *testing.F) {
	f.Add(stream([]byte("hello"), []byte("world")))
	f.Add(append(stream(make([]byte, 100), []byte("x")), bytes.Repeat([]byte{0xff}, 16)...))
	b := stream(make([]byte, 30), make([]byte, 1100), make([]byte, 5))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := openBytes(t, b)
		if err != nil {
			return
		}
		r := file.ReaderAt.(*reader)
		end := int64(0)
		for _, p := range r.pieces {
			pos, left := r.places.find(p.data)
			if p.at < end || p.size <= 0 || p.data < 0 || p.data+p.size > r.places.total || pos < headerSize || left <= 0 || pos+left > int64(len(b)) {
				t.Fatalf("piece %+v behind %d, at %d, file of %d bytes", p, end, pos, len(b))
			}
			if gap := r.NextGap(end, r.size); end < p.at && gap != end || r.NextGap(p.at, r.size) < p.at+p.size {
				t.Fatalf("piece %+v behind %d: the next gap is at %d", p, end, gap)
			}
			end = p.at + p.size
		}
		buf := make([]byte, 4096)
		for _, p := range r.pieces {
			if _, err := file.ReadFull(buf[:min(p.size, 4096)], p.at); err != nil {
				t.Fatal(err)
			}
			file.ReadFull(buf, max(0, p.at-100))
		}
	})
}
