package flattened

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"kdx/dumpfmt"
)

// manyRecords is a flattened dump of 100 GB in records of 64 KiB: after 48 of them that follow one another, as pages do,
// comes one of a table in front.
type manyRecords struct{ n int64 }

const manySize, manyTable = 64 << 10, 1 << 40

func (m manyRecords) size() int64 { return headerSize + m.n*(recordSize+manySize) + recordSize }

func (m manyRecords) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off == 0 {
		copy(p, signature)
		p[23], p[31] = 1, 1
		return len(p), nil
	}
	const stride = recordSize + manySize
	for i := (off - headerSize) / stride; i <= m.n && headerSize+i*stride < off+int64(len(p)); i++ {
		at, size := int64(manyTable)+i*manySize, int64(manySize)
		switch {
		case i == m.n:
			at, size = -1, -1
		case i%49 == 48:
			at = i / 49 * manySize
		}
		head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(at)), uint64(size))
		if begin := headerSize + i*stride - off; begin >= 0 {
			copy(p[begin:], head)
		}
	}
	return len(p), nil
}

// BenchmarkOpen100GB indexes it. heap-bytes is what the index takes.
func BenchmarkOpen100GB(b *testing.B) {
	src := manyRecords{100 << 30 / manySize}
	for b.Loop() {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Open(b.Context(), &dumpfmt.File{Name: "flat", Size: src.size(), ReaderAt: src}, nil)
		if err != nil || f.Incomplete {
			b.Fatal(f, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "heap-bytes")
		runtime.KeepAlive(f)
	}
}

// BenchmarkRearrange unfolds the dump that KDX_BENCH_FLAT names.
func BenchmarkRearrange(b *testing.B) {
	path := os.Getenv("KDX_BENCH_FLAT")
	if path == "" {
		b.Skip("KDX_BENCH_FLAT names no flattened dump")
	}
	for b.Loop() {
		in, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		out, err := os.Create(filepath.Join(b.TempDir(), "out"))
		if err != nil {
			b.Fatal(err)
		}
		n, err := Rearrange(b.Context(), in, out, nil)
		if err := errors.Join(err, in.Close(), out.Close(), os.Remove(out.Name())); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}
