// Package initrd builds the capture initrd, in which kdx-init is init: everything that saving a dump needs of the host, and nothing else.
// It also reads initrds, its own and those of dracut and initramfs-tools.
package initrd

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// Types of files, as in st_mode.
const (
	modeType = 0o170000
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
	modeChar = 0o020000
	modeBlk  = 0o060000
)

// header is one of the new portable format (Documentation/driver-api/early-userspace/buffer-format.rst): a magic and thirteen numbers of
// eight hexadecimal digits.
type header struct {
	Name  string // without a slash at its beginning
	Mode  uint32
	Size  int64
	Nlink uint32
	Ino   uint32
	Dev   [2]uint32 // of a device node
}

const (
	magicNew   = "070701"
	magicCRC   = "070702" // with a sum of the bytes in the last field
	headerSize = 110
	trailer    = "TRAILER!!!"
	maxName    = 4096 // PATH_MAX: the kernel takes no longer ones
)

func pad(n int64) int64 { return -n & 3 }

// writer writes an archive. All that could differ between two builds (inode, owner, time) is zero.
type writer struct {
	w io.Writer
	n int64
}

func (w *writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.n += int64(n)
	return err
}

var zeros [512]byte

func (w *writer) header(h header) error {
	s := magicNew
	for _, v := range []uint32{0, h.Mode, 0, 0, 1, 0, uint32(h.Size), 0, 0, h.Dev[0], h.Dev[1], uint32(len(h.Name) + 1), 0} {
		s += fmt.Sprintf("%08x", v)
	}
	s += h.Name + "\x00"
	return w.write(append([]byte(s), zeros[:pad(int64(len(s)))]...))
}

func (w *writer) file(h header, data []byte) error {
	h.Size = int64(len(data))
	if err := w.header(h); err != nil {
		return err
	}
	if err := w.write(data); err != nil {
		return err
	}
	return w.write(zeros[:pad(h.Size)])
}

// end writes the trailer, and pads the archive as cpio does.
func (w *writer) end() error {
	if err := w.header(header{Name: trailer}); err != nil {
		return err
	}
	return w.write(zeros[:-w.n&511])
}

// reader reads an archive entry by entry. It never trusts a length further than what follows.
type reader struct {
	r io.Reader
	// n is how many bytes were read; left is what of the entry's data is to come, pad what is behind it.
	n         int64
	left, pad int64
}

func (r *reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.n += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) && r.n > int64(n) {
		err = fmt.Errorf("truncated at byte %d of the archive", r.n)
	}
	return err
}

// Read reads the data of the entry.
func (r *reader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(b[:min(int64(len(b)), r.left)])
	r.n += int64(n)
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		if err = nil; r.left > 0 {
			err = fmt.Errorf("truncated at byte %d of the archive", r.n)
		}
	}
	return n, err
}

func (r *reader) skip() error {
	n, err := io.CopyN(io.Discard, r.r, r.left+r.pad)
	r.n += n
	if err != nil {
		return fmt.Errorf("truncated at byte %d of the archive", r.n)
	}
	r.left, r.pad = 0, 0
	return nil
}

// errTrailer is the end of one archive.
var errTrailer = errors.New("end of the archive")

// next goes to the next entry. errTrailer behind the last one.
func (r *reader) next() (header, error) {
	if err := r.skip(); err != nil {
		return header{}, err
	}
	var b [headerSize]byte
	if err := r.full(b[:]); err != nil {
		return header{}, err
	}
	if m := string(b[:6]); m != magicNew && m != magicCRC {
		return header{}, fmt.Errorf("damaged: at byte %d of the archive stands %q, where an entry should begin", r.n-headerSize, m)
	}
	var f [13]uint32
	for i := range f {
		v, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return header{}, fmt.Errorf("damaged: the entry at byte %d of the archive has %q for a number", r.n-headerSize, b[6+8*i:14+8*i])
		}
		f[i] = uint32(v)
	}
	size := int64(f[11])
	if size == 0 || size > maxName {
		return header{}, fmt.Errorf("damaged: the entry at byte %d of the archive has a name of %d bytes", r.n-headerSize, size)
	}
	name := make([]byte, size+pad(headerSize+size))
	if err := r.full(name); err != nil {
		return header{}, err
	}
	text, _, _ := strings.Cut(string(name[:size]), "\x00")
	h := header{Name: strings.TrimPrefix(path.Clean("/"+text), "/"), Ino: f[0], Mode: f[1], Nlink: f[4], Size: int64(f[6]), Dev: [2]uint32{f[9], f[10]}}
	r.left, r.pad = h.Size, pad(h.Size)
	if text == trailer {
		return h, errTrailer
	}
	return h, nil
}
