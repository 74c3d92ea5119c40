package unpack

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Payload is the packed kernel in a boot image.
type Payload struct {
	Image        string // "bzImage" or "EFI zboot image"
	Format       Format
	Offset, Size int64 // in the file
	// Unpacked is how many bytes it has unpacked, as the image says; 0 if it does not.
	Unpacked int64
}

// NoELFError: a boot image holds a kernel, but not as an ELF file.
type NoELFError struct {
	Image string
}

func (e *NoELFError) Error() string {
	return "the " + e.Image + " holds the kernel as one flat piece of memory, not as an ELF file, so it says nothing of symbols; its vmlinux is needed"
}

// ErrNotImage: a file is no boot image that is known.
var ErrNotImage = errors.New("no boot image of a kernel (bzImage or EFI zboot)")

const (
	bootHead    = 0x268
	setupMagic  = 0x202 // "HdrS"
	kernelLimit = 1 << 30
)

// FindPayload finds the packed kernel in a boot image of that many bytes; ErrNotImage if it is none.
func FindPayload(r io.ReaderAt, size int64) (Payload, error) {
	var head [bootHead]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Payload{}, err
	}
	h := head[:n]
	switch {
	case n >= 56 && h[0] == 'M' && h[1] == 'Z' && string(h[4:8]) == "zimg":
		return zboot(h, size)
	case n > setupMagic+6 && string(h[setupMagic:setupMagic+4]) == "HdrS":
		return bzImage(r, h, size)
	}
	return Payload{}, ErrNotImage
}

// bzImage reads x86's setup header (Documentation/arch/x86/boot.rst). The payload's place is in it since protocol 2.08
// (2.6.26).
func bzImage(r io.ReaderAt, h []byte, size int64) (Payload, error) {
	le := binary.LittleEndian
	sectors := int64(h[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors + 1) * 512
	p := Payload{Image: "bzImage"}
	if le.Uint16(h[0x206:]) >= 0x208 && len(h) >= 0x250 {
		p.Offset, p.Size = start+int64(le.Uint32(h[0x248:])), int64(le.Uint32(h[0x24c:]))
	}
	if p.Size == 0 {
		return searchPayload(r, start, size)
	}
	if p.Offset > size || p.Size > size-p.Offset {
		return p, fmt.Errorf("truncated: the bzImage's kernel ends at byte %d, the file at %d", p.Offset+p.Size, size)
	}
	var magic [HeadSize]byte
	if _, err := r.ReadAt(magic[:], p.Offset); err != nil && !errors.Is(err, io.EOF) {
		return p, err
	}
	p.Format = Detect(magic[:])
	if p.Format == None && !bytes.HasPrefix(magic[:], []byte(elf.ELFMAG)) { // without compression: CONFIG_KERNEL_UNCOMPRESSED
		return p, fmt.Errorf("the bzImage's kernel is packed in a way that kdx does not know (it begins with % x)", magic[:8])
	}
	return p, trailer(r, &p)
}

// trailer cuts off the length of the unpacked kernel, which the kernel's build puts behind the payload; gzip has its own.
func trailer(r io.ReaderAt, p *Payload) error {
	if p.Format == None || p.Size < 8 {
		return nil
	}
	var b [4]byte
	if _, err := r.ReadAt(b[:], p.Offset+p.Size-4); err != nil {
		return err
	}
	p.Unpacked = int64(binary.LittleEndian.Uint32(b[:]))
	if p.Format != Gzip {
		p.Size -= 4
	}
	return nil
}

// searchPayload looks for the payload of images that don't say where it is: what unpacks to an ELF file is it.
func searchPayload(r io.ReaderAt, from, size int64) (Payload, error) {
	const limit = 64 << 20 // such old images have a few MB
	if from >= size || size-from > limit {
		return Payload{}, fmt.Errorf("a bzImage of %d bytes that does not say where its kernel is", size)
	}
	b := make([]byte, size-from)
	if _, err := r.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return Payload{}, err
	}
	const attempts = 64 // of each format; the magics are short
	for _, m := range magics {
		at := 0
		for range attempts {
			i := bytes.Index(b[at:], m.magic)
			if i < 0 {
				break
			}
			at += i
			if z, err := NewReader(bytes.NewReader(b[at:]), m.format, 1<<20); err == nil {
				var magic [4]byte
				_, err := io.ReadFull(z, magic[:])
				z.Close()
				if err == nil && string(magic[:]) == elf.ELFMAG {
					return Payload{Image: "bzImage", Format: m.format, Offset: from + int64(at), Size: size - from - int64(at)}, nil
				}
			}
			at++
		}
	}
	return Payload{}, errors.New("no kernel found in the bzImage, which does not say where it is")
}

// zboot reads the header of an EFI zboot image (arm64, riscv and loongarch, 6.1): a PE file that unpacks its payload.
func zboot(h []byte, size int64) (Payload, error) {
	le := binary.LittleEndian
	p := Payload{Image: "EFI zboot image", Offset: int64(le.Uint32(h[8:])), Size: int64(le.Uint32(h[12:]))}
	if p.Offset > size || p.Size > size-p.Offset {
		return p, fmt.Errorf("truncated: the EFI zboot image's kernel ends at byte %d, the file at %d", p.Offset+p.Size, size)
	}
	name, _, _ := strings.Cut(string(h[24:56]), "\x00")
	for prefix, f := range map[string]Format{"gzip": Gzip, "xz": XZ, "zstd": Zstd, "lz4": LZ4Legacy, "lzo": LZOP, "lzma": LZMA, "bzip2": Bzip2} {
		if strings.HasPrefix(name, prefix) { // "xzkern", "zstd22"
			p.Format = f
		}
	}
	if p.Format == None {
		return p, fmt.Errorf("the EFI zboot image's kernel is packed with %q, which kdx does not know", name)
	}
	return p, nil
}

// Reader unpacks the payload of the image r. It fails at once with a *NoELFError if what comes is no ELF file.
func (p Payload) Reader(r io.ReaderAt) (io.ReadCloser, error) {
	z, err := newReader(io.NewSectionReader(r, p.Offset, p.Size), p.Format, kernelLimit, true)
	if err != nil {
		return nil, fmt.Errorf("the %s's kernel: %w", p.Image, err)
	}
	var magic [4]byte
	if _, err := io.ReadFull(z, magic[:]); err != nil {
		z.Close()
		return nil, fmt.Errorf("the %s's kernel: %w", p.Image, err)
	}
	if string(magic[:]) != elf.ELFMAG {
		z.Close()
		return nil, &NoELFError{p.Image}
	}
	return &exact{in: io.MultiReader(bytes.NewReader(magic[:]), z), Closer: z, payload: p}, nil
}

// exact fails at the end if it is not where the image says.
type exact struct {
	in io.Reader
	io.Closer
	payload Payload
	n       int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.in.Read(p)
	e.n += int64(n)
	switch {
	case err == io.EOF && e.payload.Unpacked != 0 && e.n != e.payload.Unpacked:
		return n, fmt.Errorf("damaged: the %s's kernel unpacks to %d bytes, the image says %d", e.payload.Image, e.n, e.payload.Unpacked)
	case err != nil && err != io.EOF:
		err = fmt.Errorf("the %s's kernel: %w", e.payload.Image, err)
	}
	return n, err
}
