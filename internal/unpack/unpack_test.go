package unpack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"kdx/internal/filecache"
)

// sample is n bytes that compress a little, and begin like an ELF file.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := []byte("\x7fELF")
	for len(b) < n {
		word := []byte("linux kernel text e8 ")
		b = append(b, word[r.IntN(len(word)):]...)
		b = append(b, byte(r.Uint32()))
	}
	return b[:n]
}

func written(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func legacy(t testing.TB, data []byte) []byte {
	out := bytes.Clone(magicOf(LZ4Legacy))
	for len(data) > 0 {
		block := data[:min(len(data), legacyBlock)]
		data = data[len(block):]
		dst := make([]byte, lz4.CompressBlockBound(len(block)))
		n, err := lz4.CompressBlockHC(block, dst, lz4.Level1, nil, nil)
		if err != nil || n == 0 {
			t.Fatalf("lz4: %d, %v", n, err)
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(n))
		out = append(out, dst[:n]...)
	}
	return out
}

// lzop writes stored blocks, and one block of LZO1X instructions: 12 literal bytes, then 200 copies of the last one.
func lzop(data []byte) ([]byte, []byte) {
	be := binary.BigEndian
	out := bytes.Clone(magicOf(LZOP))
	out = append(out, 0x10, 0x30, 0x20, 0xa0, 0x09, 0x40, 3, 9)
	out = be.AppendUint32(out, lzopAdlerD|lzopAdlerC)
	out = append(out, make([]byte, 12)...)
	out = append(out, 5, 'i', 'm', 'a', 'g', 'e', 0, 0, 0, 0)
	for rest := data; len(rest) > 0; {
		block := rest[:min(len(rest), 256<<10)]
		rest = rest[len(block):]
		out = be.AppendUint32(out, uint32(len(block)))
		out = be.AppendUint32(out, uint32(len(block)))
		out = be.AppendUint32(out, adler32.Checksum(block))
		out = append(out, block...)
	}
	packed := append([]byte{17 + 12}, "hello kernel"...)
	packed = append(packed, 0x20, 200-33, 0, 0) // a match of 2+31+167 bytes at distance 1
	packed = append(packed, 0x11, 0, 0)
	plain := append([]byte("hello kernel"), bytes.Repeat([]byte("l"), 200)...)
	out = be.AppendUint32(out, uint32(len(plain)))
	out = be.AppendUint32(out, uint32(len(packed)))
	out = be.AppendUint32(out, adler32.Checksum(plain))
	out = be.AppendUint32(out, adler32.Checksum(packed))
	out = append(out, packed...)
	return be.AppendUint32(out, 0), append(bytes.Clone(data), plain...)
}

func zstdWriter(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }

// packed is data in each format that can be written without other programs.
func packed(t testing.TB, data []byte) map[Format][]byte {
	return map[Format][]byte{
		Gzip:      written(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		Zstd:      written(t, data, zstdWriter),
		LZ4:       written(t, data, func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil }),
		XZ:        written(t, data, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
		LZMA:      written(t, data, func(w io.Writer) (io.WriteCloser, error) { return lzma.NewWriter(w) }),
		LZ4Legacy: legacy(t, data),
	}
}

func unpackAll(b []byte, f Format, limit int64) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(b), f, limit)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestFormats(t *testing.T) {
	long := sample(9 << 20) // more than one block of those that have blocks
	all := packed(t, long[:600_000])
	all[LZ4Legacy] = legacy(t, long)
	for f, b := range all {
		data := long[:600_000]
		if f == LZ4Legacy {
			data = long
		}
		if got := Detect(b); got != f {
			t.Errorf("Detect(%s) = %q", f, got)
		}
		got, err := unpackAll(b, f, 0)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", f, len(got), err)
		}
		if got, err := unpackAll(b, f, int64(len(data))); err != nil || len(got) != len(data) {
			t.Errorf("%s with a limit of just its size: %d bytes, %v", f, len(got), err)
		}
		var limit *LimitError
		if got, err := unpackAll(b, f, 1000); !errors.As(err, &limit) || limit.Limit != 1000 || len(got) != 1000 || !strings.Contains(err.Error(), "limit of 1000 bytes") {
			t.Errorf("%s beyond its limit: %d bytes, %v", f, len(got), err)
		}
		for _, cut := range []int{1, 9, len(b) / 2, len(b) - 1} {
			if f == LZ4Legacy && cut <= 4 {
				continue
			}
			if got, err := unpackAll(b[:cut], f, 0); err == nil {
				t.Errorf("%s of %d bytes cut to %d: %d bytes and no error", f, len(b), cut, len(got))
			}
		}
	}
	b, want := lzop(long)
	if got, err := unpackAll(b, LZOP, 0); err != nil || !bytes.Equal(got, want) || Detect(b) != LZOP {
		t.Errorf("lzo: %d bytes, %v", len(got), err)
	}
	b[100]++
	if _, err := unpackAll(b, LZOP, 0); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("damaged lzo: %v", err)
	}
}

// TestPrograms: what the programs write that kernels are packed with.
func TestPrograms(t *testing.T) {
	data := sample(500_000)
	for _, test := range []struct {
		f    Format
		line string
	}{{Gzip, "gzip -9n"}, {XZ, "xz --check=crc32 --x86 --lzma2=dict=32MiB"}, {XZ, "xz -T2"}, {LZMA, "xz --format=lzma -9"}, {Zstd, "zstd -19 --long=27"},
		{LZ4, "lz4"}, {LZ4Legacy, "lz4 -l -9"}, {Bzip2, "bzip2 -9"}, {LZOP, "lzop -9"}} {
		words := strings.Fields(test.line)
		if _, err := exec.LookPath(words[0]); err != nil {
			t.Logf("%s is not installed; its files are not tested", words[0])
			continue
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Args = append(cmd.Args, "-c")
		cmd.Stdin = bytes.NewReader(data)
		b, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		got, err := unpackAll(b, test.f, 0)
		if err != nil || !bytes.Equal(got, data) || Detect(b) != test.f {
			t.Errorf("%s: %d bytes, %v; Detect = %q", test.line, len(got), err, Detect(b))
		}
		if _, err := unpackAll(b[:len(b)-10], test.f, 0); err == nil {
			t.Errorf("%s: what was cut gave no error", test.line)
		}
	}
}

// image packs a kernel as the build does: the setup code, the payload, its unpacked size, and something behind.
func image(payload []byte, size int, protocol uint16) []byte {
	le := binary.LittleEndian
	const sectors, inside = 3, 0x340
	b := make([]byte, (sectors+1)*512+inside)
	b[0x1f1] = sectors
	b[0x1fe], b[0x1ff] = 0x55, 0xaa
	copy(b[setupMagic:], "HdrS")
	le.PutUint16(b[0x206:], protocol)
	payload = bytes.Clone(payload)
	if Detect(payload) != Gzip {
		payload = le.AppendUint32(payload, uint32(size))
	}
	if protocol >= 0x208 {
		le.PutUint32(b[0x248:], inside)
		le.PutUint32(b[0x24c:], uint32(len(payload)))
	}
	return append(append(b, payload...), make([]byte, 512)...)
}

func TestKernel(t *testing.T) {
	kernel := sample(200_000)
	dir := t.TempDir()
	path := filepath.Join(dir, "vmlinuz")
	for f, b := range packed(t, kernel) {
		images := map[string][]byte{"2.15": image(b, len(kernel), 0x20f)}
		if f == Gzip {
			images["2.07"] = image(b, len(kernel), 0x207)
		}
		for protocol, boot := range images {
			if err := os.WriteFile(path, boot, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := KernelImage(context.Background(), path, Options{})
			if err != nil {
				if protocol == "2.07" && strings.Contains(err.Error(), "gzip") {
					continue // what is behind the payload is not known to be no part of it
				}
				t.Errorf("%s, protocol %s: %v", f, protocol, err)
				continue
			}
			if !bytes.Equal(got.Data, kernel) || got.Packing != "bzImage, "+string(f) {
				t.Errorf("%s, protocol %s: %d bytes, %q", f, protocol, got.Size, got.Packing)
			}
		}
	}
	gz := packed(t, kernel)[XZ]
	for name, test := range map[string]struct {
		image []byte
		want  string
	}{
		"truncated":       {image(gz, len(kernel), 0x20f)[:20000], "truncated: the bzImage's kernel ends at byte"},
		"of another size": {image(gz, len(kernel)-1, 0x20f), "unpacks to 200000 bytes, the image says 199999"},
		"unknown":         {image([]byte("nothing that is known"), 1, 0x20f), "packed in a way that kdx does not know"},
		"no ELF":          {image(packed(t, kernel[1:])[XZ], len(kernel)-1, 0x20f), "not as an ELF file"},
		"not an image":    {kernel, ErrNotImage.Error()},
		"old, empty":      {image(nil, 0, 0x207), "no kernel found"},
	} {
		if err := os.WriteFile(path, test.image, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := KernelImage(context.Background(), path, Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(strings.TrimPrefix(err.Error(), "unpacking "), path) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
	}
}

func TestZboot(t *testing.T) {
	z := packed(t, []byte("MZ flat image"))[Gzip]
	b := make([]byte, 512)
	copy(b, "MZ\x00\x00zimg")
	binary.LittleEndian.PutUint32(b[8:], 512)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(z)))
	copy(b[24:], "gzip\x00")
	b = append(b, z...)
	_, err := Stream(bytes.NewReader(b), int64(len(b)), 0)
	var noELF *NoELFError
	if !errors.As(err, &noELF) || noELF.Image != "EFI zboot image" {
		t.Errorf("a flat image: %v", err)
	}
	copy(b[24:], "brotli\x00")
	if _, err := FindPayload(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "brotli") {
		t.Errorf("an unknown format: %v", err)
	}
	if _, err := FindPayload(bytes.NewReader(b[:520]), 520); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("a truncated image: %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	cacheDir := filepath.Join(dir, "cache")
	c, err := filecache.At(cacheDir, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	big := sample(17 << 20)
	path := filepath.Join(dir, "vmlinux.zst")
	if err := os.WriteFile(path, written(t, big, zstdWriter), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(opt Options) *File {
		t.Helper()
		f, err := Open(context.Background(), path, opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		got := make([]byte, f.Size)
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%s: %d bytes that differ, %v", f.Local, len(got), err)
		}
		if b, err := os.ReadFile(f.Local); err != nil || !bytes.Equal(b, big) {
			t.Errorf("Local: %d bytes, %v", len(b), err)
		}
		return f
	}
	var reported int64
	first := read(Options{Cache: c, Progress: func(_ string, done, total int64) {
		if done < reported || done > total {
			t.Errorf("progress %d of %d after %d", done, total, reported)
		}
		reported = done
	}})
	if reported == 0 {
		t.Error("no progress")
	}
	if again := read(Options{Cache: c, Progress: func(string, int64, int64) { t.Error("unpacked again") }}); again.Local != first.Local {
		t.Errorf("unpacked to %s, then %s", first.Local, again.Local)
	}
	// A byte that changed under its feet.
	b, err := os.ReadFile(first.Local)
	if err != nil {
		t.Fatal(err)
	}
	b[5000]++
	if err := os.WriteFile(first.Local, b, 0o600); err != nil {
		t.Fatal(err)
	}
	read(Options{Cache: c})
	// A cache that can't be written, by anybody: its place is a file.
	if err := os.RemoveAll(cacheDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cacheDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read(Options{Cache: c})
	read(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, path, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	if _, err := Open(context.Background(), path, Options{Cache: c}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("nowhere to write: %v", err)
	}
	var limit *LimitError
	if _, err := Open(context.Background(), path, Options{Limit: 1 << 20}); !errors.As(err, &limit) {
		t.Errorf("a bomb: %v", err)
	}
	if _, err := Open(context.Background(), dir, Options{}); err == nil {
		t.Error("a directory was opened")
	}
}

func FuzzUnpack(f *testing.F) {
	data := sample(3000)
	for _, b := range packed(f, data) {
		f.Add(b)
		f.Add(image(b, len(data), 0x20f))
		f.Add(image(b, len(data), 0x207))
	}
	b, _ := lzop(data)
	f.Add(b)
	f.Add([]byte("BZh91AY&SY"))
	f.Add([]byte("MZ\x00\x00zimg\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00gzip\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Stream(bytes.NewReader(b), int64(len(b)), 1<<20)
		if err != nil {
			return
		}
		defer r.Close()
		if n, _ := io.Copy(io.Discard, r); n > kernelLimit {
			t.Errorf("%d bytes", n)
		}
	})
}
