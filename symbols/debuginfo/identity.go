package debuginfo

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"kdx/internal/elfnote"
	"kdx/symbols"
)

// Identity is what an ELF file says about itself.
type Identity struct {
	Machine elf.Machine
	// BuildID is the content of its NT_GNU_BUILD_ID note in hexadecimal; "" if it has none.
	BuildID string
	// DWARF and Symbols: it has debug information, and a symbol table.
	DWARF, Symbols bool
	// Link is the name in .gnu_debuglink of the file that the debug information was put into, LinkCRC its checksum.
	Link    string
	LinkCRC uint32
	// Alt is the path in .gnu_debugaltlink of the file that dwz(1) put what several files share into, AltID its build-id.
	Alt, AltID string
	// Banner is a kernel's linux_banner, without the line feed, which is read only where the build-id does not settle it.
	// It and Release, which modules have too, are "" if the file does not hold them.
	Banner, Release string
}

func (i Identity) String() string {
	var parts []string
	if i.BuildID != "" {
		parts = append(parts, "build-id "+i.BuildID)
	}
	if i.Release != "" {
		parts = append(parts, i.Release)
	}
	if len(parts) == 0 {
		return "a file without build-id and release"
	}
	return strings.Join(parts, ", ")
}

const (
	maxSections = 1 << 18
	maxNotes    = 1 << 20
	maxLink     = 64 << 10
	maxModinfo  = 1 << 20
	maxRodata   = 256 << 20
	maxBuildID  = 64 // bytes; those in use have 20, and 16
)

// DamagedError: a file is an ELF file, but not whole, or contradicts itself.
type DamagedError struct{ What string }

func (e *DamagedError) Error() string { return e.What }

// ErrNotELF: a file is no ELF file.
var ErrNotELF = errors.New("it is no ELF file")

// Identify reads what identifies the ELF file r of that many bytes.
func Identify(r io.ReaderAt, size int64) (id Identity, err error) {
	defer func() {
		if p := recover(); p != nil { // package debug/elf, on headers that lie
			err = &DamagedError{fmt.Sprintf("damaged: %v", p)}
		}
	}()
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return id, err
	}
	if string(magic[:]) != elf.ELFMAG {
		return id, ErrNotELF
	}
	f, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return id, &DamagedError{fmt.Sprintf("damaged or truncated at byte %d: %v", size, err)}
	}
	if len(f.Sections) > maxSections {
		return id, &DamagedError{fmt.Sprintf("damaged: %d sections", len(f.Sections))}
	}
	e := elfFile{f, r, size}
	if err := e.whole(); err != nil {
		return id, err
	}
	id.Machine = f.Machine
	id.BuildID = e.buildID()
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NOBITS || s.FileSize == 0 {
			continue
		}
		switch s.Name {
		case ".debug_info", ".zdebug_info":
			id.DWARF = true
		case ".gnu_debuglink":
			id.Link, id.LinkCRC = e.link(s)
		case ".gnu_debugaltlink":
			id.Alt, id.AltID = e.alt(s)
		case ".modinfo":
			id.Release = e.vermagic(s)
		}
		id.Symbols = id.Symbols || s.Type == elf.SHT_SYMTAB
	}
	return id, nil
}

// readBanner completes the identity of a kernel's file by its banner, which has to be searched for.
func (i *Identity) readBanner(r io.ReaderAt, size int64) {
	defer func() { _ = recover() }() // headers that lie; there is no banner then
	f, err := elf.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil || f.Type == elf.ET_REL {
		return
	}
	s := f.Section(".rodata")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return
	}
	i.Banner = elfFile{f, r, size}.banner(s)
	if r := bannerRelease(i.Banner); r != "" {
		i.Release = r
	}
}

type elfFile struct {
	*elf.File
	r    io.ReaderAt
	size int64
}

// whole finds what is cut off: the file ends in the middle of a section.
func (e elfFile) whole() error {
	for _, s := range e.Sections {
		if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
			continue
		}
		if end := s.Offset + s.FileSize; end < s.Offset || end > uint64(e.size) {
			return &DamagedError{fmt.Sprintf("truncated: section %s ends at byte %d, the file at %d", s.Name, end, e.size)}
		}
	}
	return nil
}

// bytes are those of a section, nil if it has more than limit or can't be read.
func (e elfFile) bytes(s *elf.Section, limit uint64) []byte {
	if s.FileSize > limit {
		return nil
	}
	b := make([]byte, s.FileSize)
	if _, err := e.r.ReadAt(b, int64(s.Offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return b
}

func (e elfFile) buildID() string {
	for _, s := range e.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		if id := elfnote.BuildID(e.bytes(s, maxNotes), e.ByteOrder); id != "" {
			return id
		}
	}
	for _, p := range e.Progs { // a file without sections
		if p.Type != elf.PT_NOTE || p.Filesz > maxNotes {
			continue
		}
		b := make([]byte, p.Filesz)
		n, _ := p.ReadAt(b, 0) // what a truncated file still has
		if id := elfnote.BuildID(b[:max(n, 0)], e.ByteOrder); id != "" {
			return id
		}
	}
	return ""
}

// link reads .gnu_debuglink: a name, zeros up to a multiple of four, a CRC-32.
func (e elfFile) link(s *elf.Section) (name string, crc uint32) {
	b := e.bytes(s, maxLink)
	n := bytes.IndexByte(b, 0)
	if n <= 0 || (n+4)&^3+4 > len(b) {
		return "", 0
	}
	return string(b[:n]), e.ByteOrder.Uint32(b[(n+4)&^3:])
}

// alt reads .gnu_debugaltlink: a path, a zero, a build-id.
func (e elfFile) alt(s *elf.Section) (path, id string) {
	p, rest, ok := bytes.Cut(e.bytes(s, maxLink), []byte{0})
	if !ok || len(p) == 0 || len(rest) > maxBuildID {
		return "", ""
	}
	return string(p), hex.EncodeToString(rest)
}

// vermagic is a module's release.
func (e elfFile) vermagic(s *elf.Section) string {
	for field := range bytes.SplitSeq(e.bytes(s, maxModinfo), []byte{0}) {
		if rest, ok := bytes.CutPrefix(field, []byte("vermagic=")); ok {
			release, _, _ := strings.Cut(string(rest), " ")
			return release
		}
	}
	return ""
}

const bannerStart = "Linux version "

// banner finds linux_banner among a kernel's constants; linux_proc_banner has %s in its place.
func (e elfFile) banner(s *elf.Section) string {
	if s.FileSize > maxRodata {
		return ""
	}
	const window, longest = 1 << 20, 512
	buf := make([]byte, window+longest)
	for at := uint64(0); at < s.FileSize; at += window {
		n, _ := e.r.ReadAt(buf[:min(uint64(len(buf)), s.FileSize-at)], int64(s.Offset+at))
		b := buf[:max(n, 0)]
		for {
			i := bytes.Index(b, []byte(bannerStart))
			if i < 0 {
				break
			}
			text, _, ended := bytes.Cut(b[i:min(len(b), i+longest)], []byte{0})
			if ended && bytes.HasSuffix(text, []byte("\n")) && bannerRelease(string(text)) != "" {
				return strings.TrimSuffix(string(text), "\n")
			}
			b = b[i+len(bannerStart):]
		}
	}
	return ""
}

func bannerRelease(banner string) string {
	rest, ok := strings.CutPrefix(banner, bannerStart)
	if !ok {
		return ""
	}
	release, _, _ := strings.Cut(rest, " ")
	if release == "" || release[0] < '0' || release[0] > '9' {
		return ""
	}
	return release
}

// ErrNoBuildID: the kernel's notes hold no build-id.
var ErrNoBuildID = errors.New("the kernel's notes in memory hold no build-id")

// TrueBuildID reads the build-id from the kernel's own notes in memory, which lie from the symbol __start_notes to
// __stop_notes. VMCOREINFO's copy of it is garbage in some stable releases, see BelieveBuildID.
func TrueBuildID(mem symbols.Memory, order binary.ByteOrder, start, stop uint64) (string, error) {
	if stop <= start || stop-start > maxNotes {
		return "", fmt.Errorf("the kernel's notes can't lie from %#x to %#x", start, stop)
	}
	b := make([]byte, stop-start)
	n, err := mem.ReadMemory(b, start)
	if id := elfnote.BuildID(b[:n], order); id != "" {
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("the kernel's notes at %#x: %w", start, err)
	}
	return "", ErrNoBuildID
}

var machines = map[string]elf.Machine{"x86_64": elf.EM_X86_64, "i386": elf.EM_386, "aarch64": elf.EM_AARCH64, "arm": elf.EM_ARM, "ppc64": elf.EM_PPC64,
	"ppc64le": elf.EM_PPC64, "ppc": elf.EM_PPC, "s390x": elf.EM_S390, "riscv64": elf.EM_RISCV, "loongarch64": elf.EM_LOONGARCH}

// Machine is ELF's number of a machine spelled as uname -m does; EM_NONE if it is not known.
func Machine(uname string) elf.Machine { return machines[uname] }
