package qemusave

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"

	"kdx/dumpfmt"
	"kdx/internal/unpack"
)

// libvirt's header: magic, then words in the host's byte order: version, length of the XML and what follows it, whether the machine
// was running, form of the payload, place of the cookie, and 14 unused ones.
const (
	libvirtSave    = "LibvirtQemudSave"
	libvirtPartial = "LibvirtQemudPart" // it is replaced when all is written
	libvirtHeader  = 16 + 5*4 + 14*4
	libvirtVersion = 2 // 1 had no form
	maxXML         = 64 << 20
)

// forms of the payload that libvirt numbers.
var forms = map[uint32]unpack.Format{0: unpack.None, 1: unpack.Gzip, 2: unpack.Bzip2, 3: unpack.XZ, 4: unpack.LZOP, 5: unpack.Zstd, 6: unpack.None}

// ProbeLibvirt reports whether a file that begins with head is libvirt's save image.
func ProbeLibvirt(head []byte) bool {
	return bytes.HasPrefix(head, []byte(libvirtSave)) || bytes.HasPrefix(head, []byte(libvirtPartial))
}

// OpenLibvirt opens what "virsh save" or "virsh managedsave" wrote. A compressed payload is unpacked to a temporary file. It takes over f only if it succeeds.
func OpenLibvirt(ctx context.Context, f *dumpfmt.File, progress func(what string, done, total int64)) (dumpfmt.Source, error) {
	var head [libvirtHeader]byte
	if _, err := f.ReadFull(head[:], 0); err != nil {
		return nil, &dumpfmt.FormatError{File: f.Name, Msg: "reading libvirt's header", Err: err}
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(head[16:]) > 1<<16 {
		order = binary.BigEndian
	}
	version, length := order.Uint32(head[16:]), order.Uint32(head[20:])
	form := order.Uint32(head[28:])
	if version == 0 || version > libvirtVersion || length > maxXML {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: 16, Msg: fmt.Sprintf("libvirt's header of version %d with %d bytes of XML; versions 1 and 2 are known", version, length)}
	}
	packing, ok := forms[form]
	if !ok {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: 28, Msg: fmt.Sprintf("libvirt packed the machine in a form of number %d, which is not known", form)}
	}
	start := int64(libvirtHeader) + int64(length)
	info := newInfo(f, "libvirt")
	info.HeaderVersion = int(version)
	if string(head[:16]) == libvirtPartial {
		info.Incomplete = true
		info.Warn("libvirt did not finish writing this file")
	}
	machine := ""
	if xml := make([]byte, length); length > 0 {
		if _, err := f.ReadFull(xml, libvirtHeader); err != nil {
			return nil, &dumpfmt.FormatError{File: f.Name, Offset: libvirtHeader, Msg: "reading the machine's XML", Err: err}
		}
		machine = machineOf(xml)
	}
	if packing == unpack.None {
		return open(ctx, f, f, start, machine, info, progress)
	}
	info.Codecs = []string{string(packing)}
	out, err := unfold(ctx, f, start, packing, progress)
	if err != nil {
		return nil, err
	}
	src, err := open(ctx, f, out, 0, machine, info, progress)
	if err != nil {
		out.Close()
		return nil, err
	}
	return src, nil
}

var machineType = regexp.MustCompile(`<type[^>]* machine=['"]([^'"]+)['"]`)

// machineOf is the machine's type in libvirt's XML; "" without one.
func machineOf(xml []byte) string {
	m := machineType.FindSubmatch(xml)
	if m == nil {
		return ""
	}
	return string(m[1])
}

const (
	// A payload unpacks to at most so many times its size, or this many bytes.
	maxRatio    = 256
	minUnpacked = 8 << 30
)

// unfold unpacks the payload to a temporary file that has no name any more.
func unfold(ctx context.Context, f *dumpfmt.File, start int64, packing unpack.Format, progress func(what string, done, total int64)) (*dumpfmt.File, error) {
	fail := func(err error) error {
		return fmt.Errorf("%s: unpacking the machine (%s) to a temporary file (TMPDIR says where): %w", f.Name, packing, err)
	}
	size := f.Size - start
	if size <= 0 {
		return nil, fail(io.ErrUnexpectedEOF)
	}
	in := &told{ctx: ctx, r: io.NewSectionReader(f.ReaderAt, start, size), size: size, what: "unpacking " + f.Name, progress: progress}
	z, err := unpack.NewReader(in, packing, max(minUnpacked, min(size, 1<<50)*maxRatio))
	if err != nil {
		return nil, fail(err)
	}
	defer z.Close()
	tmp, err := os.CreateTemp("", "kdx-unpacked-*")
	if err != nil {
		return nil, fail(err)
	}
	_ = os.Remove(tmp.Name()) // the file stays as long as it is open
	n, err := io.Copy(tmp, z)
	out := &dumpfmt.File{Name: f.Name, Size: n, ReaderAt: tmp, Closer: tmp, Warnings: f.Warnings}
	if err == nil {
		return out, nil
	}
	// What was unpacked before the end of a file that was cut short is good.
	if n == 0 || ctx.Err() != nil || in.n < size {
		tmp.Close()
		return nil, fail(err)
	}
	out.Incomplete = true
	out.Warnings = append(out.Warnings, fmt.Sprintf("unpacking the machine (%s) ended early, after %d bytes: %v", packing, n, err))
	return out, nil
}

// told is a reader that tells how far it is, and ends with the context.
type told struct {
	ctx      context.Context
	r        io.Reader
	n, size  int64
	next     int64
	what     string
	progress func(what string, done, total int64)
}

func (t *told) Read(p []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := t.r.Read(p)
	t.n += int64(n)
	if t.progress != nil && t.n >= t.next {
		t.progress(t.what, t.n, t.size)
		t.next = t.n + 16<<20
	}
	return n, err
}
