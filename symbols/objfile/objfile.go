// Package objfile opens ELF files that carry debug information (vmlinux, modules, separate debug files): mapped, with each
// section decompressed when first asked for.
package objfile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"kdx/internal/elfnote"
	"kdx/internal/mapfile"
)

// File is an open ELF file. Its methods are safe for many goroutines. Bytes that Section returns may be mapped: whoever reads
// them does so within mapfile.Guard.
type File struct {
	Path string
	ELF  *elf.File

	data     []byte
	mapped   *mapfile.File
	placed   map[string]uint64 // where sections of a relocatable file lie; nil before Place
	mu       sync.Mutex
	sections map[string]*section
}

type section struct {
	once sync.Once
	data []byte
	err  error
}

// maxSections bounds what a header may claim: modules built with -ffunction-sections have some ten thousand.
const maxSections = 1 << 17

// Open maps and opens the file at path.
func Open(path string) (*File, error) {
	m, err := mapfile.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := New(m.Bytes(), path)
	if err != nil {
		m.Close()
		return nil, err
	}
	f.mapped = m
	return f, nil
}

// New opens an ELF file that lies in memory. path serves messages.
func New(data []byte, path string) (*File, error) {
	f := &File{Path: path, data: data, sections: make(map[string]*section)}
	err := mapfile.Guard(path, func() error {
		if len(data) < 4 || string(data[:4]) != elf.ELFMAG {
			return fmt.Errorf("%s is not an ELF file", path)
		}
		e, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("%s: damaged ELF file: %w", path, err)
		}
		if len(e.Sections) > maxSections {
			return fmt.Errorf("%s: %d sections can't be right", path, len(e.Sections))
		}
		f.ELF = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Close unmaps the file; sections' bytes must not be used afterwards.
func (f *File) Close() error {
	if f.mapped == nil {
		return nil
	}
	return f.mapped.Close()
}

// Order is the file's byte order.
func (f *File) Order() binary.ByteOrder { return f.ELF.ByteOrder }

// Has reports whether the file has contents for the section of that name, compressed or not.
func (f *File) Has(name string) bool { return f.find(name) != nil }

// find is the section called name or, in its old compressed form, ".z" + name[1:].
func (f *File) find(name string) *elf.Section {
	old := ".z" + strings.TrimPrefix(name, ".")
	for _, s := range f.ELF.Sections {
		if (s.Name == name || s.Name == old) && s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL {
			return s
		}
	}
	return nil
}

// Section returns the contents of a section: decompressed, and in a relocatable file relocated. A file without that section
// gives nil. The bytes are valid until Close.
func (f *File) Section(name string) ([]byte, error) {
	f.mu.Lock()
	s := f.sections[name]
	if s == nil {
		s = new(section)
		f.sections[name] = s
	}
	f.mu.Unlock()
	s.once.Do(func() {
		s.err = mapfile.Guard(f.Path, func() (err error) {
			s.data, err = f.load(name)
			return err
		})
		if s.err != nil {
			s.err = fmt.Errorf("%s: section %s: %w", f.Path, name, s.err)
		}
	})
	return s.data, s.err
}

// errRelocatable: sections of a relocatable file mean nothing before they have a place.
var errRelocatable = errors.New("it is relocatable, and nobody said where its sections lie")

func (f *File) load(name string) ([]byte, error) {
	s := f.find(name)
	if s == nil {
		return nil, nil
	}
	if f.fixed(s) {
		return f.contents(s)
	}
	if f.placed == nil {
		return nil, errRelocatable
	}
	b, err := f.contents(s)
	if err != nil {
		return nil, err
	}
	if s.Flags&elf.SHF_COMPRESSED == 0 {
		b = bytes.Clone(b) // the file itself stays as it is
	}
	return b, f.relocate(s, b)
}

// contents are a section's bytes, decompressed.
func (f *File) contents(s *elf.Section) ([]byte, error) {
	old := strings.HasPrefix(s.Name, ".z")
	if !old && s.Flags&elf.SHF_COMPRESSED == 0 {
		if s.Offset > uint64(len(f.data)) || s.FileSize > uint64(len(f.data))-s.Offset {
			return nil, fmt.Errorf("its %d bytes at %#x lie outside the file, which has %d: the file is truncated", s.FileSize, s.Offset, len(f.data))
		}
		return f.data[s.Offset : s.Offset+s.FileSize : s.Offset+s.FileSize], nil
	}
	if old {
		return decompressOld(s)
	}
	return decompress(s.Open(), s.Size, s.FileSize)
}

// maxRatio and maxDecompressed bound what compressed sections may claim: DWARF shrinks to a third or less, and the largest
// kernels' .debug_info has some 400 MB.
const (
	maxRatio        = 1 << 10
	maxDecompressed = 4 << 30
)

func decompress(r io.Reader, size, packed uint64) ([]byte, error) {
	if size > maxDecompressed || size > (packed+64)*maxRatio {
		return nil, fmt.Errorf("it claims to be %d bytes, made of %d: that can't be right", size, packed)
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	return out, nil
}

// BuildID is the file's NT_GNU_BUILD_ID in hexadecimal; "" if it has none.
func (f *File) BuildID() string {
	id := ""
	_ = mapfile.Guard(f.Path, func() error {
		for _, s := range f.ELF.Sections {
			if s.Type != elf.SHT_NOTE {
				continue
			}
			b, err := f.contents(s)
			if err != nil {
				continue
			}
			if id = buildIDOf(b, f.Order()); id != "" {
				return nil
			}
		}
		return nil
	})
	return id
}

const ntGNUBuildID = 3

func buildIDOf(notes []byte, order binary.ByteOrder) string {
	id := ""
	_ = elfnote.Scan(bytes.NewReader(notes), int64(len(notes)), order, func(n elfnote.Record) bool {
		if n.Name == "GNU" && n.Type == ntGNUBuildID && n.Size <= 64 {
			id = hex.EncodeToString(notes[n.Offset : n.Offset+n.Size])
		}
		return id == ""
	}) // notes that make no sense end the search in this section, not the others
	return id
}
