package analyze

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/own"
	"kdx/internal/unpack"
	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/debuginfo"
	"kdx/symbols/kallsyms"
)

// bootImage is the kernel of a boot image (vmlinuz), or another vmlinux without a symbol table. Its read-only data hold what
// the running kernel has in memory: kallsyms and BTF.
type bootImage struct {
	path   string
	elf    *elf.File
	mem    imageMemory
	id     debuginfo.Identity
	banner string
	k      *kernel.Kernel
}

// Arch, BuildID, Banner and Release are what the image says of itself.
func (b *bootImage) Arch() elf.Machine { return b.id.Machine }

// BuildID is in hexadecimal; "" if it has none.
func (b *bootImage) BuildID() string { return b.id.BuildID }

// Banner is linux_banner without the line feed.
func (b *bootImage) Banner() string { return b.banner }

// Release is that of uname -r.
func (b *bootImage) Release() string {
	release, _, _ := strings.Cut(strings.TrimPrefix(b.banner, "Linux version "), " ")
	return release
}

func openBootImage(k *kernel.Kernel, u *unpack.File) (*bootImage, error) {
	e, err := elf.NewFile(u)
	if err != nil {
		return nil, fmt.Errorf("%s: damaged ELF file: %w", u.Path, err)
	}
	b := &bootImage{path: u.Path, elf: e, k: k, mem: imageMemory{e}}
	if b.id, err = debuginfo.Identify(u, u.Size); err != nil {
		return nil, fmt.Errorf("%s: %w", u.Path, err)
	}
	b.banner, err = findBanner(e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Path, err)
	}
	return b, nil
}

// findBanner finds linux_banner, which stands in read-only data.
func findBanner(e *elf.File) (string, error) {
	s := e.Section(".rodata")
	if s == nil {
		return "", errors.New("it has neither symbols nor read-only data: it is no kernel")
	}
	const limit = 256 << 20 // of read-only data; the largest kernels have some 20 MiB
	data, err := io.ReadAll(io.LimitReader(s.Open(), limit))
	if err != nil {
		return "", err
	}
	for rest := data; ; {
		i := bytes.Index(rest, []byte("Linux version "))
		if i < 0 {
			return "", errors.New("it has no symbols, and no banner in its read-only data: it is no kernel")
		}
		text, _, _ := bytes.Cut(rest[i:min(len(rest), i+1024)], []byte{0})
		if rest = rest[i+1:]; !bytes.Contains(text, []byte("%s")) && bytes.HasSuffix(text, []byte("\n")) {
			return strings.TrimRight(string(text), "\n"), nil
		}
	}
}

// imageMemory reads what an ELF file would load, at the addresses where it is linked.
type imageMemory struct{ elf *elf.File }

// ReadMemory reads within one segment.
func (m imageMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	for _, s := range m.elf.Progs {
		if s.Type != elf.PT_LOAD || addr < s.Vaddr || addr-s.Vaddr >= s.Filesz {
			continue
		}
		n := min(uint64(len(p)), s.Filesz-(addr-s.Vaddr))
		got, err := s.ReadAt(p[:n], int64(addr-s.Vaddr))
		if got == len(p) {
			return got, nil
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%#x lies behind what the kernel image holds", addr+uint64(got))
		}
		return got, err
	}
	return 0, fmt.Errorf("%#x lies in no part of the kernel image", addr)
}

// shift is by how much the dump's kernel was moved from where the image is linked, modulo 2^64.
func (b *bootImage) shift() (uint64, error) {
	if offset, ok := b.k.Arch().KASLROffset(); ok {
		return offset, nil
	}
	loaded, ok := b.k.VMCoreInfo().Symbol("_stext")
	text := b.elf.Section(".text")
	if !ok || text == nil {
		return 0, fmt.Errorf("%s: where the dump has this kernel's code is not known", b.path)
	}
	return loaded - text.Addr, nil
}

func (b *bootImage) symbols() (symbols.SymbolFinder, error) {
	shift, err := b.shift()
	if err != nil {
		return nil, err
	}
	opt := own.KallsymsOptions(b.k)
	text := b.elf.Section(".text")
	if opt.Stext == 0 && text != nil {
		opt.Stext = text.Addr
	} else {
		opt.Stext -= shift
	}
	loc, err := kallsyms.Scan(b.mem, opt.Stext, opt.Stext+own.ImageLimit, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	t, err := kallsyms.Read(b.mem, loc, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	m := movedSymbols{t, shift, b.k.Arch().IsKernel}
	own.Late(b.k, own.FirstAddress(m.SymbolsNamed))
	return m, nil
}

func (b *bootImage) types() (symbols.TypeFinder, error) {
	s := b.elf.Section(".BTF")
	if s == nil {
		return nil, &symbols.NoTableError{Why: b.path + " has no BTF"}
	}
	return btf.Read(b.mem, s.Addr, s.Addr+s.Size, btf.Options{PointerSize: b.k.WordSize()})
}

// movedSymbols is a table of a kernel as linked, at the addresses of the running one. Offsets into per-CPU areas don't move.
type movedSymbols struct {
	*kallsyms.Table
	shift    uint64
	isKernel func(addr uint64) bool
}

// Name says whose table it is.
func (m movedSymbols) Name() string { return "vmlinux" }

func (m movedSymbols) moved(s symbols.Symbol) symbols.Symbol {
	if m.isKernel(s.Addr) {
		s.Addr += m.shift
	}
	return s
}

// SymbolsNamed finds symbols by name.
func (m movedSymbols) SymbolsNamed(name string) ([]symbols.Symbol, error) {
	found, err := m.Table.SymbolsNamed(name)
	out := make([]symbols.Symbol, len(found))
	for i, s := range found {
		out[i] = m.moved(s)
	}
	return out, err
}

// SymbolAt is the symbol that covers addr.
func (m movedSymbols) SymbolAt(addr uint64) (symbols.Symbol, error) {
	s, err := m.Table.SymbolAt(addr - m.shift)
	return m.moved(s), err
}

// All yields the symbols in address order.
func (m movedSymbols) All() iter.Seq[symbols.Symbol] {
	return func(yield func(symbols.Symbol) bool) {
		for s := range m.Table.All() {
			if !yield(m.moved(s)) {
				return
			}
		}
	}
}
