// Package elfsym reads the symbols of a kernel's ELF file (vmlinux), and what identifies it.
package elfsym

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"kdx/internal/elfnote"
)

// File is an open ELF file of a kernel.
type File struct {
	Path    string
	Machine elf.Machine
	Class   elf.Class
	Order   binary.ByteOrder

	closer io.Closer
	r      io.ReaderAt
	size   int64
	elf    *elf.File
	table  func() (*table, error)
}

const (
	maxSections = 1 << 16
	maxSymtab   = 1 << 30
	maxNotes    = 1 << 20
	maxBanner   = 512
)

// Open opens a kernel's ELF file. Its symbol table, which must be there, is read by the first question for a symbol.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	out, err := New(f, st.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	out.closer = f
	return out, nil
}

// New is Open for a file of that many bytes that is already open. path serves messages.
func New(r io.ReaderAt, size int64, path string) (f *File, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("%s: damaged ELF file: %v", path, p)
		}
	}()
	if err := recognise(r, path); err != nil {
		return nil, err
	}
	e, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%s: damaged ELF file: %w", path, err)
	}
	if len(e.Sections) > maxSections {
		return nil, fmt.Errorf("%s: %d sections can't be right", path, len(e.Sections))
	}
	f = &File{Path: path, Machine: e.Machine, Class: e.Class, Order: e.ByteOrder, r: r, size: size, elf: e}
	if e.SectionByType(elf.SHT_SYMTAB) == nil {
		return nil, fmt.Errorf("%s: %w", path, ErrNoSymbols)
	}
	f.table = sync.OnceValues(func() (t *table, err error) {
		defer func() {
			if p := recover(); p != nil {
				t, err = nil, fmt.Errorf("%s: damaged symbol table: %v", path, p)
			}
		}()
		if t, err = f.readTable(); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return t, err
	})
	return f, nil
}

// recognise says what a file is that is no ELF file but often given as one.
func recognise(r io.ReaderAt, path string) error {
	var b [0x206]byte
	n, _ := r.ReadAt(b[:], 0)
	head := b[:n]
	switch {
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return nil
	case n == len(b) && string(b[0x202:]) == "HdrS":
		return fmt.Errorf("%s is a boot image (vmlinuz), which has no symbols; the uncompressed vmlinux with symbols is needed", path)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}), bytes.HasPrefix(head, []byte("\xfd7zXZ")), bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return fmt.Errorf("%s is compressed; unpack it first", path)
	}
	return fmt.Errorf("%s is not an ELF file", path)
}

// Arch is the file's machine.
func (f *File) Arch() elf.Machine { return f.Machine }

// Close closes the file.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// section reads at most limit bytes of a section that lies in the file.
func (f *File) section(s *elf.Section, limit uint64) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if s.FileSize > limit || s.Offset > uint64(f.size) || s.FileSize > uint64(f.size)-s.Offset {
		return nil, fmt.Errorf("section %s (%#x bytes at %#x) leads out of the file, or is too large", s.Name, s.FileSize, s.Offset)
	}
	b := make([]byte, s.FileSize)
	if _, err := f.r.ReadAt(b, int64(s.Offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	return b, nil
}

// BuildID is the file's build-id in hex, or "" if it has none.
func (f *File) BuildID() string {
	const ntGNUBuildID = 3
	for _, s := range f.elf.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		b, err := f.section(s, maxNotes)
		if err != nil {
			continue
		}
		id := ""
		_ = elfnote.Scan(bytes.NewReader(b), int64(len(b)), f.Order, func(n elfnote.Record) bool {
			if n.Name == "GNU" && n.Type == ntGNUBuildID && n.Size <= 64 {
				id = hex.EncodeToString(b[n.Offset : n.Offset+n.Size])
			}
			return id == ""
		}) // notes that make no sense end the search in this section, not the others
		if id != "" {
			return id
		}
	}
	return ""
}

// Banner is the kernel's linux_banner, without the newline: "Linux version 6.12.9 (…) …". "" if the file lacks it.
func (f *File) Banner() string {
	t, err := f.table()
	if err != nil {
		return ""
	}
	for i := range t.index().Find("linux_banner") {
		if b, ok := f.bytesAt(t.entries[i].addr, maxBanner); ok {
			s, _, _ := strings.Cut(string(b), "\x00")
			return strings.TrimRight(s, "\n")
		}
	}
	return ""
}

// Release is the kernel's release, as uname -r has it; "" if unknown.
func (f *File) Release() string {
	rest, ok := strings.CutPrefix(f.Banner(), "Linux version ")
	if !ok {
		return ""
	}
	release, _, _ := strings.Cut(rest, " ")
	return release
}

// bytesAt is what the file holds for address addr, at most n bytes.
func (f *File) bytesAt(addr uint64, n uint64) ([]byte, bool) {
	for _, s := range f.elf.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS || addr < s.Addr || addr-s.Addr >= s.FileSize {
			continue
		}
		at := addr - s.Addr
		n = min(n, s.FileSize-at)
		off := s.Offset + at
		if off < at || off > uint64(f.size) {
			return nil, false
		}
		b := make([]byte, n)
		got, _ := f.r.ReadAt(b, int64(off)) // a file that ends early holds less
		return b[:got], got > 0
	}
	return nil, false
}

// Address is that of a symbol as linked, before KASLR.
func (f *File) Address(name string) (uint64, bool) {
	t, err := f.table()
	if err != nil {
		return 0, false
	}
	for i := range t.index().Find(name) {
		return t.entries[i].addr, true
	}
	return 0, false
}
