package unpack

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"

	"kdx/internal/filecache"
)

// Options of Open. The zero value has no cache: what is packed is unpacked anew each time.
type Options struct {
	// Cache is where large files are kept unpacked; nil for none.
	Cache *filecache.Cache
	// Limit bounds what a file may unpack to, in bytes; 0 for DefaultLimit.
	Limit int64
	Log   *slog.Logger
	// Progress is told from time to time how much of the packed file, in bytes, has been read. May be nil.
	Progress func(path string, done, total int64)
}

// File is an open file, unpacked if it was packed.
type File struct {
	io.ReaderAt
	// Path is what was asked for. Local is what can be opened in its stead to read the same bytes: Path itself for a
	// file that is not packed, "" if they are nowhere but here.
	Path, Local string
	Size        int64 // bytes, unpacked
	// Data is the whole file if it is in memory; nil otherwise.
	Data []byte
	// Packing says how it was packed ("xz", "bzImage, zstd"); "" if it was not.
	Packing string
	file    *os.File
}

// Close closes the file; what was unpacked to a temporary file is gone then.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// inMemory is the size up to which a file is unpacked to memory rather than to disk: modules, but no kernel.
const inMemory = 16 << 20

// Source is what a file holds, as a stream.
type Source struct {
	io.ReadCloser
	Packing string // as File's; "" if the file is not packed
	in      *counter
}

type counter struct {
	io.ReaderAt
	n atomic.Int64 // end of what was read; decompressors read ahead on goroutines of theirs
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	for end := off + int64(n); ; {
		if now := c.n.Load(); now >= end || c.n.CompareAndSwap(now, end) {
			return n, err
		}
	}
}

// packing is how a file is packed.
type packing struct {
	image  *Payload
	format Format
}

func (p packing) String() string {
	switch {
	case p.image == nil:
		return string(p.format)
	case p.image.Format == None:
		return p.image.Image
	}
	return p.image.Image + ", " + string(p.image.Format)
}

func detect(r io.ReaderAt, size int64) (packing, error) {
	var head [HeadSize]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return packing{}, err
	}
	if bytes.HasPrefix(head[:n], []byte(elf.ELFMAG)) {
		return packing{}, nil
	}
	p, err := FindPayload(r, size)
	if err == nil {
		return packing{image: &p}, nil
	}
	if !errors.Is(err, ErrNotImage) {
		return packing{}, err
	}
	return packing{format: Detect(head[:n])}, nil
}

func (p packing) stream(r io.ReaderAt, size, limit int64) (*Source, error) {
	in := &counter{ReaderAt: r}
	var z io.ReadCloser
	var err error
	if p.image != nil {
		z, err = p.image.Reader(in)
	} else {
		z, err = NewReader(io.NewSectionReader(in, 0, size), p.format, limit)
	}
	if err != nil {
		return nil, err
	}
	return &Source{z, p.String(), in}, nil
}

// Stream reads what the file r of that many bytes holds, unpacked: at most limit bytes, 0 for DefaultLimit.
func Stream(r io.ReaderAt, size, limit int64) (*Source, error) {
	p, err := detect(r, size)
	if err != nil {
		return nil, err
	}
	return p.stream(r, size, limit)
}

// OpenRegular opens a regular file. It refuses others without opening them, as a pipe would wait for its writer.
func OpenRegular(path string) (*os.File, fs.FileInfo, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if fi, err = f.Stat(); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// Open opens a file. One that is compressed, and a kernel's boot image, is unpacked: into memory if it is small, otherwise
// into the cache, or to a temporary file if there is no cache or it can't be written.
func Open(ctx context.Context, path string, opt Options) (*File, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	f, fi, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	p, err := detect(f, fi.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if p.String() == "" {
		return &File{ReaderAt: f, Path: path, Local: path, Size: fi.Size(), file: f}, nil
	}
	defer f.Close()
	u := unpacking{ctx: ctx, packing: p, in: f, info: fi, path: path, opt: opt}
	out, err := u.open()
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", path, err)
	}
	out.Path, out.Packing = path, p.String()
	return out, nil
}

// KernelImage opens a boot image (vmlinuz) as the ELF file in it, which has the kernel's code and data but neither symbols
// nor debug information. ErrNotImage if the file is no boot image, *NoELFError if it holds no ELF file.
func KernelImage(ctx context.Context, path string, opt Options) (*File, error) {
	f, fi, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	_, err = FindPayload(f, fi.Size())
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return Open(ctx, path, opt)
}
