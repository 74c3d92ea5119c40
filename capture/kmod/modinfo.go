// Package kmod reads kernel modules as modprobe needs them read: what a module says of itself, which others it needs, and in which order
// they are loaded. It does so without depmod's files, and loads modules into the running kernel.
package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"kdx/internal/unpack"
)

// Info is what a module says of itself in its section .modinfo. Names have '_' where files may have '-'.
type Info struct {
	Name     string
	Vermagic string
	// Depends are modules whose symbols it uses.
	Depends []string
	Aliases []string
	// Pre and Post are modules, or aliases of some, that are loaded before and after it if they are there: its soft dependencies. Weak
	// are those that it may ask for itself, later (6.12).
	Pre, Post, Weak []string
	// Firmware are names of files below a directory of firmware.
	Firmware []string
	// Params are the names of its parameters.
	Params []string
	// Size is how many bytes its file has, unpacked.
	Size int64
}

// Release is the kernel that the module was built for, by its vermagic; "" if it does not say.
func (i *Info) Release() string {
	release, _, _ := strings.Cut(i.Vermagic, " ")
	return release
}

const (
	maxModule  = 256 << 20 // unpacked; the largest (amdgpu with debug information) have half of that
	maxModinfo = 16 << 20
	maxSaid    = 32 << 20 // of what a packed module says that it will have
	maxHeaders = 1 << 16  // sections
)

// ErrNoModinfo: a file is no kernel module.
var ErrNoModinfo = errors.New("it has no section .modinfo, so it is no kernel module")

// ReadInfo reads a module's file, packed or not. Of one that is not packed only headers and .modinfo are read.
func ReadInfo(path string) (*Info, error) {
	f, fi, err := unpack.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.ReaderAt = f
	size := fi.Size()
	var head [unpack.HeadSize]byte
	if n, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if format := unpack.Detect(head[:n]); format != unpack.None {
		data, err := decompress(f, head[:n], format)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		r, size = bytes.NewReader(data), int64(len(data))
	}
	b, err := modinfoSection(r, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info := ParseModinfo(b)
	info.Size = size
	if info.Name == "" { // modules say their name since 4.13
		info.Name = NameOf(path)
	}
	return info, nil
}

// decompress unpacks a module, which begins with head, to memory.
func decompress(r io.Reader, head []byte, format unpack.Format) ([]byte, error) {
	z, err := unpack.NewReader(r, format, maxModule)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	var buf bytes.Buffer
	// Growing would take three times the memory, which a capture kernel is short of.
	var h zstd.Header
	if format == unpack.Zstd && h.Decode(head) == nil && h.HasFCS && h.FrameContentSize <= maxSaid {
		buf.Grow(int(h.FrameContentSize) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(z); err != nil {
		return nil, fmt.Errorf("unpacking (%s): %w", format, err)
	}
	return buf.Bytes(), nil
}

// elfLayout is where an ELF header and its sections' headers have their fields.
type elfLayout struct {
	shoff, shentsize, shnum, shstrndx int
	offset, size                      int // of a section's header
	word                              int // bytes
}

var (
	layout64 = elfLayout{0x28, 0x3a, 0x3c, 0x3e, 0x18, 0x20, 8}
	layout32 = elfLayout{0x20, 0x2e, 0x30, 0x32, 0x10, 0x14, 4}
)

// modinfoSection finds .modinfo by the section headers alone: debug/elf would read symbols and strings, too.
func modinfoSection(r io.ReaderAt, size int64) ([]byte, error) {
	var h [64]byte
	if _, err := r.ReadAt(h[:], 0); err != nil || string(h[:4]) != elf.ELFMAG {
		return nil, errors.New("it is no ELF file, so it is no kernel module")
	}
	l, order := layout64, binary.ByteOrder(binary.LittleEndian)
	if h[4] == 1 {
		l = layout32
	}
	if h[5] == 2 {
		order = binary.BigEndian
	}
	word := func(b []byte) int64 {
		if l.word == 8 {
			return int64(order.Uint64(b))
		}
		return int64(order.Uint32(b))
	}
	at, each := word(h[l.shoff:]), int64(order.Uint16(h[l.shentsize:]))
	count, names := int64(order.Uint16(h[l.shnum:])), int64(order.Uint16(h[l.shstrndx:]))
	if at <= 0 || at > size || each < int64(l.size+l.word) || count > maxHeaders || count*each > size-at || names >= count {
		return nil, errors.New("damaged or truncated: its section headers lie outside of the file")
	}
	table := make([]byte, count*each)
	if _, err := r.ReadAt(table, at); err != nil {
		return nil, err
	}
	section := func(i int64) ([]byte, error) {
		s := table[i*each:]
		off, n := word(s[l.offset:]), word(s[l.size:])
		if off < 0 || n < 0 || off > size || n > size-off || n > maxModinfo {
			return nil, errors.New("damaged or truncated: a section lies outside of the file")
		}
		b := make([]byte, n)
		_, err := r.ReadAt(b, off)
		if errors.Is(err, io.EOF) && n == 0 {
			err = nil
		}
		return b, err
	}
	strs, err := section(names)
	if err != nil {
		return nil, err
	}
	for i := range count {
		name := int64(order.Uint32(table[i*each:]))
		if name < int64(len(strs)) && bytes.HasPrefix(strs[name:], []byte(".modinfo\x00")) {
			return section(i)
		}
	}
	return nil, ErrNoModinfo
}

// ParseModinfo reads the strings of .modinfo: key=value, each with a zero behind it.
func ParseModinfo(b []byte) *Info {
	info := &Info{}
	for s := range strings.SplitSeq(string(b), "\x00") {
		if key, value, ok := strings.Cut(s, "="); ok {
			info.add(key, value)
		}
	}
	return info
}

func (i *Info) add(key, value string) {
	switch key {
	case "name":
		i.Name = Canonical(value)
	case "vermagic":
		i.Vermagic = value
	case "depends":
		for _, d := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
			i.Depends = append(i.Depends, Canonical(d))
		}
	case "alias":
		i.Aliases = append(i.Aliases, value)
	case "softdep":
		i.softdep(value)
	case "weakdep":
		i.Weak = append(i.Weak, strings.Fields(value)...)
	case "firmware":
		if !slices.Contains(i.Firmware, value) {
			i.Firmware = append(i.Firmware, value)
		}
	case "parmtype":
		name, _, _ := strings.Cut(value, ":")
		i.Params = append(i.Params, name)
	}
}

// softdep reads "pre: a b post: c".
func (i *Info) softdep(value string) {
	var to *[]string
	for _, w := range strings.Fields(value) {
		switch {
		case w == "pre:":
			to = &i.Pre
		case w == "post:":
			to = &i.Post
		case to != nil:
			*to = append(*to, w)
		}
	}
}

// Canonical is a module's name as the kernel has it: files may have '-' where the kernel has '_'. Brackets of aliases keep theirs.
func Canonical(name string) string {
	depth := 0
	return strings.Map(func(r rune) rune {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '-' && depth <= 0:
			return '_'
		}
		return r
	}, name)
}

// NameOf is the name of the module in a file: nvme_core for …/nvme-core.ko.xz. "" if the file's name is no module's.
func NameOf(path string) string {
	base := filepath.Base(path)
	i := strings.Index(base, ".ko")
	if i <= 0 {
		return ""
	}
	switch base[i+len(".ko"):] {
	case "", ".xz", ".zst", ".gz", ".bz2", ".lz4":
		return Canonical(base[:i])
	}
	return ""
}
